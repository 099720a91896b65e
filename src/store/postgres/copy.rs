//! A database on a server as an end of a copy.

use std::time::Duration;

use anyhow::bail;

use super::connector::Connector;
use super::migrations;
use super::open::{explain, server_time};
use super::writer::LOCK_OF_WRITES;
use crate::store::sql::{Catalog, Connection, End, Row, values};
use crate::store::{StoreError, StoreResult, TERM_LASTS};

/// How a copy is called among the connections of the server.
const NAME: &str = "athos-backend copy";
/// Longest that counting a table may take, or analyzing all.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

const CATALOG: Catalog = Catalog {
    columns: "SELECT t.relname::text, c.attname::text, \
                CASE format_type(c.atttypid, c.atttypmod) \
                  WHEN 'bigint' THEN 'integer' WHEN 'double precision' THEN 'real' WHEN 'bytea' THEN 'bytes' \
                  ELSE format_type(c.atttypid, c.atttypmod) END, \
                coalesce((SELECT k.place FROM pg_index AS i, \
                            unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place) \
                          WHERE i.indrelid = t.oid AND i.indisprimary AND k.number = c.attnum), 0) \
              FROM pg_class AS t JOIN pg_attribute AS c ON c.attrelid = t.oid AND c.attnum > 0 AND NOT c.attisdropped \
              WHERE t.relkind IN ('r', 'p') AND NOT t.relispartition \
                AND t.relnamespace = current_schema()::regnamespace \
                AND t.relname NOT IN ('migrations', 'copying') \
              ORDER BY t.relname COLLATE \"C\", c.attname COLLATE \"C\"",
    references: "SELECT t.relname::text, r.relname::text FROM pg_constraint AS k \
                 JOIN pg_class AS t ON t.oid = k.conrelid JOIN pg_class AS r ON r.oid = k.confrelid \
                 WHERE k.contype = 'f' AND t.relnamespace = current_schema()::regnamespace",
    numbers: "SELECT t.relname::text, \
                coalesce(pg_sequence_last_value(pg_get_serial_sequence(t.oid::regclass::text, c.attname)::regclass), 0) \
              FROM pg_class AS t JOIN pg_attribute AS c ON c.attrelid = t.oid AND c.attidentity <> '' \
              WHERE t.relnamespace = current_schema()::regnamespace",
    set_number,
    begin: "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL synchronous_commit = off",
    begin_last: "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL synchronous_commit = on",
    // The planner of a table that was filled at once takes it for empty until then.
    finish: |db, tables| db.batch(&format!("ANALYZE {tables}")),
};

fn set_number(db: &dyn Connection, table: &str, last: i64) -> StoreResult<()> {
    let set = "SELECT setval(pg_get_serial_sequence(?1, c.attname), greatest(?2, 1), ?2 > 0) \
               FROM pg_attribute AS c WHERE c.attrelid = to_regclass(?1) AND c.attidentity <> ''";
    db.execute(set, values![table, last]).map(drop)
}

/// Opens a database to copy from, which nobody can write to until it is closed: the lock of writes is held, as by a batch.
pub(in crate::store) fn source(url: &str) -> anyhow::Result<End> {
    let connector = Connector::named("--from", url, NAME)?;
    let name = connector.name();
    let told = |error: StoreError| explain(error, &name);
    let session = connector.connect(PATIENCE).map_err(told)?;
    migrations::schema(&session)
        .map_err(told)?
        .check_copyable(&name)?;
    refuse_served(&session, &name)?;
    session
        .batch(&format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
             SET LOCAL lock_timeout = '10s'; SELECT pg_advisory_xact_lock({LOCK_OF_WRITES})"
        ))
        .map_err(told)?;
    Ok(End {
        db: Box::new(session),
        catalog: &CATALOG,
        name,
        is_begun: false,
    })
}

/// Opens a database to copy into, which must be there; its schema is made where there is none.
pub(in crate::store) fn target(url: &str) -> anyhow::Result<End> {
    let connector = Connector::named("--to", url, NAME)?;
    let name = connector.name();
    let told = |error: StoreError| explain(error, &name);
    let session = connector.connect_writer(PATIENCE).map_err(told)?;
    migrations::run(&session, &name)?;
    refuse_served(&session, &name)?;
    let is_begun = migrations::is_being_copied_into(&session).map_err(told)?;
    Ok(End {
        db: Box::new(session),
        catalog: &CATALOG,
        name,
        is_begun,
    })
}

/// Refuses a database on which a replica serves, by what it says itself: connections say nothing behind a pooler.
fn refuse_served(db: &dyn Connection, name: &str) -> anyhow::Result<()> {
    let since = server_time(db)?.minus(TERM_LASTS);
    let alive = "SELECT id, version FROM replicas WHERE ended_at IS NULL AND heartbeat_at >= ?1";
    let read = |row: &dyn Row| Ok((row.get::<String>(0)?, row.get::<String>(1)?));
    if let Some((id, version)) = db.first(alive, values![since], read)? {
        bail!(
            "a service runs on the database {name} (replica {id}, version {version}): stop every replica first, so that nothing \
             comes in that is not copied; one that was killed counts for {} s",
            TERM_LASTS.as_secs()
        );
    }
    Ok(())
}
