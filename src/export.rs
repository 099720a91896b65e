//! Calls as files, for routes and commands alike: rows as CSV or as JSON lines, a page at a time, so that a file of any length
//! takes the memory of one page.

mod cell;
mod row;

use crate::model::{Turn, string_enum};
use crate::store::{CallFilter, PageKey, SharedStore, StoreResult};
use athos_api::types;

/// Calls of one page.
const PAGE_CALLS: u32 = 1000;
/// The same with transcripts, of which each may be long.
const PAGE_CALLS_WITH_TRANSCRIPTS: u32 = 50;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileFormat {
    /// For spreadsheets: RFC 4180, with a line of names first.
    Csv,
    /// For programs: one JSON object a line.
    Ndjson,
}

string_enum!(FileFormat, "format", {
    Csv: "csv",
    Ndjson: "ndjson",
});

/// What a file is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExportOptions {
    /// How it is written.
    pub(crate) format: FileFormat,
    /// Whether it has what was said.
    pub(crate) with_transcripts: bool,
    /// Whether it begins with a byte order mark, by which Excel knows UTF-8.
    pub(crate) bom: bool,
}

/// The calls of a filter on their way into a file, newest first.
pub(crate) struct Export {
    store: SharedStore,
    filter: CallFilter,
    options: ExportOptions,
    /// After which call the next page begins.
    after: Option<PageKey>,
    has_ended: bool,
}

/// Some rows of a file.
pub(crate) struct Rows {
    /// The lines, each with its end.
    pub(crate) text: String,
    /// How many calls they are.
    pub(crate) count: u64,
}

impl Export {
    /// Begins after the call with the key `after`, or at the newest.
    pub(crate) fn new(
        store: SharedStore,
        filter: CallFilter,
        options: ExportOptions,
        after: Option<PageKey>,
    ) -> Self {
        Self {
            store,
            filter,
            options,
            after,
            has_ended: false,
        }
    }

    /// What stands before the first row.
    pub(crate) fn head(&self) -> String {
        row::head(self.options)
    }

    /// Where to go on after the rows so far; `None` before the first and after the last.
    pub(crate) fn after(&self) -> Option<PageKey> {
        self.after
    }

    /// The next rows; `None` after the last.
    pub(crate) async fn next(&mut self) -> StoreResult<Option<Rows>> {
        if self.has_ended {
            return Ok(None);
        }
        let limit = match self.options.with_transcripts {
            true => PAGE_CALLS_WITH_TRANSCRIPTS,
            false => PAGE_CALLS,
        };
        let page = self
            .store
            .list_calls(&self.filter, limit, self.after)
            .await?;
        let mut rows = Rows {
            text: String::new(),
            count: page.rows.len() as u64,
        };
        for call in page.rows {
            let transcript = match self.options.with_transcripts {
                true => Some(self.transcript(&call.id).await?),
                false => None,
            };
            row::write(self.options.format, call, transcript, &mut rows.text);
        }
        self.after = page.next;
        self.has_ended = page.next.is_none();
        Ok(Some(rows))
    }

    /// What was said in a call, where anything is known of it.
    async fn transcript(&self, id: &str) -> StoreResult<Option<Vec<Turn>>> {
        let call = self.store.find_call(&self.filter.scope, id).await?;
        let Some(raw) = call.and_then(|call| call.raw) else {
            return Ok(None);
        };
        match types::read_content(&raw) {
            Ok(content) => Ok(Some(content.transcript)),
            // One call's detail is no reason to keep the others back.
            Err(why) => {
                tracing::warn!(
                    call = id,
                    why,
                    "call exported without its transcript: failed to read its detail"
                );
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::model::{CallEvent, EventOutcome, Identity, Scope, Timestamp};
    use crate::store::{self, NewEvent};

    fn event(number: usize) -> NewEvent {
        let said = CallEvent {
            call_id: format!("call_{number}"),
            source: "roleplay".to_owned(),
            identity: Identity::default(),
            occurred_at: Some(Timestamp::from_millis(1)),
            outcome: EventOutcome::Scored,
            athos_request_id: None,
        };
        NewEvent {
            webhook_id: format!("wh_{number}"),
            received_at: Timestamp::from_millis(1),
            signed_at_secs: 0,
            secret: "0".repeat(8),
            body: number.to_string().into_bytes(),
            parsed: Ok(said),
        }
    }

    #[tokio::test]
    async fn a_file_of_any_length_is_read_in_pages_that_have_every_call_once() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/athos.db", folder.path().display());
        let store = store::open(&url).await.unwrap();
        let calls = 2 * PAGE_CALLS as usize + 1;
        let accepted = join_all((0..calls).map(|n| store.accept_event(event(n)))).await;
        assert!(accepted.iter().all(Result::is_ok));
        for (with_transcripts, most) in [(false, PAGE_CALLS), (true, PAGE_CALLS_WITH_TRANSCRIPTS)] {
            let filter = CallFilter {
                scope: Scope::All,
                from: None,
                to: None,
                rep: None,
                agency: None,
                drill: None,
                status: None,
                source: None,
            };
            let options = ExportOptions {
                format: FileFormat::Csv,
                with_transcripts,
                bom: false,
            };
            let mut export = Export::new(store.clone(), filter.clone(), options, None);
            let mut ids = std::collections::BTreeSet::new();
            let (mut pages, mut total) = (0, 0);
            while let Some(rows) = export.next().await.unwrap() {
                assert!(
                    rows.count <= u64::from(most),
                    "all calls have the same time"
                );
                let lines: Vec<_> = rows.text.lines().collect();
                assert_eq!(lines.len() as u64, rows.count);
                ids.extend(
                    lines
                        .iter()
                        .map(|line| line.split(',').next().unwrap().to_owned()),
                );
                total += rows.count;
                pages += 1;
                // Another that begins here goes on with the next call.
                if let Some(after) = export.after() {
                    export = Export::new(store.clone(), filter.clone(), options, Some(after));
                }
            }
            assert_eq!((ids.len(), total), (calls, calls as u64));
            assert_eq!(pages, calls.div_ceil(most as usize));
        }
        store.close().await;
    }
}
