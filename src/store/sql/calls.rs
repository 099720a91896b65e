//! The calls in SQL, as each reader may see them.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::rows::{push_filter, push_scope};
use super::{Connection, Row, SqlStore, Statement, opening, progress};
use crate::model::{CallRow, CallStatus, Scope, Source};
use crate::store::{
    CallChange, CallFilter, Calls, Changes, EventCall, Page, PageKey, Progress, ProgressFilter,
    StoreResult, StoredCall,
};

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
