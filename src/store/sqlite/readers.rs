//! Connections to SQLite that read. A statement looks every few thousand instructions whether it must end.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::BUSY_TIMEOUT;
use super::connection::keep_plans;
use crate::store::StoreResult;
use crate::store::sql::{Reader, Source, Watch};

/// Instructions of SQLite between two looks: about 50 µs.
const CHECK_EVERY_INSTRUCTIONS: i32 = 4096;
/// Prepared statements that a connection keeps.
const READER_STATEMENTS: usize = 32;

/// Connects to a database that is there. Each connection keeps a page cache of 2 MB at most.
pub(super) struct ReadSource {
    file: PathBuf,
}

impl ReadSource {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
        }
    }
}

impl Source for ReadSource {
    fn connect(&self) -> StoreResult<Box<dyn Reader>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.file, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        keep_plans(&connection)?;
        // Where the root is read-only there is no place for temporary files.
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY")?;
        connection.set_prepared_statement_cache_capacity(READER_STATEMENTS);
        Ok(Box::new(connection))
    }
}

impl Reader for Connection {
    fn begin(&mut self, watch: Watch) -> StoreResult<()> {
        let is_over = move || watch.is_over();
        Ok(self.progress_handler(CHECK_EVERY_INSTRUCTIONS, Some(is_over))?)
    }

    fn is_reusable(&self) -> bool {
        self.is_autocommit()
    }
}
