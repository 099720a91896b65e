//! The record of session tokens asked for. The tokens themselves are never here.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::identities::push_named;
use super::readers::ReadPool;
use super::writer::{Durability, Operation};
use super::{SqliteStore, contract};
use crate::model::{AgentId, LearnedContract, PlatformId, Timestamp};
use crate::store::{
    IdentityKind, Mint, MintFilter, MintOutcome, Mints, NewMint, Page, StoreResult,
};

impl Operation for NewMint {
    type Output = ();

    fn apply(&self, tx: &Connection) -> StoreResult<()> {
        tx.prepare_cached(
            "INSERT INTO mints (id, requested_at, rep, athos_rep, agency, caller) \
             VALUES (?1, ?2, \
               coalesce(?3, (SELECT our_id FROM identities WHERE kind = 'rep' AND athos_id = ?4)), \
               ?4, ?5, ?6)",
        )?
        .execute(params![
            self.id,
            self.requested_at.as_millis(),
            self.rep.ours().map(PlatformId::as_str),
            self.rep.athos().map(AgentId::as_str),
            self.agency.as_ref().map(PlatformId::as_str),
            self.caller,
        ])?;
        Ok(())
    }
}

/// Completes a recorded mint.
pub(super) struct Finish {
    pub(super) id: String,
    pub(super) outcome: MintOutcome,
}

impl Operation for Finish {
    type Output = ();
    /// Without it the record says that a token was asked for, which is what is owed.
    const DURABILITY: Durability = Durability::Committed;

    fn apply(&self, tx: &Connection) -> StoreResult<()> {
        tx.prepare_cached(
            "UPDATE mints SET outcome = ?1, answered_at = ?2, expires_at = ?3, athos_request_id = ?4 \
             WHERE id = ?5",
        )?
        .execute(params![
            self.outcome.outcome,
            self.outcome.answered_at.as_millis(),
            self.outcome.expires_at.map(Timestamp::as_millis),
            self.outcome.athos_request_id,
            self.id,
        ])?;
        Ok(())
    }
}

/// That a call may have begun with a token: it begins while the token is good, or moments later by another clock, and
/// ends at the latest two hours on. Which token began which call nobody tells us: one call stands for all tokens of its
/// rep at the time. A rep may be known by Athos's id alone, on both sides.
const BEGAN: &str = "(calls.rep = mints.rep \
                      OR (calls.rep IS NULL AND mints.rep IS NULL AND calls.athos_rep = mints.athos_rep)) \
                     AND source = 'roleplay' AND sort_at >= requested_at \
                     AND coalesce(started_at, sort_at - 7200000) <= expires_at + 60000";

const WITHOUT_CALL: &str = "outcome = 'minted' AND NOT EXISTS (SELECT 1 FROM calls WHERE ";

pub(super) async fn without_call(
    readers: &ReadPool,
    since: Timestamp,
    until: Timestamp,
) -> StoreResult<u64> {
    let mut sql = QueryBuilder::<Sqlite>::new("SELECT count(*) FROM mints WHERE ");
    sql.push(WITHOUT_CALL).push(BEGAN).push(")");
    push_times(&mut sql, Some(since), Some(until));
    let count: i64 = sql.build_query_scalar().fetch_one(readers).await?;
    Ok(count.unsigned_abs())
}

fn push_times(sql: &mut QueryBuilder<Sqlite>, from: Option<Timestamp>, to: Option<Timestamp>) {
    for (condition, time) in [
        (" AND requested_at >= ", from),
        (" AND requested_at <= ", to),
    ] {
        if let Some(time) = time {
            sql.push(condition).push_bind(time.as_millis());
        }
    }
}

pub(super) async fn list(
    readers: &ReadPool,
    filter: &MintFilter,
    limit: u32,
    after: Option<&str>,
) -> StoreResult<Page<Mint, String>> {
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT id, requested_at, coalesce(rep, athos_rep) AS rep, agency, caller, outcome, answered_at, expires_at, \
         athos_request_id, EXISTS (SELECT 1 FROM calls WHERE ",
    );
    sql.push(BEGAN).push(") AS has_call FROM mints WHERE ");
    if filter.without_call {
        sql.push(WITHOUT_CALL).push(BEGAN).push(")");
    } else {
        sql.push("true");
    }
    push_times(&mut sql, filter.from, filter.to);
    if let Some(rep) = &filter.rep {
        push_named(&mut sql, IdentityKind::Rep, rep);
    }
    if let Some(after) = after {
        sql.push(" AND (requested_at, id) < (SELECT requested_at, id FROM mints WHERE id = ")
            .push_bind(after)
            .push(")");
    }
    // One more than asked for tells whether there is another page.
    sql.push(" ORDER BY requested_at DESC, id DESC LIMIT ")
        .push_bind(i64::from(limit) + 1);
    let found = sql.build().fetch_all(readers).await?;
    Page::cut(&found, limit, |last| last.get("id"), |row| Ok(mint(row)))
}

/// The tokens that may have begun a call, newest first.
pub(super) async fn of_call(readers: &ReadPool, call: &str, limit: u32) -> StoreResult<Vec<Mint>> {
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT mints.id, requested_at, coalesce(mints.rep, mints.athos_rep) AS rep, mints.agency, caller, outcome, answered_at, \
         expires_at, athos_request_id, true AS has_call FROM calls JOIN mints ON ",
    );
    sql.push(BEGAN)
        .push(" WHERE outcome = 'minted' AND calls.id = ")
        .push_bind(call)
        .push(" ORDER BY requested_at DESC LIMIT ")
        .push_bind(limit);
    let rows = sql.build().fetch_all(readers).await?;
    Ok(rows.iter().map(mint).collect())
}

fn mint(row: &SqliteRow) -> Mint {
    let time = |column| {
        row.get::<Option<i64>, _>(column)
            .map(Timestamp::from_millis)
    };
    Mint {
        id: row.get("id"),
        requested_at: Timestamp::from_millis(row.get("requested_at")),
        rep: row.get("rep"),
        agency: row.get("agency"),
        caller: row.get("caller"),
        outcome: row.get("outcome"),
        answered_at: time("answered_at"),
        expires_at: time("expires_at"),
        athos_request_id: row.get("athos_request_id"),
        has_call: row.get("has_call"),
    }
}

#[async_trait]
impl Mints for SqliteStore {
    async fn record_mint(&self, mint: NewMint) -> StoreResult<()> {
        self.writer.write(mint).await
    }

    async fn finish_mint(&self, id: &str, outcome: MintOutcome) -> StoreResult<()> {
        let id = id.to_owned();
        self.writer.write(Finish { id, outcome }).await
    }

    async fn mints_without_call(&self, since: Timestamp, until: Timestamp) -> StoreResult<u64> {
        self.noting(without_call(&self.readers.scans, since, until).await)
    }

    async fn list_mints(
        &self,
        filter: &MintFilter,
        limit: u32,
        after: Option<&str>,
    ) -> StoreResult<Page<Mint, String>> {
        // Whether a call followed is shown too.
        self.arrivals.opening.caught_up().await;
        self.noting(list(&self.readers.requests, filter, limit, after).await)
    }

    async fn record_learned_contract(&self, learnt: LearnedContract) -> StoreResult<()> {
        self.writer.write(contract::Learn(learnt)).await
    }

    async fn learned_contract(&self) -> StoreResult<Option<LearnedContract>> {
        self.noting(contract::learnt(&self.readers.work).await)
    }
}
