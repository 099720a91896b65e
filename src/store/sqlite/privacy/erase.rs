//! The erasure of a rep, in steps that each hold the writer for moments. First it is written down, with what must not
//! come back; then rows go batch by batch. Whoever finds one that has begun, after a crash or hours later, goes on.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::super::readers::ReadPool;
use super::super::writer::{Operation, Writer};
use super::data_subject::{DataSubject, Page, find_calls, to_json};
use super::{push_ids, tombstones};
use crate::model::{RepId, Timestamp};
use crate::store::{Actor, ErasedRows, StoreError, StoreResult};

/// Calls of one batch; each may have pages of transcript, which are overwritten.
const CALLS: u32 = 100;
/// Mints of one batch.
const MINTS: u32 = 500;
/// Acts of one batch.
const ACTS: u32 = 500;

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> StoreResult<T> {
    serde_json::from_str(text).map_err(|error| StoreError::Unreadable(error.to_string()))
}

/// What an act calls a person who was erased.
fn alias(id: &str) -> String {
    let hash = tombstones::hash_of_rep(id);
    format!("erased:{}", base16ct::lower::encode_string(&hash))
}

/// An erasure that has begun.
struct Erasure {
    id: i64,
    at: i64,
    person: Arc<DataSubject>,
    looked_through: i64,
}

impl Erasure {
    async fn load(readers: &ReadPool, id: i64) -> StoreResult<Option<Self>> {
        let row =
            sqlx::query("SELECT id, at, reps, athos_reps, event_id FROM erasures WHERE id = ?")
                .bind(id)
                .fetch_optional(readers)
                .await?;
        row.map(|row| {
            Ok(Self {
                id: row.get("id"),
                at: row.get("at"),
                person: Arc::new(DataSubject {
                    reps: from_json(row.get("reps"))?,
                    athos_reps: from_json(row.get("athos_reps"))?,
                }),
                looked_through: row.get("event_id"),
            })
        })
        .transpose()
    }
}

/// Writes down that a rep is to be erased, and keeps late calls away from now on.
pub(in crate::store::sqlite) struct Begin {
    pub(in crate::store::sqlite) asked_for: RepId,
    pub(in crate::store::sqlite) person: DataSubject,
    pub(in crate::store::sqlite) actor: Actor,
    pub(in crate::store::sqlite) now: Timestamp,
}

#[async_trait]
impl Operation for Begin {
    type Output = i64;

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<i64> {
        let mut sql = QueryBuilder::<Sqlite>::new("INSERT INTO erased (hash, until) ");
        sql.push_values(self.person.ids(), |mut row, id| {
            row.push_bind(tombstones::hash_of_rep(id).to_vec())
                .push_bind(self.now.as_millis());
        });
        sql.push(" ON CONFLICT (hash) DO UPDATE SET until = max(until, excluded.until)");
        sql.build().execute(&mut *tx).await?;
        let (caller, actor) = self.actor.columns();
        let actor = actor.map(|actor| match self.person.ids().contains(actor) {
            true => alias(actor),
            false => actor.to_owned(),
        });
        let id = sqlx::query_scalar(
            "INSERT INTO erasures (at, caller, actor, subject, reps, athos_reps, result) \
             VALUES (?, ?, ?, ?, ?, ?, '{}') RETURNING id",
        )
        .bind(self.now.as_millis())
        .bind(caller)
        .bind(actor)
        .bind(alias(self.asked_for.as_str()))
        .bind(to_json(&self.person.reps))
        .bind(to_json(&self.person.athos_reps))
        .fetch_one(tx)
        .await?;
        Ok(id)
    }
}

/// Adds to what an erasure has removed so far.
async fn count(tx: &mut SqliteConnection, erasure: i64, more: ErasedRows) -> StoreResult<()> {
    let so_far: Option<String> = sqlx::query_scalar("SELECT result FROM erasures WHERE id = ?")
        .bind(erasure)
        .fetch_optional(&mut *tx)
        .await?;
    // Another process has finished it.
    let Some(so_far) = so_far else {
        return Ok(());
    };
    let total = from_json::<ErasedRows>(&so_far)?.plus(more);
    let total =
        serde_json::to_string(&total).map_err(|error| StoreError::Unreadable(error.to_string()))?;
    sqlx::query("UPDATE erasures SET result = ? WHERE id = ?")
        .bind(total)
        .bind(erasure)
        .execute(tx)
        .await?;
    Ok(())
}

/// Removes some calls of the person; none are left when it is 0. They are looked for here: a list that was made before
/// could have a call that Athos has since given to somebody else.
struct EraseCalls {
    erasure: i64,
    person: Arc<DataSubject>,
    until: i64,
}

#[async_trait]
impl Operation for EraseCalls {
    type Output = u64;
    const CHANGES_CALLS: bool = true;

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<u64> {
        let calls = find_calls(tx, &self.person, self.until, CALLS).await?;
        let seqs: Vec<_> = calls.iter().map(|(seq, _)| *seq).collect();
        let gone = remove_calls(tx, &seqs).await?;
        count(tx, self.erasure, gone).await?;
        Ok(gone.calls)
    }
}

/// Removes calls with their details; from now on they are kept away.
async fn remove_calls(tx: &mut SqliteConnection, seqs: &[i64]) -> StoreResult<ErasedRows> {
    let mut sql = QueryBuilder::<Sqlite>::new("SELECT id FROM calls WHERE seq IN ");
    push_ids(&mut sql, seqs);
    let ids: Vec<String> = sql.build_query_scalar().fetch_all(&mut *tx).await?;
    if ids.is_empty() {
        return Ok(ErasedRows::default());
    }
    tombstones::remember_calls(tx, ids.iter().map(String::as_str)).await?;
    sqlx::query("UPDATE rev_floor SET rev = (SELECT rev FROM latest_rev)")
        .execute(&mut *tx)
        .await?;
    let mut sql = QueryBuilder::<Sqlite>::new("DELETE FROM call_details WHERE call_seq IN ");
    push_ids(&mut sql, seqs);
    let details = sql.build().execute(&mut *tx).await?.rows_affected();
    let mut sql = QueryBuilder::<Sqlite>::new("DELETE FROM calls WHERE seq IN ");
    push_ids(&mut sql, seqs);
    let calls = sql.build().execute(&mut *tx).await?.rows_affected();
    Ok(ErasedRows {
        calls,
        details,
        ..ErasedRows::default()
    })
}

struct EraseEvents {
    erasure: i64,
    ids: Vec<i64>,
    /// Events up to this one have been looked through.
    up_to: i64,
}

#[async_trait]
impl Operation for EraseEvents {
    type Output = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<()> {
        let gone = remove_events(tx, &self.ids).await?;
        sqlx::query("UPDATE erasures SET event_id = ? WHERE id = ?")
            .bind(self.up_to)
            .bind(self.erasure)
            .execute(&mut *tx)
            .await?;
        count(tx, self.erasure, gone).await
    }
}

async fn remove_events(tx: &mut SqliteConnection, ids: &[i64]) -> StoreResult<ErasedRows> {
    let mut counts = [0; 3];
    let tables = [
        "DELETE FROM attempts WHERE event_id IN ",
        "DELETE FROM acts WHERE event_id IN ",
        "DELETE FROM events WHERE id IN ",
    ];
    for (count, statement) in counts.iter_mut().zip(tables) {
        let mut sql = QueryBuilder::<Sqlite>::new(statement);
        push_ids(&mut sql, ids);
        *count = sql.build().execute(&mut *tx).await?.rows_affected();
    }
    let [attempts, acts, events] = counts;
    Ok(ErasedRows {
        events,
        attempts,
        acts,
        ..ErasedRows::default()
    })
}

/// Removes an event whose call turned out to be of a rep who was erased, and the call.
pub(in crate::store::sqlite) async fn forget_event(
    tx: &mut SqliteConnection,
    event: i64,
) -> StoreResult<()> {
    let seqs: Vec<i64> = sqlx::query_scalar(
        "SELECT seq FROM calls WHERE id = (SELECT call_id FROM events WHERE id = ?)",
    )
    .bind(event)
    .fetch_all(&mut *tx)
    .await?;
    remove_calls(tx, &seqs).await?;
    remove_events(tx, &[event]).await?;
    Ok(())
}

struct EraseMints {
    erasure: i64,
    reps: String,
    until: i64,
}

#[async_trait]
impl Operation for EraseMints {
    type Output = u64;

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<u64> {
        let mints = sqlx::query(
            "DELETE FROM mints WHERE id IN (\
               SELECT id FROM mints WHERE rep IN (SELECT value FROM json_each(?1)) AND requested_at <= ?2 \
               UNION ALL \
               SELECT id FROM mints INDEXED BY mints_of_unknown_reps \
               WHERE rep IS NULL AND athos_rep IN (SELECT value FROM json_each(?1)) AND requested_at <= ?2 LIMIT ?3)",
        )
        .bind(&self.reps)
        .bind(self.until)
        .bind(MINTS)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        let gone = ErasedRows {
            mints,
            ..ErasedRows::default()
        };
        count(tx, self.erasure, gone).await?;
        Ok(mints)
    }
}

/// Takes the person's id from what they did by hand.
struct RenameActor {
    ids: Vec<i64>,
    alias: String,
}

#[async_trait]
impl Operation for RenameActor {
    type Output = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<()> {
        let mut sql = QueryBuilder::<Sqlite>::new("UPDATE acts SET rep = ");
        sql.push_bind(&*self.alias).push(" WHERE id IN ");
        push_ids(&mut sql, &self.ids);
        sql.build().execute(tx).await?;
        Ok(())
    }
}

/// Puts the act on record in place of the erasure, which named the rep.
struct Finish {
    erasure: i64,
    names: Vec<String>,
}

#[async_trait]
impl Operation for Finish {
    type Output = ErasedRows;

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<ErasedRows> {
        let learnt = sqlx::query(
            "DELETE FROM identities WHERE kind = 'rep' \
             AND our_id IN (SELECT value FROM json_each(?))",
        )
        .bind(to_json(&self.names))
        .execute(&mut *tx)
        .await?;
        let gone = ErasedRows {
            identities: learnt.rows_affected(),
            ..ErasedRows::default()
        };
        count(tx, self.erasure, gone).await?;
        let result: Option<String> = sqlx::query_scalar(
            "INSERT INTO acts (at, caller, rep, act, subject, result) \
             SELECT at, caller, actor, 'delete_rep', subject, result FROM erasures WHERE id = ? \
             RETURNING result",
        )
        .bind(self.erasure)
        .fetch_optional(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM erasures WHERE id = ?")
            .bind(self.erasure)
            .execute(tx)
            .await?;
        // Another process may have been faster, and then it knows what went.
        result.map_or_else(|| Ok(ErasedRows::default()), |result| from_json(&result))
    }
}

/// Erasures that have begun and are not finished.
pub(in crate::store::sqlite) async fn unfinished(readers: &ReadPool) -> StoreResult<Vec<i64>> {
    let ids = sqlx::query_scalar("SELECT id FROM erasures ORDER BY id")
        .fetch_all(readers)
        .await?;
    Ok(ids)
}

/// Carries an erasure out, from wherever it stands; what it removed in all.
pub(in crate::store::sqlite) async fn carry_out(
    readers: &ReadPool,
    writer: &Writer,
    id: i64,
) -> StoreResult<ErasedRows> {
    let Some(mut erasure) = Erasure::load(readers, id).await? else {
        return Ok(ErasedRows::default());
    };
    loop {
        let step = EraseCalls {
            erasure: erasure.id,
            person: Arc::clone(&erasure.person),
            until: erasure.at,
        };
        if writer.write(step).await? == 0 {
            break;
        }
    }
    loop {
        let page = Page::read(readers, erasure.looked_through).await?;
        let Some(up_to) = page.last() else { break };
        let hashes = page.erased(readers).await?;
        let ids = page.concerning(&erasure.person, erasure.at, &hashes);
        let step = EraseEvents {
            erasure: erasure.id,
            ids,
            up_to,
        };
        writer.write(step).await?;
        erasure.looked_through = up_to;
    }
    let names: Vec<String> = erasure
        .person
        .ids()
        .into_iter()
        .map(str::to_owned)
        .collect();
    loop {
        let step = EraseMints {
            erasure: erasure.id,
            reps: to_json(&names),
            until: erasure.at,
        };
        if writer.write(step).await? == 0 {
            break;
        }
    }
    for name in &names {
        let mut after = 0;
        loop {
            let ids: Vec<i64> = sqlx::query_scalar(
                "SELECT id FROM acts WHERE rep = ? AND id > ? ORDER BY id LIMIT ?",
            )
            .bind(name)
            .bind(after)
            .bind(ACTS)
            .fetch_all(readers)
            .await?;
            let Some(last) = ids.last() else { break };
            after = *last;
            let alias = alias(name);
            writer.write(RenameActor { ids, alias }).await?;
        }
    }
    let erasure = erasure.id;
    writer.write(Finish { erasure, names }).await
}

/// How many rows an erasure would remove. Writes nothing.
pub(in crate::store::sqlite) async fn preview_erasure(
    readers: &ReadPool,
    id: &str,
    now: Timestamp,
) -> StoreResult<ErasedRows> {
    let person = DataSubject::find(readers, id).await?;
    let now = now.as_millis();
    let calls = find_calls(&mut *readers.begin().await?, &person, now, u32::MAX).await?;
    let seqs: Vec<_> = calls.iter().map(|(seq, _)| *seq).collect();
    let hashes = calls
        .iter()
        .map(|(_, id)| tombstones::hash_of_call(id))
        .collect();
    let mut rows = ErasedRows {
        calls: calls.len() as u64,
        ..ErasedRows::default()
    };
    for seqs in seqs.chunks(CALLS as usize) {
        rows.details += count_rows(
            readers,
            "SELECT count(*) FROM call_details WHERE call_seq IN ",
            seqs,
        )
        .await?;
    }
    let mut looked_through = 0;
    loop {
        let page = Page::read(readers, looked_through).await?;
        let Some(up_to) = page.last() else { break };
        let ids = page.concerning(&person, now, &hashes);
        rows.events += ids.len() as u64;
        rows.attempts += count_rows(
            readers,
            "SELECT count(*) FROM attempts WHERE event_id IN ",
            &ids,
        )
        .await?;
        rows.acts += count_rows(
            readers,
            "SELECT count(*) FROM acts WHERE event_id IN ",
            &ids,
        )
        .await?;
        looked_through = up_to;
    }
    let names: Vec<String> = person.ids().into_iter().map(str::to_owned).collect();
    let mints: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM mints \
         WHERE (rep IN (SELECT value FROM json_each(?1)) \
                OR (rep IS NULL AND athos_rep IN (SELECT value FROM json_each(?1)))) \
           AND requested_at <= ?2",
    )
    .bind(to_json(&names))
    .bind(now)
    .fetch_one(readers)
    .await?;
    rows.mints = mints.unsigned_abs();
    let identities: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM identities WHERE kind = 'rep' \
         AND our_id IN (SELECT value FROM json_each(?))",
    )
    .bind(to_json(&names))
    .fetch_one(readers)
    .await?;
    rows.identities = identities.unsigned_abs();
    Ok(rows)
}

async fn count_rows(readers: &ReadPool, sql: &'static str, ids: &[i64]) -> StoreResult<u64> {
    let mut sql = QueryBuilder::<Sqlite>::new(sql);
    push_ids(&mut sql, ids);
    let count: i64 = sql.build_query_scalar().fetch_one(readers).await?;
    Ok(count.unsigned_abs())
}
