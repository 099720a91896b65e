//! The calls in SQL: what is known of each, and what each reader may see. A call only ever learns: `scored` is never
//! undone by `unscored`, nor either by `processing`, in whatever order events arrive.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::rows::{push_filter, push_scope};
use super::{Connection, Row, SqlStore, Statement, identities, opening, progress, values};
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
pub(super) fn open(
    tx: &dyn Connection,
    event: &CallEvent,
    received_at: Timestamp,
) -> StoreResult<()> {
    let who = &event.identity;
    tx.execute(
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
        values![
            event.call_id,
            event.source,
            who.rep,
            who.agency,
            who.athos_rep,
            who.athos_agency,
            event.occurred_at.unwrap_or(received_at),
        ],
    )?;
    Ok(())
}

/// Stores a call's detail; the same detail again changes nothing. Says what is left to fill in.
pub(super) fn store_detail(
    tx: &dyn Connection,
    detail: &CallDetail,
    now: Timestamp,
) -> StoreResult<Vec<LinkedIds>> {
    let call = &detail.header;
    let (who, unfinished) = identities::resolve_identity(tx, &call.identity, now)?;
    let is_known = tx.exists(
        "SELECT 1 FROM call_details JOIN calls ON seq = call_seq \
             WHERE id = ?1 AND status = 'scored' AND raw = ?2 AND has_recording = ?3",
        values![call.id, detail.raw, detail.has_recording],
    )?;
    if is_known {
        return Ok(unfinished);
    }
    let best_time = call.ended_at.or(call.started_at).unwrap_or(now);
    let seq: i64 = tx.scalar(
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
        values![
            call.id,
            call.source,
            who.rep,
            who.agency,
            who.athos_rep,
            who.athos_agency,
            call.drill_key,
            call.started_at,
            call.ended_at,
            call.duration_sec,
            call.scored_at,
            detail.overall_score,
            detail.compliance_percent,
            best_time,
            detail.purged.then_some(now),
            // What Athos answers itself is right, whatever a webhook said; what was only looked up fills a gap.
            call.identity.rep,
            call.identity.agency,
        ],
    )?;
    tx.execute(
        "INSERT INTO call_details (call_seq, raw, has_recording, fetched_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (call_seq) DO UPDATE SET \
           raw = excluded.raw, has_recording = excluded.has_recording, fetched_at = excluded.fetched_at",
        values![seq, detail.raw, detail.has_recording, now],
    )?;
    Ok(unfinished)
}

/// Stores that a call could not be scored, unless it was; says what is left to fill in.
pub(super) fn store_unscored(
    tx: &dyn Connection,
    event: &CallEvent,
    now: Timestamp,
) -> StoreResult<Vec<LinkedIds>> {
    let EventOutcome::Unscored { reason, message } = &event.outcome else {
        return Ok(Vec::new());
    };
    let (who, unfinished) = identities::resolve_identity(tx, &event.identity, now)?;
    tx.execute(
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
        values![
            event.call_id,
            event.source,
            who.rep,
            who.agency,
            who.athos_rep,
            who.athos_agency,
            reason,
            message,
            event.occurred_at.unwrap_or(now),
        ],
    )?;
    Ok(unfinished)
}

pub(super) const ROW: &str = "SELECT seq, sort_at, id, status, source, coalesce(rep, athos_rep) AS rep, \
                   coalesce(agency, athos_agency) AS agency, drill_key, started_at, \
                   ended_at, duration_sec, scored_at, overall_score, compliance_percent";
pub(super) const ROW_COLUMNS: usize = 14;

pub(super) fn list(
    db: &dyn Connection,
    filter: &CallFilter,
    limit: u32,
    after: Option<PageKey>,
) -> StoreResult<Page<CallRow, PageKey>> {
    let mut sql = Statement::new(ROW);
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
            .push_bind(after.sort_at)
            .push(", ")
            .push_bind(after.seq)
            .push(")");
    }
    // One more than asked for tells whether there is another page.
    sql.push(" ORDER BY sort_at DESC, seq DESC LIMIT ")
        .push_bind(i64::from(limit) + 1);
    let found = sql.rows(db, |row| {
        let key = PageKey {
            seq: row.get(0)?,
            sort_at: row.get(1)?,
        };
        Ok((call_row(row)?, key))
    })?;
    let page = Page::cut(found, limit, |(_, key)| *key);
    Ok(Page {
        rows: page.rows.into_iter().map(|(row, _)| row).collect(),
        next: page.next,
    })
}

pub(super) fn find(
    db: &dyn Connection,
    scope: &Scope,
    id: &str,
) -> StoreResult<Option<StoredCall>> {
    let mut sql = Statement::new(ROW);
    sql.push(STORED).push(" WHERE id = ").push_bind(id);
    push_scope(&mut sql, scope);
    sql.first(db, stored_call)
}

/// The same, whosever it is, by the number of its row.
pub(super) fn find_by_seq(db: &dyn Connection, seq: i64) -> StoreResult<Option<StoredCall>> {
    let mut sql = Statement::new(ROW);
    sql.push(STORED).push(" WHERE seq = ").push_bind(seq);
    sql.first(db, stored_call)
}

/// What a `StoredCall` has beyond its row.
const STORED: &str = ", reason, reason_message, coalesce(has_recording, 0), purged_at, raw \
                      FROM calls LEFT JOIN call_details ON call_seq = seq";

fn stored_call(row: &dyn Row) -> StoreResult<StoredCall> {
    let mut columns = row.from(ROW_COLUMNS);
    Ok(StoredCall {
        row: call_row(row)?,
        reason: columns.next()?,
        reason_message: columns.next()?,
        has_recording: columns.next()?,
        purged_at: columns.next()?,
        raw: columns.next()?,
    })
}

/// The call an event is about, without what was said in it.
pub(super) fn of_event(db: &dyn Connection, id: &str) -> StoreResult<Option<EventCall>> {
    let mut sql = Statement::new(ROW);
    sql.push(", reason, reason_message FROM calls WHERE id = ")
        .push_bind(id);
    sql.first(db, |row| {
        let mut columns = row.from(ROW_COLUMNS);
        Ok(EventCall {
            row: call_row(row)?,
            reason: columns.next()?,
            reason_message: columns.next()?,
        })
    })
}

/// Changes, of whomever, that are looked through in one step.
const STEP_REVS: i64 = 1000;

pub(super) fn changes_since(
    db: &dyn Connection,
    scope: &Scope,
    rev: i64,
    limit: u32,
) -> StoreResult<Changes> {
    // Read first: what changes in between is seen, or comes next time.
    let latest = latest_rev(db)?;
    let end = rev.saturating_add(STEP_REVS).min(latest);
    // By rev, which SQLite is told: by the scope's index it would sort all of somebody's calls.
    let mut sql = Statement::new(
        "SELECT rev, id, status, coalesce(rep, athos_rep), overall_score FROM calls ",
    );
    sql.push(db.hint("INDEXED BY calls_by_rev "));
    sql.push("WHERE rev > ").push_bind(rev);
    sql.push(" AND rev <= ").push_bind(end);
    push_scope(&mut sql, scope);
    sql.push(" ORDER BY rev LIMIT ").push_bind(limit);
    let changes = sql.rows(db, |row| {
        Ok(CallChange {
            rev: row.get(0)?,
            id: row.get(1)?,
            status: row.word(2)?,
            rep: row.get(3)?,
            overall_score: row.get(4)?,
        })
    })?;
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

pub(super) fn latest_rev(db: &dyn Connection) -> StoreResult<i64> {
    db.scalar("SELECT rev FROM latest_rev", &[])
}

/// Reads the columns of `ROW`.
pub(super) fn call_row(row: &dyn Row) -> StoreResult<CallRow> {
    let mut columns = row.from(2);
    Ok(CallRow {
        id: columns.next()?,
        status: columns.word()?,
        source: columns.next()?,
        rep: columns.next()?,
        agency: columns.next()?,
        drill_key: columns.next()?,
        started_at: columns.next()?,
        ended_at: columns.next()?,
        duration_sec: columns.next()?,
        scored_at: columns.next()?,
        overall_score: columns.next()?,
        compliance_percent: columns.next()?,
    })
}

#[async_trait]
impl Calls for SqlStore {
    async fn list_calls(
        &self,
        filter: &CallFilter,
        limit: u32,
        after: Option<PageKey>,
    ) -> StoreResult<Page<CallRow, PageKey>> {
        self.arrivals.opening.caught_up().await;
        let filter = filter.clone();
        let list = move |db: &dyn Connection| list(db, &filter, limit, after);
        self.readers.requests.read(list).await
    }

    async fn find_call(&self, scope: &Scope, id: &str) -> StoreResult<Option<StoredCall>> {
        let mut changes = self.writer.changes();
        let waits_until = Instant::now() + opening::READER_MAY_WAIT;
        let is_coming = AtomicBool::new(false);
        loop {
            let look = async || {
                let (scope, id) = (scope.clone(), id.to_owned());
                let find = move |db: &dyn Connection| {
                    let found = find(db, &scope, &id)?;
                    if found.is_some() || opening::is_coming(db, &id)? {
                        return Ok((found, true));
                    }
                    // It may have come between the two.
                    Ok((find(db, &scope, &id)?, false))
                };
                let (found, comes) = self.readers.requests.read(find).await?;
                is_coming.store(comes, Ordering::Relaxed);
                Ok(found)
            };
            let found = self.arrivals.opening.look(look).await?;
            if found.is_some() || !is_coming.load(Ordering::Relaxed) {
                return Ok(found);
            }
            if timeout_at(waits_until, changes.changed()).await.is_err() {
                return Ok(None);
            }
        }
    }

    async fn progress(
        &self,
        filter: &ProgressFilter,
        limit: u32,
        points: u32,
    ) -> StoreResult<Vec<Progress>> {
        self.arrivals.opening.caught_up().await;
        let filter = filter.clone();
        let progress = move |db: &dyn Connection| progress::of_reps(db, &filter, limit, points);
        self.readers.scans.read(progress).await
    }

    async fn changes_since(&self, scope: &Scope, rev: i64, limit: u32) -> StoreResult<Changes> {
        let scope = scope.clone();
        let changes = move |db: &dyn Connection| changes_since(db, &scope, rev, limit);
        self.readers.streams.read(changes).await
    }

    async fn latest_rev(&self) -> StoreResult<i64> {
        self.readers.streams.read(latest_rev).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.writer.changes()
    }
}
