//! Checks of a database on a server: version, rights, connections, clock, what is in between, and whether it keeps what it commits.

use super::database::CHECK;
use super::finding::{Bytes, Finding, Span};
use crate::config::Config;
use crate::store::{CLOCKS_MAY_DIFFER, Schema, ServerState};

/// Of a replica beside its pool: the connection that listens, and the one that it tries it with.
const LISTENING_CONNECTIONS: u32 = 2;
/// Tables to name.
const TABLES_SHOWN: usize = 5;

pub(super) fn findings(config: &Config, server: &ServerState, schema: Schema) -> Vec<Finding> {
    let mut findings = vec![server_itself(server)];
    findings.extend(standby(server));
    findings.push(durability(server));
    findings.push(rights(server, schema));
    findings.push(connections(config, server));
    findings.push(clock(server));
    findings.push(notifications(config, server));
    findings
}

fn server_itself(server: &ServerState) -> Finding {
    let seen = format!(
        "{}: PostgreSQL {}, {}, {}, time zone {} (nothing depends on it)",
        server.name,
        server.version,
        Bytes(server.size_bytes),
        server.encoding,
        server.time_zone
    );
    if !server.is_supported {
        return Finding::fail(CHECK, seen).fix("15 is the oldest that is supported: upgrade it");
    }
    if server.encoding != "UTF8" {
        return Finding::fail(CHECK, seen)
            .fix("make the database with ENCODING 'UTF8': others cannot hold what people say");
    }
    Finding::ok(CHECK, seen)
}

fn standby(server: &ServerState) -> Option<Finding> {
    let behind = match server.standby? {
        Some(behind) => format!("{} behind its primary", Span(behind)),
        None => "how far behind its primary is not known".to_owned(),
    };
    let found = Finding::fail("standby", format!("the server is a standby, {behind}"));
    Some(found.fix(
        "nothing can be written there, and the service does not start: name the primary, or all of them \
         (postgres://a,b/athos)",
    ))
}

fn durability(server: &ServerState) -> Finding {
    const CHECK: &str = "durability";
    if !server.unsafe_settings.is_empty() {
        let settings = server.unsafe_settings.join(", ");
        return Finding::fail(CHECK, format!("the server has {settings}")).fix(
            "set it otherwise: the service does not start where what is committed may be lost",
        );
    }
    let standbys = match &*server.synchronous_standbys {
        "" => "no standby is waited for".to_owned(),
        names => format!("synchronous standbys: {names}"),
    };
    let setting = &server.synchronous_commit;
    Finding::ok(
        CHECK,
        format!(
            "what is acknowledged is committed with synchronous_commit on, whatever it is otherwise ({setting}); {standbys}"
        ),
    )
}

fn rights(server: &ServerState, schema: Schema) -> Finding {
    const CHECK: &str = "rights";
    let role = &server.role;
    if let Some(first) = server
        .closed_tables
        .get(..TABLES_SHOWN.min(server.closed_tables.len()))
        && !first.is_empty()
    {
        let shown = first.join(", ");
        let more = match server.closed_tables.len() - first.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        return Finding::fail(CHECK, format!("the role {role} may not read and write {shown}{more}"))
            .fix(format!(
                "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}, and USAGE ON ALL SEQUENCES"
            ));
    }
    if server.may_create {
        return Finding::ok(
            CHECK,
            format!("the role {role} may make tables, read and write"),
        );
    }
    let seen = format!("the role {role} may make no tables");
    let fix = format!(
        "GRANT CREATE ON SCHEMA public TO {role}, or start each new version once as the owner"
    );
    match schema {
        Schema::Older => {
            Finding::fail(CHECK, format!("{seen}, and the schema must be changed")).fix(fix)
        }
        Schema::Current | Schema::Newer | Schema::Copying => {
            Finding::warn(CHECK, format!("{seen}; a later version may need to")).fix(fix)
        }
    }
}

fn connections(config: &Config, server: &ServerState) -> Finding {
    const CHECK: &str = "connections";
    let there = server.connections;
    let needed = config.database_pool.get() + LISTENING_CONNECTIONS;
    let seen = format!(
        "{} of {} in use, {} can be made; a replica has up to {needed}",
        there.in_use,
        there.max,
        there.left()
    );
    if there.left() >= needed {
        return Finding::ok(CHECK, seen);
    }
    // Replicas that run have theirs already.
    Finding::warn(CHECK, seen).fix(
        "another replica, as during a rolling update, would find too few: raise max_connections (or the limit of the role or \
         the database), lower DATABASE_POOL, or put a pooler in between",
    )
}

fn clock(server: &ServerState) -> Finding {
    const CHECK: &str = "server's clock";
    let seen = format!("this machine's clock is {} the server's", server.clock);
    match server.clock.is_too_large() {
        false => Finding::ok(CHECK, seen),
        true => Finding::fail(CHECK, seen).fix(format!(
            "they may differ by {} s, or the service does not start: have both set by NTP",
            CLOCKS_MAY_DIFFER.as_secs()
        )),
    }
}

fn notifications(config: &Config, server: &ServerState) -> Finding {
    const CHECK: &str = "notifications";
    let way = match (server.is_pooled, &config.database_listen_url) {
        (true, Some(_)) => "a pooler in transaction mode, and DATABASE_LISTEN_URL beside it",
        (true, None) => "a pooler in transaction mode",
        (false, Some(_)) => "no pooler in transaction mode, and DATABASE_LISTEN_URL",
        (false, None) => "no pooler in transaction mode",
    };
    let listen = "set DATABASE_LISTEN_URL to the server itself: until then changes by other replicas are seen by looking, every \
                  DATABASE_POLL";
    match &server.notifications {
        Ok(true) => Finding::ok(CHECK, format!("{way}; changes by other replicas are heard of at once")),
        Ok(false) if server.is_pooled && config.database_listen_url.is_none() => {
            Finding::warn(CHECK, format!("{way}, which swallows them")).fix(listen)
        }
        Ok(false) => Finding::warn(CHECK, format!("{way}; what one connection says the other does not hear"))
            .fix("DATABASE_LISTEN_URL must lead to the same database, with no pooler in transaction mode before it"),
        Err(why) => Finding::warn(CHECK, format!("{way}; listening fails: {why}")).fix(listen),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::{ClockDifference, Connections};

    fn healthy() -> ServerState {
        ServerState {
            name: "athos at db".to_owned(),
            version: "15.5".to_owned(),
            is_supported: true,
            encoding: "UTF8".to_owned(),
            time_zone: "Europe/Berlin".to_owned(),
            size_bytes: 1,
            standby: None,
            unsafe_settings: Vec::new(),
            synchronous_commit: "off".to_owned(),
            synchronous_standbys: String::new(),
            role: "athos".to_owned(),
            may_create: true,
            closed_tables: Vec::new(),
            connections: Connections {
                in_use: 1,
                max: 97,
                limited: None,
            },
            clock: ClockDifference { millis: 3 },
            is_pooled: false,
            notifications: Ok(true),
        }
    }

    /// The findings that are not ok, as JSON.
    fn wrong(change: impl FnOnce(&mut ServerState), schema: Schema) -> String {
        let mut server = healthy();
        change(&mut server);
        let config = Config::from_flags(Vec::<String>::new()).unwrap();
        let found = findings(&config, &server, schema).into_iter();
        let found = found.filter(|one| one.verdict != super::super::finding::CheckStatus::Ok);
        serde_json::to_string(&found.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn of_a_server_each_thing_that_does_not_work_is_told_with_what_to_do() {
        assert_eq!(wrong(|_| {}, Schema::Current), "[]");
        type Change = fn(&mut ServerState);
        let cases: [(Change, &str, &str); 13] = [
            (|s| s.is_supported = false, "fail", "15 is the oldest"),
            (
                |s| s.encoding = "LATIN1".to_owned(),
                "fail",
                "ENCODING 'UTF8'",
            ),
            (
                |s| s.standby = Some(Some(Duration::from_secs(7))),
                "fail",
                "a standby, 7 s behind its primary",
            ),
            (|s| s.standby = Some(None), "fail", "name the primary"),
            (
                |s| s.unsafe_settings = vec!["fsync = off"],
                "fail",
                "fsync = off",
            ),
            (
                |s| s.closed_tables = vec!["calls".to_owned(); 7],
                "fail",
                "and 2 more",
            ),
            (
                |s| s.may_create = false,
                "warn",
                "GRANT CREATE ON SCHEMA public TO athos",
            ),
            (
                |s| s.connections.in_use = 90,
                "warn",
                "raise max_connections",
            ),
            (
                |s| s.connections.limited = Some((8, 1)),
                "warn",
                "7 can be made; a replica has up to 10",
            ),
            (|s| s.clock.millis = -5_001, "fail", "NTP"),
            (
                |s| (s.is_pooled, s.notifications) = (true, Ok(false)),
                "warn",
                "set DATABASE_LISTEN_URL",
            ),
            (|s| s.notifications = Ok(false), "warn", "the same database"),
            (
                |s| s.notifications = Err("refused".to_owned()),
                "warn",
                "listening fails: refused",
            ),
        ];
        for (change, verdict, told) in cases {
            let found = wrong(change, Schema::Current);
            assert!(
                found.contains(told) && found.contains(verdict),
                "{told}: {found}"
            );
            assert_eq!(found.matches("\"check\"").count(), 1, "{found}");
        }
        let older = wrong(|s| s.may_create = false, Schema::Older);
        assert!(older.contains("fail"), "{older}");
    }
}
