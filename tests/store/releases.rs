//! Replicas of an earlier release go on for a while on the schema of a later one: what they say to PostgreSQL must still work.
//! `tests/fixtures/releases` has what each release says in the story of the contract, a line each.
//!
//! `RECORD_RELEASE=1.2.0 cargo test --test store postgres_keeps_the_contract` writes that of this version.

use std::path::PathBuf;

use athos_backend::store;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use super::cluster::Database;
use super::wire::Recorder;

/// Failures of one release that are shown.
const SHOWN: usize = 5;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/releases")
}

/// An empty store of this version.
async fn new_store() -> Option<Database> {
    let database = Database::new()?;
    let store = store::open(&database.url()).await.unwrap();
    store.close().await;
    Some(database)
}

/// Says all of it once more; what fails.
async fn say_again(database: &Database, said: &str) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let unsynced = client.batch_execute("SET synchronous_commit = off").await;
    unsynced.unwrap();
    let mut failed = Vec::new();
    for line in said.lines() {
        match client.batch_execute(line).await {
            // The transaction has failed at a line before.
            Err(error) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => {}
            Err(error) => {
                let error = error.as_db_error().unwrap();
                failed.push(format!("{error}: {line}"));
            }
            Ok(()) => {}
        }
    }
    failed
}

/// The story, recorded where that is asked for: told to a store at the URL that `tell` gets, which begins the record.
pub(crate) async fn record_where_asked(
    database: &Database,
    tell: impl AsyncFnOnce(&str, &dyn Fn()),
) {
    let Ok(version) = std::env::var("RECORD_RELEASE") else {
        return tell(&database.url(), &|| {}).await;
    };
    let recorder = Recorder::start(&database.url()).await;
    tell(recorder.url(), &|| recorder.begin()).await;
    let said = format!("{}\n", recorder.lines().join("\n"));
    let failed = say_again(&new_store().await.unwrap(), &said).await;
    assert!(failed.is_empty(), "{:#?}", first(&failed));
    std::fs::write(folder().join(format!("{version}.sql")), said).unwrap();
}

fn first(failed: &[String]) -> &[String] {
    &failed[..SHOWN.min(failed.len())]
}

fn releases() -> Vec<(String, String)> {
    let files = std::fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().path());
    let read = files.map(|file| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(file).unwrap())
    });
    read.collect()
}

#[tokio::test]
async fn what_earlier_releases_say_to_postgres_works_on_the_schema_of_this_one() {
    let releases = releases();
    assert!(!releases.is_empty());
    for (release, said) in &releases {
        let Some(database) = new_store().await else {
            return;
        };
        let failed = say_again(&database, said).await;
        assert!(failed.is_empty(), "{release}: {:#?}", first(&failed));
    }
}

#[tokio::test]
async fn a_step_of_the_schema_that_breaks_an_earlier_release_is_noticed() {
    let (_, said) = releases().pop().unwrap();
    for (step, noticed) in [
        (
            "ALTER TABLE calls RENAME COLUMN told TO said",
            &["column calls.told does not exist"][..],
        ),
        (
            "ALTER TABLE events ADD CHECK (origin <> 'reconcile'); CREATE UNIQUE INDEX once ON attempts (event_id);
             ALTER TABLE mints ADD COLUMN more BIGINT NOT NULL",
            &["check constraint", "unique constraint", "not-null constraint"],
        ),
    ] {
        let Some(database) = new_store().await else {
            return;
        };
        database.sql(step);
        let failed = say_again(&database, &said).await;
        for noticed in noticed {
            let is_noticed = failed.iter().any(|line| line.contains(noticed));
            assert!(is_noticed, "{noticed}: {:#?}", first(&failed));
        }
    }
}
