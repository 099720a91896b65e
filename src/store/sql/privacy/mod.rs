//! What leaves the database, and stays away: retention, erasure, and the hashes of what was erased. The one place that
//! deletes rows.

pub(super) mod data_subject;
pub(super) mod erase;
pub(super) mod purge;
pub(super) mod tombstones;

use async_trait::async_trait;

use super::{Connection, SqlStore};
use crate::model::{RepId, Timestamp};
use crate::store::{Actor, ErasedRows, Privacy, StoreResult, Transcript};

#[async_trait]
impl Privacy for SqlStore {
    async fn erase(&self, rep: &RepId, actor: Actor, now: Timestamp) -> StoreResult<ErasedRows> {
        let _turn = self.erasing.lock().await;
        // Calls say which ids are one person's.
        self.arrivals.opening.caught_up().await;
        let id = rep.as_str().to_owned();
        let find = move |db: &dyn Connection| data_subject::find(db, &id);
        let begin = erase::Begin {
            asked_for: rep.clone(),
            person: self.readers.background.read(find).await?,
            actor,
            now,
        };
        let id = self.writer.write(begin).await?;
        erase::carry_out(&self.readers.background, &self.writer, id).await
    }

    async fn preview_erasure(&self, rep: &RepId, now: Timestamp) -> StoreResult<ErasedRows> {
        self.arrivals.opening.caught_up().await;
        erase::preview(&self.readers.background, &self.writer, rep, now).await
    }

    async fn resume_erasures(&self) -> StoreResult<usize> {
        let _turn = self.erasing.lock().await;
        let ids = self.readers.background.read(erase::unfinished).await?;
        for id in &ids {
            erase::carry_out(&self.readers.background, &self.writer, *id).await?;
        }
        Ok(ids.len())
    }

    async fn find_transcripts(&self, before: Timestamp) -> StoreResult<Vec<Transcript>> {
        let find = move |db: &dyn Connection| purge::transcripts(db, before);
        self.readers.background.read(find).await
    }

    async fn redact_transcripts(
        &self,
        redacted: Vec<Transcript>,
        now: Timestamp,
    ) -> StoreResult<()> {
        let redact = purge::RedactTranscripts { redacted, now };
        self.writer.write(redact).await
    }

    async fn purge_bodies(&self, before: Timestamp) -> StoreResult<u64> {
        purge::bodies(&self.readers.background, &self.writer, before).await
    }

    async fn purge_records(&self, before: Timestamp) -> StoreResult<u64> {
        purge::records(&self.writer, before).await
    }

    async fn purge_messages(&self, before: Timestamp) -> StoreResult<u64> {
        self.writer.write(purge::PurgeMessages { before }).await
    }

    async fn purge_replicas(&self, before: Timestamp) -> StoreResult<u64> {
        self.writer.write(purge::PurgeReplicas { before }).await
    }

    async fn truncate_wal(&self) -> StoreResult<bool> {
        self.upkeep.truncate_log().await
    }
}
