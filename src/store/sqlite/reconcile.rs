//! Reconciliation in SQL: which listed calls are missing, bringing them in, and the record of runs.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::privacy::tombstones::{self, Incoming};
use super::readers::ReadPool;
use super::rows::push_list;
use super::writer::{Operation, Writer};
use super::{SqliteStore, accept, calls};
use crate::model::{CallStatus, Source, Timestamp};
use crate::store::{
    ListedCall, NewRun, Reconciliation, RecoveredCall, RecoveryCause, Run, RunEnd, StoreResult,
};

/// What we have of a call.
#[derive(Clone, Copy)]
struct Known {
    is_scored: bool,
    scored_at: Option<i64>,
}

/// Why a listed call would come in, if it would.
fn cause(known: Option<Known>, listed: &ListedCall) -> Option<RecoveryCause> {
    match known {
        None => Some(RecoveryCause::Missing),
        Some(Known {
            is_scored: false, ..
        }) => Some(RecoveryCause::NotScored),
        Some(ours) => {
            let theirs = listed.scored_at?.as_millis();
            (ours.scored_at != Some(theirs)).then_some(RecoveryCause::ScoredAgain)
        }
    }
}

/// Of the listed calls those that would come in, with the reason. What is in flight, or came in by an earlier run, is
/// not among them.
///
/// Waiting events are looked through from those after the id `looked_through` on.
async fn find_missing<'c>(
    connection: &mut SqliteConnection,
    listed: &'c [ListedCall],
) -> StoreResult<Vec<(&'c ListedCall, RecoveryCause)>> {
    if listed.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql =
        QueryBuilder::<Sqlite>::new("SELECT id, status, scored_at FROM calls WHERE id IN ");
    push_list(&mut sql, listed.iter().map(|call| &*call.id));
    let rows = sql.build().fetch_all(&mut *connection).await?;
    let known: HashMap<String, Known> = rows
        .iter()
        .map(|row| {
            let known = Known {
                is_scored: row.get::<&str, _>("status") == CallStatus::Scored.as_str(),
                scored_at: row.get("scored_at"),
            };
            (row.get("id"), known)
        })
        .collect();
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
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT call_id FROM events INDEXED BY events_due \
         WHERE next_attempt_at IS NOT NULL AND call_id IN ",
    );
    push_list(&mut sql, lacking.iter().map(|(call, _)| &*call.id));
    let in_flight: Vec<String> = sql.build_query_scalar().fetch_all(&mut *connection).await?;
    let mut sql = QueryBuilder::<Sqlite>::new("SELECT webhook_id FROM events WHERE webhook_id IN ");
    push_list(
        &mut sql,
        lacking.iter().map(|(call, _)| &*call.event.webhook_id),
    );
    let brought_in: Vec<String> = sql.build_query_scalar().fetch_all(&mut *connection).await?;
    let (in_flight, brought_in) = (
        HashSet::<_>::from_iter(in_flight),
        HashSet::<_>::from_iter(brought_in),
    );
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
    let stopped = tombstones::find_tombstoned(connection, &understood, "reconciliation").await?;
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

pub(super) async fn find_missing_calls(
    readers: &ReadPool,
    listed: &[ListedCall],
) -> StoreResult<Vec<RecoveredCall>> {
    let mut connection = readers.begin().await?;
    Ok(repairs(&find_missing(&mut connection, listed).await?))
}

/// Brings the missing ones of these calls into the inbox. What has been waiting is looked through beside the writer, for it
/// can be long; what has come in since, by the writer.
pub(super) async fn ingest_missing(
    readers: &ReadPool,
    writer: &Writer,
    mut listed: Vec<ListedCall>,
) -> StoreResult<Vec<RecoveredCall>> {
    let mut connection = readers.begin().await?;
    let looked_through = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM events")
        .fetch_one(&mut *connection)
        .await?;
    let missing = find_missing(&mut connection, &listed).await?;
    let missing: HashSet<_> = missing.iter().map(|(call, _)| call.id.clone()).collect();
    drop(connection);
    listed.retain(|call| missing.contains(&call.id));
    if listed.is_empty() {
        return Ok(Vec::new());
    }
    let operation = IngestMissing {
        listed,
        looked_through,
    };
    writer.write(operation).await
}

struct IngestMissing {
    listed: Vec<ListedCall>,
    looked_through: i64,
}

impl Operation for IngestMissing {
    type Output = Vec<RecoveredCall>;
    const CHANGES_CALLS: bool = true;

    /// Looks again inside the transaction: a webhook may have come since the list was read.
    fn apply(&self, tx: &Connection) -> StoreResult<Vec<RecoveredCall>> {
        let mut known = tx.prepare_cached("SELECT status, scored_at FROM calls WHERE id = ?1")?;
        // NOT INDEXED, of SQLite: by number, from the last one that was looked through.
        let mut in_flight = tx.prepare_cached(
            "SELECT 1 FROM events NOT INDEXED \
             WHERE id > ?1 AND next_attempt_at IS NOT NULL AND call_id = ?2",
        )?;
        let mut repairs = Vec::new();
        for call in &self.listed {
            let known = known
                .query_row([&call.id], |row| {
                    Ok(Known {
                        is_scored: row.get_ref(0)?.as_str()? == CallStatus::Scored.as_str(),
                        scored_at: row.get(1)?,
                    })
                })
                .optional()?;
            let Some(cause) = cause(known, call) else {
                continue;
            };
            if in_flight.exists(params![self.looked_through, call.id])? {
                continue;
            }
            let (accepted, _) = accept::accept(tx, &call.event, None)?;
            if accepted.is_new() {
                if let Ok(said) = &call.event.parsed {
                    calls::open(tx, said, call.event.received_at)?;
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

    fn apply(&self, tx: &Connection) -> StoreResult<i64> {
        let id = tx
            .prepare_cached(
                "INSERT INTO reconcile_runs (source, continues, from_at, to_at, started_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id",
            )?
            .query_row(
                params![
                    self.source.as_str(),
                    self.continues,
                    self.from.as_millis(),
                    self.to.as_millis(),
                    self.started_at.as_millis(),
                ],
                |row| row.get(0),
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

    fn apply(&self, tx: &Connection) -> StoreResult<()> {
        tx.prepare_cached(
            "UPDATE reconcile_runs SET finished_at = ?1, pages = ?2, seen = ?3, repaired = ?4, error = ?5, \
             to_at = coalesce(?6, to_at) WHERE id = ?7",
        )?
        .execute(params![
            self.end.finished_at.as_millis(),
            self.end.pages,
            self.end.seen,
            self.end.repaired,
            self.end.error,
            self.end.until.map(Timestamp::as_millis),
            self.id,
        ])?;
        Ok(())
    }
}

/// The end of the last run of a source that was completed. Before there is one, that of the first that was tried: what happened
/// since then has never been looked at. The latest by number, not by time: a clock may have been wrong.
pub(super) async fn reconciled_until(
    readers: &ReadPool,
    source: Source,
) -> StoreResult<Option<Timestamp>> {
    let until: Option<i64> = sqlx::query_scalar(
        "SELECT coalesce( \
           (SELECT to_at FROM reconcile_runs \
            WHERE source = ?1 AND continues = 1 AND finished_at IS NOT NULL AND error IS NULL \
            ORDER BY id DESC LIMIT 1), \
           (SELECT to_at FROM reconcile_runs WHERE source = ?1 AND continues = 1 ORDER BY id LIMIT 1))",
    )
    .bind(source.as_str())
    .fetch_one(readers)
    .await?;
    Ok(until.map(Timestamp::from_millis))
}

pub(super) async fn latest_runs(readers: &ReadPool, limit: u32) -> StoreResult<Vec<Run>> {
    let rows = sqlx::query(
        "SELECT source, started_at, finished_at, seen, repaired, error FROM reconcile_runs \
         ORDER BY id DESC LIMIT ?1",
    )
    .bind(limit)
    .fetch_all(readers)
    .await?;
    let run = |row: &SqliteRow| Run {
        source: row.get("source"),
        started_at: Timestamp::from_millis(row.get("started_at")),
        finished_at: row
            .get::<Option<i64>, _>("finished_at")
            .map(Timestamp::from_millis),
        seen: row.get("seen"),
        repaired: row.get("repaired"),
        error: row.get("error"),
    };
    Ok(rows.iter().map(run).collect())
}

#[async_trait]
impl Reconciliation for SqliteStore {
    async fn find_missing_calls(&self, listed: &[ListedCall]) -> StoreResult<Vec<RecoveredCall>> {
        self.noting(find_missing_calls(&self.readers.background, listed).await)
    }

    async fn ingest_missing(&self, listed: Vec<ListedCall>) -> StoreResult<Vec<RecoveredCall>> {
        let first = listed.iter().map(|call| call.event.received_at).min();
        let repairs = ingest_missing(&self.readers.background, &self.writer, listed).await?;
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
        self.noting(reconciled_until(&self.readers.work, source).await)
    }

    async fn latest_runs(&self, limit: u32) -> StoreResult<Vec<Run>> {
        self.noting(latest_runs(&self.readers.requests, limit).await)
    }
}
