//! `GET /athos/live`: server-sent events, one for each change of a call the caller may see. The store's revision is
//! the event id, so a client that reconnects misses nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use super::api::{Api, routes};
use super::auth::Standing;
use super::error::{ApiError, ErrorEnvelope};
use super::state::AppState;
use super::stream_limiter::StreamPermit;
use super::wire::{CallStatus, plain};
use crate::model::Scope;
use crate::store::CallChange;

/// Proxies close connections that are silent for longer than about half a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a client waits before it reconnects: each another time, or all would come back at once after a restart.
const RECONNECT_MS: RangeInclusive<u64> = 1000..=5000;
/// How often to look although nothing woke us: another process may have written.
const POLL: Duration = Duration::from_secs(10);
/// Changes read at a time.
const BATCH_CHANGES: u32 = 100;
/// Changes, of anybody's calls, that are made up for. Who has missed more is told to ask for the list, which costs less.
const MAX_MISSED_REVS: i64 = 10_000;

/// Where a client that reconnects says what it has seen.
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(super) fn router() -> Api {
    routes!(stream_changes)
}

/// The data of a `call` event.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CallChanged {
    id: String,
    status: CallStatus,
    rep: Option<String>,
    #[serde(serialize_with = "plain")]
    overall_score: Option<f64>,
}

/// Watch calls change
///
/// Server-sent events named `call`; `Last-Event-ID` resumes where a stream broke off. An event named `reset` says that
/// changes were missed: 10,000 or more changes of anybody's calls, or all, when the id is of another database. Ask for the
/// list then; the stream goes on from there. It ends when the caller's credentials expire or are withdrawn, and after an
/// hour at the latest: connect again.
#[utoipa::path(
    get, path = "/athos/live", tag = "athos",
    params(("Last-Event-ID" = Option<i64>, Header, description = "resume after this event")),
    responses(
        (status = 200, body = CallChanged, content_type = "text/event-stream"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "CROSS_SITE_REQUEST: another site's page asks with the caller's cookie; SCOPE_MISSING"),
        (status = 503, body = ErrorEnvelope, description = "TOO_MANY_STREAMS: half of MAX_CONNECTIONS, and 32 of one person"),
    ),
    security(("bearer" = ["read"])),
)]
async fn stream_changes(
    State(state): State<AppState>,
    standing: Standing,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    let place = state.limits.streams.take(standing.caller.person());
    let place = place.ok_or(ApiError::TooManyStreams)?;
    // Subscribed before the revision is read: a change in between still wakes the stream.
    let wakeups = state.store.changes();
    let latest = state.store.latest_rev().await?;
    let resumed = headers
        .get(LAST_EVENT_ID)
        .and_then(|id| id.to_str().ok()?.parse().ok());
    let watcher = Watcher {
        scope: standing.caller.scope(),
        standing,
        rev: resumed.unwrap_or(latest),
        wakeups,
        unsent: VecDeque::new(),
        _place: place,
        state,
    };
    let reconnect = Duration::from_millis(rand::random_range(RECONNECT_MS));
    let hello = stream::iter([Ok(Event::default().retry(reconnect).comment("connected"))]);
    let changes = stream::unfold(watcher, async |mut watcher| {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    let events = futures_util::StreamExt::chain(hello, changes);
    let headers = [
        // `Sse` would let caches keep it.
        (CACHE_CONTROL, "no-store"),
        // nginx would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok((headers, Sse::new(events).keep_alive(keep_alive)))
}

/// One client's place in the history of changes.
struct Watcher {
    state: AppState,
    standing: Standing,
    scope: Scope,
    rev: i64,
    wakeups: watch::Receiver<u64>,
    unsent: VecDeque<CallChange>,
    _place: StreamPermit,
}

impl Watcher {
    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            // Before each event, not only before each query: credentials may end in between.
            if self.state.shutdown.is_cancelled() || !self.standing.is_good().await {
                return None;
            }
            if let Some(change) = self.unsent.pop_front() {
                return event(change);
            }
            self.wakeups.borrow_and_update();
            match self
                .state
                .store
                .changes_since(&self.scope, self.rev, BATCH_CHANGES)
                .await
            {
                Ok(found) if !is_near(self.rev, found.latest) => {
                    self.rev = found.latest;
                    return Some(reset(found.latest));
                }
                Ok(found) => {
                    // Changes of others need not be looked through again.
                    self.rev = found.up_to;
                    self.unsent = found.changes.into();
                    if self.unsent.is_empty() && found.up_to >= found.latest {
                        self.wait().await;
                    }
                }
                Err(error) => {
                    // The client reconnects, and resumes.
                    tracing::warn!(%error, "live stream closed: failed to read changes from the store");
                    return None;
                }
            }
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.wakeups.changed() => {}
            () = self.standing.replaced() => {}
            () = self.state.shutdown.cancelled() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Whether what happened since can be told one by one. A revision from the future is from another database.
fn is_near(rev: i64, latest: i64) -> bool {
    (0..MAX_MISSED_REVS).contains(&latest.saturating_sub(rev))
}

/// Changes were missed.
fn reset(latest: i64) -> Event {
    Event::default()
        .event("reset")
        .id(latest.to_string())
        .data("{}")
}

fn event(change: CallChange) -> Option<Event> {
    let data = CallChanged {
        id: change.id,
        status: change.status.into(),
        rep: change.rep,
        overall_score: change.overall_score,
    };
    Event::default()
        .event("call")
        .id(change.rev.to_string())
        .json_data(data)
        .inspect_err(|error| tracing::error!(%error, "failed to write a live stream event"))
        .ok()
}
