//! The usage of each secret and key, by fingerprint. The secrets themselves are never stored.

use rusqlite::{Connection, params};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::readers::ReadPool;
use super::writer::{Durability, Operation};
use crate::model::{Credential, Timestamp};
use crate::store::{StoreError, StoreResult};

/// Stores their usage; a later time on record stays.
pub(super) struct Note(pub(super) Vec<Credential>);

impl Operation for Note {
    type Output = ();
    /// Usage that is not stored now is stored with the next use.
    const DURABILITY: Durability = Durability::Committed;

    fn apply(&self, tx: &Connection) -> StoreResult<()> {
        for credential in &self.0 {
            tx.prepare_cached(
                "INSERT INTO credentials (kind, fingerprint, first_seen_at, last_used_at, last_refused_at, last_code) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT (kind, fingerprint) DO UPDATE SET \
                   first_seen_at = CASE WHEN excluded.first_seen_at < credentials.first_seen_at \
                     THEN excluded.first_seen_at ELSE credentials.first_seen_at END, \
                   last_used_at = CASE WHEN excluded.last_used_at < credentials.last_used_at \
                     THEN credentials.last_used_at ELSE coalesce(excluded.last_used_at, credentials.last_used_at) END, \
                   last_refused_at = coalesce(excluded.last_refused_at, credentials.last_refused_at), \
                   last_code = coalesce(excluded.last_code, credentials.last_code)",
            )?
            .execute(params![
                credential.kind.as_str(),
                credential.fingerprint,
                credential.first_seen_at.as_millis(),
                credential.last_used_at.map(Timestamp::as_millis),
                credential.last_refused_at.map(Timestamp::as_millis),
                credential.last_code,
            ])?;
        }
        Ok(())
    }
}

/// Every credential that was ever stored.
pub(super) async fn list(readers: &ReadPool) -> StoreResult<Vec<Credential>> {
    let rows = sqlx::query(
        "SELECT kind, fingerprint, first_seen_at, last_used_at, last_refused_at, last_code FROM credentials \
         ORDER BY kind, first_seen_at",
    )
    .fetch_all(readers)
    .await?;
    rows.iter().map(credential).collect()
}

fn credential(row: &SqliteRow) -> StoreResult<Credential> {
    let kind: String = row.try_get("kind")?;
    let kind = kind
        .parse()
        .map_err(|_| StoreError::Unreadable(format!("a credential of kind {kind}")))?;
    let time = |name: &str| -> StoreResult<Option<Timestamp>> {
        let millis: Option<i64> = row.try_get(name)?;
        Ok(millis.map(Timestamp::from_millis))
    };
    Ok(Credential {
        kind,
        fingerprint: row.try_get("fingerprint")?,
        first_seen_at: Timestamp::from_millis(row.try_get("first_seen_at")?),
        last_used_at: time("last_used_at")?,
        last_refused_at: time("last_refused_at")?,
        last_code: row.try_get("last_code")?,
    })
}
