//! Lists as files: streamed a page at a time, each page as a read of its own, so that a long file holds neither memory nor a
//! connection to the database. One that cannot be finished is broken off, and does not end as if it were whole.

use std::io;

use axum::body::{Body, Bytes};
use axum::http::HeaderName;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, VARY};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use tokio::time::sleep;

use super::accept::content_type;
use super::auth::Standing;
use super::error::ApiError;
use super::extract::{READ_RETRY_AFTER, turn_of};
use super::state::AppState;
use super::stream_limiter::StreamPermit;
use crate::export::{Export, FileFormat};
use crate::store::StoreResult;

/// The text of a file, piece by piece.
pub(super) trait Pages: Send + 'static {
    /// The next piece; `None` after the last.
    fn next(&mut self) -> impl Future<Output = StoreResult<Option<String>>> + Send;
}

impl Pages for Export {
    async fn next(&mut self) -> StoreResult<Option<String>> {
        let rows = Export::next(self).await?;
        Ok(rows.map(|rows| rows.text))
    }
}

/// A file that is being sent.
struct Download<P> {
    state: AppState,
    standing: Standing,
    pages: P,
    _permit: StreamPermit,
}

impl<P: Pages> Download<P> {
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        if !self.standing.is_good().await {
            return Err(ApiError::InvalidCredentials(
                "the credentials are no longer valid",
            ));
        }
        // Whoever reads much else waits here too, and is not sent away in the middle.
        let _turn = loop {
            match turn_of(&self.standing.caller, &self.state).await {
                Ok(turn) => break turn,
                Err(_) => sleep(READ_RETRY_AFTER).await,
            }
        };
        Ok(self.pages.next().await?.map(Bytes::from))
    }
}

/// Refuses a page of a file: a file has all rows.
pub(super) fn refuse_paging(is_asked: bool) -> Result<(), ApiError> {
    match is_asked {
        true => Err(ApiError::InvalidRequest(
            "limit and cursor apply to JSON pages only: a CSV or NDJSON answer has all rows; narrow it with from and to"
                .to_owned(),
        )),
        false => Ok(()),
    }
}

/// Answers with a file: `head`, then the pages. What cannot even begin is refused as usual.
pub(super) async fn answer<P: Pages>(
    state: AppState,
    standing: Standing,
    format: FileFormat,
    name: &str,
    head: String,
    pages: P,
) -> Result<Response, ApiError> {
    let permit = state.limits.streams.take(standing.caller.person());
    let day = state.clock.now().to_string();
    let disposition = format!(
        "attachment; filename=\"{name}-{}.{format}\"",
        day.split('T').next().unwrap_or_default()
    );
    let mut download = Download {
        state,
        standing,
        pages,
        _permit: permit.ok_or(ApiError::TooManyStreams)?,
    };
    let first = download.next().await?.unwrap_or_default();
    let begun = stream::iter([Ok(Bytes::from(head)), Ok(first)]);
    let rest = stream::unfold(Some(download), async |download| {
        let mut download = download?;
        match download.next().await {
            Ok(bytes) => Some((Ok(bytes?), Some(download))),
            Err(error) => {
                // The connection ends without the end of the body, by which the client knows.
                tracing::error!(%error, cause = ?std::error::Error::source(&error), "download broken off");
                Some((Err(io::Error::other("the download was broken off")), None))
            }
        }
    });
    let headers = [
        (CONTENT_TYPE, content_type(format).to_owned()),
        (CONTENT_DISPOSITION, disposition),
        (VARY, "accept".to_owned()),
        // nginx would hold pages back.
        (
            HeaderName::from_static("x-accel-buffering"),
            "no".to_owned(),
        ),
    ];
    Ok((headers, Body::from_stream(begun.chain(rest))).into_response())
}
