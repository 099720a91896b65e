//! The steps of the schema, as texts in the binary. Which ones a database has is in the table in which sqlx kept it for
//! earlier versions, as sqlx would write it: those versions understand what this one leaves, and the other way round.

use std::time::Instant;

use rusqlite::Connection;
use sha2::{Digest, Sha384};

use crate::store::migrations::migrations;
use crate::store::sql::{self, values};
use crate::store::{Schema, StoreError, StoreResult};

const FILES: &[(&str, &str)] = migrations!("sqlite");

/// A step of the schema.
pub(super) struct Step {
    pub(super) version: i64,
    sql: &'static str,
    description: String,
    checksum: [u8; 48],
}

/// All steps, in order.
pub(super) fn steps() -> impl Iterator<Item = Step> {
    FILES.iter().filter_map(|(name, sql)| {
        let (version, description) = name.split_once('_')?;
        Some(Step {
            version: version.parse().ok()?,
            sql,
            description: description.replace('_', " "),
            checksum: Sha384::digest(sql).into(),
        })
    })
}

/// Why the schema cannot be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrateError {
    /// A step that this version does not know.
    #[error("the schema has a step {0} that this version does not know")]
    Unknown(i64),
    #[error("step {0} of the schema is not the one that this version has: an edited migration")]
    Edited(i64),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for MigrateError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Brings the schema up to date, step by step, each in a transaction of its own. Of several processes that start at the same
/// time one takes a step, and the others wait and find it taken.
pub(super) fn run(connection: &Connection) -> Result<(), MigrateError> {
    run_to(connection, i64::MAX)
}

/// The same up to a step.
pub(super) fn run_to(connection: &Connection, last: i64) -> Result<(), MigrateError> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS _sqlx_migrations ( \
           version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
           installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, \
           checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)",
    )?;
    let applied = applied(connection)?;
    for (version, checksum) in &applied {
        match steps().find(|step| step.version == *version) {
            Some(step) if step.checksum[..] == checksum[..] => {}
            Some(_) => return Err(MigrateError::Edited(*version)),
            None => return Err(MigrateError::Unknown(*version)),
        }
    }
    let is_applied = |step: &Step| applied.iter().any(|(version, _)| step.version == *version);
    for step in steps().filter(|step| step.version <= last && !is_applied(step)) {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let taken = take(connection, &step);
        let end = if taken.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = connection.execute_batch(end);
        taken?;
        ended?;
    }
    Ok(())
}

/// Whether a copy into the database has begun and not ended.
pub(super) fn is_being_copied_into(db: &dyn sql::Connection) -> StoreResult<bool> {
    db.exists("SELECT 1 FROM sqlite_schema WHERE name = 'copying'", &[])
}

/// How the schema of a database compares with this version's.
pub(super) fn schema(db: &dyn sql::Connection) -> StoreResult<Schema> {
    if is_being_copied_into(db)? {
        return Ok(Schema::Copying);
    }
    if !db.exists(
        "SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations'",
        &[],
    )? {
        return Ok(Schema::Older);
    }
    let applied = applied(db)?.into_iter().map(|(version, _)| version);
    Ok(Schema::of(
        applied.collect(),
        steps().map(|step| step.version).collect(),
    ))
}

/// Takes a step, unless another process just did.
fn take(db: &dyn sql::Connection, step: &Step) -> StoreResult<()> {
    let is_taken = "SELECT 1 FROM _sqlx_migrations WHERE version = ?1";
    if db.exists(is_taken, values![step.version])? {
        return Ok(());
    }
    let begun = Instant::now();
    db.batch(step.sql)?;
    let nanos = i64::try_from(begun.elapsed().as_nanos()).unwrap_or(i64::MAX);
    db.execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (?1, ?2, ?3, ?4, ?5)",
        values![step.version, step.description, true, step.checksum, nanos],
    )?;
    Ok(())
}

/// The steps that a database has, with their checksums; none where there is no record of them.
pub(super) fn applied(db: &dyn sql::Connection) -> StoreResult<Vec<(i64, Vec<u8>)>> {
    let table = "SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    if !db.exists(table, &[])? {
        return Ok(Vec::new());
    }
    let steps = "SELECT version, checksum FROM _sqlx_migrations ORDER BY version";
    db.rows(steps, &[], |row| Ok((row.get(0)?, row.get(1)?)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sqlx::ConnectOptions;
    use sqlx::migrate::Migrator;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;

    async fn of_earlier_versions() -> Migrator {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
        Migrator::new(folder).await.unwrap()
    }

    #[tokio::test]
    async fn every_file_is_embedded_and_is_recorded_as_earlier_versions_record_it() {
        let files = of_earlier_versions().await;
        let theirs = files.iter().map(|file| {
            let description = file.description.to_string();
            (file.version, description, file.checksum.to_vec())
        });
        let ours = steps().map(|step| (step.version, step.description, step.checksum.to_vec()));
        assert_eq!(ours.collect::<Vec<_>>(), theirs.collect::<Vec<_>>());
        assert_eq!(steps().count(), FILES.len());
    }

    #[tokio::test]
    async fn earlier_versions_and_this_one_go_on_where_the_other_left_the_schema() {
        let theirs = of_earlier_versions().await;
        for (first, then) in [(true, false), (false, true)] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("athos.db");
            for (is_ours, last) in [(first, 6), (then, i64::MAX)] {
                if is_ours {
                    run_to(&Connection::open(&file).unwrap(), last).unwrap();
                } else {
                    let options = SqliteConnectOptions::new().filename(&file);
                    let mut db = options.create_if_missing(true).connect().await.unwrap();
                    theirs.run_to(last.min(9999), &mut db).await.unwrap();
                }
            }
            let connection = Connection::open(&file).unwrap();
            run(&connection).unwrap();
            assert_eq!(applied(&connection).unwrap().len(), steps().count());
            let mut db = SqliteConnectOptions::new()
                .filename(&file)
                .connect()
                .await
                .unwrap();
            theirs.run(&mut db).await.unwrap();
        }
    }

    #[test]
    fn a_step_that_fails_leaves_nothing_behind() {
        let connection = Connection::open_in_memory().unwrap();
        run_to(&connection, 1).unwrap();
        connection
            .execute_batch("CREATE TABLE reconcile_runs (x)")
            .unwrap();
        let before = applied(&connection).unwrap();
        assert!(run(&connection).is_err());
        assert_eq!(applied(&connection).unwrap(), before);
        assert!(connection.is_autocommit());
    }
}
