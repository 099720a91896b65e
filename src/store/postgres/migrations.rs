//! The steps of the schema, as texts in the binary: the same numbers and names as SQLite's.

use sha2::{Digest, Sha256};

use super::BEGIN;
use crate::store::migrations::migrations;
use crate::store::sql::{Connection, values};
use crate::store::{Schema, StoreError, StoreResult};

pub(super) const FILES: &[(&str, &str)] = migrations!("postgres");

/// Whose turn it is to change the schema. Any number will do that nothing else in the database locks.
const LOCK: i64 = 0x6174_686f_7301;
/// Longest wait for another process that changes the schema.
const MAY_TAKE: &str = "10min";

/// Brings the schema up to date, in one transaction. Of several processes that start at the same time one does it and the
/// others wait: the lock ends with the transaction, so that no pooler and no crash can strand it.
///
/// # Errors
/// With advice, when a newer version has changed the schema, or this role may not.
pub(super) fn run(db: &dyn Connection, name: &str) -> anyhow::Result<()> {
    run_steps(db, name, FILES)
}

fn run_steps(db: &dyn Connection, name: &str, files: &[(&str, &str)]) -> anyhow::Result<()> {
    // A role that may not change the schema can serve where there is nothing to change.
    if missing(db, name, files)?.is_empty() {
        return Ok(());
    }
    let changed = change(db, name, files);
    if changed.is_err() {
        // After a lost connection there is nothing left to roll back.
        let _ = db.batch("ROLLBACK");
    }
    changed
}

fn change(db: &dyn Connection, name: &str, files: &[(&str, &str)]) -> anyhow::Result<()> {
    let explain = |error: StoreError| {
        match error {
        StoreError::ReadOnly(_) => anyhow::Error::new(error).context(format!(
            "the schema of {name} must be changed, and this role may not: GRANT CREATE ON SCHEMA public TO it, or start this \
             version once as the owner of the tables"
        )),
        error => anyhow::Error::new(error).context(format!("cannot bring the schema of {name} up to date")),
    }
    };
    let begin = format!(
        "{BEGIN}; SET LOCAL lock_timeout = '{MAY_TAKE}'; SET LOCAL statement_timeout = '{MAY_TAKE}'"
    );
    db.batch(&begin).map_err(explain)?;
    db.execute("SELECT pg_advisory_xact_lock(?1)", values![LOCK])
        .map_err(explain)?;
    let table = "CREATE TABLE IF NOT EXISTS migrations \
                 (version BIGINT PRIMARY KEY, name TEXT COLLATE \"C\" NOT NULL, hash BYTEA NOT NULL)";
    db.batch(table).map_err(explain)?;
    for (version, step, sql) in missing(db, name, files)? {
        db.batch(sql).map_err(explain)?;
        let hash = hash_of(sql);
        db.execute(
            "INSERT INTO migrations (version, name, hash) VALUES (?1, ?2, ?3)",
            values![version, step, hash],
        )
        .map_err(explain)?;
    }
    db.batch("COMMIT").map_err(explain)
}

/// A step with its number, name and text.
type Step<'a> = (i64, &'a str, &'a str);

/// The steps that the schema has not yet.
fn missing<'a>(
    db: &dyn Connection,
    name: &str,
    files: &[(&'a str, &'a str)],
) -> anyhow::Result<Vec<Step<'a>>> {
    let mut steps: Vec<Step<'_>> = files
        .iter()
        .filter_map(|(file, sql)| {
            let (number, step) = file.split_once('_')?;
            Some((number.parse().ok()?, step, *sql))
        })
        .collect();
    for (version, hash) in applied(db)? {
        let Some(place) = steps.iter().position(|step| step.0 == version) else {
            anyhow::bail!(
                "the database {name} is of a newer version of athos-backend, whose schema has a step {version} that this one \
                 does not know: start that version again, or restore a backup from before it"
            );
        };
        let (_, step, sql) = steps.remove(place);
        anyhow::ensure!(
            hash_of(sql)[..] == hash[..],
            "step {version} ({step}) of the schema of {name} is not the one that this version has: an edited migration"
        );
    }
    Ok(steps)
}

/// The steps that the schema has, with their hashes; none where there is no record of them.
fn applied(db: &dyn Connection) -> StoreResult<Vec<(i64, Vec<u8>)>> {
    if !db.scalar::<bool>("SELECT to_regclass('migrations') IS NOT NULL", &[])? {
        return Ok(Vec::new());
    }
    let read = |row: &dyn crate::store::sql::Row| Ok((row.get(0)?, row.get(1)?));
    db.rows(
        "SELECT version, hash FROM migrations ORDER BY version",
        &[],
        read,
    )
}

/// Whether a copy into the database has begun and not ended.
pub(super) fn is_being_copied_into(db: &dyn Connection) -> StoreResult<bool> {
    db.scalar("SELECT to_regclass('copying') IS NOT NULL", &[])
}

/// How the schema compares with this version's.
pub(super) fn schema(db: &dyn Connection) -> StoreResult<Schema> {
    if is_being_copied_into(db)? {
        return Ok(Schema::Copying);
    }
    let applied = applied(db)?.into_iter().map(|(version, _)| version);
    let known = FILES
        .iter()
        .filter_map(|(file, _)| file.split_once('_')?.0.parse().ok());
    Ok(Schema::of(applied.collect(), known.collect()))
}

fn hash_of(sql: &str) -> [u8; 32] {
    Sha256::digest(sql).into()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use super::super::cluster::Database;
    use super::super::tests::connect;
    use super::*;
    use crate::store::sql::Row;
    use crate::store::sqlite;

    #[test]
    fn every_file_is_embedded_and_each_has_its_twin() {
        let folder = |engine| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("migrations")
                .join(engine);
            let mut files: Vec<_> = std::fs::read_dir(folder)
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect();
            files.sort();
            files
        };
        let embedded: Vec<_> = FILES
            .iter()
            .map(|(name, _)| format!("{name}.sql"))
            .collect();
        assert_eq!(embedded, folder("postgres"));
        assert_eq!(folder("postgres"), folder("sqlite"));
    }

    #[test]
    fn ten_that_start_at_the_same_time_share_the_making_of_the_schema() {
        let Some(database) = Database::new() else {
            return;
        };
        let started: Vec<_> = (0..10)
            .map(|_| {
                let url = database.url();
                std::thread::spawn(move || run(&connect(&url), "it"))
            })
            .collect();
        for start in started {
            start.join().unwrap().unwrap();
        }
        let steps = database.sql("SELECT count(*) FROM migrations");
        assert_eq!(steps, FILES.len().to_string());
    }

    /// What a schema asks of who writes.
    struct Demands {
        /// What a column takes, by table and name: its type, and whether an insertion must name it.
        columns: BTreeMap<(String, String), (String, bool)>,
        /// What rows must be, as tables and texts: checks, references, and that they are there once; with the columns that it is
        /// about.
        rules: BTreeMap<(String, String), Vec<String>>,
    }

    fn read_demands(db: &dyn Connection) -> Demands {
        let sql = "SELECT table_name::text, column_name::text, data_type::text, \
                     is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO' \
                   FROM information_schema.columns WHERE table_schema = 'public'";
        let columns = db.rows(sql, &[], |row| {
            let mut column = row.from(0);
            let name = (column.next()?, column.next()?);
            Ok((name, (column.next()?, column.next()?)))
        });
        // A key's index is the same rule once more.
        let sql = "SELECT owner::regclass::text, rule, string_agg(attname, ' ') \
                   FROM (SELECT conrelid, pg_get_constraintdef(oid), conkey FROM pg_constraint \
                         UNION SELECT indrelid, pg_get_indexdef(indexrelid), indkey::int2[] FROM pg_index WHERE indisunique) \
                     AS rules (owner, rule, places) \
                   JOIN pg_attribute ON attrelid = owner AND attnum = ANY (places) \
                   WHERE owner IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace) GROUP BY owner, rule";
        let rules = db.rows(sql, &[], |row| {
            let of: String = row.get(2)?;
            let of = of.split(' ').map(str::to_owned).collect();
            Ok(((row.get(0)?, row.get(1)?), of))
        });
        Demands {
            columns: columns.unwrap().into_iter().collect(),
            rules: rules.unwrap().into_iter().collect(),
        }
    }

    /// What statements of the version before would fail for, or may.
    fn breaks(before: &Demands, after: &Demands) -> Vec<String> {
        let tables: BTreeSet<_> = before.columns.keys().map(|(table, _)| table).collect();
        let lost = before.columns.iter().filter_map(|(name, (kind, must))| {
            let what = match after.columns.get(name) {
                None => "is gone",
                Some((now, _)) if now != kind => "has another type",
                Some((_, now)) if now > must => "must be named",
                Some(_) => return None,
            };
            Some((name, what))
        });
        let new = after
            .columns
            .iter()
            .filter(|(name, (_, must))| {
                *must && !before.columns.contains_key(name) && tables.contains(&name.0)
            })
            .map(|(name, _)| (name, "is new and must be named"));
        // Of columns that the version before does not know, it writes none.
        let rules = after.rules.iter().filter(|(rule, of)| {
            let is_known = |column: &String| {
                let name = (rule.0.clone(), column.clone());
                before.columns.contains_key(&name)
            };
            !before.rules.contains_key(rule) && of.iter().any(is_known)
        });
        let rules = rules.map(|((table, rule), _)| format!("{table} has a new rule: {rule}"));
        lost.chain(new)
            .map(|((table, column), what)| format!("{table}.{column} {what}"))
            .chain(rules)
            .collect()
    }

    /// New rules that the version before keeps all the same.
    const HARMLESS: &[&str] = &[
        // `rep` could not be NULL before.
        "mints has a new rule: CHECK (((rep IS NOT NULL) OR (athos_rep IS NOT NULL)))",
        // Neither could be NULL before.
        "acts has a new rule: CHECK (((event_id IS NULL) = (was_state IS NULL)))",
        // These allow more than before.
        "credentials has a new rule: CHECK ((kind = ANY (ARRAY['webhook_secret'::text, 'api_key'::text, 'service_token'::text])))",
        "messages has a new rule: CHECK ((num_nonnulls(call_seq, event_id, act_id) = 1))",
    ];

    /// In a rolling deployment replicas of the version before go on for a while with the schema of the next. What has to go is
    /// first left unused by one minor version.
    #[test]
    fn no_step_breaks_the_statements_of_the_version_before() {
        let Some(database) = Database::new() else {
            return;
        };
        let db = connect(&database.url());
        let step = |files: &[(&str, &str)]| {
            run_steps(&db, "it", files).unwrap();
            read_demands(&db)
        };
        let mut before = step(&FILES[..1]);
        assert!(before.columns.len() > 20 && before.rules.len() > 10);
        for count in 2..=FILES.len() {
            let after = step(&FILES[..count]);
            let mut broken = breaks(&before, &after);
            broken.retain(|broken| !HARMLESS.contains(&&**broken));
            assert!(broken.is_empty(), "{}: {broken:#?}", FILES[count - 1].0);
            before = after;
        }
        let bad = "ALTER TABLE calls RENAME COLUMN told TO said; ALTER TABLE calls ADD COLUMN more BIGINT NOT NULL; \
                   ALTER TABLE mints ALTER COLUMN agency SET NOT NULL; ALTER TABLE events ALTER COLUMN lease TYPE INTEGER; \
                   ALTER TABLE mints ADD CHECK (agency <> ''); CREATE UNIQUE INDEX once ON attempts (event_id)";
        let mut files = FILES.to_vec();
        files.push(("9999_bad", bad));
        assert_eq!(
            breaks(&before, &step(&files)),
            [
                "calls.told is gone",
                "events.lease has another type",
                "mints.agency must be named",
                "calls.more is new and must be named",
                "attempts has a new rule: CREATE UNIQUE INDEX once ON public.attempts USING btree (event_id)",
                "mints has a new rule: CHECK ((agency <> ''::text))",
            ]
        );
    }

    #[test]
    fn a_step_that_fails_leaves_nothing_behind_and_the_next_start_goes_on() {
        let Some(database) = Database::new() else {
            return;
        };
        let db = connect(&database.url());
        let files = &[
            ("0001_one", "CREATE TABLE one (x BIGINT)"),
            ("0002_two", "CREATE TABLE one (x BIGINT)"),
        ];
        run_steps(&db, "it", files).unwrap_err();
        assert_eq!(database.sql("SELECT to_regclass('one') IS NULL"), "t");
        run_steps(&db, "it", &files[..1]).unwrap();
        let files = &[files[0], ("0002_two", "CREATE TABLE two (x BIGINT)")];
        run_steps(&db, "it", files).unwrap();
        assert_eq!(database.sql("SELECT count(*) FROM migrations"), "2");
    }

    #[test]
    fn a_newer_schema_and_an_edited_step_are_refused_with_advice() {
        let Some(database) = Database::new() else {
            return;
        };
        let db = connect(&database.url());
        run(&db, "it").unwrap();
        let edited = [("0001_inbox_calls_mints", "SELECT 1")];
        let said = format!("{:#}", run_steps(&db, "it", &edited).unwrap_err());
        assert!(said.contains("step 1 (inbox_calls_mints)"), "{said}");
        database.sql("INSERT INTO migrations VALUES (9999, 'of the future', '')");
        let said = format!("{:#}", run(&db, "it").unwrap_err());
        for told in ["newer version", "step 9999"] {
            assert!(said.contains(told), "{said}");
        }
    }

    #[test]
    fn a_role_that_may_not_change_the_schema_is_told_what_to_grant_and_serves_a_current_one() {
        let Some(database) = Database::new() else {
            return;
        };
        let role = format!("poor_{}", std::process::id());
        database.sql(&format!("CREATE ROLE {role} LOGIN"));
        let url = database.url().replace("postgres@", &format!("{role}@"));
        let said = format!("{:#}", run(&connect(&url), "it").unwrap_err());
        assert!(said.contains("GRANT CREATE"), "{said}");
        run(&connect(&database.url()), "it").unwrap();
        database.sql(&format!(
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
        ));
        run(&connect(&url), "it").unwrap();
        database.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    }

    /// What a schema is: lines by what they are about, in words that both engines can be described in.
    type Schema = BTreeMap<String, String>;

    fn read_schema(db: &dyn Connection, [columns, indexes, keys]: [&str; 3]) -> Schema {
        let line = |row: &dyn Row| Ok((row.get::<String>(0)?, row.get::<String>(1)?));
        let mut schema = Schema::new();
        for sql in [columns, indexes, keys] {
            schema.extend(db.rows(sql, &[], line).unwrap());
        }
        // How each engine writes conditions.
        for fact in schema.values_mut() {
            for (written, read) in [
                ("::text", ""),
                ("::bytea", ""),
                ("'\\x'", "x''"),
                ("(", ""),
                (")", ""),
                (" ", ""),
                ("\n", ""),
            ] {
                *fact = fact.replace(written, read);
            }
            *fact = fact.to_lowercase();
        }
        schema
    }

    const OF_SQLITE: [&str; 3] = [
        "SELECT 'column ' || t.name || '.' || c.name, \
                CASE c.type WHEN 'INTEGER' THEN 'bigint' WHEN 'REAL' THEN 'double precision' WHEN 'BLOB' THEN 'bytea' \
                            ELSE 'text' END || \
                CASE WHEN c.\"notnull\" OR c.pk > 0 THEN ' not null' ELSE '' END || \
                coalesce(' default ' || c.dflt_value, '') || CASE WHEN c.pk > 0 THEN ' key ' || c.pk ELSE '' END \
         FROM pragma_table_list AS t, pragma_table_info(t.name) AS c \
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name NOT LIKE '%migrations'",
        "SELECT 'index ' || name, substr(sql, instr(sql, ' ON ') + 4) || \
                CASE WHEN sql LIKE 'CREATE UNIQUE%' THEN ' unique' ELSE '' END \
         FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL",
        "SELECT 'key ' || t.name || '.' || k.\"from\", k.\"table\" || '.' || k.\"to\" || ' ' || k.on_delete \
         FROM pragma_table_list AS t, pragma_foreign_key_list(t.name) AS k",
    ];

    const OF_POSTGRES: [&str; 3] = [
        "SELECT 'column ' || c.table_name || '.' || c.column_name, \
                c.data_type || CASE WHEN c.is_nullable = 'NO' THEN ' not null' ELSE '' END || \
                coalesce(' default ' || c.column_default, '') || coalesce(' key ' || k.ordinal_position, '') \
         FROM information_schema.columns AS c \
         JOIN information_schema.tables AS t USING (table_schema, table_name) \
         LEFT JOIN (information_schema.key_column_usage AS k JOIN information_schema.table_constraints AS p \
                    ON p.constraint_name = k.constraint_name AND p.constraint_type = 'PRIMARY KEY') \
           ON k.table_name = c.table_name AND k.column_name = c.column_name \
         WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.table_name <> 'migrations'",
        "SELECT 'index ' || i.relname, \
                t.relname || '(' || (SELECT string_agg(a.attname, ',' ORDER BY k.place) \
                                     FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k (number, place) \
                                     JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = k.number) || ')' || \
                coalesce(' WHERE ' || pg_get_expr(x.indpred, t.oid), '') || \
                CASE WHEN x.indisunique THEN ' unique' ELSE '' END \
         FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_class AS t ON t.oid = x.indrelid \
         WHERE t.relnamespace = 'public'::regnamespace AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = i.oid)",
        "SELECT 'key ' || c.conrelid::regclass || '.' || a.attname, \
                c.confrelid::regclass || '.' || b.attname || CASE c.confdeltype WHEN 'c' THEN ' CASCADE' ELSE ' NO ACTION' END \
         FROM pg_constraint AS c \
         JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] \
         JOIN pg_attribute AS b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[1] WHERE c.contype = 'f'",
    ];

    #[tokio::test]
    async fn the_schema_is_that_of_sqlite_column_by_column() {
        let Some(database) = Database::new() else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("athos.db");
        let store = sqlite::open(&format!("sqlite://{}", file.display()))
            .await
            .unwrap();
        drop(store);
        let ours = read_schema(&rusqlite::Connection::open(file).unwrap(), OF_SQLITE);
        let theirs = tokio::task::spawn_blocking(move || {
            let db = connect(&database.url());
            run(&db, "it").unwrap();
            let not_by_bytes = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public' \
                                AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'";
            let db: &dyn Connection = &db;
            assert_eq!(db.scalar::<i64>(not_by_bytes, &[]).unwrap(), 0);
            read_schema(db, OF_POSTGRES)
        });
        let theirs = theirs.await.unwrap();
        assert!(ours.len() > 100);
        similar(&ours, &theirs);
    }

    fn similar(ours: &Schema, theirs: &Schema) {
        let names = ours.keys().chain(theirs.keys());
        let different: Vec<_> = names
            .filter(|name| ours.get(*name) != theirs.get(*name))
            .map(|name| {
                format!(
                    "{name}: SQLite {:?}, PostgreSQL {:?}",
                    ours.get(name),
                    theirs.get(name)
                )
            })
            .collect();
        assert!(different.is_empty(), "{}", different.join("\n"));
    }
}
