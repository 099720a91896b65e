//! The steps of the schema, as texts in the binary. A list rather than sqlx's macro, which compiles SQLite a second time, for
//! the compiler's own use.

use std::sync::LazyLock;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// Every file of `migrations/sqlite`, as its name without `.sql` and its text.
macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../../migrations/sqlite/", $name, ".sql")))),+]
    };
}

const FILES: &[(&str, &str)] = &files![
    "0001_inbox_calls_mints",
    "0002_reconcile_inspect",
    "0003_identities",
    "0004_privacy",
    "0005_credentials",
    "0006_drift",
    "0007_console",
    "0008_ids_once_and_content",
    "0009_opening",
    "0010_outbox",
    "0011_deliveries",
    "0012_feed_audit_keys",
];

pub(super) static MIGRATIONS: LazyLock<Migrator> =
    LazyLock::new(|| Migrator::with_migrations(FILES.iter().filter_map(migration).collect()));

/// Number, description and checksum are what sqlx makes of such a file: databases remember them.
fn migration((name, sql): &(&'static str, &'static str)) -> Option<Migration> {
    let (version, description) = name.split_once('_')?;
    Some(Migration::new(
        version.parse().ok()?,
        description.replace('_', " ").into(),
        MigrationType::Simple,
        (*sql).into_sql_str(),
        sql.starts_with("-- no-transaction"),
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn every_file_is_embedded_as_it_is() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
        let files = Migrator::new(folder).await.unwrap();
        let facts = |migrator: &Migrator| -> Vec<_> {
            migrator
                .iter()
                .map(|step| {
                    (
                        step.version,
                        step.description.clone(),
                        step.migration_type,
                        step.checksum.clone(),
                        step.no_tx,
                    )
                })
                .collect()
        };
        assert_eq!(facts(&MIGRATIONS), facts(&files));
        assert_eq!(MIGRATIONS.iter().count(), FILES.len());
    }
}
