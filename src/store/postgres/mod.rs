//! The store on PostgreSQL, for several replicas on one database.

mod backend;
mod connector;
mod copy;
mod error;
mod examine;
mod listener;
mod migrations;
mod open;
mod session;
mod tls;
mod url;
mod writer;

#[cfg(test)]
#[path = "../../../tests/cluster/mod.rs"]
pub(in crate::store) mod cluster;
#[cfg(test)]
mod tests;

pub(super) use copy::{source as copy_source, target as copy_target};
pub(super) use examine::examine;
pub use open::ServerOptions;
pub(super) use open::open;

/// Begins a transaction in which what is read after a lock was got is newer than the lock, whatever the database's default is.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
