//! Retention in SQL, a batch at a time. What it removes are words: rows of events and calls stay, with keys, states and
//! scores, so that nothing comes in twice.

use super::super::readers::ReadPool;
use super::super::rows::{has_body, id_list};
use super::super::writer::Writer;
use super::super::{Connection, Operation, values};
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

    fn apply(&self, tx: &dyn Connection) -> StoreResult<()> {
        // Unless an attempt has stored it anew since it was read: the next look has it as it is then.
        let purge = "UPDATE calls SET purged_at = ?1, rev = (SELECT rev + 1 FROM latest_rev) \
                     WHERE seq = ?2 AND rev = ?3 AND purged_at IS NULL";
        let redact = "UPDATE call_details SET raw = ?1 WHERE call_seq = ?2";
        for Transcript { call, rev, raw } in &self.redacted {
            if tx.execute(purge, values![self.now, call, rev])? > 0 {
                tx.execute(redact, values![raw, call])?;
            }
        }
        Ok(())
    }
}

/// Some details with what was spoken, of calls that ended before.
pub(in crate::store::sql) fn transcripts(
    db: &dyn Connection,
    before: Timestamp,
) -> StoreResult<Vec<Transcript>> {
    let sql = "SELECT seq, rev, raw FROM calls LEFT JOIN call_details ON call_seq = seq \
               WHERE status = 'scored' AND purged_at IS NULL AND sort_at < ?1 ORDER BY sort_at LIMIT ?2";
    db.rows(sql, values![before, BATCH_DETAILS], |row| {
        Ok(Transcript {
            call: row.get(0)?,
            rev: row.get(1)?,
            raw: row.get(2)?,
        })
    })
}

struct PurgeBodies {
    ids: Vec<i64>,
}

impl Operation for PurgeBodies {
    type Output = ();

    fn apply(&self, tx: &dyn Connection) -> StoreResult<()> {
        let ids = id_list(&self.ids);
        // Reasons of dead events quote Athos; those of ignored ones are our own words.
        let sql = format!(
            "UPDATE events SET body = ?1, \
             reason = CASE state WHEN 'dead' THEN 'removed by retention' ELSE reason END \
             WHERE next_attempt_at IS NULL AND id IN {ids}"
        );
        tx.execute(&sql, values![b"".as_slice()])?;
        for statement in [
            "UPDATE attempts SET error = NULL WHERE event_id IN",
            "UPDATE acts SET was_reason = NULL WHERE event_id IN",
        ] {
            tx.execute(&format!("{statement} {ids}"), &[])?;
        }
        Ok(())
    }
}

/// Empties some events that are settled and came in before, and takes the errors from their attempts.
pub(in crate::store::sql) async fn bodies(
    readers: &ReadPool,
    writer: &Writer,
    before: Timestamp,
) -> StoreResult<u64> {
    let ids = readers.read(move |db| find_bodies(db, before)).await?;
    let count = ids.len() as u64;
    if count > 0 {
        writer.write(PurgeBodies { ids }).await?;
    }
    Ok(count)
}

fn find_bodies(db: &dyn Connection, before: Timestamp) -> StoreResult<Vec<i64>> {
    let sql = format!(
        "SELECT id FROM events WHERE next_attempt_at IS NULL AND {} AND received_at < ?1 \
         ORDER BY received_at LIMIT ?2",
        has_body(db.engine())
    );
    db.rows(&sql, values![before, BATCH_ROWS], |row| row.get(0))
}

struct PurgeRecords {
    before: Timestamp,
}

impl Operation for PurgeRecords {
    type Output = u64;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<u64> {
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
            removed += tx.execute(statement, values![self.before, BATCH_ROWS])?;
        }
        Ok(removed)
    }
}

/// Removes some records of session tokens and of reconciliations that began before.
pub(in crate::store::sql) async fn records(writer: &Writer, before: Timestamp) -> StoreResult<u64> {
    writer.write(PurgeRecords { before }).await
}

/// Removes some messages that were settled before.
pub(super) struct PurgeMessages {
    pub(super) before: Timestamp,
}

impl Operation for PurgeMessages {
    type Output = u64;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<u64> {
        tx.execute(
            "DELETE FROM messages WHERE seq IN \
             (SELECT seq FROM messages WHERE settled_at < ?1 ORDER BY settled_at LIMIT ?2)",
            values![self.before, BATCH_ROWS],
        )
    }
}

/// Removes the records of replicas that were heard of last before.
pub(super) struct PurgeReplicas {
    pub(super) before: Timestamp,
}

impl Operation for PurgeReplicas {
    type Output = u64;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<u64> {
        tx.execute(
            "DELETE FROM replicas WHERE heartbeat_at < ?1",
            values![self.before],
        )
    }
}
