//! The usage of each secret and key, by fingerprint. The secrets themselves are never stored.

use super::{Connection, Durability, Operation, values};
use crate::model::Credential;
use crate::store::StoreResult;

/// Stores their usage; a later time on record stays.
pub(super) struct Note(pub(super) Vec<Credential>);

impl Operation for Note {
    type Output = ();
    /// Usage that is not stored now is stored with the next use.
    const DURABILITY: Durability = Durability::Committed;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<()> {
        for credential in &self.0 {
            tx.execute(
                "INSERT INTO credentials (kind, fingerprint, first_seen_at, last_used_at, last_refused_at, last_code) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT (kind, fingerprint) DO UPDATE SET \
                   first_seen_at = CASE WHEN excluded.first_seen_at < credentials.first_seen_at \
                     THEN excluded.first_seen_at ELSE credentials.first_seen_at END, \
                   last_used_at = CASE WHEN excluded.last_used_at < credentials.last_used_at \
                     THEN credentials.last_used_at ELSE coalesce(excluded.last_used_at, credentials.last_used_at) END, \
                   last_refused_at = coalesce(excluded.last_refused_at, credentials.last_refused_at), \
                   last_code = coalesce(excluded.last_code, credentials.last_code)",
                values![
                    credential.kind.as_str(),
                    credential.fingerprint,
                    credential.first_seen_at,
                    credential.last_used_at,
                    credential.last_refused_at,
                    credential.last_code,
                ],
            )?;
        }
        Ok(())
    }
}

/// Every credential that was ever stored.
pub(super) fn list(db: &dyn Connection) -> StoreResult<Vec<Credential>> {
    let sql = "SELECT kind, fingerprint, first_seen_at, last_used_at, last_refused_at, last_code FROM credentials \
               ORDER BY kind, first_seen_at";
    db.rows(sql, &[], |row| {
        Ok(Credential {
            kind: row.word(0)?,
            fingerprint: row.get(1)?,
            first_seen_at: row.get(2)?,
            last_used_at: row.get(3)?,
            last_refused_at: row.get(4)?,
            last_code: row.get(5)?,
        })
    })
}
