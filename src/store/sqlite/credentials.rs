//! What became of each secret and key, by fingerprint. The secrets themselves are never here.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::readers::ReadPool;
use super::writer::Operation;
use crate::model::{Credential, Timestamp};
use crate::store::{StoreError, StoreResult};

/// Records how they fare; what is on record and later stays.
pub(super) struct Note(pub(super) Vec<Credential>);

#[async_trait]
impl Operation for Note {
    type Output = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> StoreResult<()> {
        for credential in &self.0 {
            sqlx::query(
                "INSERT INTO credentials (kind, fingerprint, first_seen_at, last_used_at, last_refused_at, last_code) \
                 VALUES (?, ?, ?, ?, ?, ?) \
                 ON CONFLICT DO UPDATE SET \
                   first_seen_at = min(first_seen_at, excluded.first_seen_at), \
                   last_used_at = max(coalesce(last_used_at, excluded.last_used_at), \
                                      coalesce(excluded.last_used_at, last_used_at)), \
                   last_refused_at = coalesce(excluded.last_refused_at, last_refused_at), \
                   last_code = coalesce(excluded.last_code, last_code)",
            )
            .bind(credential.kind.as_str())
            .bind(&*credential.fingerprint)
            .bind(credential.first_seen_at.as_millis())
            .bind(credential.last_used_at.map(Timestamp::as_millis))
            .bind(credential.last_refused_at.map(Timestamp::as_millis))
            .bind(credential.last_code.as_deref())
            .execute(&mut *tx)
            .await?;
        }
        Ok(())
    }
}

/// All that were ever noted.
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
