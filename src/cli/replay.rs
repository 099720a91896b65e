//! What the two replays at a terminal share, of events and of deliveries: steps to the end, and how they are told.

use std::io::Write;

use serde_json::json;

use crate::model::{counted, plural};
use crate::store::{StoreError, StoreResult, WouldReplay};

/// What was replayed; in a dry run, what would be.
pub(super) struct Replayed {
    count: u64,
    ids: Vec<i64>,
    is_dry_run: bool,
    broke_off: Option<StoreError>,
}

impl Replayed {
    pub(super) fn in_dry_run(would: WouldReplay) -> Self {
        Self {
            count: would.count,
            ids: would.first,
            is_dry_run: true,
            broke_off: None,
        }
    }

    /// Replays in batches, so that a running service can write in between. A step says what it replayed after an id, and
    /// where the next goes on.
    pub(super) async fn in_steps(
        step: impl AsyncFn(i64) -> StoreResult<(Vec<i64>, Option<i64>)>,
    ) -> Self {
        let (mut ids, mut after) = (Vec::new(), 0);
        let broke_off = loop {
            match step(after).await {
                Ok((replayed, next)) => {
                    ids.extend(replayed);
                    match next {
                        Some(next) => after = next,
                        None => break None,
                    }
                }
                Err(error) => break Some(error),
            }
        };
        Self {
            count: ids.len() as u64,
            ids,
            is_dry_run: false,
            broke_off,
        }
    }

    /// Whether there was nothing to replay.
    pub(super) fn is_nothing(&self) -> bool {
        self.ids.is_empty() && self.broke_off.is_none()
    }

    /// Prints the ids and the count; an error that broke the replay off comes after them.
    pub(super) fn write_to(
        self,
        out: &mut impl Write,
        thing: &str,
        json: bool,
    ) -> anyhow::Result<()> {
        if json {
            let said = json!({ "count": self.count, "ids": self.ids, "dryRun": self.is_dry_run });
            writeln!(out, "{said}")?;
        } else {
            for id in &self.ids {
                writeln!(out, "{id}")?;
            }
            let verb = if self.is_dry_run {
                "would be replayed"
            } else {
                "replayed; the running service takes them up within seconds, else `serve` does when it starts"
            };
            writeln!(out, "{} {verb}", counted(self.count, thing))?;
        }
        match self.broke_off {
            None => Ok(()),
            Some(error) => Err(anyhow::Error::new(error).context(format!(
                "the replay broke off after the {} above; the same command goes on with the rest",
                plural(2, thing)
            ))),
        }
    }
}
