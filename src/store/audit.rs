//! The audit log: what people did by hand, by whom and to what.

use async_trait::async_trait;

use super::{Page, StoreResult};
use crate::model::{PlatformId, Timestamp};

/// The audit log, as those read it who run the service.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// One page of entries, newest first, after the one with the id `after`.
    async fn list_audit(
        &self,
        filter: &AuditFilter,
        limit: u32,
        after: Option<i64>,
    ) -> StoreResult<Page<AuditEntry, i64>>;
}

/// Which entries to list.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// By this person or key; `command` for those at a terminal.
    pub who: Option<String>,
    /// What was done.
    pub action: Option<String>,
    /// Done at or after.
    pub from: Option<Timestamp>,
    /// Done at or before.
    pub to: Option<Timestamp>,
}

/// What somebody did by hand, and what was there before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// `user`, `service` or `command`.
    pub caller: String,
    /// Who: a user's id, a service's key. Unknown of commands, and of services before keys had names.
    pub who: Option<String>,
    /// `replay`, `delete_rep`, or another word.
    pub action: String,
    /// The event it was done to.
    pub event_id: Option<i64>,
    /// The state of the event that it ended.
    pub was_state: Option<String>,
    /// The reason of that state, in words.
    pub was_reason: Option<String>,
    /// What else it was done to; a person who was erased by a hash only.
    pub subject: Option<String>,
    /// What came of it, as JSON.
    pub result: Option<String>,
}

/// Who does something by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// An admin, signed in.
    User(PlatformId),
    /// Another backend, by the name of its key.
    Service(String),
    /// Somebody at a terminal of this machine.
    Command,
}

impl Actor {
    /// What kind of caller it is, and who, for the record.
    pub(super) fn columns(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::User(rep) => ("user", Some(rep.as_str())),
            Self::Service(key) => (Self::SERVICE, Some(key)),
            Self::Command => ("command", None),
        }
    }

    /// The `caller` of an entry whose `who` is a key.
    pub const SERVICE: &str = "service";
}
