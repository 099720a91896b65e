//! The inbox in SQL: claim, settle, and how much waits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::opening::{self, Opening, Unopened};
use super::privacy::erase;
use super::privacy::tombstones::{self, Incoming};
use super::settle_together::settle_together;
use super::{
    Connection, Durability, Operation, SqlStore, accept, identities, known_calls, outbox, values,
    waits,
};
use crate::model::{CallEvent, Engine, EventState, Timestamp};
use crate::store::{
    Accepted, ClaimFilter, ClaimedEvent, DueTimes, Inbox, Lease, LinkedIds, NewEvent, NextDue,
    QueueDepth, SettleResult, Settlement, StoreResult, UnopenedEvent,
};

/// Looked up for each row. For `EXISTS`, PostgreSQL may read the attempts of all events at once.
const HAS_FAILED: &str = "(attempts > 0 \
      OR (SELECT number FROM attempts WHERE event_id = events.id LIMIT 1) IS NOT NULL)";

/// What is due at `?1`, and was not before `?4`. PostgreSQL keeps what events were due at earlier, in the index too, for as long as
/// any transaction could look at it: where one is left open, a claim that read all of that would take longer and longer.
const IS_DUE: &str = "next_attempt_at >= ?4 AND next_attempt_at <= ?1";

/// Selects the ids of events that are due, in the order of an index: what is due at the same time is not put in order first,
/// however much that is.
fn due(which: ClaimFilter, limit: &str) -> String {
    let untried = format!("WHERE NOT {HAS_FAILED}");
    let condition = match which {
        ClaimFilter::All => {
            return format!(
                "SELECT id FROM events WHERE {IS_DUE} \
                 ORDER BY next_attempt_at LIMIT {limit}"
            );
        }
        ClaimFilter::WithoutFetch => {
            return format!(
                "SELECT id FROM events WHERE {IS_DUE} AND needs_fetch = 0 \
                 ORDER BY next_attempt_at LIMIT {limit}"
            );
        }
        ClaimFilter::Probe => "",
        ClaimFilter::UntriedProbe => &*untried,
    };
    // Both ends of the queue are looked at, and not all of it: it can be long while Athos is down.
    let end = |order| {
        format!(
            "SELECT * FROM (SELECT id, attempts, next_attempt_at FROM events \
                            WHERE {IS_DUE} AND needs_fetch = 1 \
                            ORDER BY next_attempt_at {order} LIMIT {PROBE_CANDIDATES}) AS candidates"
        )
    };
    format!(
        "SELECT id FROM ({} UNION {}) AS events {condition} \
         ORDER BY {HAS_FAILED}, CASE WHEN {HAS_FAILED} THEN next_attempt_at ELSE -next_attempt_at END, -id LIMIT {limit}",
        end("ASC"),
        end("DESC"),
    )
}

/// The same without the events that another replica is claiming; those that it takes are this replica's until it commits.
fn unclaimed(engine: Engine, which: ClaimFilter, limit: &str) -> String {
    let due = due(which, limit);
    match (engine, which) {
        (Engine::Sqlite, _) => due,
        (Engine::Postgres, ClaimFilter::All | ClaimFilter::WithoutFetch) => {
            format!("{due} FOR UPDATE SKIP LOCKED")
        }
        // What is put together from both ends of the queue cannot be locked. Whether it is due is asked again: meanwhile it may
        // have been claimed.
        (Engine::Postgres, ClaimFilter::Probe | ClaimFilter::UntriedProbe) => format!(
            "SELECT id FROM events WHERE id = ANY (ARRAY({due})) AND next_attempt_at <= ?1 FOR UPDATE SKIP LOCKED"
        ),
    }
}

/// How many events at each end of the queue a probe is chosen from.
const PROBE_CANDIDATES: u32 = 64;

/// Leases due events.
pub(in crate::store) struct Claim {
    pub(in crate::store) due: Arc<DueTimes>,
    pub(in crate::store) which: ClaimFilter,
    pub(in crate::store) now: Timestamp,
    pub(in crate::store) limit: u32,
    pub(in crate::store) until: Timestamp,
}

impl Operation for Claim {
    /// With when the next are due.
    type Output = (Vec<ClaimedEvent>, NextDue);
    /// Without it the event is due as before, and its worker is gone.
    const DURABILITY: Durability = Durability::Committed;
    /// What another replica is claiming is left to it.
    const BESIDE_OTHERS: bool = true;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<Self::Output> {
        let sql = format!(
            "UPDATE events SET state = 'processing', lease = lease + 1, next_attempt_at = ?2 \
             WHERE id IN ({}) \
             RETURNING id, webhook_id, lease, attempts, {HAS_FAILED}, body",
            unclaimed(tx.engine(), self.which, "?3")
        );
        let since = self.due.since(self.now);
        let values = values![self.now, self.until, self.limit, since];
        let claimed = tx.rows(&sql, values, |row| {
            Ok(ClaimedEvent {
                lease: Lease {
                    event_id: row.get(0)?,
                    webhook_id: row.get(1)?,
                    number: row.get(2)?,
                },
                attempts: row.get(3)?,
                has_failed: row.get(4)?,
                body: row.get(5)?,
            })
        })?;
        Ok((claimed, next_due(tx, since)?))
    }

    fn committed(self, (_, next): &Self::Output) {
        self.due.found(*next);
    }
}

/// Gives up a claim.
struct Release {
    lease: Lease,
    now: Timestamp,
}

impl Operation for Release {
    type Output = ();
    /// Without it the lease expires.
    const DURABILITY: Durability = Durability::Committed;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<()> {
        tx.execute(
            "UPDATE events SET state = 'pending', next_attempt_at = ?1 \
             WHERE id = ?2 AND lease = ?3 AND webhook_id = ?4 AND state = 'processing'",
            values![
                self.now,
                self.lease.event_id,
                self.lease.number,
                self.lease.webhook_id
            ],
        )?;
        Ok(())
    }
}

/// Ends an attempt.
pub(in crate::store) struct Settle {
    pub(super) opening: Arc<Opening>,
    pub(super) lease: Lease,
    pub(super) settlement: Settlement,
    pub(super) now: Timestamp,
}

impl Settle {
    /// The call that would be written.
    pub(super) fn result(&self) -> Option<Incoming<'_>> {
        match &self.settlement {
            Settlement::Scored(detail) => {
                let call = &detail.header;
                Some(Incoming {
                    call_id: &call.id,
                    identity: &call.identity,
                    at: call
                        .started_at
                        .or(call.ended_at)
                        .or(call.scored_at)
                        .unwrap_or(self.now),
                })
            }
            Settlement::Unscored(said) => Some(Incoming::event(said, self.now)),
            _ => None,
        }
    }
}

impl Operation for Settle {
    /// With the ids that were learnt and are left to fill in.
    type Output = (SettleResult, Vec<LinkedIds>);
    /// Without it the event is attempted again, with the same effect.
    const DURABILITY: Durability = Durability::Committed;
    const CHANGES_CALLS: bool = true;

    fn announced_at(&self) -> Option<Timestamp> {
        matches!(
            self.settlement,
            Settlement::Scored(_) | Settlement::Unscored(_)
        )
        .then_some(self.now)
    }

    fn apply_together(
        settles: &[&Self],
        tx: &dyn Connection,
    ) -> StoreResult<Vec<Option<Self::Output>>> {
        settle_together(tx, settles)
    }

    fn apply(&self, tx: &dyn Connection) -> StoreResult<Self::Output> {
        let (state, due, reason, spent) = match &self.settlement {
            Settlement::Scored(_) | Settlement::Unscored(_) => (EventState::Done, None, None, true),
            Settlement::Retry {
                at, reason, spent, ..
            } => (EventState::Pending, Some(*at), Some(reason), *spent),
            Settlement::Dead { reason, .. } => (EventState::Dead, None, Some(reason), true),
            Settlement::Ignored { reason } => (EventState::Ignored, None, Some(reason), false),
        };
        let settled = tx.execute(
            "UPDATE events SET state = ?1, next_attempt_at = ?2, reason = ?3, \
                 attempts = attempts + ?4, settled_at = ?5 \
                 WHERE id = ?6 AND lease = ?7 AND webhook_id = ?8 AND state = 'processing'",
            values![
                state.as_str(),
                due,
                reason,
                u32::from(spent),
                due.is_none().then_some(self.now),
                self.lease.event_id,
                self.lease.number,
                self.lease.webhook_id,
            ],
        )?;
        if settled == 0 {
            return Ok((SettleResult::LeaseLost, Vec::new()));
        }
        let result = self.result();
        if let Some(call) = &result {
            self.opening.open_first(tx, |id| id == call.call_id)?;
        }
        if let Some(call) = &result
            && tombstones::is_tombstoned(tx, call, "attempt")?
        {
            erase::erase_event(tx, self.lease.event_id)?;
            return Ok((SettleResult::Erased, Vec::new()));
        }
        record_attempt(tx, &self.lease, &self.settlement, self.now)?;
        let unfinished = match &self.settlement {
            Settlement::Scored(detail) => known_calls::store_detail(tx, detail, self.now)?,
            Settlement::Unscored(event) => known_calls::store_unscored(tx, event, self.now)?,
            Settlement::Dead { .. } => {
                outbox::write_dead(tx, self.lease.event_id, self.now)?;
                Vec::new()
            }
            _ => Vec::new(),
        };
        Ok((SettleResult::Yes, unfinished))
    }
}

/// Records how an attempt ended, in the transaction that settles it.
fn record_attempt(
    tx: &dyn Connection,
    lease: &Lease,
    settlement: &Settlement,
    now: Timestamp,
) -> StoreResult<()> {
    let (outcome, next, error, failure) = match settlement {
        Settlement::Scored(_) => ("scored", None, None, None),
        Settlement::Unscored(_) => ("unscored", None, None, None),
        Settlement::Retry {
            at,
            reason,
            failure,
            ..
        } => ("retry", Some(*at), Some(reason), failure.as_ref()),
        Settlement::Dead { reason, failure } => ("dead", None, Some(reason), failure.as_ref()),
        Settlement::Ignored { reason } => ("ignored", None, Some(reason), None),
    };
    tx.execute(
        "INSERT INTO attempts \
         (event_id, number, at, outcome, status, code, delay_ms, error, athos_request_id) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        values![
            lease.event_id,
            lease.number,
            now.as_millis(),
            outcome,
            failure.and_then(|failure| failure.status),
            failure.map(|failure| &failure.code),
            next.map(|at| (at.as_millis() - now.as_millis()).max(0)),
            error,
            failure.and_then(|failure| failure.athos_request_id.as_deref()),
        ],
    )?;
    Ok(())
}

/// When the next events are due, from a time on: any, and those that need nothing from Athos.
fn next_due(db: &dyn Connection, since: Timestamp) -> StoreResult<NextDue> {
    let sql = "SELECT (SELECT min(next_attempt_at) FROM events WHERE next_attempt_at >= ?1), \
                 (SELECT min(next_attempt_at) FROM events WHERE next_attempt_at >= ?1 AND needs_fetch = 0)";
    db.one(sql, values![since], |row| {
        Ok(NextDue {
            any: row.get(0)?,
            without_fetch: row.get(1)?,
        })
    })
}

pub(super) fn queue_depth(db: &dyn Connection) -> StoreResult<QueueDepth> {
    let sql = "SELECT waiting, (SELECT received_at FROM events WHERE id = oldest), \
                 (SELECT count(*) FROM events WHERE state = 'dead') \
               FROM (SELECT count(*) AS waiting, min(id) AS oldest \
                     FROM events WHERE next_attempt_at IS NOT NULL) AS queue";
    db.one(sql, &[], |row| {
        Ok(QueueDepth {
            waiting: row.get(0)?,
            oldest_received_at: row.get(1)?,
            dead: row.get(2)?,
        })
    })
}

#[async_trait]
impl Inbox for SqlStore {
    async fn accept_event(&self, event: NewEvent) -> StoreResult<Accepted> {
        let accept = accept::Accept::new(event, self.arrivals.clone());
        let (accepted, _) = self.writer.write(accept).await?;
        Ok(accepted)
    }

    async fn claim_due(
        &self,
        which: ClaimFilter,
        now: Timestamp,
        limit: u32,
        lease: Duration,
    ) -> StoreResult<Vec<ClaimedEvent>> {
        let (claimed, _) = self
            .writer
            .write(Claim {
                due: Arc::clone(&self.arrivals.due),
                which,
                now,
                limit,
                until: now.plus(lease),
            })
            .await?;
        Ok(claimed)
    }

    async fn settle(
        &self,
        lease: Lease,
        settlement: Settlement,
        now: Timestamp,
    ) -> StoreResult<SettleResult> {
        let retry = match &settlement {
            Settlement::Retry { at, .. } => Some(*at),
            _ => None,
        };
        let settle = Settle {
            opening: Arc::clone(&self.arrivals.opening),
            lease,
            settlement,
            now,
        };
        let (settled, unfinished) = self.writer.write(settle).await?;
        if let Some(at) = retry {
            self.arrivals.due.note(at, true);
        }
        // It is settled; what is left is gone on with at the next start, too.
        if let Err(error) = identities::go_on(&self.writer, unfinished, now).await {
            tracing::warn!(%error, "failed to fill in linked ids; the next start continues");
        }
        Ok(settled)
    }

    async fn release(&self, lease: Lease, now: Timestamp) -> StoreResult<()> {
        self.writer.write(Release { lease, now }).await?;
        self.arrivals.due.note(now, true);
        Ok(())
    }

    async fn clamp_schedules(
        &self,
        now: Timestamp,
        lease: Duration,
        waits: &[Duration],
    ) -> StoreResult<u64> {
        let shortened = waits::shorten(&self.readers.work, &self.writer, now, lease, waits).await?;
        self.arrivals.due.note(now, false);
        Ok(shortened)
    }

    async fn next_due(&self) -> StoreResult<Option<Timestamp>> {
        let always = Timestamp::from_millis(i64::MIN);
        let look = move |db: &dyn Connection| next_due(db, always);
        let next = self.readers.work.read(look).await?;
        self.arrivals.due.note_next(next);
        Ok(next.any)
    }

    async fn find_unopened(&self) -> StoreResult<Vec<UnopenedEvent>> {
        self.readers.background.read(opening::find_unopened).await
    }

    fn open_call(&self, event_id: i64, said: CallEvent, received_at: Timestamp) {
        self.arrivals.opening.push(Unopened {
            event_id,
            said,
            received_at,
        });
    }

    fn due_times(&self) -> &DueTimes {
        &self.arrivals.due
    }

    async fn queue_depth(&self) -> StoreResult<QueueDepth> {
        self.readers.background.read(queue_depth).await
    }
}
