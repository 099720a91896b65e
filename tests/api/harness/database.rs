//! The database of a test, beside the service: read through a store of its own, and looked into or changed where no route
//! and no store can. The one file that knows which engine it is, but for stories of what is SQLite's alone: `backup.rs`,
//! the full disk of `commands.rs`, the damaged copy of `doctor.rs`, the lock in `webhooks.rs`, and the triggers that let
//! writes fail in `drift.rs` and `events.rs`.

use std::path::{Path, PathBuf};

use athos_backend::model::Scope;
use athos_backend::store::{self, CallFilter, EventFilter, Mint, MintFilter, StoredEvent};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::{Left, TestApp};

/// More rows than a test has that lists them.
const ALL: u32 = 10_000;

/// What the database holds at the end of a test.
pub(super) struct Kept {
    pub(super) left: Left,
    /// Bodies of webhooks, and what people said in calls.
    pub(super) private: Vec<String>,
}

pub(crate) fn url(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

pub(crate) async fn connect(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(file);
    options.disable_statement_logging().connect().await.unwrap()
}

impl TestApp {
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("athos.db")
    }

    pub(crate) fn database_url(&self) -> String {
        url(&self.database())
    }

    /// The database, through another connection than the service's.
    pub(crate) async fn db(&self) -> SqliteConnection {
        connect(&self.database()).await
    }

    /// Whether these bytes are anywhere in the database's files.
    pub(crate) fn database_holds(&self, text: &str) -> bool {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        files.into_iter().any(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            String::from_utf8_lossy(&bytes).contains(text)
        })
    }

    /// One number out of the database.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        let mut db = self.db().await;
        let count = sqlx::query_scalar(sql).fetch_one(&mut db).await.unwrap();
        db.close().await.unwrap();
        count
    }

    /// Does to the database what nothing in the service does.
    pub(crate) async fn change(&self, sql: impl Into<String>) {
        let mut db = self.db().await;
        let sql = AssertSqlSafe(sql.into());
        sqlx::raw_sql(sql).execute(&mut db).await.unwrap();
        db.close().await.unwrap();
    }

    /// Every event, the first first.
    pub(crate) async fn events(&self) -> Vec<StoredEvent> {
        let store = store::open(&self.database_url()).await.unwrap();
        let page = store.list_events(&EventFilter::default(), ALL, None).await;
        let mut events = Vec::new();
        for row in page.unwrap().rows.iter().rev() {
            events.push(store.find_event(row.id).await.unwrap().unwrap());
        }
        store.close().await;
        events
    }

    /// Every request for a session token, the first first.
    pub(crate) async fn mints(&self) -> Vec<Mint> {
        let store = store::open(&self.database_url()).await.unwrap();
        let page = store.list_mints(&MintFilter::default(), ALL, None).await;
        store.close().await;
        page.unwrap().rows.into_iter().rev().collect()
    }

    /// The one detail there is, as it is kept.
    pub(crate) async fn detail(&self) -> Value {
        let store = store::open(&self.database_url()).await.unwrap();
        let kept = details(&*store).await;
        store.close().await;
        let [detail] = <[Value; 1]>::try_from(kept).unwrap();
        detail
    }
}

async fn details(store: &dyn store::Calls) -> Vec<Value> {
    let everything = CallFilter {
        scope: Scope::All,
        from: None,
        to: None,
        rep: None,
        agency: None,
        drill: None,
        status: None,
        source: None,
    };
    let calls = store.list_calls(&everything, ALL, None).await.unwrap();
    let mut details = Vec::new();
    for row in calls.rows {
        let call = store.find_call(&Scope::All, &row.id).await.unwrap();
        let raw = call.unwrap().raw;
        details.extend(raw.map(|raw| serde_json::from_str::<Value>(&raw).unwrap()));
    }
    details
}

/// Reads the database on a thread of its own: a destructor cannot wait for the test's runtime.
pub(super) fn look_into(database: PathBuf) -> Kept {
    let look = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(read(&database))
    };
    std::thread::spawn(look).join().unwrap()
}

async fn read(database: &Path) -> Kept {
    let mut db = connect(database).await;
    let mut count = async |sql: &'static str| -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut db).await.unwrap()
    };
    let left = Left {
        waiting: count("SELECT count(*) FROM events WHERE state IN ('pending', 'processing')")
            .await,
        dead: count("SELECT count(*) FROM events WHERE state = 'dead'").await,
    };
    let bodies: Vec<Vec<u8>> = sqlx::query_scalar("SELECT body FROM events")
        .fetch_all(&mut db)
        .await
        .unwrap();
    let mut private: Vec<_> = bodies
        .into_iter()
        .filter_map(|body| String::from_utf8(body).ok())
        .collect();
    let details: Vec<String> = sqlx::query_scalar("SELECT raw FROM call_details")
        .fetch_all(&mut db)
        .await
        .unwrap();
    for detail in details {
        let detail: Value = serde_json::from_str(&detail).unwrap();
        let turns = detail["transcript"].as_array().cloned().unwrap_or_default();
        let said = turns.iter().filter_map(|turn| turn["content"].as_str());
        private.extend(said.map(str::to_owned));
    }
    Kept { left, private }
}
