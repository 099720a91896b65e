//! The steps of the schema: the same numbers and names for every engine.

/// Every step, as its name without `.sql` and its text in this folder of `migrations/`.
macro_rules! migrations {
    ($engine:literal) => {
        $crate::store::migrations::migrations! {
            $engine:
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
            "0013_replicas_leaders",
            "0014_checks_by_comparison",
        }
    };
    ($engine:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../migrations/", $engine, "/", $name, ".sql")))),+]
    };
}

pub(super) use migrations;
