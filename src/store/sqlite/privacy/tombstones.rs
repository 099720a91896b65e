//! Tombstones of erased data: for a call, a hash of its id; for a rep, a hash of each id, and the time before which their
//! calls stay erased. A hash tells nothing to a reader who does not know the id.

use std::collections::HashMap;

use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::super::rows::push_list;
use crate::model::{CallEvent, Identity, Timestamp};
use crate::store::StoreResult;
use crate::telemetry::metric;

/// Half a SHA-256: no two ids of a company's have the same.
pub(in crate::store::sqlite) type Hash = [u8; 16];

fn hash(kind: &str, id: &str) -> Hash {
    let digest = Sha256::new()
        .chain_update(kind)
        .chain_update([0])
        .chain_update(id)
        .finalize();
    let mut half = Hash::default();
    half.copy_from_slice(&digest[..size_of::<Hash>()]);
    half
}

pub(super) fn hash_of_call(id: &str) -> Hash {
    hash("call", id)
}

pub(super) fn hash_of_rep(id: &str) -> Hash {
    hash("rep", id)
}

/// A call that is about to be written.
pub(in crate::store::sqlite) struct Incoming<'a> {
    pub(in crate::store::sqlite) call_id: &'a str,
    pub(in crate::store::sqlite) identity: &'a Identity,
    /// When it began, or the best we know.
    pub(in crate::store::sqlite) at: Timestamp,
}

impl<'a> Incoming<'a> {
    /// The call that an event is about.
    pub(in crate::store::sqlite) fn event(said: &'a CallEvent, received_at: Timestamp) -> Self {
        Self {
            call_id: &said.call_id,
            identity: &said.identity,
            at: said.occurred_at.unwrap_or(received_at),
        }
    }

    fn call(&self) -> Hash {
        hash_of_call(self.call_id)
    }

    /// Whose call it is: our id decides where there is one.
    fn rep(&self) -> Option<Hash> {
        let identity = self.identity;
        let id = identity.rep.as_deref().or(identity.athos_rep.as_deref());
        id.map(hash_of_rep)
    }
}

/// Whether a call must not come back. `by` says who is stopped, for the metric.
pub(in crate::store::sqlite) fn is_tombstoned(
    tx: &Connection,
    call: &Incoming<'_>,
    by: &'static str,
) -> StoreResult<bool> {
    // Mostly nothing was ever erased.
    if !tx
        .prepare_cached("SELECT 1 FROM erased LIMIT 1")?
        .exists([])?
    {
        return Ok(false);
    }
    let stopped = tx
        .prepare_cached(
            "SELECT 1 FROM erased WHERE hash = ?1 UNION ALL \
             SELECT 1 FROM erased WHERE hash = ?2 AND until >= ?3",
        )?
        .exists(params![call.call(), call.rep(), call.at.as_millis()])?;
    count_stopped(u64::from(stopped), by);
    Ok(stopped)
}

/// The same beside the writer, for many calls: for each, whether it must not come back.
pub(in crate::store::sqlite) async fn find_tombstoned(
    connection: &mut SqliteConnection,
    calls: &[Incoming<'_>],
    by: &'static str,
) -> StoreResult<Vec<bool>> {
    let is_any: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM erased)")
        .fetch_one(&mut *connection)
        .await?;
    if calls.is_empty() || !is_any {
        return Ok(vec![false; calls.len()]);
    }
    let keys: Vec<_> = calls.iter().map(|call| (call.call(), call.rep())).collect();
    let mut sql = QueryBuilder::<Sqlite>::new("SELECT hash, until FROM erased WHERE hash IN ");
    let hashes = keys
        .iter()
        .flat_map(|(call, rep)| Some(*call).into_iter().chain(*rep));
    push_list(&mut sql, hashes.map(|hash| hash.to_vec()));
    let erased: HashMap<Vec<u8>, Option<i64>> = sql
        .build()
        .fetch_all(connection)
        .await?
        .iter()
        .map(|row| (row.get("hash"), row.get("until")))
        .collect();
    let stopped: Vec<_> = calls
        .iter()
        .zip(keys)
        .map(|(incoming, (call, rep))| {
            let until = rep.and_then(|rep| *erased.get(&rep[..])?);
            erased.contains_key(&call[..]) || until.is_some_and(|at| incoming.at.as_millis() <= at)
        })
        .collect();
    let count = stopped.iter().filter(|stopped| **stopped).count();
    count_stopped(count as u64, by);
    Ok(stopped)
}

fn count_stopped(calls: u64, by: &'static str) {
    metrics::counter!(metric::ERASED_STOPPED_TOTAL, "by" => by).increment(calls);
}

/// Keeps calls away from now on.
pub(in crate::store::sqlite) fn remember_calls(tx: &Connection, ids: &[String]) -> StoreResult<()> {
    let mut insert =
        tx.prepare_cached("INSERT INTO erased (hash) VALUES (?1) ON CONFLICT (hash) DO NOTHING")?;
    for id in ids {
        insert.execute([hash_of_call(id)])?;
    }
    Ok(())
}
