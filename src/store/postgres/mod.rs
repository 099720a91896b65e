//! The store on PostgreSQL, for several replicas on one database.

mod connector;
mod error;
mod listener;
mod migrations;
mod open;
mod session;
mod tls;
mod url;
mod writer;

#[cfg(test)]
#[path = "../../../tests/cluster/mod.rs"]
mod cluster;
#[cfg(test)]
mod tests;

pub use open::ServerOptions;
pub(super) use open::open;
