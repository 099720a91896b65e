//! An entry of the audit log.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::schema;
use crate::model::Timestamp;
use crate::store::{self, Actor};

/// What somebody did by hand, and what was there before.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditEntry {
    /// Ours; grows with every entry.
    id: i64,
    /// When.
    #[schema(value_type = schema::Timestamp)]
    at: Timestamp,
    /// `user`, `service` or `command`.
    caller: String,
    /// Who, if it was a user; one who was erased by `erased:` and a hash.
    #[schema(example = "an_admin")]
    rep: Option<String>,
    /// The name of the key, if it was a service.
    #[schema(example = "crm")]
    key: Option<String>,
    /// `replay`, `delete_rep`, or another word.
    #[schema(example = "replay")]
    action: String,
    /// The event it was done to.
    event_id: Option<i64>,
    /// The state of the event that it ended.
    was_state: Option<String>,
    /// The reason of that state, in words.
    was_reason: Option<String>,
    /// What else it was done to; a person who was erased by `erased:` and a hash.
    subject: Option<String>,
    /// What came of it.
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
}

impl From<store::AuditEntry> for AuditEntry {
    fn from(entry: store::AuditEntry) -> Self {
        let who = entry.who;
        let (rep, key) = match &*entry.caller {
            Actor::SERVICE => (None, who),
            _ => (who, None),
        };
        Self {
            id: entry.id,
            at: entry.at,
            caller: entry.caller,
            rep,
            key,
            action: entry.action,
            event_id: entry.event_id,
            was_state: entry.was_state,
            was_reason: entry.was_reason,
            subject: entry.subject,
            result: entry
                .result
                .and_then(|result| serde_json::from_str(&result).ok()),
        }
    }
}
