//! A database in a file as an end of a copy.

use std::path::Path;

use anyhow::Context;
use rusqlite::Connection;

use super::migrations;
use super::open::{self, Location};
use crate::store::sql::{self, Catalog, End, values};
use crate::store::{StoreError, StoreResult};

const CATALOG: Catalog = Catalog {
    columns: "SELECT t.name, c.name, \
                CASE c.type WHEN 'INTEGER' THEN 'integer' WHEN 'REAL' THEN 'real' WHEN 'BLOB' THEN 'bytes' \
                            WHEN 'TEXT' THEN 'text' ELSE c.type END, c.pk \
              FROM pragma_table_list AS t, pragma_table_info(t.name) AS c \
              WHERE t.schema = 'main' AND t.type = 'table' AND substr(t.name, 1, 7) <> 'sqlite_' \
                AND t.name NOT IN ('_sqlx_migrations', 'copying') ORDER BY t.name, c.name",
    references: "SELECT t.name, k.\"table\" FROM pragma_table_list AS t, pragma_foreign_key_list(t.name) AS k",
    numbers: "SELECT t.name, coalesce(max(s.seq), 0) \
              FROM sqlite_schema AS t LEFT JOIN sqlite_sequence AS s ON s.name = t.name \
              WHERE t.type = 'table' AND t.sql LIKE '%AUTOINCREMENT%' GROUP BY t.name",
    set_number,
    begin: "BEGIN IMMEDIATE",
    begin_last: "BEGIN IMMEDIATE",
    finish: |db, _| db.batch("PRAGMA wal_checkpoint(TRUNCATE)"),
};

fn set_number(db: &dyn sql::Connection, table: &str, last: i64) -> StoreResult<()> {
    let update = "UPDATE sqlite_sequence SET seq = ?2 WHERE name = ?1";
    if db.execute(update, values![table, last])? == 0 {
        let insert = "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)";
        db.execute(insert, values![table, last])?;
    }
    Ok(())
}

/// Opens a database to copy from, which nobody can write to until it is closed.
pub(in crate::store) fn source(url: &str) -> anyhow::Result<End> {
    let file = open::existing(&Location::of(url)?.file)?;
    let explain = |error: StoreError| open::explain(error, &file);
    let connection = open::open_to_copy(&file).map_err(explain)?;
    migrations::schema(&connection)
        .map_err(explain)?
        .check_copyable(&file.display().to_string())?;
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .map_err(|error| explain(error.into()))?;
    Ok(end(connection, &file, false))
}

/// Opens a database to copy into, and creates it where there is none.
pub(in crate::store) fn target(url: &str) -> anyhow::Result<End> {
    let location = Location::of(url)?;
    let connection = open::open_current(&location, url)?;
    let file = open::existing(&location.file)?;
    let is_begun = migrations::is_being_copied_into(&connection)
        .with_context(|| format!("cannot read {}", file.display()))?;
    Ok(end(connection, &file, is_begun))
}

fn end(connection: Connection, file: &Path, is_begun: bool) -> End {
    End {
        db: Box::new(connection),
        catalog: &CATALOG,
        name: file.display().to_string(),
        is_begun,
    }
}
