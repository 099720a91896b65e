//! The store in SQL that every engine reads: the statements, in a file for each role, and what runs them. An engine brings
//! its `Connection` and `Row`, a `Source` of connections for reading, and the `Committer` of the writer's batches.

mod accept;
mod acknowledge;
mod audit;
mod batch;
mod calls;
mod changes;
mod contract;
mod copy;
mod credentials;
mod deliveries;
mod drift;
mod identities;
mod inbox;
mod known_calls;
mod maintenance;
mod mints;
mod opening;
mod operators;
mod outbox;
mod privacy;
mod progress;
mod readers;
mod reconcile;
mod replicas;
mod row;
mod rows;
mod settle_together;
mod statement;
mod store;
mod trouble;
mod value;
mod waits;
mod writer;

use std::ops::ControlFlow;

pub(in crate::store) use acknowledge::Log;
pub(in crate::store) use batch::{Batch, Durability, Operation};
pub(in crate::store) use copy::{Catalog, End, copy};
pub(in crate::store) use maintenance::contents;
pub(in crate::store) use readers::{Gates, ReadPools, Reader, Source, Watch};
pub(in crate::store) use row::{Cell, FromCell, Row};
pub(in crate::store) use statement::Statement;
pub(in crate::store) use store::{SqlStore, Upkeep};
pub(in crate::store) use trouble::{Trouble, lock};
pub(in crate::store) use value::{GivenRows, Value, values};
pub(in crate::store) use writer::Committer;
#[cfg(test)]
pub(in crate::store) use {
    accept::Accept,
    inbox::{Claim, Settle},
    mints::Finish as FinishMint,
    outbox::ClaimMessages,
    readers::ReadPool,
    writer::Writer,
};

use crate::model::Engine;
use crate::store::{StoreError, StoreResult};

/// More changes of calls than are ever committed and may be lost by a power cut, or a failover.
pub(in crate::store) const UNSYNCED_REVS_MAX: i64 = 100_000;

/// What a query calls with each row; it says whether to go on.
pub(in crate::store) type EachRow<'f> = dyn FnMut(&dyn Row) -> StoreResult<ControlFlow<()>> + 'f;

/// A connection. Each call returns once the statement has ended, and may block meanwhile. Parameters are numbered, `?1` the
/// first; each has one value and one type, however often it occurs.
pub(in crate::store) trait Connection {
    /// Which engine it is.
    fn engine(&self) -> Engine;

    /// Runs a statement that answers no rows; how many it changed.
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> StoreResult<u64>;

    /// Runs a statement, and hands over its rows one by one. A statement that writes has written all, however soon `each`
    /// stops.
    fn query(&self, sql: &str, values: &[Value<'_>], each: &mut EachRow<'_>) -> StoreResult<()>;

    /// Inserts a row into a table whose key is `id`; its number, unless the statement has inserted nothing.
    fn insert(&self, sql: &str, values: &[Value<'_>]) -> StoreResult<Option<i64>>;

    /// Runs several statements without values.
    fn batch(&self, sql: &str) -> StoreResult<()>;
}

impl dyn Connection + '_ {
    /// All rows, each as `read` reads it.
    pub(in crate::store) fn rows<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&dyn Row) -> StoreResult<T>,
    ) -> StoreResult<Vec<T>> {
        let mut rows = Vec::new();
        self.query(sql, values, &mut |row| {
            rows.push(read(row)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    /// The first row, if there is one.
    pub(in crate::store) fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&dyn Row) -> StoreResult<T>,
    ) -> StoreResult<Option<T>> {
        let (mut read, mut first) = (Some(read), None);
        self.query(sql, values, &mut |row| {
            first = read.take().map(|read| read(row)).transpose()?;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(first)
    }

    /// The one row that there always is.
    pub(in crate::store) fn one<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&dyn Row) -> StoreResult<T>,
    ) -> StoreResult<T> {
        let first = self.first(sql, values, read)?;
        first.ok_or_else(|| StoreError::Unreadable("a row that is always there is not".to_owned()))
    }

    /// The one value of the one row.
    pub(in crate::store) fn scalar<T>(&self, sql: &str, values: &[Value<'_>]) -> StoreResult<T>
    where
        T: for<'r> FromCell<'r>,
    {
        self.one(sql, values, |row| row.get(0))
    }

    /// Whether there is a row.
    pub(in crate::store) fn exists(&self, sql: &str, values: &[Value<'_>]) -> StoreResult<bool> {
        Ok(self.first(sql, values, |_| Ok(()))?.is_some())
    }

    /// Words of SQLite's that steer its plan, such as `INDEXED BY`; nothing where it means nothing.
    pub(in crate::store) fn hint(&self, words: &'static str) -> &'static str {
        match self.engine() {
            Engine::Sqlite => words,
            Engine::Postgres => "",
        }
    }
}
