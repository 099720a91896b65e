//! The database that replicas share, seen from outside: what must hold of it, and whether all is done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cluster::Database;
use crate::half_settled::HALF_SETTLED;
use crate::vendor::Vendor;

/// Longest that replicas may take until nothing waits any more.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);

/// The lease of a replica that was killed, as if its minute had passed. That of a living one is not as old as this.
const END_OLD_LEASES: &str = "UPDATE events SET next_attempt_at = 0 \
    WHERE state = 'processing' AND next_attempt_at < (extract(epoch FROM clock_timestamp()) * 1000)::bigint + 55000";

pub(crate) struct Shared(Database);

impl Shared {
    pub(crate) fn new(database: Database) -> Self {
        Self(database)
    }

    /// One row's columns, separated by `|`, or lines of them.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.0.sql(sql)
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.sql(sql).parse().unwrap()
    }

    /// Everything that was acknowledged is there.
    pub(crate) fn holds(&self, acknowledged: &BTreeSet<String>) {
        let kept = self.sql("SELECT webhook_id FROM events");
        let kept: BTreeSet<_> = kept.lines().map(str::to_owned).collect();
        let lost: Vec<_> = acknowledged.difference(&kept).take(5).collect();
        assert!(lost.is_empty(), "acknowledged and not stored: {lost:?}");
    }

    /// Nothing is there twice, in two states or without its other half.
    pub(crate) fn is_sound(&self) {
        for (none, what) in [
            (
                "SELECT count(*) - count(DISTINCT rev) FROM calls",
                "several calls have the same rev",
            ),
            (
                "SELECT count(*) FROM (SELECT FROM attempts WHERE outcome IN ('scored', 'unscored') \
                 GROUP BY event_id HAVING count(*) > 1) AS twice",
                "events were settled twice",
            ),
            (
                "SELECT count(*) FROM events LEFT JOIN attempts ON event_id = events.id AND outcome IN ('scored', 'unscored') \
                 WHERE state = 'done' AND event_id IS NULL",
                "events are done without a successful attempt",
            ),
        ]
        .into_iter()
        .chain(HALF_SETTLED)
        {
            assert_eq!(self.number(none), 0, "{what}");
        }
    }

    /// Waits until the leader has made its first reconciliation, which it begins moments after the start.
    pub(crate) async fn reconciled(&self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let runs = "SELECT count(*) FROM reconcile_runs WHERE finished_at IS NOT NULL";
        let wait = async {
            while self.number(runs) == 0 {
                ticks.tick().await;
            }
        };
        let done = tokio::time::timeout(DRAINED_WITHIN, wait).await;
        done.expect("nobody reconciles");
    }

    /// Waits until nothing waits, and every call that ended at the vendor is here as it is there, once.
    pub(crate) async fn drained(&self, vendor: &Vendor) {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        let wait = async {
            loop {
                ticks.tick().await;
                self.sql(END_OLD_LEASES);
                let waiting = "SELECT count(*) FROM events WHERE next_attempt_at IS NOT NULL";
                if self.number(waiting) == 0 && self.missing(vendor).await.is_empty() {
                    return;
                }
            }
        };
        if tokio::time::timeout(DRAINED_WITHIN, wait).await.is_err() {
            let waiting = "SELECT state, next_attempt_at, reason FROM events WHERE next_attempt_at IS NOT NULL LIMIT 5";
            let waiting = self.sql(waiting);
            panic!(
                "not drained: {waiting}; missing: {:?}",
                self.missing(vendor).await
            );
        }
        self.is_sound();
    }

    /// The calls that ended at the vendor and are not here, or not as they are there.
    async fn missing(&self, vendor: &Vendor) -> Vec<String> {
        let here = self.sql("SELECT id, status FROM calls");
        let here: BTreeMap<_, _> = here
            .lines()
            .filter_map(|line| line.split_once('|'))
            .collect();
        let (ended, _) = vendor.ended().await;
        ended
            .into_iter()
            .filter(|(id, status)| here.get(&**id) != Some(&&**status))
            .map(|(id, status)| format!("{id} {status}"))
            .collect()
    }
}
