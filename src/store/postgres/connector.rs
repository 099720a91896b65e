//! Makes connections, and checks that what they lead to keeps what is written.

use std::time::Duration;

use super::session::Session;
use super::tls::Tls;
use super::url::Address;
use crate::store::sql::{Connection, Reader, Source};
use crate::store::{StoreError, StoreResult};

/// The oldest server that is supported: 15.0.
pub(super) const OLDEST: i64 = 150_000;

/// How to connect to the database; shared by all connections.
#[derive(Clone)]
pub(super) struct Connector {
    address: Address,
    tls: Tls,
}

impl Connector {
    pub(super) fn new(variable: &str, url: &str) -> anyhow::Result<Self> {
        let address = Address::parse(variable, url)?;
        let tls = Tls::new(&address.verify)?;
        Ok(Self { address, tls })
    }

    /// The same for a program with a name of its own among the connections of the server.
    pub(super) fn named(variable: &str, url: &str, name: &str) -> anyhow::Result<Self> {
        let mut connector = Self::new(variable, url)?;
        connector.address.config.application_name(name);
        Ok(connector)
    }

    /// The database, without what may be secret.
    pub(super) fn name(&self) -> String {
        self.address.name()
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Connects. A server that does not answer a statement within `patience` is given up.
    pub(super) fn connect(&self, patience: Duration) -> StoreResult<Session> {
        Session::connect(&self.address, &self.tls, patience)
    }

    /// Connects for writing, to a server that takes writes and keeps them.
    pub(super) fn connect_writer(&self, patience: Duration) -> StoreResult<Session> {
        let session = self.connect(patience)?;
        check_keeps(&session)?;
        Ok(session)
    }
}

/// Asked on every connection that writes: a failover leads to another server, and settings change.
fn check_keeps(db: &dyn Connection) -> StoreResult<()> {
    let sql = "SELECT current_setting('server_version_num')::bigint, pg_is_in_recovery(), current_setting('fsync') = 'on', \
                 current_setting('full_page_writes') = 'on', current_setting('transaction_read_only') = 'on'";
    db.one(sql, &[], |row| {
        let mut columns = row.from(0);
        let version: i64 = columns.next()?;
        if version < OLDEST {
            return Err(StoreError::Refused(format!(
                "PostgreSQL {} is too old: 15 is the oldest that is supported",
                version / 10_000
            )));
        }
        if columns.next::<bool>()? {
            return Err(StoreError::ReadOnly("the server is a standby".to_owned()));
        }
        if !columns.next::<bool>()? || !columns.next::<bool>()? {
            let why =
                "the server does not keep what is written: set fsync and full_page_writes to on";
            return Err(StoreError::ReadOnly(why.to_owned()));
        }
        if columns.next::<bool>()? {
            let why = "transactions are read-only: see default_transaction_read_only";
            return Err(StoreError::ReadOnly(why.to_owned()));
        }
        Ok(())
    })
}

impl Source for Connector {
    fn connect(&self) -> StoreResult<Box<dyn Reader>> {
        /// Beyond every read's deadline, which ends the read itself.
        const PATIENCE: Duration = Duration::from_secs(15);
        Ok(Box::new(Self::connect(self, PATIENCE)?))
    }
}
