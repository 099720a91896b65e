//! The database of a test, beside the service: changed, locked and looked into where no route and no store can. The one
//! file of these stories that knows which engine it is, and the only one that has its SQL. Stories of what is SQLite's
//! alone: `backup.rs`, which also writes the database of an earlier version; in `commands.rs` the disk that is full; in
//! `doctor.rs` the copy with a page overwritten, and the database that cannot be read or written.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, QueryBuilder};

use super::{Left, TestApp};

/// Rows of one statement; each has its bindings, of which there is a limit.
const ROWS_AT_ONCE: usize = 1_000;

/// What the database holds at the end of a test.
pub(super) struct Kept {
    pub(super) left: Left,
    /// Bodies of webhooks, and what people said in calls.
    pub(super) private: Vec<String>,
}

/// A call of long ago, to be put straight into the database: scored, if it has a score.
pub(crate) struct PastCall {
    pub(crate) id: String,
    pub(crate) rep: String,
    pub(crate) agency: String,
    pub(crate) drill: Option<String>,
    pub(crate) score: Option<f64>,
    /// Its place both in lists and among the changes.
    pub(crate) at: i64,
}

/// What somebody did by hand, as the audit log has it.
pub(crate) struct AuditRow {
    pub(crate) act: String,
    pub(crate) caller: String,
    pub(crate) rep: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) result: Option<Value>,
}

/// Keeps everybody else from writing until it is released.
pub(crate) struct WriteLock(SqliteConnection);

impl WriteLock {
    pub(crate) async fn release(mut self) {
        sqlx::raw_sql("ROLLBACK")
            .execute(&mut self.0)
            .await
            .unwrap();
        self.0.close().await.unwrap();
    }
}

pub(crate) fn url(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

async fn connect(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(file);
    options.disable_statement_logging().connect().await.unwrap()
}

async fn change(file: &Path, sql: impl Into<String>) {
    let mut db = connect(file).await;
    let sql = AssertSqlSafe(sql.into());
    sqlx::raw_sql(sql).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

/// Has this database look as if a later version had written it.
pub(crate) async fn date_ahead(file: &Path) {
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', 1, x'', 0)";
    change(file, later).await;
}

impl TestApp {
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("athos.db")
    }

    pub(crate) fn database_url(&self) -> String {
        url(&self.database())
    }

    /// Whether these bytes are anywhere in the database's files.
    pub(crate) fn database_holds(&self, text: &str) -> bool {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        files.into_iter().any(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            String::from_utf8_lossy(&bytes).contains(text)
        })
    }

    /// Removes what is kept for those who must forget erased calls, which is their ids, without a trace: whatever else has such
    /// an id is found then.
    pub(crate) async fn forget_tombstones(&self) {
        self.change(
            "PRAGMA secure_delete = ON; DELETE FROM erased_calls; PRAGMA wal_checkpoint(TRUNCATE)",
        )
        .await;
    }

    /// Has a call that no reader can read.
    pub(crate) async fn spoil_call(&self, id: &str) {
        self.change(format!(
            "PRAGMA ignore_check_constraints = ON; UPDATE calls SET status = 'spoilt' WHERE id = '{id}'"
        ))
        .await;
    }

    /// Copies what is committed into this file.
    pub(crate) async fn copy_database(&self, to: &Path) {
        self.change(format!("VACUUM INTO '{}'", to.display())).await;
    }

    /// Takes the lock that every write needs.
    pub(crate) async fn lock_writes(&self) -> WriteLock {
        let mut db = self.db().await;
        sqlx::raw_sql("BEGIN IMMEDIATE")
            .execute(&mut db)
            .await
            .unwrap();
        WriteLock(db)
    }

    /// Everything that was done by hand, the first first. The store has no reader of it.
    pub(crate) async fn audit(&self) -> Vec<AuditRow> {
        type Columns = (
            String,
            String,
            Option<String>,
            Option<String>,
            Option<String>,
        );
        let mut db = self.db().await;
        let rows: Vec<Columns> =
            sqlx::query_as("SELECT act, caller, rep, subject, result FROM acts ORDER BY id")
                .fetch_all(&mut db)
                .await
                .unwrap();
        db.close().await.unwrap();
        let row = |(act, caller, rep, subject, result): Columns| AuditRow {
            act,
            caller,
            rep,
            subject,
            result: result.map(|json| serde_json::from_str(&json).unwrap()),
        };
        rows.into_iter().map(row).collect()
    }

    /// Whether the event with this webhook id waits for Athos. No reader of the store shows it.
    pub(crate) async fn needs_fetch(&self, webhook_id: &str) -> bool {
        let mut db = self.db().await;
        let needs = sqlx::query_scalar("SELECT needs_fetch FROM events WHERE webhook_id = $1")
            .bind(webhook_id)
            .fetch_one(&mut db)
            .await
            .unwrap();
        db.close().await.unwrap();
        needs
    }

    /// Puts a history into the database.
    pub(crate) async fn add_calls(&self, calls: &[PastCall]) {
        let into = "INSERT INTO calls (id, status, source, rep, agency, drill_key, overall_score, sort_at, rev) ";
        let mut db = self.db().await;
        for calls in calls.chunks(ROWS_AT_ONCE) {
            let mut insert = QueryBuilder::<Sqlite>::new(into);
            insert.push_values(calls, |mut row, call| {
                let status = if call.score.is_some() {
                    "scored"
                } else {
                    "unscored"
                };
                row.push_bind(&call.id)
                    .push_bind(status)
                    .push_bind("roleplay")
                    .push_bind(&call.rep)
                    .push_bind(&call.agency)
                    .push_bind(&call.drill)
                    .push_bind(call.score)
                    .push_bind(call.at)
                    .push_bind(call.at);
            });
            insert.build().execute(&mut db).await.unwrap();
        }
        db.close().await.unwrap();
    }

    /// Puts this call elsewhere among the changes.
    pub(crate) async fn move_change(&self, call: &str, rev: i64) {
        let mut db = self.db().await;
        let moved = sqlx::query("UPDATE calls SET rev = $1 WHERE id = $2")
            .bind(rev)
            .bind(call)
            .execute(&mut db)
            .await
            .unwrap();
        assert_eq!(moved.rows_affected(), 1);
        db.close().await.unwrap();
    }

    /// Puts dead events into an empty inbox that have come in just now.
    pub(crate) async fn add_dead_events(&self, count: usize) {
        let into = "INSERT INTO events (webhook_id, state, received_at, signed_at, secret, call_id, body, settled_at) ";
        let now = self.now().as_millis();
        let numbers: Vec<usize> = (1..=count).collect();
        let mut db = self.db().await;
        for numbers in numbers.chunks(ROWS_AT_ONCE) {
            let mut insert = QueryBuilder::<Sqlite>::new(into);
            insert.push_values(numbers, |mut row, number| {
                row.push_bind(format!("wh_{number}"))
                    .push_bind("dead")
                    .push_bind(now)
                    .push_bind(1)
                    .push_bind("x")
                    .push_bind(format!("call_{number}"))
                    .push_bind(&[1_u8][..])
                    .push_bind(1);
            });
            insert.build().execute(&mut db).await.unwrap();
        }
        db.close().await.unwrap();
    }

    /// Gives every event up.
    pub(crate) async fn give_events_up(&self) {
        self.change("UPDATE events SET state = 'dead', next_attempt_at = NULL, reason = 'spent'")
            .await;
    }

    /// Has the events look as a version left them that understood none of them.
    pub(crate) async fn forget_meaning_of_events(&self) {
        self.calls_have_rows().await;
        self.change(
            "UPDATE events SET state = 'ignored', next_attempt_at = NULL, call_id = NULL, needs_fetch = 0, \
               settled_at = NULL, reason = 'not understood'; \
             DELETE FROM calls",
        )
        .await;
    }

    /// Has the inbox look broken to whoever writes into it.
    pub(crate) async fn hide_events(&self) {
        self.change("ALTER TABLE events RENAME TO elsewhere").await;
    }

    /// Undoes [`Self::hide_events`].
    pub(crate) async fn bring_events_back(&self) {
        self.change("ALTER TABLE elsewhere RENAME TO events").await;
    }

    /// From now on, no event with a higher id can be changed.
    pub(crate) async fn refuse_changes_of_events_above(&self, id: i64) {
        self.change(format!(
            "DROP TRIGGER IF EXISTS fails; CREATE TRIGGER fails BEFORE UPDATE ON events WHEN old.id > {id} \
             BEGIN SELECT RAISE(ABORT, 'no more'); END"
        ))
        .await;
    }

    /// From now on, no new drift can be stored.
    pub(crate) async fn refuse_drift(&self) {
        self.change(
            "CREATE TRIGGER no BEFORE INSERT ON drift BEGIN SELECT raise(ABORT, 'no'); END",
        )
        .await;
    }

    /// Undoes [`Self::refuse_drift`].
    pub(crate) async fn accept_drift(&self) {
        self.change("DROP TRIGGER no").await;
    }

    /// Has every reconciliation look as one whose process died.
    pub(crate) async fn forget_ends_of_runs(&self) {
        self.change("UPDATE reconcile_runs SET finished_at = NULL")
            .await;
    }

    /// Begins an erasure as a process leaves it that dies right after it was written down.
    pub(crate) async fn begin_erasure(&self, rep: &str, calls_gone: u64) {
        let reps = json!([rep]).to_string();
        let mut db = self.db().await;
        sqlx::query(
            "INSERT INTO erasures (at, caller, actor, subject, reps, athos_reps, result) \
             VALUES ($1, 'service', NULL, 'erased:0', $2, $2, $3)",
        )
        .bind(self.now().as_millis())
        .bind(reps)
        .bind(json!({ "calls": calls_gone }).to_string())
        .execute(&mut db)
        .await
        .unwrap();
        db.close().await.unwrap();
    }

    async fn db(&self) -> SqliteConnection {
        connect(&self.database()).await
    }

    async fn change(&self, sql: impl Into<String>) {
        change(&self.database(), sql).await;
    }
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
