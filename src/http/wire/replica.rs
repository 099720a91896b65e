//! The replicas on the wire: which there are, and who leads what.

use serde::Serialize;
use utoipa::ToSchema;

use super::{schema, wire_enum};
use crate::model::Timestamp;
use crate::replica::Seen;
use crate::store;

/// The replicas that serve from the same database, and who leads what.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplicasSeen {
    /// The id of the replica that answers.
    #[schema(example = "athos-7d9f.1.5c1e09ab")]
    replica: String,
    /// Those that were heard of within an hour and have not stopped in order, the oldest first; with SQLite this one alone.
    replicas: Vec<Replica>,
    /// Which of them does what one does for all.
    leaders: Vec<Leader>,
}

/// A process of the service.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Replica {
    /// Machine, process id and a random part; no other process has it before or after.
    #[schema(example = "athos-7d9f.1.5c1e09ab")]
    id: String,
    /// Its version.
    #[schema(example = "1.4.0")]
    version: String,
    /// When it started.
    #[schema(value_type = schema::Timestamp)]
    since: Timestamp,
    /// When it last said that it lives; it does so every 3 seconds.
    #[schema(value_type = schema::Timestamp)]
    last_heartbeat: Timestamp,
    /// Whether that is so short ago that it need not be given up. What it led is another's soon if not.
    alive: bool,
    /// When it last read its settings: on a reload, or at its start.
    #[schema(value_type = schema::Timestamp)]
    reloaded_at: Timestamp,
    /// A fingerprint of all its secrets, keys and service tokens: one that differs from that of the others was not reloaded.
    #[schema(example = "ab12cd34")]
    credentials: String,
    /// By how many milliseconds its clock is ahead of the database server's; more than 5000 either way, and it leads nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_difference_ms: Option<i64>,
}

wire_enum! {
    /// What one replica does for all.
    enum Duty of store::Duty {
        /// Compares Athos's list of role-plays with what is stored.
        ReconcileRoleplay,
        /// Compares Athos's list of real calls with what is stored.
        ReconcileRealCall,
        /// Removes what is old, and finishes erasures that broke off.
        Retention,
    }
}

/// Who leads a duty.
#[derive(Serialize, ToSchema)]
struct Leader {
    duty: Duty,
    /// The id of the replica that does it; null while none does, for moments.
    #[schema(example = "athos-7d9f.1.5c1e09ab")]
    replica: Option<String>,
    /// Counts the leaders that this duty has had.
    term: i64,
}

impl From<Seen> for ReplicasSeen {
    fn from(seen: Seen) -> Self {
        let now = seen.now;
        let replica = |row: store::ReplicaRow| Replica {
            alive: row.is_alive(now),
            id: row.id,
            version: row.version,
            since: row.started_at,
            last_heartbeat: row.heartbeat_at,
            reloaded_at: row.reloaded_at,
            credentials: row.credentials,
            clock_difference_ms: row.clock_difference.map(|difference| difference.millis),
        };
        let leader = |leader: store::Leader| Leader {
            duty: leader.duty.into(),
            term: leader.term,
            replica: match leader.is_over(now) {
                true => None,
                false => leader.replica,
            },
        };
        Self {
            replica: seen.this,
            replicas: seen.replicas.into_iter().map(replica).collect(),
            leaders: seen.leaders.into_iter().map(leader).collect(),
        }
    }
}
