//! Reconciliation in SQL: which listed calls are missing, bringing them in, and the record of runs.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::readers::ReadPool;
use super::writer::{Operation, Writer};
use super::{SqliteStore, accept};
use crate::model::{CallStatus, Source, Timestamp};
use crate::store::{
    ListedCall, NewRun, Origin, Reconciliation, RecoveredCall, RecoveryCause, Run, RunEnd,
    StoreResult,
};

/// Of the listed calls those that would come in, with the reason. What is in flight, or came in by an earlier run, is
/// not among them.
///
/// Waiting events are looked through from those after the id `looked_through` on.
async fn find_missing<'c>(
    connection: &mut SqliteConnection,
    listed: &'c [ListedCall],
    looked_through: i64,
) -> StoreResult<Vec<(&'c ListedCall, RecoveryCause)>> {
    if listed.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql =
        QueryBuilder::<Sqlite>::new("SELECT id, status, scored_at FROM calls WHERE id IN ");
    push_list(&mut sql, listed.iter().map(|call| &*call.id));
    let rows = sql.build().fetch_all(&mut *connection).await?;
    let known: HashMap<String, (bool, Option<i64>)> = rows
        .iter()
        .map(|row| {
            let is_scored = row.get::<&str, _>("status") == CallStatus::Scored.as_str();
            (row.get("id"), (is_scored, row.get("scored_at")))
        })
        .collect();
    let mut seen = HashSet::new();
    let lacking: Vec<_> = listed
        .iter()
        .filter(|call| seen.insert(&*call.id))
        .filter_map(|call| {
            let cause = match known.get(&call.id) {
                None => RecoveryCause::Missing,
                Some((false, _)) => RecoveryCause::NotScored,
                Some((true, ours)) => match call.scored_at {
                    Some(theirs) if *ours != Some(theirs.as_millis()) => RecoveryCause::ScoredAgain,
                    _ => return None,
                },
            };
            Some((call, cause))
        })
        .collect();
    if lacking.is_empty() {
        return Ok(lacking);
    }
    // An index by call would cost every webhook: all that wait are looked at, or the few that have come since.
    let mut sql = QueryBuilder::<Sqlite>::new("SELECT call_id FROM events ");
    match looked_through {
        0 => sql.push("INDEXED BY events_due WHERE "),
        id => sql
            .push("NOT INDEXED WHERE id > ")
            .push_bind(id)
            .push(" AND "),
    };
    sql.push("next_attempt_at IS NOT NULL AND call_id IN ");
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
    let lacking: Vec<_> = lacking
        .into_iter()
        .filter(|(call, _)| {
            !in_flight.contains(&call.id) && !brought_in.contains(&call.event.webhook_id)
        })
        .collect();
    let events: Vec<_> = lacking.iter().map(|(call, _)| &call.event).collect();
    let stopped = accept::stopped(connection, events, "reconciliation").await?;
    Ok(lacking
        .into_iter()
        .zip(stopped)
        .filter_map(|(lacking, stopped)| (!stopped).then_some(lacking))
        .collect())
}

fn push_list<'a>(sql: &mut QueryBuilder<Sqlite>, values: impl Iterator<Item = &'a str>) {
    sql.push("(");
    let mut list = sql.separated(", ");
    for value in values {
        list.push_bind(value.to_owned());
    }
    sql.push(")");
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
    Ok(repairs(&find_missing(&mut connection, listed, 0).await?))
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
    let missing = find_missing(&mut connection, &listed, 0).await?;
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

#[async_trait]
impl Operation for IngestMissing {
    type Output = Vec<RecoveredCall>;
    const CHANGES_CALLS: bool = true;

    /// Looks again inside the transaction: a webhook may have come since the list was read.
    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<Vec<RecoveredCall>> {
        let missing = find_missing(tx, &self.listed, self.looked_through).await?;
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let events: Vec<_> = missing.iter().map(|(call, _)| call.event.clone()).collect();
        accept::accept_within(tx, &events, Origin::Reconcile).await?;
        Ok(repairs(&missing))
    }
}

#[async_trait]
impl Operation for NewRun {
    type Output = i64;

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<i64> {
        let id = sqlx::query_scalar(
            "INSERT INTO reconcile_runs (source, continues, from_at, to_at, started_at) \
             VALUES (?, ?, ?, ?, ?) RETURNING id",
        )
        .bind(self.source.as_str())
        .bind(self.continues)
        .bind(self.from.as_millis())
        .bind(self.to.as_millis())
        .bind(self.started_at.as_millis())
        .fetch_one(tx)
        .await?;
        Ok(id)
    }
}

/// Completes the record of a run.
pub(super) struct Finish {
    pub(super) id: i64,
    pub(super) end: RunEnd,
}

#[async_trait]
impl Operation for Finish {
    type Output = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<()> {
        sqlx::query(
            "UPDATE reconcile_runs SET finished_at = ?, pages = ?, seen = ?, repaired = ?, error = ?, \
             to_at = coalesce(?, to_at) WHERE id = ?",
        )
        .bind(self.end.finished_at.as_millis())
        .bind(self.end.pages)
        .bind(self.end.seen)
        .bind(self.end.repaired)
        .bind(self.end.error.as_deref())
        .bind(self.end.until.map(Timestamp::as_millis))
        .bind(self.id)
        .execute(tx)
        .await?;
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
         ORDER BY id DESC LIMIT ?",
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
        let repairs = ingest_missing(&self.readers.background, &self.writer, listed).await?;
        if !repairs.is_empty() {
            self.writer.arrivals().notify_one();
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
