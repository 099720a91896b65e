//! The erasure of a rep, in steps that each hold the writer for moments. First it is written down, with what must not
//! come back; then rows go batch by batch. Whoever finds one that has begun, after a crash or hours later, goes on.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::super::batch::DryRun;
use super::super::readers::ReadPool;
use super::super::rows::id_list;
use super::super::writer::Writer;
use super::super::{Connection, Operation, Statement, changes, values};
use super::data_subject::{self, EventPage, find_calls};
use super::tombstones;
use crate::model::{DataSubject, RepId, Timestamp};
use crate::store::{Actor, ErasedRows, StoreError, StoreResult};

/// Calls of one batch; each may have pages of transcript, which are overwritten.
const BATCH_CALLS: u32 = 100;
/// Mints of one batch.
const BATCH_MINTS: u32 = 500;
/// Acts of one batch.
const BATCH_ACTS: u32 = 500;

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
    fn load(db: &dyn Connection, id: i64) -> StoreResult<Option<Self>> {
        let sql = "SELECT id, at, reps, athos_reps, event_id FROM erasures WHERE id = ?1";
        db.first(sql, values![id], |row| {
            Ok(Self {
                id: row.get(0)?,
                at: row.get(1)?,
                person: Arc::new(DataSubject {
                    reps: from_json(row.get(2)?)?,
                    athos_reps: from_json(row.get(3)?)?,
                }),
                looked_through: row.get(4)?,
            })
        })
    }
}

/// Writes down that a rep is to be erased, and keeps late calls away from now on.
pub(in crate::store::sql) struct Begin {
    pub(in crate::store::sql) asked_for: RepId,
    pub(in crate::store::sql) person: DataSubject,
    pub(in crate::store::sql) actor: Actor,
    pub(in crate::store::sql) now: Timestamp,
}

impl Operation for Begin {
    type Output = i64;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<i64> {
        let sql = "INSERT INTO erased (hash, until) VALUES (?1, ?2) ON CONFLICT (hash) DO UPDATE SET \
                     until = CASE WHEN erased.until > excluded.until THEN erased.until ELSE excluded.until END";
        for id in self.person.ids() {
            tx.execute(sql, values![tombstones::hash_of_rep(id), self.now])?;
        }
        let (caller, actor) = self.actor.columns();
        let actor = actor.map(|actor| match &self.actor {
            Actor::User(_) if self.person.ids().contains(actor) => alias(actor),
            _ => actor.to_owned(),
        });
        let id = tx.scalar(
            "INSERT INTO erasures (at, caller, actor, subject, reps, athos_reps, result) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, '{}') RETURNING id",
            values![
                self.now,
                caller,
                actor,
                alias(self.asked_for.as_str()),
                Value::from(&*self.person.reps).to_string(),
                Value::from(&*self.person.athos_reps).to_string(),
            ],
        )?;
        Ok(id)
    }
}

/// Adds to what an erasure has removed so far.
fn count(tx: &dyn Connection, erasure: i64, more: ErasedRows) -> StoreResult<()> {
    let so_far: Option<String> = tx.first(
        "SELECT result FROM erasures WHERE id = ?1",
        values![erasure],
        |row| row.get(0),
    )?;
    // Another process has finished it.
    let Some(so_far) = so_far else {
        return Ok(());
    };
    let total = from_json::<ErasedRows>(&so_far)?.plus(more);
    let total =
        serde_json::to_string(&total).map_err(|error| StoreError::Unreadable(error.to_string()))?;
    tx.execute(
        "UPDATE erasures SET result = ?1 WHERE id = ?2",
        values![total, erasure],
    )?;
    Ok(())
}

/// Removes some calls of the person; none are left when it says none. They are looked for here: a list that was made
/// before could have a call that Athos has since given to somebody else.
struct EraseCalls {
    erasure: i64,
    person: Arc<DataSubject>,
    until: i64,
    after: i64,
}

impl Operation for EraseCalls {
    /// What is gone, and which calls those were.
    type Output = (ErasedRows, Vec<(i64, String)>);
    const CHANGES_CALLS: bool = true;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<Self::Output> {
        let calls = find_calls(tx, &self.person, self.until, self.after, BATCH_CALLS)?;
        let seqs: Vec<_> = calls.iter().map(|(seq, _)| *seq).collect();
        let gone = remove_calls(tx, &seqs)?;
        count(tx, self.erasure, gone)?;
        Ok((gone, calls))
    }
}

/// Runs a statement about the rows with these numbers; how many it changed.
fn execute_on(tx: &dyn Connection, sql: &str, ids: &[i64]) -> StoreResult<u64> {
    tx.execute(&format!("{sql} {}", id_list(ids)), &[])
}

/// Removes calls with their details; from now on they are kept away.
fn remove_calls(tx: &dyn Connection, seqs: &[i64]) -> StoreResult<ErasedRows> {
    let ids = tx.rows(
        &format!("SELECT id FROM calls WHERE seq IN {}", id_list(seqs)),
        &[],
        |row| row.get(0),
    )?;
    if ids.is_empty() {
        return Ok(ErasedRows::default());
    }
    tombstones::remember_calls(tx, &ids)?;
    changes::write_tombstones(tx, &ids)?;
    Ok(ErasedRows {
        details: execute_on(tx, "DELETE FROM call_details WHERE call_seq IN", seqs)?,
        calls: execute_on(tx, "DELETE FROM calls WHERE seq IN", seqs)?,
        ..ErasedRows::default()
    })
}

struct EraseEvents {
    erasure: i64,
    ids: Vec<i64>,
    /// Events up to this one have been looked through.
    up_to: i64,
}

impl Operation for EraseEvents {
    type Output = ErasedRows;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<ErasedRows> {
        let gone = remove_events(tx, &self.ids)?;
        tx.execute(
            "UPDATE erasures SET event_id = ?1 WHERE id = ?2",
            values![self.up_to, self.erasure],
        )?;
        count(tx, self.erasure, gone)?;
        Ok(gone)
    }
}

fn remove_events(tx: &dyn Connection, ids: &[i64]) -> StoreResult<ErasedRows> {
    Ok(ErasedRows {
        attempts: execute_on(tx, "DELETE FROM attempts WHERE event_id IN", ids)?,
        acts: execute_on(tx, "DELETE FROM acts WHERE event_id IN", ids)?,
        events: execute_on(tx, "DELETE FROM events WHERE id IN", ids)?,
        ..ErasedRows::default()
    })
}

/// Removes an event whose call turned out to be of a rep who was erased, and the call.
pub(in crate::store::sql) fn erase_event(tx: &dyn Connection, event: i64) -> StoreResult<()> {
    let seq: Option<i64> = tx.first(
        "SELECT seq FROM calls WHERE id = (SELECT call_id FROM events WHERE id = ?1)",
        values![event],
        |row| row.get(0),
    )?;
    remove_calls(tx, seq.as_slice())?;
    remove_events(tx, &[event])?;
    Ok(())
}

struct EraseMints {
    erasure: i64,
    names: Vec<String>,
    until: i64,
    limit: u32,
}

impl Operation for EraseMints {
    type Output = ErasedRows;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<ErasedRows> {
        // Each half by an index of its own, as in `find_calls`.
        let mut sql =
            Statement::new("DELETE FROM mints WHERE id IN (SELECT id FROM mints WHERE rep IN ");
        sql.push_list(&self.names)
            .push(" AND requested_at <= ")
            .push_bind(self.until)
            .push(" UNION ALL SELECT id FROM mints ")
            .push(tx.hint("INDEXED BY mints_of_unknown_reps "))
            .push("WHERE rep IS NULL AND athos_rep IN ")
            .push_list(&self.names)
            .push(" AND requested_at <= ")
            .push_bind(self.until)
            .push(" LIMIT ")
            .push_bind(self.limit)
            .push(")");
        let mints = sql.execute(tx)?;
        let gone = ErasedRows {
            mints,
            ..ErasedRows::default()
        };
        count(tx, self.erasure, gone)?;
        Ok(gone)
    }
}

/// Takes the person's id from what they did by hand.
struct RenameActor {
    ids: Vec<i64>,
    alias: String,
}

impl Operation for RenameActor {
    type Output = ();

    fn apply(&self, tx: &dyn Connection) -> StoreResult<()> {
        let sql = format!(
            "UPDATE acts SET rep = ?1 WHERE id IN {}",
            id_list(&self.ids)
        );
        tx.execute(&sql, values![&self.alias])?;
        Ok(())
    }
}

struct EraseIdentities {
    erasure: i64,
    names: Vec<String>,
}

impl Operation for EraseIdentities {
    type Output = ErasedRows;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<ErasedRows> {
        let mut sql = Statement::new("DELETE FROM identities WHERE kind = 'rep' AND our_id IN ");
        sql.push_list(&self.names);
        let gone = ErasedRows {
            identities: sql.execute(tx)?,
            ..ErasedRows::default()
        };
        count(tx, self.erasure, gone)?;
        Ok(gone)
    }
}

/// Puts the act on record in place of the erasure, which named the rep.
struct Finish {
    erasure: i64,
    begun_at: Timestamp,
}

impl Operation for Finish {
    type Output = ErasedRows;

    fn announced_at(&self) -> Option<Timestamp> {
        Some(self.begun_at)
    }

    fn apply(&self, tx: &dyn Connection) -> StoreResult<ErasedRows> {
        let result: Option<String> = tx.first(
            "INSERT INTO acts (at, caller, rep, act, subject, result) \
             SELECT at, caller, actor, 'delete_rep', subject, result FROM erasures WHERE id = ?1 \
             RETURNING result",
            values![self.erasure],
            |row| row.get(0),
        )?;
        tx.execute("DELETE FROM erasures WHERE id = ?1", values![self.erasure])?;
        // Another process may have been faster, and then it knows what went.
        result.map_or_else(|| Ok(ErasedRows::default()), |result| from_json(&result))
    }
}

/// Erasures that have begun and are not finished.
pub(in crate::store::sql) fn unfinished(db: &dyn Connection) -> StoreResult<Vec<i64>> {
    db.rows("SELECT id FROM erasures ORDER BY id", &[], |row| row.get(0))
}

/// Carries an erasure out, from wherever it stands; what it removed in all.
pub(in crate::store::sql) async fn carry_out(
    readers: &ReadPool,
    writer: &Writer,
    id: i64,
) -> StoreResult<ErasedRows> {
    let load = move |db: &dyn Connection| Erasure::load(db, id);
    let Some(erasure) = readers.read(load).await? else {
        return Ok(ErasedRows::default());
    };
    let person = Arc::clone(&erasure.person);
    let begun_at = Timestamp::from_millis(erasure.at);
    let removal = Removal {
        readers,
        writer,
        is_dry_run: false,
    };
    removal.run(erasure).await?;
    for name in person.ids() {
        let mut after = 0;
        loop {
            let of = name.to_owned();
            let ids = readers.read(move |db| find_acts(db, &of, after)).await?;
            let Some(last) = ids.last() else { break };
            after = *last;
            let alias = alias(name);
            writer.write(RenameActor { ids, alias }).await?;
        }
    }
    let erasure = id;
    writer.write(Finish { erasure, begun_at }).await
}

/// Some of what a person did by hand, after the act with this number.
fn find_acts(db: &dyn Connection, name: &str, after: i64) -> StoreResult<Vec<i64>> {
    let sql =
        "SELECT id FROM acts WHERE caller = 'user' AND rep = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    db.rows(sql, values![name, after, BATCH_ACTS], |row| row.get(0))
}

/// How many rows an erasure would remove.
pub(in crate::store::sql) async fn preview(
    readers: &ReadPool,
    writer: &Writer,
    rep: &RepId,
    now: Timestamp,
) -> StoreResult<ErasedRows> {
    let id = rep.as_str().to_owned();
    let find = move |db: &dyn Connection| data_subject::find(db, &id);
    let erasure = Erasure {
        // No row has it.
        id: 0,
        at: now.as_millis(),
        person: Arc::new(readers.read(find).await?),
        looked_through: 0,
    };
    let removal = Removal {
        readers,
        writer,
        is_dry_run: true,
    };
    removal.run(erasure).await
}

/// The steps of an erasure; in a dry run each is rolled back.
struct Removal<'s> {
    readers: &'s ReadPool,
    writer: &'s Writer,
    is_dry_run: bool,
}

impl Removal<'_> {
    async fn take<O: Operation>(&self, step: O) -> StoreResult<O::Output> {
        match self.is_dry_run {
            true => self.writer.write(DryRun(step)).await,
            false => self.writer.write(step).await,
        }
    }

    async fn run(&self, mut erasure: Erasure) -> StoreResult<ErasedRows> {
        let mut gone = ErasedRows::default();
        let mut calls = HashSet::new();
        let mut after = 0;
        loop {
            let step = EraseCalls {
                erasure: erasure.id,
                person: Arc::clone(&erasure.person),
                until: erasure.at,
                after,
            };
            let (rows, erased) = self.take(step).await?;
            let Some((last, _)) = erased.last() else {
                break;
            };
            // Otherwise they are gone, and one that has become the person's meanwhile may be among those before.
            if self.is_dry_run {
                after = *last;
            }
            gone = gone.plus(rows);
            calls.extend(erased.iter().map(|(_, id)| tombstones::hash_of_call(id)));
        }
        loop {
            let after = erasure.looked_through;
            let read = move |db: &dyn Connection| EventPage::read(db, after);
            let mut page = self.readers.read(read).await?;
            let Some(up_to) = page.last() else { break };
            page.erased.extend(&calls);
            let step = EraseEvents {
                erasure: erasure.id,
                ids: page.concerning(&erasure.person, erasure.at),
                up_to,
            };
            gone = gone.plus(self.take(step).await?);
            erasure.looked_through = up_to;
        }
        let names = erasure.person.ids().into_iter().map(str::to_owned);
        let names: Vec<_> = names.collect();
        loop {
            let step = EraseMints {
                erasure: erasure.id,
                names: names.clone(),
                until: erasure.at,
                limit: if self.is_dry_run {
                    u32::MAX
                } else {
                    BATCH_MINTS
                },
            };
            let rows = self.take(step).await?;
            gone = gone.plus(rows);
            if self.is_dry_run || rows.mints == 0 {
                break;
            }
        }
        let step = EraseIdentities {
            erasure: erasure.id,
            names,
        };
        Ok(gone.plus(self.take(step).await?))
    }
}
