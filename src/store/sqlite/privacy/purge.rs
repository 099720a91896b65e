//! Retention in SQL, a batch at a time. What it removes are words: rows of events and calls stay, with keys, states and
//! scores, so that nothing comes in twice.

use rusqlite::{Connection, params};
use sqlx::Row;

use super::super::readers::ReadPool;
use super::super::writer::{Operation, Writer};
use super::id_list;
use crate::model::Timestamp;
use crate::store::{StoreResult, Strip};

/// Details of one batch; each has pages that are overwritten.
const DETAILS: u32 = 50;
/// Rows of one batch where they are small.
const ROWS: u32 = 200;

/// What is left of a call's detail.
struct Stripped {
    seq: i64,
    /// As of which change of the call.
    rev: i64,
    raw: Option<String>,
}

struct RedactTranscripts {
    calls: Vec<Stripped>,
    now: Timestamp,
}

impl Operation for RedactTranscripts {
    type Output = ();

    fn apply(&self, tx: &Connection) -> StoreResult<()> {
        // Unless an attempt has stored it anew since it was read: the next look has it as it is then.
        let mut purge = tx.prepare_cached(
            "UPDATE calls SET purged_at = ? WHERE seq = ? AND rev = ? AND purged_at IS NULL",
        )?;
        let mut strip = tx.prepare_cached("UPDATE call_details SET raw = ? WHERE call_seq = ?")?;
        for Stripped { seq, rev, raw } in &self.calls {
            if purge.execute([self.now.as_millis(), *seq, *rev])? > 0 {
                strip.execute(params![raw, seq])?;
            }
        }
        Ok(())
    }
}

/// Removes the words of some calls that ended before; `strip` says what is left of a detail.
pub(in crate::store::sqlite) async fn words(
    readers: &ReadPool,
    writer: &Writer,
    before: Timestamp,
    strip: Strip,
    now: Timestamp,
) -> StoreResult<u64> {
    let rows = sqlx::query(
        "SELECT seq, rev, raw FROM calls LEFT JOIN call_details ON call_seq = seq \
         WHERE status = 'scored' AND purged_at IS NULL AND sort_at < ? ORDER BY sort_at LIMIT ?",
    )
    .bind(before.as_millis())
    .bind(DETAILS)
    .fetch_all(readers)
    .await?;
    let calls: Vec<_> = rows
        .iter()
        .map(|row| Stripped {
            seq: row.get("seq"),
            rev: row.get("rev"),
            raw: row.get::<Option<&str>, _>("raw").map(strip),
        })
        .collect();
    let count = calls.len() as u64;
    if count > 0 {
        writer.write(RedactTranscripts { calls, now }).await?;
    }
    Ok(count)
}

struct PurgeBodies {
    ids: Vec<i64>,
}

impl Operation for PurgeBodies {
    type Output = ();

    fn apply(&self, tx: &Connection) -> StoreResult<()> {
        // Reasons of dead events quote Athos; those of ignored ones are our own words.
        for statement in [
            "UPDATE events SET body = x'', \
             reason = iif(state = 'dead', 'removed by retention', reason) \
             WHERE next_attempt_at IS NULL AND id IN",
            "UPDATE attempts SET error = NULL WHERE event_id IN",
            "UPDATE acts SET was_reason = NULL WHERE event_id IN",
        ] {
            tx.execute(&format!("{statement} {}", id_list(&self.ids)), [])?;
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
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT id FROM events WHERE next_attempt_at IS NULL AND body <> x'' AND received_at < ? \
         ORDER BY received_at LIMIT ?",
    )
    .bind(before.as_millis())
    .bind(ROWS)
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
             (SELECT id FROM mints WHERE requested_at < ? ORDER BY requested_at LIMIT ?)",
            // The last that was completed says where the next one goes on.
            "DELETE FROM reconcile_runs WHERE id IN \
             (SELECT id FROM reconcile_runs AS run WHERE started_at < ? AND id < \
                (SELECT max(id) FROM reconcile_runs AS last \
                 WHERE last.source = run.source AND last.continues = 1 \
                   AND last.finished_at IS NOT NULL AND last.error IS NULL) \
              ORDER BY id LIMIT ?)",
        ];
        for statement in statements {
            removed += tx.execute(statement, params![self.before.as_millis(), ROWS])? as u64;
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
        let read_before = Stripped {
            seq: 1,
            rev: 4,
            raw: Some("of an old score".to_owned()),
        };
        let now = Timestamp::from_millis(9);
        let calls = vec![read_before];
        let stale = store.writer.write(RedactTranscripts { calls, now });
        stale.await.unwrap();
        let kept = "SELECT raw FROM call_details";
        let raw: String = sqlx::query_scalar(kept).fetch_one(&mut db).await.unwrap();
        assert_eq!(raw, "of a new score");
        let strip: Strip = |raw| format!("what is left {raw}");
        assert_eq!(store.redact_transcripts(now, strip, now).await.unwrap(), 1);
        let raw: String = sqlx::query_scalar(kept).fetch_one(&mut db).await.unwrap();
        assert_eq!(raw, "what is left of a new score");
        store.close().await;
    }
}
