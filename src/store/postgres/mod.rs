//! The store on PostgreSQL, for several replicas on one database.

mod error;
mod migrations;
mod session;
mod tls;
mod url;

#[cfg(test)]
#[path = "../../../tests/cluster/mod.rs"]
mod cluster;
#[cfg(test)]
mod tests;
