//! What was erased and must not come back. Of a call there is a hash of its id; of a rep, a hash of each id and the time
//! until which calls are gone for good. It says nothing about anybody, except to those who know the id and ask.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

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

/// Whether anything was ever erased: mostly not, and then nothing needs a second look.
pub(in crate::store::sqlite) async fn is_any(
    connection: &mut SqliteConnection,
) -> StoreResult<bool> {
    let found = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM erased)")
        .fetch_one(connection)
        .await?;
    Ok(found)
}

/// For each of these calls, whether it must not come back. `by` says who was stopped, for the metric.
pub(in crate::store::sqlite) async fn find_tombstoned(
    tx: &mut SqliteConnection,
    calls: &[Incoming<'_>],
    by: &'static str,
) -> StoreResult<Vec<bool>> {
    if calls.is_empty() || !is_any(tx).await? {
        return Ok(vec![false; calls.len()]);
    }
    let keys: Vec<_> = calls.iter().map(|call| (call.call(), call.rep())).collect();
    let mut sql = QueryBuilder::<Sqlite>::new("SELECT hash, until FROM erased WHERE hash IN (");
    let mut list = sql.separated(", ");
    for hash in keys
        .iter()
        .flat_map(|(call, rep)| Some(*call).into_iter().chain(*rep))
    {
        list.push_bind(hash.to_vec());
    }
    sql.push(")");
    let erased: HashMap<Vec<u8>, Option<i64>> = sql
        .build()
        .fetch_all(tx)
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
    metrics::counter!(metric::ERASED_STOPPED_TOTAL, "by" => by).increment(count as u64);
    Ok(stopped)
}

/// Keeps a call away from now on.
pub(in crate::store::sqlite) async fn remember_calls<'a>(
    tx: &mut SqliteConnection,
    ids: impl Iterator<Item = &'a str>,
) -> StoreResult<()> {
    let mut sql = QueryBuilder::<Sqlite>::new("INSERT INTO erased (hash) ");
    sql.push_values(ids, |mut row, id| {
        row.push_bind(hash_of_call(id).to_vec());
    });
    sql.push(" ON CONFLICT (hash) DO NOTHING");
    sql.build().execute(tx).await?;
    Ok(())
}
