//! How far a copy has come: a table in the target, changed in the transactions that bring the rows. While it is there, nothing
//! but the copy uses the database.

use anyhow::{Context, bail, ensure};

use super::rows::HeldRow;
use super::schema::Table;
use crate::store::StoreResult;
use crate::store::sql::{Connection, values};

/// Of each table, what has been copied. Made by the first run, dropped by the last.
const CREATE: &str = "CREATE TABLE copying (table_name TEXT NOT NULL PRIMARY KEY, source TEXT NOT NULL, \
                      copied BIGINT NOT NULL, after_key TEXT, is_complete BIGINT NOT NULL)";

/// What was copied of a table.
pub(super) struct Progress {
    pub(super) copied: u64,
    /// The key of the last row that was copied.
    pub(super) after: Option<HeldRow>,
    pub(super) is_complete: bool,
}

/// Writes down that a copy begins.
pub(super) fn begin(db: &dyn Connection, source: &str, tables: &[Table]) -> StoreResult<()> {
    db.batch(CREATE)?;
    for table in tables {
        db.execute(
            "INSERT INTO copying (table_name, source, copied, is_complete) VALUES (?1, ?2, 0, 0)",
            values![table.name, source],
        )?;
    }
    Ok(())
}

/// Checks that what has begun is a copy of these tables from this source.
pub(super) fn check(db: &dyn Connection, source: &str, tables: &[Table]) -> anyhow::Result<()> {
    let sql = "SELECT table_name, source FROM copying";
    let mut begun: Vec<(String, String)> =
        db.rows(sql, &[], |row| Ok((row.get(0)?, row.get(1)?)))?;
    begun.sort();
    if let Some((_, other)) = begun.iter().find(|(_, other)| other != source) {
        bail!(
            "a copy from {other} has begun there, and this one is from {source}: go on with that one, or name an empty database"
        );
    }
    let mut names: Vec<_> = tables.iter().map(|table| &table.name).collect();
    names.sort();
    ensure!(
        begun.iter().map(|(name, _)| name).eq(names),
        "another version of athos-backend has begun a copy there: go on with that version, or name an empty database"
    );
    Ok(())
}

/// What has been copied of this table.
pub(super) fn read(db: &dyn Connection, table: &Table) -> anyhow::Result<Progress> {
    let sql = "SELECT copied, after_key, is_complete FROM copying WHERE table_name = ?1";
    let (copied, after, is_complete) = db.one(sql, values![table.name], |row| {
        Ok((row.get(0)?, row.get::<Option<String>>(1)?, row.get(2)?))
    })?;
    let after = after.as_deref().map(serde_json::from_str).transpose();
    Ok(Progress {
        copied,
        after: after.context("the record of the copy cannot be read")?,
        is_complete,
    })
}

/// Notes that these many rows more are copied, up to this key. `false` when it is not as it was read: another copy is at it.
pub(super) fn advance(
    db: &dyn Connection,
    table: &Table,
    was: u64,
    more: u64,
    after: Option<&HeldRow>,
    is_complete: bool,
) -> anyhow::Result<bool> {
    let after = after.map(serde_json::to_string).transpose()?;
    let (was, now) = (i64::try_from(was)?, i64::try_from(was + more)?);
    let changed = db.execute(
        "UPDATE copying SET copied = ?1, after_key = ?2, is_complete = ?3 WHERE table_name = ?4 AND copied = ?5",
        values![now, after, is_complete, table.name, was],
    )?;
    Ok(changed == 1)
}

/// Has the target be a database like any other.
pub(super) fn end(db: &dyn Connection) -> StoreResult<()> {
    db.batch("DROP TABLE copying")
}
