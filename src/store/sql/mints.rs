//! The record of session tokens asked for. The tokens themselves are never here.

use async_trait::async_trait;

use super::identities::push_named;
use super::{Connection, Durability, Operation, Row, SqlStore, Statement, contract, values};
use crate::model::{AgentId, LearnedContract, PlatformId, Timestamp};
use crate::store::{
    IdentityKind, Mint, MintFilter, MintOutcome, Mints, NewMint, Page, StoreResult,
};

impl Operation for NewMint {
    type Output = ();
    const BESIDE_OTHERS: bool = true;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<()> {
        tx.execute(
            "INSERT INTO mints (id, requested_at, rep, athos_rep, agency, caller) \
             VALUES (?1, ?2, \
               coalesce(?3, (SELECT our_id FROM identities WHERE kind = 'rep' AND athos_id = ?4)), \
               ?4, ?5, ?6)",
            values![
                self.id,
                self.requested_at,
                self.rep.ours().map(PlatformId::as_str),
                self.rep.athos().map(AgentId::as_str),
                self.agency.as_ref().map(PlatformId::as_str),
                self.caller,
            ],
        )?;
        Ok(())
    }
}

/// Completes recorded mints.
pub(in crate::store) struct Finish(Vec<(String, MintOutcome)>);

impl Operation for Finish {
    type Output = ();
    /// Without it the record says that a token was asked for, which is what is owed.
    const DURABILITY: Durability = Durability::Committed;
    const BESIDE_OTHERS: bool = true;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<()> {
        for (id, outcome) in &self.0 {
            tx.execute(
                "UPDATE mints SET outcome = ?1, answered_at = ?2, expires_at = ?3, athos_request_id = ?4 \
                 WHERE id = ?5",
                values![
                    outcome.outcome,
                    outcome.answered_at,
                    outcome.expires_at,
                    outcome.athos_request_id,
                    id,
                ],
            )?;
        }
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

pub(super) fn without_call(
    db: &dyn Connection,
    since: Timestamp,
    until: Timestamp,
) -> StoreResult<u64> {
    let mut sql = Statement::new("SELECT count(*) FROM mints WHERE ");
    sql.push(WITHOUT_CALL).push(BEGAN).push(")");
    push_times(&mut sql, Some(since), Some(until));
    sql.one(db, |row| row.get(0))
}

fn push_times(sql: &mut Statement<'_>, from: Option<Timestamp>, to: Option<Timestamp>) {
    for (condition, time) in [
        (" AND requested_at >= ", from),
        (" AND requested_at <= ", to),
    ] {
        if let Some(time) = time {
            sql.push(condition).push_bind(time);
        }
    }
}

pub(super) fn list(
    db: &dyn Connection,
    filter: &MintFilter,
    limit: u32,
    after: Option<&str>,
) -> StoreResult<Page<Mint, String>> {
    let mut sql = Statement::new(
        "SELECT id, requested_at, coalesce(rep, athos_rep) AS rep, agency, caller, outcome, answered_at, expires_at, \
         athos_request_id, EXISTS (SELECT 1 FROM calls WHERE ",
    );
    sql.push(BEGAN).push(") FROM mints WHERE ");
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
    let found = sql.rows(db, mint)?;
    Ok(Page::cut(found, limit, |last| last.id.clone()))
}

/// The tokens that may have begun a call, newest first.
pub(super) fn of_call(db: &dyn Connection, call: &str, limit: u32) -> StoreResult<Vec<Mint>> {
    let mut sql = Statement::new(
        "SELECT mints.id, requested_at, coalesce(mints.rep, mints.athos_rep), mints.agency, caller, outcome, answered_at, \
         expires_at, athos_request_id, true FROM calls JOIN mints ON ",
    );
    sql.push(BEGAN)
        .push(" WHERE outcome = 'minted' AND calls.id = ")
        .push_bind(call)
        .push(" ORDER BY requested_at DESC LIMIT ")
        .push_bind(limit);
    sql.rows(db, mint)
}

fn mint(row: &dyn Row) -> StoreResult<Mint> {
    let mut columns = row.from(0);
    Ok(Mint {
        id: columns.next()?,
        requested_at: columns.next()?,
        rep: columns.next()?,
        agency: columns.next()?,
        caller: columns.next()?,
        outcome: columns.next()?,
        answered_at: columns.next()?,
        expires_at: columns.next()?,
        athos_request_id: columns.next()?,
        has_call: columns.next()?,
    })
}

#[async_trait]
impl Mints for SqlStore {
    async fn record_mint(&self, mint: NewMint) -> StoreResult<()> {
        self.writer.write(mint).await
    }

    async fn finish_mints(&self, outcomes: Vec<(String, MintOutcome)>) -> StoreResult<()> {
        self.writer.write(Finish(outcomes)).await
    }

    async fn mints_without_call(&self, since: Timestamp, until: Timestamp) -> StoreResult<u64> {
        let count = move |db: &dyn Connection| without_call(db, since, until);
        self.readers.scans.read(count).await
    }

    async fn list_mints(
        &self,
        filter: &MintFilter,
        limit: u32,
        after: Option<&str>,
    ) -> StoreResult<Page<Mint, String>> {
        let (filter, after) = (filter.clone(), after.map(str::to_owned));
        let list = move |db: &dyn Connection| list(db, &filter, limit, after.as_deref());
        self.readers.requests.read(list).await
    }

    async fn record_learned_contract(&self, learnt: LearnedContract) -> StoreResult<()> {
        self.writer.write(contract::Learn(learnt)).await
    }

    async fn learned_contract(&self) -> StoreResult<Option<LearnedContract>> {
        self.readers.work.read(contract::learnt).await
    }
}
