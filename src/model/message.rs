//! What is forwarded to the company's own systems: the types of messages.

use super::string_enum;

/// The `type` of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// A call has its score.
    CallScored,
    /// A call could not be scored.
    CallUnscored,
    /// What was said of a call before has changed: its score, ids that became known, words that were removed.
    CallUpdated,
    /// An event was given up.
    EventDead,
    /// Somebody did something by hand.
    AuditRecorded,
}

string_enum!(MessageKind, "type of message", {
    CallScored: "call.scored",
    CallUnscored: "call.unscored",
    CallUpdated: "call.updated",
    EventDead: "event.dead",
    AuditRecorded: "audit.recorded",
});

impl MessageKind {
    /// What is forwarded unless `FORWARD_EVENTS` says otherwise: what is about calls. What people do by hand is sent to those
    /// who ask for it.
    pub const DEFAULT: [Self; 4] = [
        Self::CallScored,
        Self::CallUnscored,
        Self::CallUpdated,
        Self::EventDead,
    ];
}
