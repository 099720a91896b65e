//! The outbox on the wire: endpoints and how they fare, deliveries, and what an endpoint answered to a ping.

use std::fmt;

use serde::Serialize;
use serde_json::Value;
use url::Url;
use utoipa::ToSchema;

use super::{AuditEntry, schema, wire_enum};
use crate::forward::Pinged;
use crate::forward::endpoint::host_of;
use crate::model::Timestamp;
use crate::store;

wire_enum! {
    /// Where a message stands on its way to an endpoint.
    pub(crate) enum DeliveryState of store::DeliveryState {
        /// For its next attempt.
        Waiting,
        /// Under way.
        Sending,
        /// The endpoint took it.
        Delivered,
        /// Given up; can be replayed.
        Failed,
        /// Not taken, and a newer message about the same call replaces it.
        Superseded,
    }
}

/// How an endpoint fares.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EndpointState {
    /// It took the last message.
    Healthy,
    /// It did not take the last message.
    Failing,
    /// Nothing is sent to it until a reload or a restart.
    Disabled,
    /// Nothing was sent to it yet.
    Unused,
    /// It is not configured any more.
    Removed,
}

/// An endpoint of `FORWARD_URLS`, and how it fares.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Endpoint {
    /// Its number.
    id: i64,
    /// Host and port; the rest of the URL may carry a secret.
    #[schema(example = "crm.example.com")]
    host: String,
    state: EndpointState,
    /// Since when it has taken every message.
    #[schema(value_type = Option<schema::Timestamp>)]
    healthy_since: Option<Timestamp>,
    /// Since when it has taken none.
    #[schema(value_type = Option<schema::Timestamp>)]
    failing_since: Option<Timestamp>,
    /// Since when nothing is sent to it.
    #[schema(value_type = Option<schema::Timestamp>)]
    disabled_at: Option<Timestamp>,
    /// Why, in words.
    disabled_reason: Option<String>,
    /// When it was last asked.
    #[schema(value_type = Option<schema::Timestamp>)]
    last_attempt_at: Option<Timestamp>,
    /// HTTP status of its last answer.
    last_status: Option<u16>,
    /// What went wrong at the last attempt, in words.
    last_error: Option<String>,
    /// Messages that wait for it, or are under way.
    waiting: u64,
    /// Messages that were given up.
    failed: u64,
}

impl Endpoint {
    /// Those that are configured, and those that have messages left.
    pub(crate) fn of_interest(endpoints: Vec<store::EndpointRow>) -> Vec<Self> {
        let of_interest = endpoints
            .into_iter()
            .filter(|endpoint| endpoint.is_active || endpoint.waiting + endpoint.failed > 0);
        of_interest.map(Self::from).collect()
    }
}

/// One line for a terminal.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, since) = match self.state {
            EndpointState::Healthy => ("healthy", self.healthy_since),
            EndpointState::Failing => ("failing", self.failing_since),
            EndpointState::Disabled => ("disabled", self.disabled_at),
            EndpointState::Unused => ("unused", None),
            EndpointState::Removed => ("removed", None),
        };
        let (id, host) = (self.id, &self.host);
        write!(f, "endpoint {id:>3}  {host:<32}  {state}")?;
        if let Some(since) = since {
            write!(f, " since {since}")?;
        }
        write!(f, ", {} waiting, {} failed", self.waiting, self.failed)?;
        if let Some(at) = self.last_attempt_at {
            write!(f, "; last asked {at}")?;
        }
        match (&self.last_error, self.last_status) {
            (Some(error), _) => write!(f, ": {error}"),
            (None, Some(status)) => write!(f, ": it answered {status}"),
            (None, None) => Ok(()),
        }
    }
}

impl From<store::EndpointRow> for Endpoint {
    fn from(row: store::EndpointRow) -> Self {
        let state = match &row {
            row if !row.is_active => EndpointState::Removed,
            row if row.disabled.is_some() => EndpointState::Disabled,
            row if row.failing_since.is_some() => EndpointState::Failing,
            row if row.healthy_since.is_some() => EndpointState::Healthy,
            _ => EndpointState::Unused,
        };
        let (disabled_at, disabled_reason) = row.disabled.unzip();
        Self {
            id: row.id,
            host: Url::parse(&row.url)
                .as_ref()
                .map_or_else(|_| String::new(), host_of),
            state,
            healthy_since: row.healthy_since,
            failing_since: row.failing_since,
            disabled_at,
            disabled_reason,
            last_attempt_at: row.last_attempt_at,
            last_status: row.last_status,
            last_error: row.last_error,
            waiting: row.waiting,
            failed: row.failed,
        }
    }
}

/// A message on its way to one endpoint.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryRow {
    /// Ours.
    id: i64,
    /// `webhook-id`; the same at every endpoint that is told.
    message_id: String,
    /// The endpoint's number.
    endpoint: i64,
    /// What happened.
    #[schema(example = "call.scored")]
    r#type: &'static str,
    /// Where it stands.
    state: DeliveryState,
    /// The call that it is about.
    call_id: Option<String>,
    /// The event that it is about.
    event_id: Option<i64>,
    /// The entry of the audit log that it is about.
    audit_id: Option<i64>,
    /// When it was written.
    #[schema(value_type = schema::Timestamp)]
    written_at: Timestamp,
    /// When it is due, or its lease ends.
    #[schema(value_type = Option<schema::Timestamp>)]
    due_at: Option<Timestamp>,
    /// Attempts that ended since it was written, or was replayed.
    attempts: u32,
    /// HTTP status of the last answer.
    last_status: Option<u16>,
    /// What went wrong at the last attempt, in words.
    last_error: Option<String>,
    /// When it was delivered, given up or replaced.
    #[schema(value_type = Option<schema::Timestamp>)]
    settled_at: Option<Timestamp>,
}

impl From<store::DeliveryRow> for DeliveryRow {
    fn from(row: store::DeliveryRow) -> Self {
        Self {
            id: row.id,
            message_id: row.message_id,
            endpoint: row.endpoint,
            r#type: row.kind.as_str(),
            state: row.state.into(),
            call_id: row.call_id,
            event_id: row.event_id,
            audit_id: row.audit_id,
            written_at: row.at,
            due_at: row.due_at,
            attempts: row.attempts,
            last_status: row.status,
            last_error: row.error,
            settled_at: row.settled_at,
        }
    }
}

/// A delivery with everything that is kept of it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredDelivery {
    /// The row.
    #[serde(flatten)]
    row: DeliveryRow,
    /// The body of its message as it would be sent now; `null` where what it tells of is gone.
    body: Option<Value>,
    /// What was done to it by hand, in order.
    acts: Vec<AuditEntry>,
}

impl StoredDelivery {
    /// A delivery, with its message's body.
    pub(crate) fn new(delivery: store::StoredDelivery, body: Option<&[u8]>) -> Self {
        Self {
            row: delivery.row.into(),
            body: body.and_then(|body| serde_json::from_slice(body).ok()),
            acts: delivery.acts.into_iter().map(AuditEntry::from).collect(),
        }
    }
}

/// What an endpoint answered to a ping.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PingAnswer {
    /// The endpoint's number; `null` before the service has started with it.
    endpoint: Option<i64>,
    /// Host and port; the rest of the URL may carry a secret.
    #[schema(example = "crm.example.com")]
    host: String,
    /// Whether it took the ping: it answered 2xx.
    ok: bool,
    /// HTTP status, when it answered.
    status: Option<u16>,
    /// Why the ping was not taken, in words.
    error: Option<String>,
    /// How long the answer took, in milliseconds.
    took_ms: u64,
}

impl PingAnswer {
    /// What the endpoint with this number answered.
    pub(crate) fn new(endpoint: Option<i64>, pinged: Pinged) -> Self {
        Self {
            endpoint,
            host: pinged.host,
            ok: pinged.error.is_none(),
            status: pinged.status,
            error: pinged.error,
            took_ms: u64::try_from(pinged.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
