//! Looks at a server without changing anything on it. For `doctor`, beside running replicas or before the first starts.

use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::connector::{Connector, OLDEST};
use super::open::{ServerOptions, explain, measure_clock};
use super::session::Session;
use super::{listener, migrations};
use crate::store::sql::{Connection, Reader, Watch, contents};
use crate::store::{Connections, Examined, Place, Schema, ServerState, StoreError, StoreResult};

/// Looks at connections of a pooler to find that they are shared.
const POOLER_TRIES: u32 = 3;

/// Examines the database at `url`. Reading its content takes at most `limit`.
pub(in crate::store) async fn examine(
    url: &str,
    options: &ServerOptions,
    limit: Duration,
) -> anyhow::Result<Examined> {
    let connector = Connector::named("DATABASE_URL", url, "athos-backend doctor")?;
    let looking = connector.clone();
    let mut examined = spawn_blocking(move || look(&looking, limit)).await??;
    if let Place::Server(server) = &mut examined.place {
        server.notifications = match &options.listen_url {
            Some(url) => {
                let listening = Connector::new("DATABASE_LISTEN_URL", url)?;
                listener::is_heard(&listening, &connector).await
            }
            // A pooler would keep the connection listening that it lent.
            None if server.is_pooled => Ok(false),
            None => listener::is_heard(&connector, &connector).await,
        }
        .map_err(|error| format!("{error:#}"));
    }
    Ok(examined)
}

fn look(connector: &Connector, limit: Duration) -> anyhow::Result<Examined> {
    let name = connector.name();
    let told = |error: StoreError| explain(error, &name);
    let mut session = connector.connect(limit).map_err(told)?;
    let server = state(connector, &session).map_err(told)?;
    let schema = migrations::schema(&session).map_err(told)?;
    let contents = match schema {
        Schema::Current if server.closed_tables.is_empty() => {
            session.begin(Watch {
                abandoned: CancellationToken::new(),
                deadline: Some(Instant::now() + limit),
            })?;
            Some(contents(&session).map_err(told)?)
        }
        _ => None,
    };
    Ok(Examined {
        place: Place::Server(Box::new(server)),
        schema,
        contents,
    })
}

fn state(connector: &Connector, session: &Session) -> StoreResult<ServerState> {
    let db: &dyn Connection = session;
    let sql = "SELECT current_setting('server_version'), current_setting('server_version_num')::bigint, \
                 current_setting('server_encoding'), current_setting('TimeZone'), pg_database_size(current_database()), \
                 pg_is_in_recovery(), \
                 CASE WHEN NOT pg_is_in_recovery() THEN NULL \
                      WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 \
                      ELSE (extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::bigint END, \
                 current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on', \
                 current_setting('default_transaction_read_only') = 'off', current_setting('synchronous_commit'), \
                 current_setting('synchronous_standby_names'), current_user::text, \
                 coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)";
    db.one(sql, &[], |row| {
        let mut columns = row.from(0);
        let version = columns.next()?;
        let is_supported = columns.next::<i64>()? >= OLDEST;
        let (encoding, time_zone, size_bytes) = (columns.next()?, columns.next()?, columns.next()?);
        let (is_standby, behind) = (columns.next::<bool>()?, columns.next::<Option<u64>>()?);
        let mut unsafe_settings = Vec::new();
        for setting in [
            "fsync = off",
            "full_page_writes = off",
            "default_transaction_read_only = on",
        ] {
            if !columns.next::<bool>()? {
                unsafe_settings.push(setting);
            }
        }
        Ok(ServerState {
            name: connector.name(),
            version,
            is_supported,
            encoding,
            time_zone,
            size_bytes,
            standby: is_standby.then(|| behind.map(Duration::from_millis)),
            unsafe_settings,
            synchronous_commit: columns.next()?,
            synchronous_standbys: columns.next()?,
            role: columns.next()?,
            may_create: columns.next()?,
            closed_tables: closed_tables(db)?,
            connections: connections(db)?,
            clock: measure_clock(db)?,
            is_pooled: is_pooled(connector, db)?,
            notifications: Ok(false),
        })
    })
}

/// Tables, and the sequences that number their rows, that the role may not use as the service does.
fn closed_tables(db: &dyn Connection) -> StoreResult<Vec<String>> {
    let sql = "SELECT relname::text FROM pg_class \
               WHERE relnamespace = current_schema()::regnamespace AND relname <> 'migrations' \
                 AND CASE relkind WHEN 'S' THEN NOT has_sequence_privilege(oid, 'USAGE') \
                                  WHEN 'r' THEN NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT') \
                                                 AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')) \
                                  ELSE false END \
               ORDER BY relname";
    db.rows(sql, &[], |row| row.get(0))
}

fn connections(db: &dyn Connection) -> StoreResult<Connections> {
    let sql = "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), \
                 current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint, \
                 (SELECT nullif(rolconnlimit, -1)::bigint FROM pg_roles WHERE rolname = current_user), \
                 (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user), \
                 (SELECT nullif(datconnlimit, -1)::bigint FROM pg_database WHERE datname = current_database()), \
                 (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())";
    db.one(sql, &[], |row| {
        let mut columns = row.from(0);
        let (in_use, max) = (columns.next()?, columns.next()?);
        let mut limits = Vec::new();
        for _ in 0..2 {
            let (limit, used): (Option<u32>, u32) = (columns.next()?, columns.next()?);
            limits.extend(limit.map(|limit| (limit, used)));
        }
        Ok(Connections {
            in_use,
            max,
            limited: limits
                .into_iter()
                .min_by_key(|(limit, used)| limit.saturating_sub(*used)),
        })
    })
}

/// Whether a second connection gets the server's end of the first, which only a pooler can do, between its transactions.
fn is_pooled(connector: &Connector, first: &dyn Connection) -> StoreResult<bool> {
    const PID: &str = "SELECT pg_backend_pid()::bigint";
    let second = connector.connect(Duration::from_secs(5))?;
    let second: &dyn Connection = &second;
    for _ in 0..POOLER_TRIES {
        let ours: i64 = first.scalar(PID, &[])?;
        second.batch("BEGIN")?;
        let theirs: StoreResult<i64> = second.scalar(PID, &[]);
        let again: StoreResult<i64> = first.scalar(PID, &[]);
        second.batch("ROLLBACK")?;
        if theirs? == ours || again? != ours {
            return Ok(true);
        }
    }
    Ok(false)
}
