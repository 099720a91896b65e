//! The calls in SQL: what is known of each, and what each reader may see. A call only ever learns: `scored` is never
//! undone by `unscored`, nor either by `processing`, in whatever order events arrive.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};
use tokio::sync::watch;

use super::identities;
use super::readers::ReadPool;
use super::rows::{push_filter, push_scope, word};
use super::{SqliteStore, progress};
use crate::model::{
    CallDetail, CallEvent, CallRow, CallStatus, EventOutcome, Scope, Source, Timestamp,
};
use crate::store::{
    CallChange, CallFilter, Calls, Changes, EventCall, LinkedIds, Page, PageKey, Progress,
    ProgressFilter, StoreResult, StoredCall,
};

// `rev` is unique and grows with every change; there is one writer, so none is given twice, not even when the call that
// had it is erased. It may have gaps.

/// Gives an event's call its row. One that is there learns whose call it is, where it lacks that: an attempt may have been
/// faster.
pub(super) fn open(tx: &Connection, event: &CallEvent, received_at: Timestamp) -> StoreResult<()> {
    let who = &event.identity;
    tx.prepare_cached(
        "INSERT INTO calls \
         (id, status, source, rep, agency, athos_rep, athos_agency, sort_at, rev) \
         VALUES (?1, 'processing', ?2, \
           coalesce(?3, (SELECT our_id FROM identities WHERE kind = 'rep' AND athos_id = ?5)), \
           coalesce(?4, (SELECT our_id FROM identities WHERE kind = 'agency' AND athos_id = ?6)), \
           ?5, ?6, ?7, (SELECT rev + 1 FROM latest_rev)) \
         ON CONFLICT (id) DO UPDATE SET \
           rep = coalesce(calls.rep, excluded.rep), agency = coalesce(calls.agency, excluded.agency), \
           athos_rep = coalesce(calls.athos_rep, excluded.athos_rep), \
           athos_agency = coalesce(calls.athos_agency, excluded.athos_agency), rev = excluded.rev \
         WHERE (calls.rep IS NULL AND excluded.rep IS NOT NULL) \
            OR (calls.agency IS NULL AND excluded.agency IS NOT NULL) \
            OR (calls.athos_rep IS NULL AND excluded.athos_rep IS NOT NULL) \
            OR (calls.athos_agency IS NULL AND excluded.athos_agency IS NOT NULL)",
    )?
    .execute(params![
        event.call_id,
        event.source,
        who.rep,
        who.agency,
        who.athos_rep,
        who.athos_agency,
        event.occurred_at.unwrap_or(received_at).as_millis(),
    ])?;
    Ok(())
}

/// Stores a call's detail; the same detail again changes nothing. Says what is left to fill in.
pub(super) fn store_detail(
    tx: &Connection,
    detail: &CallDetail,
    now: Timestamp,
) -> StoreResult<Vec<LinkedIds>> {
    let call = &detail.header;
    let (who, unfinished) = identities::resolve_identity(tx, &call.identity, now)?;
    let is_known = tx
        .prepare_cached(
            "SELECT 1 FROM call_details JOIN calls ON seq = call_seq \
             WHERE id = ?1 AND status = 'scored' AND raw = ?2 AND has_recording = ?3",
        )?
        .exists(params![call.id, detail.raw, detail.has_recording])?;
    if is_known {
        return Ok(unfinished);
    }
    let best_time = call.ended_at.or(call.started_at).unwrap_or(now);
    let seq: i64 = tx
        .prepare_cached(
            "INSERT INTO calls \
             (id, status, source, rep, agency, athos_rep, athos_agency, drill_key, started_at, ended_at, \
              duration_sec, scored_at, overall_score, compliance_percent, sort_at, purged_at, rev) \
             VALUES (?1, 'scored', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, \
                     (SELECT rev + 1 FROM latest_rev)) \
             ON CONFLICT (id) DO UPDATE SET \
               status = excluded.status, source = excluded.source, \
               rep = coalesce(?16, calls.rep, excluded.rep), agency = coalesce(?17, calls.agency, excluded.agency), \
               athos_rep = coalesce(excluded.athos_rep, calls.athos_rep), \
               athos_agency = coalesce(excluded.athos_agency, calls.athos_agency), \
               drill_key = excluded.drill_key, started_at = excluded.started_at, \
               ended_at = excluded.ended_at, duration_sec = excluded.duration_sec, \
               scored_at = excluded.scored_at, overall_score = excluded.overall_score, \
               compliance_percent = excluded.compliance_percent, reason = NULL, reason_message = NULL, \
               sort_at = coalesce(excluded.ended_at, excluded.started_at, calls.sort_at), rev = excluded.rev, \
               purged_at = CASE WHEN excluded.purged_at IS NOT NULL THEN coalesce(calls.purged_at, excluded.purged_at) END \
             RETURNING seq",
        )?
        .query_row(
            params![
                call.id,
                call.source,
                who.rep,
                who.agency,
                who.athos_rep,
                who.athos_agency,
                call.drill_key,
                call.started_at.map(Timestamp::as_millis),
                call.ended_at.map(Timestamp::as_millis),
                call.duration_sec,
                call.scored_at.map(Timestamp::as_millis),
                detail.overall_score,
                detail.compliance_percent,
                best_time.as_millis(),
                detail.purged.then(|| now.as_millis()),
                // What Athos answers itself is right, whatever a webhook said; what was only looked up fills a gap.
                call.identity.rep,
                call.identity.agency,
            ],
            |row| row.get(0),
        )?;
    tx.prepare_cached(
        "INSERT INTO call_details (call_seq, raw, has_recording, fetched_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (call_seq) DO UPDATE SET \
           raw = excluded.raw, has_recording = excluded.has_recording, fetched_at = excluded.fetched_at",
    )?
    .execute(params![
        seq,
        detail.raw,
        detail.has_recording,
        now.as_millis()
    ])?;
    Ok(unfinished)
}

/// Stores that a call could not be scored, unless it was; says what is left to fill in.
pub(super) fn store_unscored(
    tx: &Connection,
    event: &CallEvent,
    now: Timestamp,
) -> StoreResult<Vec<LinkedIds>> {
    let EventOutcome::Unscored { reason, message } = &event.outcome else {
        return Ok(Vec::new());
    };
    let (who, unfinished) = identities::resolve_identity(tx, &event.identity, now)?;
    tx.prepare_cached(
        "INSERT INTO calls \
         (id, status, source, rep, agency, athos_rep, athos_agency, reason, reason_message, \
          sort_at, rev) \
         VALUES (?1, 'unscored', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, \
                 (SELECT rev + 1 FROM latest_rev)) \
         ON CONFLICT (id) DO UPDATE SET \
           status = excluded.status, rep = coalesce(calls.rep, excluded.rep), \
           agency = coalesce(calls.agency, excluded.agency), \
           athos_rep = coalesce(calls.athos_rep, excluded.athos_rep), \
           athos_agency = coalesce(calls.athos_agency, excluded.athos_agency), \
           reason = excluded.reason, reason_message = excluded.reason_message, rev = excluded.rev \
         WHERE calls.status = 'processing'",
    )?
    .execute(params![
        event.call_id,
        event.source,
        who.rep,
        who.agency,
        who.athos_rep,
        who.athos_agency,
        reason,
        message,
        event.occurred_at.unwrap_or(now).as_millis(),
    ])?;
    Ok(unfinished)
}

pub(super) const ROW: &str = "SELECT seq, sort_at, id, status, source, coalesce(rep, athos_rep) AS rep, \
                   coalesce(agency, athos_agency) AS agency, drill_key, started_at, \
                   ended_at, duration_sec, scored_at, overall_score, compliance_percent";

pub(super) async fn list(
    readers: &ReadPool,
    filter: &CallFilter,
    limit: u32,
    after: Option<PageKey>,
) -> StoreResult<Page<CallRow, PageKey>> {
    let mut sql = QueryBuilder::<Sqlite>::new(ROW);
    sql.push(" FROM calls WHERE true");
    push_filter(
        &mut sql,
        &filter.scope,
        [&filter.rep, &filter.agency],
        [filter.from, filter.to],
    );
    let texts = [
        (" AND drill_key = ", filter.drill.as_deref()),
        (" AND status = ", filter.status.map(CallStatus::as_str)),
        (" AND source = ", filter.source.as_deref()),
    ];
    for (condition, value) in texts {
        if let Some(value) = value {
            sql.push(condition).push_bind(value);
        }
    }
    if filter.source.as_deref() == Some(Source::RealCall.as_str()) {
        // Written out, so that their own index serves: among practice they are few.
        sql.push(" AND source = 'real_call'");
    }
    if let Some(after) = after {
        sql.push(" AND (sort_at, seq) < (")
            .push_bind(after.sort_at.as_millis())
            .push(", ")
            .push_bind(after.seq)
            .push(")");
    }
    // One more than asked for tells whether there is another page.
    sql.push(" ORDER BY sort_at DESC, seq DESC LIMIT ")
        .push_bind(i64::from(limit) + 1);
    let found = sql.build().fetch_all(readers).await?;
    let key = |last: &SqliteRow| PageKey {
        sort_at: Timestamp::from_millis(last.get("sort_at")),
        seq: last.get("seq"),
    };
    Page::cut(&found, limit, key, call_row)
}

pub(super) async fn find(
    readers: &ReadPool,
    scope: &Scope,
    id: &str,
) -> StoreResult<Option<StoredCall>> {
    let mut sql = QueryBuilder::<Sqlite>::new(ROW);
    sql.push(
        ", reason, reason_message, raw, purged_at, coalesce(has_recording, 0) AS has_recording FROM calls LEFT JOIN call_details ON call_seq = seq \
         WHERE id = ",
    )
    .push_bind(id);
    push_scope(&mut sql, scope);
    let row = sql.build().fetch_optional(readers).await?;
    row.map(|row| {
        Ok(StoredCall {
            row: call_row(&row)?,
            reason: row.get("reason"),
            reason_message: row.get("reason_message"),
            has_recording: row.get("has_recording"),
            purged_at: row
                .get::<Option<i64>, _>("purged_at")
                .map(Timestamp::from_millis),
            raw: row.get("raw"),
        })
    })
    .transpose()
}

/// The call an event is about, without what was said in it.
pub(super) async fn of_event(readers: &ReadPool, id: &str) -> StoreResult<Option<EventCall>> {
    let mut sql = QueryBuilder::<Sqlite>::new(ROW);
    sql.push(", reason, reason_message FROM calls WHERE id = ")
        .push_bind(id);
    let row = sql.build().fetch_optional(readers).await?;
    row.map(|row| {
        Ok(EventCall {
            row: call_row(&row)?,
            reason: row.get("reason"),
            reason_message: row.get("reason_message"),
        })
    })
    .transpose()
}

/// Changes, of whomever, that are looked through in one step.
const STEP_REVS: i64 = 1000;

pub(super) async fn changes_since(
    readers: &ReadPool,
    scope: &Scope,
    rev: i64,
    limit: u32,
) -> StoreResult<Changes> {
    // Read first: what changes in between is seen, or comes next time.
    let latest = latest_rev(readers).await?;
    let end = rev.saturating_add(STEP_REVS).min(latest);
    // By rev, which SQLite is told: by the scope's index it would sort all of somebody's calls.
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT rev, id, status, coalesce(rep, athos_rep) AS rep, overall_score \
         FROM calls INDEXED BY calls_by_rev WHERE rev > ",
    );
    sql.push_bind(rev).push(" AND rev <= ").push_bind(end);
    push_scope(&mut sql, scope);
    sql.push(" ORDER BY rev LIMIT ").push_bind(limit);
    let rows = sql.build().fetch_all(readers).await?;
    let changes: Vec<_> = rows
        .iter()
        .map(|row| {
            Ok(CallChange {
                rev: row.get("rev"),
                id: row.get("id"),
                status: word(row, "status")?,
                rep: row.get("rep"),
                overall_score: row.get("overall_score"),
            })
        })
        .collect::<StoreResult<_>>()?;
    let up_to = match changes.last() {
        Some(last) if changes.len() == limit as usize => last.rev,
        _ => end.max(rev),
    };
    Ok(Changes {
        changes,
        up_to,
        latest,
    })
}

pub(super) async fn latest_rev(readers: &ReadPool) -> StoreResult<i64> {
    let rev = sqlx::query_scalar("SELECT rev FROM latest_rev")
        .fetch_one(readers)
        .await?;
    Ok(rev)
}

pub(super) fn call_row(row: &SqliteRow) -> StoreResult<CallRow> {
    let time = |column| {
        row.get::<Option<i64>, _>(column)
            .map(Timestamp::from_millis)
    };
    Ok(CallRow {
        id: row.get("id"),
        status: word(row, "status")?,
        source: row.get("source"),
        rep: row.get("rep"),
        agency: row.get("agency"),
        drill_key: row.get("drill_key"),
        started_at: time("started_at"),
        ended_at: time("ended_at"),
        duration_sec: row.get("duration_sec"),
        scored_at: time("scored_at"),
        overall_score: row.get("overall_score"),
        compliance_percent: row.get("compliance_percent"),
    })
}

#[async_trait]
impl Calls for SqliteStore {
    async fn list_calls(
        &self,
        filter: &CallFilter,
        limit: u32,
        after: Option<PageKey>,
    ) -> StoreResult<Page<CallRow, PageKey>> {
        self.arrivals.opening.caught_up().await;
        self.noting(list(&self.readers.requests, filter, limit, after).await)
    }

    async fn find_call(&self, scope: &Scope, id: &str) -> StoreResult<Option<StoredCall>> {
        let look = || find(&self.readers.requests, scope, id);
        self.noting(self.arrivals.opening.look(look).await)
    }

    async fn progress(
        &self,
        filter: &ProgressFilter,
        limit: u32,
        points: u32,
    ) -> StoreResult<Vec<Progress>> {
        self.arrivals.opening.caught_up().await;
        self.noting(progress::of_reps(&self.readers.scans, filter, limit, points).await)
    }

    async fn changes_since(&self, scope: &Scope, rev: i64, limit: u32) -> StoreResult<Changes> {
        self.noting(changes_since(&self.readers.streams, scope, rev, limit).await)
    }

    async fn latest_rev(&self) -> StoreResult<i64> {
        self.noting(latest_rev(&self.readers.streams).await)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.writer.changes()
    }
}
