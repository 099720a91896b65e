//! The database of a test, beside the service: changed, locked and looked into where no route and no store can. The one
//! file of these stories that knows which engine it is, and the only one that has its SQL. It is a SQLite file, or with
//! `STORY_STORE=postgres` a database of a server for tests. Stories of what is SQLite's alone: `backup.rs`, which also writes the database of an earlier version; in `commands.rs` the disk that is full; in
//! `doctor.rs` the copy with a page overwritten, and the database that cannot be read or written.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::{Left, TestApp};
use athos_backend::config::Config;

use crate::cluster;

/// Rows of one statement.
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
pub(crate) enum WriteLock {
    OfFile(SqliteConnection),
    OfServer(tokio_postgres::Client),
}

impl WriteLock {
    pub(crate) async fn release(self) {
        match self {
            Self::OfFile(mut db) => {
                sqlx::raw_sql("ROLLBACK").execute(&mut db).await.unwrap();
                db.close().await.unwrap();
            }
            Self::OfServer(client) => client.batch_execute("ROLLBACK").await.unwrap(),
        }
    }
}

/// A change of the database.
pub(crate) struct Move {
    pub(crate) from: String,
    pub(crate) to: String,
    _left: Option<cluster::Database>,
}

/// The server's database of a test, when the stories are told on one.
pub(super) fn on_server() -> Option<cluster::Database> {
    match std::env::var("STORY_STORE").as_deref() {
        Ok("postgres") => cluster::Database::new(),
        Ok(other) => panic!("STORY_STORE={other} is none"),
        Err(_) => None,
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
    /// The folder of the test, and its file where it has one.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("athos.db")
    }

    pub(crate) fn database_url(&self) -> String {
        match &self.server {
            Some(server) => server.url(),
            None => url(&self.database()),
        }
    }

    /// Has the service use a database of the other engine from its next start on, an empty one; nothing when there is no server.
    pub(crate) fn change_engine(&mut self) -> Option<Move> {
        let from = self.database_url();
        let file = self.database();
        let mut left = None;
        if let Some(server) = self.server.take() {
            if file.exists() {
                std::fs::rename(&file, file.with_extension("before")).unwrap();
            }
            left = Some(server);
        } else {
            self.server = Some(cluster::Database::new()?);
        }
        let to = self.database_url();
        let flag = format!("--database-url={to}");
        self.config.database_url = Config::from_flags([flag]).unwrap().database_url;
        Some(Move {
            from,
            to,
            _left: left,
        })
    }

    /// How many events are committed, whoever is at it.
    pub(crate) async fn committed_events(&self) -> i64 {
        let rows = self.rows(&["count(*)"], "events").await;
        rows[0]["count(*)"].as_i64().unwrap()
    }

    /// Whether these bytes are anywhere in the database's files; on a server, in any row.
    pub(crate) fn database_holds(&self, text: &str) -> bool {
        if let Some(server) = &self.server {
            let tables = "SELECT table_name FROM information_schema.tables                           WHERE table_schema = 'public' AND table_type = 'BASE TABLE'";
            let tables = server.sql(tables);
            let rows = |table| server.sql(&format!("SELECT t FROM {table} AS t"));
            let dump: String = tables.lines().map(rows).collect();
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            return dump.contains(&text.replace('\'', "''")) || dump.contains(&hex);
        }
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        files.into_iter().any(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            String::from_utf8_lossy(&bytes).contains(text)
        })
    }

    /// Removes what is kept for those who must forget erased calls, which is their ids, without a trace: whatever else has such
    /// an id is found then.
    pub(crate) async fn forget_tombstones(&self) {
        self.change(match &self.server {
            None => "PRAGMA secure_delete = ON; DELETE FROM erased_calls; PRAGMA wal_checkpoint(TRUNCATE)",
            Some(_) => "DELETE FROM erased_calls",
        })
        .await;
    }

    /// Has a call that no reader can read.
    pub(crate) async fn spoil_call(&self, id: &str) {
        let unchecked = match &self.server {
            None => "PRAGMA ignore_check_constraints = ON",
            Some(_) => "ALTER TABLE calls DROP CONSTRAINT calls_status_check",
        };
        self.change(format!(
            "{unchecked}; UPDATE calls SET status = 'spoilt' WHERE id = '{id}'"
        ))
        .await;
    }

    /// Copies what is committed into this file.
    pub(crate) async fn copy_database(&self, to: &Path) {
        self.change(format!("VACUUM INTO '{}'", to.display())).await;
    }

    /// Takes the lock that every write needs.
    pub(crate) async fn lock_writes(&self) -> WriteLock {
        let Some(server) = &self.server else {
            let mut db = connect(&self.database()).await;
            let begin = sqlx::raw_sql("BEGIN IMMEDIATE");
            begin.execute(&mut db).await.unwrap();
            return WriteLock::OfFile(db);
        };
        let url = server.url();
        let connected = tokio_postgres::connect(&url, tokio_postgres::NoTls);
        let (client, connection) = connected.await.unwrap();
        tokio::spawn(connection);
        // As another replica does that hangs in the middle of a batch.
        let lock = "BEGIN; SELECT pg_advisory_xact_lock(107152596235010)";
        client.batch_execute(lock).await.unwrap();
        WriteLock::OfServer(client)
    }

    /// Everything that was done by hand, the first first. The store has no reader of it.
    pub(crate) async fn audit(&self) -> Vec<AuditRow> {
        let columns = ["act", "caller", "rep", "subject", "result"];
        let rows = self.rows(&columns, "acts ORDER BY id").await;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let row = |row: Value| AuditRow {
            act: text(&row["act"]).unwrap(),
            caller: text(&row["caller"]).unwrap(),
            rep: text(&row["rep"]),
            subject: text(&row["subject"]),
            result: text(&row["result"]).map(|json| serde_json::from_str(&json).unwrap()),
        };
        rows.into_iter().map(row).collect()
    }

    /// Whether the event with this webhook id waits for Athos. No reader of the store shows it.
    pub(crate) async fn needs_fetch(&self, webhook_id: &str) -> bool {
        let of = format!("events WHERE webhook_id = {}", quoted(webhook_id));
        self.rows(&["needs_fetch"], &of).await[0]["needs_fetch"] == 1
    }

    /// Puts a history into the database.
    pub(crate) async fn add_calls(&self, calls: &[PastCall]) {
        for calls in calls.chunks(ROWS_AT_ONCE) {
            let row = |call: &PastCall| {
                let status = call.score.map_or("unscored", |_| "scored");
                let drill = call.drill.as_deref().map_or("NULL".to_owned(), quoted);
                let score = call
                    .score
                    .map_or("NULL".to_owned(), |score| score.to_string());
                let [id, rep, agency] =
                    [&call.id, &call.rep, &call.agency].map(|text| quoted(text));
                let at = call.at;
                format!(
                    "({id}, '{status}', 'roleplay', {rep}, {agency}, {drill}, {score}, {at}, {at})"
                )
            };
            let rows: Vec<_> = calls.iter().map(row).collect();
            let into = "INSERT INTO calls (id, status, source, rep, agency, drill_key, overall_score, sort_at, rev) VALUES";
            self.change(format!("{into} {}", rows.join(", "))).await;
        }
    }

    /// Puts this call elsewhere among the changes.
    pub(crate) async fn move_change(&self, call: &str, rev: i64) {
        let id = quoted(call);
        assert_eq!(
            self.rows(&["id"], &format!("calls WHERE id = {id}"))
                .await
                .len(),
            1
        );
        self.change(format!("UPDATE calls SET rev = {rev} WHERE id = {id}"))
            .await;
    }

    /// Puts dead events into an empty inbox that have come in just now.
    pub(crate) async fn add_dead_events(&self, count: usize) {
        let now = self.now().as_millis();
        let numbers: Vec<usize> = (1..=count).collect();
        let one = if self.server.is_some() {
            "'\\x01'"
        } else {
            "x'01'"
        };
        for numbers in numbers.chunks(ROWS_AT_ONCE) {
            let row = |number: &usize| {
                format!("('wh_{number}', 'dead', {now}, 1, 'x', 'call_{number}', {one}, 1)")
            };
            let rows: Vec<_> = numbers.iter().map(row).collect();
            let into = "INSERT INTO events (webhook_id, state, received_at, signed_at, secret, call_id, body, settled_at) VALUES";
            self.change(format!("{into} {}", rows.join(", "))).await;
        }
    }

    /// Has an endpoint wait for so many messages about one event, all of them due.
    pub(crate) async fn add_messages(&self, endpoint: i64, count: usize) {
        let now = self.now().as_millis();
        self.change(format!(
            "INSERT INTO messages (endpoint_id, message_id, kind, event_id, at, state, due_at) \
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
             SELECT {endpoint}, 'msg_' || i, 'event.dead', (SELECT min(id) FROM events), {now}, 'waiting', {now} FROM n"
        ))
        .await;
        if self.server.is_some() {
            // As autovacuum does within a minute: the planner of a table that was empty just now takes it for small.
            self.change("ANALYZE messages").await;
        }
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
        let sql = match &self.server {
            None => format!(
                "DROP TRIGGER IF EXISTS fails; CREATE TRIGGER fails BEFORE UPDATE ON events WHEN old.id > {id} \
                 BEGIN SELECT RAISE(ABORT, 'no more'); END"
            ),
            Some(_) => format!(
                "{REFUSE}; DROP TRIGGER IF EXISTS fails ON events; CREATE TRIGGER fails BEFORE UPDATE ON events \
                 FOR EACH ROW WHEN (old.id > {id}) EXECUTE FUNCTION refuse()"
            ),
        };
        self.change(sql).await;
    }

    /// From now on, no new drift can be stored.
    pub(crate) async fn refuse_drift(&self) {
        let sql = match &self.server {
            None => "CREATE TRIGGER no BEFORE INSERT ON drift BEGIN SELECT raise(ABORT, 'no'); END"
                .to_owned(),
            Some(_) => format!(
                "{REFUSE}; CREATE TRIGGER no BEFORE INSERT ON drift FOR EACH ROW EXECUTE FUNCTION refuse()"
            ),
        };
        self.change(sql).await;
    }

    /// Undoes [`Self::refuse_drift`].
    pub(crate) async fn accept_drift(&self) {
        let of_table = if self.server.is_some() {
            " ON drift"
        } else {
            ""
        };
        self.change(format!("DROP TRIGGER no{of_table}")).await;
    }

    /// Has every reconciliation look as one whose process died.
    pub(crate) async fn forget_ends_of_runs(&self) {
        self.change("UPDATE reconcile_runs SET finished_at = NULL")
            .await;
    }

    /// Begins an erasure as a process leaves it that dies right after it was written down.
    pub(crate) async fn begin_erasure(&self, rep: &str, calls_gone: u64) {
        let reps = quoted(&json!([rep]).to_string());
        let (at, result) = (
            self.now().as_millis(),
            quoted(&json!({ "calls": calls_gone }).to_string()),
        );
        self.change(format!(
            "INSERT INTO erasures (at, caller, actor, subject, reps, athos_reps, result) \
             VALUES ({at}, 'service', NULL, 'erased:0', {reps}, {reps}, {result})"
        ))
        .await;
    }

    /// These columns of rows, as JSON.
    async fn rows(&self, columns: &[&str], of: &str) -> Vec<Value> {
        let lines = match &self.server {
            Some(server) => server.sql(&select("json_build_object", columns, of)),
            None => {
                let mut db = connect(&self.database()).await;
                let lines = lines(&mut db, &select("json_object", columns, of)).await;
                db.close().await.unwrap();
                lines
            }
        };
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    async fn change(&self, sql: impl Into<String>) {
        match &self.server {
            Some(server) => {
                server.sql(&sql.into());
            }
            None => change(&self.database(), sql).await,
        }
    }

    /// What the database holds, for whoever judges the test.
    pub(super) fn kept(&self) -> Kept {
        match &self.server {
            Some(server) => read(
                |columns, of| server.sql(&select("json_build_object", columns, of)),
                "encode(body, 'hex')",
            ),
            None => look_into(self.database()),
        }
    }
}

/// A function for triggers on a server.
const REFUSE: &str = "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                      $$ BEGIN RAISE EXCEPTION 'no more'; END $$";

/// A statement that answers rows as JSON, one a line.
fn select(object: &str, columns: &[&str], of: &str) -> String {
    let pairs: Vec<_> = columns
        .iter()
        .map(|column| format!("{}, {column}", quoted(column)))
        .collect();
    format!("SELECT {object}({}) FROM {of}", pairs.join(", "))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

async fn lines(db: &mut SqliteConnection, sql: &str) -> String {
    let lines: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_all(db)
        .await
        .unwrap();
    lines.join("\n")
}

/// Reads the file on a thread of its own: a destructor cannot wait for the test's runtime.
fn look_into(database: PathBuf) -> Kept {
    let look = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut db = runtime.block_on(connect(&database));
        read(
            |columns, of| runtime.block_on(lines(&mut db, &select("json_object", columns, of))),
            "hex(body)",
        )
    };
    std::thread::spawn(look).join().unwrap()
}

/// Reads what is kept; `select` answers columns of rows as lines of JSON.
fn read(mut select: impl FnMut(&[&str], &str) -> String, body: &str) -> Kept {
    let mut rows = |column: &str, of: &str| -> Vec<Value> {
        let lines = select(&[column], of);
        let row = |line| serde_json::from_str::<Value>(line).unwrap()[column].clone();
        lines.lines().map(row).collect()
    };
    let mut count = |of: &str| rows("count(*)", of)[0].as_i64().unwrap();
    let left = Left {
        waiting: count("events WHERE state IN ('pending', 'processing')"),
        dead: count("events WHERE state = 'dead'"),
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let bodies = rows(body, "events");
    let bodies = bodies
        .iter()
        .filter_map(|hex| base16ct::mixed::decode_vec(text(hex)).ok());
    let mut private: Vec<_> = bodies
        .filter_map(|body| String::from_utf8(body).ok())
        .collect();
    for detail in rows("raw", "call_details") {
        let detail: Value = serde_json::from_str(&text(&detail)).unwrap();
        let turns = detail["transcript"].as_array().cloned().unwrap_or_default();
        let said = turns.iter().filter_map(|turn| turn["content"].as_str());
        private.extend(said.map(str::to_owned));
    }
    Kept { left, private }
}
