//! Reconciliation in SQL: which listed calls are missing, bringing them in, and the record of runs.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;

use super::privacy::tombstones::{self, Incoming};
use super::{Connection, Operation, Row, SqlStore, Statement, accept, known_calls, values};
use crate::model::{CallStatus, Source, Timestamp};
use crate::store::{
    ListedCall, NewRun, Reconciliation, RecoveredCall, RecoveryCause, Run, RunEnd, StoreResult,
};

/// What we have of a call.
#[derive(Clone, Copy)]
struct Known {
    is_scored: bool,
    scored_at: Option<Timestamp>,
}

/// Why a listed call would come in, if it would.
fn cause(known: Option<Known>, listed: &ListedCall) -> Option<RecoveryCause> {
    match known {
        None => Some(RecoveryCause::Missing),
        Some(Known {
            is_scored: false, ..
        }) => Some(RecoveryCause::NotScored),
        Some(ours) => {
            let theirs = listed.scored_at?;
            (ours.scored_at != Some(theirs)).then_some(RecoveryCause::ScoredAgain)
        }
    }
}

impl Known {
    /// Reads a call's status, and when it was scored.
    fn read(row: &dyn Row) -> StoreResult<Self> {
        Ok(Self {
            is_scored: row.get::<&str>(0)? == CallStatus::Scored.as_str(),
            scored_at: row.get(1)?,
        })
    }
}

/// Of the listed calls those that would come in, with the reason. What is in flight, or came in by an earlier run, is
/// not among them.
fn find_missing<'c>(
    db: &dyn Connection,
    listed: &'c [ListedCall],
) -> StoreResult<Vec<(&'c ListedCall, RecoveryCause)>> {
    if listed.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql = Statement::new("SELECT status, scored_at, id FROM calls WHERE id IN ");
    sql.push_list(listed.iter().map(|call| &call.id));
    let known = sql.rows(db, |row| Ok((row.get(2)?, Known::read(row)?)))?;
    let known: HashMap<String, Known> = known.into_iter().collect();
    let mut seen = HashSet::new();
    let lacking: Vec<_> = listed
        .iter()
        .filter(|call| seen.insert(&*call.id))
        .filter_map(|call| Some((call, cause(known.get(&call.id).copied(), call)?)))
        .collect();
    if lacking.is_empty() {
        return Ok(lacking);
    }
    // An index by call would cost every webhook: all that wait are looked at.
    let mut sql = Statement::new("SELECT call_id FROM events ");
    sql.push(db.hint("INDEXED BY events_due "))
        .push("WHERE next_attempt_at IS NOT NULL AND call_id IN ")
        .push_list(lacking.iter().map(|(call, _)| &call.id));
    let in_flight: HashSet<String> = sql.rows(db, |row| row.get(0))?.into_iter().collect();
    let mut sql = Statement::new("SELECT webhook_id FROM events WHERE webhook_id IN ");
    sql.push_list(lacking.iter().map(|(call, _)| &call.event.webhook_id));
    let brought_in: HashSet<String> = sql.rows(db, |row| row.get(0))?.into_iter().collect();
    let mut lacking: Vec<_> = lacking
        .into_iter()
        .filter(|(call, _)| {
            !in_flight.contains(&call.id) && !brought_in.contains(&call.event.webhook_id)
        })
        .collect();
    let understood: Vec<_> = lacking
        .iter()
        .filter_map(|(call, _)| {
            let said = call.event.parsed.as_ref().ok()?;
            Some(Incoming::event(said, call.event.received_at))
        })
        .collect();
    let stopped = tombstones::find_tombstoned(db, &understood, "reconciliation")?;
    let mut stopped = stopped.into_iter();
    lacking.retain(|(call, _)| call.event.parsed.is_err() || stopped.next() != Some(true));
    Ok(lacking)
}

fn repairs(missing: &[(&ListedCall, RecoveryCause)]) -> Vec<RecoveredCall> {
    missing
        .iter()
        .map(|(call, cause)| RecoveredCall {
            call_id: call.id.clone(),
            cause: *cause,
        })
        .collect()
}

/// Leaves those that are missing. What has been waiting is looked through beside the writer, for it can be long; what has
/// come in since, by the writer.
fn look_through(db: &dyn Connection, mut listed: Vec<ListedCall>) -> StoreResult<IngestMissing> {
    let looked_through = db.scalar("SELECT coalesce(max(id), 0) FROM events", &[])?;
    let missing = find_missing(db, &listed)?;
    let missing: HashSet<_> = missing.iter().map(|(call, _)| call.id.clone()).collect();
    listed.retain(|call| missing.contains(&call.id));
    Ok(IngestMissing {
        listed,
        looked_through,
    })
}

/// Brings the missing ones of these calls into the inbox.
struct IngestMissing {
    listed: Vec<ListedCall>,
    /// Events up to this one are known not to be about any of them, unless they are settled.
    looked_through: i64,
}

impl Operation for IngestMissing {
    type Output = Vec<RecoveredCall>;
    const CHANGES_CALLS: bool = true;

    /// Looks again inside the transaction: a webhook may have come since the list was read.
    fn apply(&self, tx: &dyn Connection) -> StoreResult<Vec<RecoveredCall>> {
        // By number, which SQLite is told: from the last one that was looked through.
        let in_flight = format!(
            "SELECT 1 FROM events {} WHERE id > ?1 AND next_attempt_at IS NOT NULL AND call_id = ?2",
            tx.hint("NOT INDEXED")
        );
        let mut repairs = Vec::new();
        for call in &self.listed {
            let sql = "SELECT status, scored_at FROM calls WHERE id = ?1";
            let known = tx.first(sql, values![call.id], Known::read)?;
            let Some(cause) = cause(known, call) else {
                continue;
            };
            if tx.exists(&in_flight, values![self.looked_through, call.id])? {
                continue;
            }
            let (accepted, _) = accept::accept(tx, &call.event, None)?;
            if accepted.is_new() {
                if let Ok(said) = &call.event.parsed {
                    known_calls::open(tx, said, call.event.received_at)?;
                }
                repairs.push(RecoveredCall {
                    call_id: call.id.clone(),
                    cause,
                });
            }
        }
        Ok(repairs)
    }
}

impl Operation for NewRun {
    type Output = i64;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<i64> {
        let id = tx.scalar(
            "INSERT INTO reconcile_runs (source, continues, from_at, to_at, started_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id",
            values![
                self.source.as_str(),
                self.continues,
                self.from,
                self.to,
                self.started_at,
            ],
        )?;
        Ok(id)
    }
}

/// Completes the record of a run.
pub(super) struct Finish {
    pub(super) id: i64,
    pub(super) end: RunEnd,
}

impl Operation for Finish {
    type Output = ();

    fn apply(&self, tx: &dyn Connection) -> StoreResult<()> {
        tx.execute(
            "UPDATE reconcile_runs SET finished_at = ?1, pages = ?2, seen = ?3, repaired = ?4, error = ?5, \
             to_at = coalesce(?6, to_at) WHERE id = ?7",
            values![
                self.end.finished_at,
                self.end.pages,
                self.end.seen,
                self.end.repaired,
                self.end.error,
                self.end.until,
                self.id,
            ],
        )?;
        Ok(())
    }
}

/// The end of the last run of a source that was completed. Before there is one, that of the first that was tried: what happened
/// since then has never been looked at. The latest by number, not by time: a clock may have been wrong.
fn reconciled_until(db: &dyn Connection, source: Source) -> StoreResult<Option<Timestamp>> {
    db.scalar(
        "SELECT coalesce( \
         (SELECT to_at FROM reconcile_runs \
          WHERE source = ?1 AND continues = 1 AND finished_at IS NOT NULL AND error IS NULL \
          ORDER BY id DESC LIMIT 1), \
         (SELECT to_at FROM reconcile_runs WHERE source = ?1 AND continues = 1 ORDER BY id LIMIT 1))",
        values![source.as_str()],
    )
}

pub(super) fn latest_runs(db: &dyn Connection, limit: u32) -> StoreResult<Vec<Run>> {
    let sql = "SELECT source, started_at, finished_at, seen, repaired, error FROM reconcile_runs \
               ORDER BY id DESC LIMIT ?1";
    db.rows(sql, values![limit], |row| {
        let mut columns = row.from(0);
        Ok(Run {
            source: columns.next()?,
            started_at: columns.next()?,
            finished_at: columns.next()?,
            seen: columns.next()?,
            repaired: columns.next()?,
            error: columns.next()?,
        })
    })
}

#[async_trait]
impl Reconciliation for SqlStore {
    async fn find_missing_calls(&self, listed: &[ListedCall]) -> StoreResult<Vec<RecoveredCall>> {
        let listed = listed.to_vec();
        let find = move |db: &dyn Connection| Ok(repairs(&find_missing(db, &listed)?));
        self.readers.background.read(find).await
    }

    async fn ingest_missing(&self, listed: Vec<ListedCall>) -> StoreResult<Vec<RecoveredCall>> {
        let first = listed.iter().map(|call| call.event.received_at).min();
        let look_through = move |db: &dyn Connection| look_through(db, listed);
        let ingest = self.readers.background.read(look_through).await?;
        if ingest.listed.is_empty() {
            return Ok(Vec::new());
        }
        let repairs = self.writer.write(ingest).await?;
        if let (Some(due), false) = (first, repairs.is_empty()) {
            self.arrivals.due.note(due, false);
        }
        Ok(repairs)
    }

    async fn begin_run(&self, run: NewRun) -> StoreResult<i64> {
        self.writer.write(run).await
    }

    async fn finish_run(&self, id: i64, end: RunEnd) -> StoreResult<()> {
        self.writer.write(Finish { id, end }).await
    }

    async fn reconciled_until(&self, source: Source) -> StoreResult<Option<Timestamp>> {
        let find = move |db: &dyn Connection| reconciled_until(db, source);
        self.readers.work.read(find).await
    }

    async fn latest_runs(&self, limit: u32) -> StoreResult<Vec<Run>> {
        let list = move |db: &dyn Connection| latest_runs(db, limit);
        self.readers.requests.read(list).await
    }
}
