//! Retention in SQL, a batch at a time. What it removes are words: rows of events and calls stay, with keys, states and
//! scores, so that nothing comes in twice.

use rusqlite::{Connection, params};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use super::super::readers::ReadPool;
use super::super::rows::{HAS_BODY, id_list};
use super::super::writer::{Operation, Writer};
use crate::model::Timestamp;
use crate::store::{StoreResult, Transcript};

/// Details of one batch; each has pages that are overwritten.
const BATCH_DETAILS: u32 = 50;
/// Rows of one batch where they are small.
const BATCH_ROWS: u32 = 200;

pub(super) struct RedactTranscripts {
    pub(super) redacted: Vec<Transcript>,
    pub(super) now: Timestamp,
}

impl Operation for RedactTranscripts {
    type Output = ();
    const CHANGES_CALLS: bool = true;

    fn announced_at(&self) -> Option<Timestamp> {
        Some(self.now)
    }

    fn apply(&self, tx: &Connection) -> StoreResult<()> {
        // Unless an attempt has stored it anew since it was read: the next look has it as it is then.
        let mut purge = tx.prepare_cached(
            "UPDATE calls SET purged_at = ?1, rev = (SELECT rev + 1 FROM latest_rev) \
             WHERE seq = ?2 AND rev = ?3 AND purged_at IS NULL",
        )?;
        let mut redact =
            tx.prepare_cached("UPDATE call_details SET raw = ?1 WHERE call_seq = ?2")?;
        for Transcript { call, rev, raw } in &self.redacted {
            if purge.execute([self.now.as_millis(), *call, *rev])? > 0 {
                redact.execute(params![raw, call])?;
            }
        }
        Ok(())
    }
}

/// Some details with what was spoken, of calls that ended before.
pub(in crate::store::sqlite) async fn transcripts(
    readers: &ReadPool,
    before: Timestamp,
) -> StoreResult<Vec<Transcript>> {
    let rows = sqlx::query(
        "SELECT seq, rev, raw FROM calls LEFT JOIN call_details ON call_seq = seq \
         WHERE status = 'scored' AND purged_at IS NULL AND sort_at < ?1 ORDER BY sort_at LIMIT ?2",
    )
    .bind(before.as_millis())
    .bind(BATCH_DETAILS)
    .fetch_all(readers)
    .await?;
    let transcript = |row: &SqliteRow| Transcript {
        call: row.get("seq"),
        rev: row.get("rev"),
        raw: row.get("raw"),
    };
    Ok(rows.iter().map(transcript).collect())
}

struct PurgeBodies {
    ids: Vec<i64>,
}

impl Operation for PurgeBodies {
    type Output = ();

    fn apply(&self, tx: &Connection) -> StoreResult<()> {
        let ids = id_list(&self.ids);
        // Reasons of dead events quote Athos; those of ignored ones are our own words.
        let sql = format!(
            "UPDATE events SET body = ?1, \
             reason = CASE state WHEN 'dead' THEN 'removed by retention' ELSE reason END \
             WHERE next_attempt_at IS NULL AND id IN {ids}"
        );
        tx.execute(&sql, [b"".as_slice()])?;
        for statement in [
            "UPDATE attempts SET error = NULL WHERE event_id IN",
            "UPDATE acts SET was_reason = NULL WHERE event_id IN",
        ] {
            tx.execute(&format!("{statement} {ids}"), [])?;
        }
        Ok(())
    }
}

/// Empties some events that are settled and came in before, and takes the errors from their attempts.
pub(in crate::store::sqlite) async fn bodies(
    readers: &ReadPool,
    writer: &Writer,
    before: Timestamp,
) -> StoreResult<u64> {
    let ids: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT id FROM events WHERE next_attempt_at IS NULL AND {HAS_BODY} AND received_at < ?1 \
         ORDER BY received_at LIMIT ?2"
    )))
    .bind(before.as_millis())
    .bind(BATCH_ROWS)
    .fetch_all(readers)
    .await?;
    let count = ids.len() as u64;
    if count > 0 {
        writer.write(PurgeBodies { ids }).await?;
    }
    Ok(count)
}

struct PurgeRecords {
    before: Timestamp,
}

impl Operation for PurgeRecords {
    type Output = u64;

    fn apply(&self, tx: &Connection) -> StoreResult<u64> {
        let mut removed = 0;
        let statements = [
            "DELETE FROM mints WHERE id IN \
             (SELECT id FROM mints WHERE requested_at < ?1 ORDER BY requested_at LIMIT ?2)",
            // The last that was completed says where the next one goes on.
            "DELETE FROM reconcile_runs WHERE id IN \
             (SELECT id FROM reconcile_runs AS run WHERE started_at < ?1 AND id < \
                (SELECT max(id) FROM reconcile_runs AS last \
                 WHERE last.source = run.source AND last.continues = 1 \
                   AND last.finished_at IS NOT NULL AND last.error IS NULL) \
              ORDER BY id LIMIT ?2)",
        ];
        for statement in statements {
            removed += tx.execute(statement, params![self.before.as_millis(), BATCH_ROWS])? as u64;
        }
        Ok(removed)
    }
}

/// Removes some records of session tokens and of reconciliations that began before.
pub(in crate::store::sqlite) async fn records(
    writer: &Writer,
    before: Timestamp,
) -> StoreResult<u64> {
    writer.write(PurgeRecords { before }).await
}

/// Removes some messages that were settled before.
pub(super) struct PurgeMessages {
    pub(super) before: Timestamp,
}

impl Operation for PurgeMessages {
    type Output = u64;

    fn apply(&self, tx: &Connection) -> StoreResult<u64> {
        let removed = tx.execute(
            "DELETE FROM messages WHERE seq IN \
             (SELECT seq FROM messages WHERE settled_at < ?1 ORDER BY settled_at LIMIT ?2)",
            params![self.before.as_millis(), BATCH_ROWS],
        )?;
        Ok(removed as u64)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::super::super::SqliteStore;
    use super::*;
    use crate::store::{Maintenance, Privacy};

    #[tokio::test]
    async fn a_detail_that_was_stored_anew_is_not_replaced_by_what_was_read_before() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("athos.db");
        let store = SqliteStore::open(&format!("sqlite://{}", file.display()))
            .await
            .unwrap();
        let mut db = SqliteConnectOptions::new()
            .filename(file)
            .connect()
            .await
            .unwrap();
        sqlx::raw_sql(
            "INSERT INTO calls (seq, id, status, source, sort_at, rev) VALUES (1, 'c', 'scored', 'roleplay', 1, 5); \
             INSERT INTO call_details VALUES (1, 'of a new score', 0, 1)",
        )
        .execute(&mut db)
        .await
        .unwrap();
        let read_before = Transcript {
            call: 1,
            rev: 4,
            raw: Some("of an old score".to_owned()),
        };
        let now = Timestamp::from_millis(9);
        let stale = store.redact_transcripts(vec![read_before], now);
        stale.await.unwrap();
        let kept = "SELECT raw FROM call_details";
        let raw: String = sqlx::query_scalar(kept).fetch_one(&mut db).await.unwrap();
        assert_eq!(raw, "of a new score");
        let mut found = store.find_transcripts(now).await.unwrap();
        assert_eq!(found[0].raw.as_deref(), Some("of a new score"));
        found[0].raw = Some("what is left of a new score".to_owned());
        store.redact_transcripts(found, now).await.unwrap();
        assert_eq!(store.find_transcripts(now).await.unwrap(), []);
        let raw: String = sqlx::query_scalar(kept).fetch_one(&mut db).await.unwrap();
        assert_eq!(raw, "what is left of a new score");
        store.close().await;
    }
}
