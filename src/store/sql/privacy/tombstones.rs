//! Tombstones of erased data: for a call, a hash of its id; for a rep, a hash of each id, and the time before which their
//! calls stay erased. A hash tells nothing to a reader who does not know the id.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::super::{Connection, Statement, values};
use crate::model::{CallEvent, Identity, Timestamp};
use crate::store::StoreResult;
use crate::telemetry::metric;

/// Half a SHA-256: no two ids of a company's have the same.
pub(in crate::store::sql) type Hash = [u8; 16];

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
pub(in crate::store::sql) struct Incoming<'a> {
    pub(in crate::store::sql) call_id: &'a str,
    pub(in crate::store::sql) identity: &'a Identity,
    /// When it began, or the best we know.
    pub(in crate::store::sql) at: Timestamp,
}

impl<'a> Incoming<'a> {
    /// The call that an event is about.
    pub(in crate::store::sql) fn event(said: &'a CallEvent, received_at: Timestamp) -> Self {
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
pub(in crate::store::sql) fn is_tombstoned(
    tx: &dyn Connection,
    call: &Incoming<'_>,
    by: &'static str,
) -> StoreResult<bool> {
    if !is_any(tx)? {
        return Ok(false);
    }
    let sql = "SELECT 1 FROM erased WHERE hash = ?1 UNION ALL \
               SELECT 1 FROM erased WHERE hash = ?2 AND until >= ?3";
    let stopped = tx.exists(sql, values![call.call(), call.rep(), call.at])?;
    count_stopped(u64::from(stopped), by);
    Ok(stopped)
}

/// Mostly nothing was ever erased.
fn is_any(db: &dyn Connection) -> StoreResult<bool> {
    db.exists("SELECT 1 FROM erased LIMIT 1", &[])
}

/// The same for many calls: for each, whether it must not come back.
pub(in crate::store::sql) fn find_tombstoned(
    db: &dyn Connection,
    calls: &[Incoming<'_>],
    by: &'static str,
) -> StoreResult<Vec<bool>> {
    if calls.is_empty() || !is_any(db)? {
        return Ok(vec![false; calls.len()]);
    }
    let keys: Vec<_> = calls.iter().map(|call| (call.call(), call.rep())).collect();
    let mut sql = Statement::new("SELECT hash, until FROM erased WHERE hash IN ");
    let hashes = keys
        .iter()
        .flat_map(|(call, rep)| std::iter::once(call).chain(rep));
    sql.push_list(hashes);
    let erased = sql.rows(db, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let erased: HashMap<Vec<u8>, Option<i64>> = erased.into_iter().collect();
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
pub(in crate::store::sql) fn remember_calls(
    tx: &dyn Connection,
    ids: &[String],
) -> StoreResult<()> {
    let sql = "INSERT INTO erased (hash) VALUES (?1) ON CONFLICT (hash) DO NOTHING";
    for id in ids {
        tx.execute(sql, values![hash_of_call(id)])?;
    }
    Ok(())
}
