//! The replicas of the service on one database, in words: which there are, and which of them leads each duty, by a term that
//! expires and that the writes of a leader are checked against.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::{SharedStore, StoreResult};
use crate::model::{Source, Timestamp, string_enum};

/// How long a term lasts, unless it is renewed, by the server's clock. With the time to a replica's next heartbeat, and were clocks
/// to differ by all that they may, a leader that hangs is replaced within 30 s; and a few heartbeats may fail.
pub const TERM_LASTS: Duration = Duration::from_secs(15);

/// Most that a machine's clock may differ from the server's. Leases and due times are in the rows, by the clock of the replica
/// that writes them, and are read by the clocks of others: the server's is the one that all of them share, and by which all are
/// measured. A lease is many times longer.
pub const CLOCKS_MAY_DIFFER: Duration = Duration::from_secs(5);

/// A replica that has not been heard of for so long is not listed any more, and its row may go.
pub const REPLICA_FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);

/// Work that one replica does for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Duty {
    /// Reconciliation of role-plays.
    ReconcileRoleplay,
    /// Reconciliation of real calls.
    ReconcileRealCall,
    /// Retention, with what has to be finished of erasures and removed of records.
    Retention,
}

string_enum!(Duty, "duty", {
    ReconcileRoleplay: "reconcile_roleplay",
    ReconcileRealCall: "reconcile_real_call",
    Retention: "retention",
});

impl Duty {
    /// The reconciliation of a source.
    #[must_use]
    pub fn reconcile(source: Source) -> Self {
        match source {
            Source::Roleplay => Self::ReconcileRoleplay,
            Source::RealCall => Self::ReconcileRealCall,
        }
    }
}

/// The right of a replica to do a duty, until another takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// What it may do.
    pub duty: Duty,
    /// Its id.
    pub replica: String,
    /// Counts the leaders of this duty.
    pub number: i64,
}

/// A replica, as it has described itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaRow {
    /// Names the process, and no other before or after it.
    pub id: String,
    /// Its version of this program.
    pub version: String,
    /// Since when it runs, by its own clock.
    pub started_at: Timestamp,
    /// When it last said that it lives, by the server's clock.
    pub heartbeat_at: Timestamp,
    /// When it last read its settings: at its start, or on a reload.
    pub reloaded_at: Timestamp,
    /// A fingerprint of all credentials that it has: replicas with the same secrets and keys have the same.
    pub credentials: String,
    /// How its clock differs from the server's; unknown before it was measured.
    pub clock_difference: Option<ClockDifference>,
}

impl ReplicaRow {
    /// Whether it has been heard of lately: a leader that has not is replaced.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        now.since(self.heartbeat_at) <= TERM_LASTS
    }
}

/// Who leads a duty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// What it does.
    pub duty: Duty,
    /// Counts the leaders of this duty.
    pub term: i64,
    /// The id of the last that took it; none once it has given it up.
    pub replica: Option<String>,
    /// Until when the term lasts.
    pub expires_at: Timestamp,
}

impl Leader {
    /// Whether another replica may take the duty. A term that lasts longer than any can was written by a wrong clock, and must not
    /// keep others away until then.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at <= now || self.expires_at > latest_end(now)
    }
}

/// The latest end of a term that a replica may have written whose clock differs no more than it may.
pub(super) fn latest_end(now: Timestamp) -> Timestamp {
    now.plus(TERM_LASTS + 2 * CLOCKS_MAY_DIFFER)
}

/// By how much a machine's clock is ahead of the server's, or behind it when negative; 0 when it cannot be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockDifference {
    /// In milliseconds.
    pub millis: i64,
}

impl ClockDifference {
    /// Of the server's time, which was asked for at `before` and was there at `after` by the machine's clock.
    #[must_use]
    pub fn between(before: Timestamp, server: Timestamp, after: Timestamp) -> Self {
        let [before, server, after] = [before, server, after].map(Timestamp::as_millis);
        let millis = if server < before {
            before - server
        } else {
            (after - server).min(0)
        };
        Self { millis }
    }

    /// The server's time, when it is `now` by the machine's clock.
    #[must_use]
    pub fn server_time(self, now: Timestamp) -> Timestamp {
        Timestamp::from_millis(now.as_millis().saturating_sub(self.millis))
    }

    /// Whether it is more than it may be.
    #[must_use]
    pub fn is_too_large(self) -> bool {
        Duration::from_millis(self.millis.unsigned_abs()) > CLOCKS_MAY_DIFFER
    }
}

impl fmt::Display for ClockDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.millis < 0 {
            "behind"
        } else {
            "ahead of"
        };
        let (seconds, rest) = (
            self.millis.unsigned_abs() / 1000,
            self.millis.unsigned_abs() % 1000,
        );
        write!(f, "{seconds}.{rest:03} s {side}")
    }
}

/// What a replica sees before it decides what to lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Who leads what. A duty that nobody has ever led is not among them.
    pub leaders: Vec<Leader>,
    /// How this machine's clock differs from the server's; none where there is no server.
    pub clock_difference: Option<ClockDifference>,
}

/// The replicas on the same database, and which of them leads each duty.
#[async_trait]
pub trait Replicas: Send + Sync {
    /// Whether several replicas are meant to use the database. On one machine's disk a process is alone, leads everything, and
    /// writes nothing about it.
    fn is_shared(&self) -> bool;

    /// Who leads what now, and how this machine's clock differs from the server's.
    async fn observe(&self) -> StoreResult<Observed>;

    /// Records that a replica lives, and renews these terms of its own; those that it still has.
    async fn heartbeat(&self, replica: ReplicaRow, terms: Vec<Term>) -> StoreResult<Vec<Term>>;

    /// Makes the replica the leader of a duty, if the term of whoever leads it is over; the new term.
    async fn take_lead(
        &self,
        duty: Duty,
        replica: &str,
        now: Timestamp,
    ) -> StoreResult<Option<Term>>;

    /// Gives up every duty that the replica leads, for others to take at once. With `ended_at`, the replica is gone as well.
    async fn resign(&self, replica: &str, ended_at: Option<Timestamp>) -> StoreResult<()>;

    /// The replicas that were heard of lately and have not stopped in order, the oldest first.
    async fn list_replicas(&self, now: Timestamp) -> StoreResult<Vec<ReplicaRow>>;

    /// The same store for the work of a leader: each of its writes is refused ([`StoreError::NotLeader`]) once the term is not
    /// the latest any more, in the transaction that would write. So a leader that was stopped, or cut off, and goes on after
    /// another has taken its duty, writes nothing.
    ///
    /// [`StoreError::NotLeader`]: super::StoreError::NotLeader
    fn led_by(&self, term: Term) -> SharedStore;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_clock_differs_by_what_the_time_of_asking_does_not_explain() {
        let cases = [
            ((0, 40, 100), 0),
            ((1000, 400, 1100), 600),
            ((0, 6200, 100), -6100),
        ];
        for ((before, server, after), millis) in cases {
            let difference = ClockDifference::between(at(before), at(server), at(after));
            assert_eq!(difference.millis, millis);
            assert_eq!(difference.server_time(at(10_000)), at(10_000 - millis));
            assert_eq!(difference.is_too_large(), millis == -6100);
        }
    }

    #[test]
    fn a_term_is_over_when_it_expires_and_when_no_right_clock_can_have_written_it() {
        let leader = |expires_at| Leader {
            duty: Duty::Retention,
            term: 1,
            replica: Some("a".to_owned()),
            expires_at,
        };
        let now = at(1_000_000);
        assert!(leader(now).is_over(now));
        assert!(!leader(now.plus(Duration::from_millis(1))).is_over(now));
        assert!(!leader(latest_end(now)).is_over(now));
        assert!(leader(now.plus(Duration::from_secs(3600))).is_over(now));
    }
}
