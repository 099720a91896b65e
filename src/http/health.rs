//! `GET /healthz` and `GET /readyz`: whether the process lives, and whether it can do its work. Trouble with Athos
//! degrades the service but does not make it unready: webhooks must still be received.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::api::{Api, routes};
use super::auth::Caller;
use super::error::ApiError;
use super::state::AppState;
use super::wire::{Endpoint, ReplicasSeen, schema, wire_enum};
use crate::credentials::Credentials;
use crate::model::{
    Credential, EffectiveContract, KeyScope, KeyState, Scope, ServiceKey, Timestamp, Why,
};
use crate::store::Following;
use crate::worker::circuit_breaker;

pub(super) fn router() -> Api {
    routes!(show_health, show_readiness)
}

/// Alive.
#[derive(Serialize, ToSchema)]
struct Health {
    /// Always `ok`.
    status: &'static str,
    /// This binary's version.
    version: &'static str,
}

/// What works, and what does not.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Readiness {
    status: ReadinessStatus,
    /// The database: can it be read, and did the last write succeed. Its schema is up to date, or the service would not
    /// have started.
    store: Check,
    /// What is wrong with the database, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    store_problem: Option<&'static str>,
    /// The task that fetches scores.
    worker: Check,
    /// When the worker last showed life.
    #[schema(value_type = schema::Timestamp)]
    worker_beat: Timestamp,
    /// Whether scores can be fetched from Athos.
    athos: Athos,
    /// How changes by other replicas are noticed; only with a database on a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas_followed: Option<ReplicasFollowed>,
    /// Whether this machine's clock agrees with the server's, to 5 seconds; only with a database on a server. While it does not,
    /// this replica leads nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<Check>,
    /// Only for admins and other backends.
    #[serde(flatten)]
    seen: Option<ReplicasSeen>,
    /// The endpoints of `FORWARD_URLS`; one that fails makes this instance no less ready. Only for admins and other backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoints: Option<Vec<Endpoint>>,
    /// The secrets and keys in force. Only for admins and other backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials: Option<CredentialDetail>,
}

/// Whether this instance should get traffic.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ReadinessStatus {
    /// All is well.
    Ready,
    /// Webhooks are received and kept, but scores cannot be fetched now, or the clock is wrong.
    Degraded,
    /// Webhooks cannot be kept, or nothing processes them.
    Unready,
}

/// How changes by other replicas are noticed.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ReplicasFollowed {
    /// At once, by notifications of the server.
    Notified,
    /// Every `DATABASE_POLL`: no notification comes, as behind a pooler in transaction mode (see `DATABASE_LISTEN_URL`).
    Polling,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Check {
    Ok,
    Failing,
}

impl From<bool> for Check {
    fn from(ok: bool) -> Self {
        if ok { Self::Ok } else { Self::Failing }
    }
}

#[derive(Serialize, ToSchema)]
struct Athos {
    /// `failing` while fetching is paused.
    status: Check,
    /// Why, since when, and until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<Hold>,
    /// What tokens are minted with.
    contract: ContractDetail,
}

wire_enum! {
    /// Why the breaker is open.
    enum HoldCause of circuit_breaker::OutageCause {
        /// Our key, tenant or address is refused; an operator must act.
        KeyRefused,
        /// Athos fails, whatever is asked.
        AthosDown,
    }
}

/// An open breaker, for `/readyz` and the log.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Hold {
    /// Why it is open.
    cause: HoldCause,
    /// The last failure, in words. Only for admins and other backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Since when.
    #[schema(value_type = schema::Timestamp)]
    since: Timestamp,
    /// When the next request goes through.
    #[schema(value_type = schema::Timestamp)]
    until: Timestamp,
}

impl Hold {
    fn new(outage: circuit_breaker::Outage, is_for_operator: bool) -> Self {
        Self {
            cause: outage.cause.into(),
            // It has words of Athos's, and perhaps ids; whoever asks is told the state.
            reason: outage.reason.filter(|_| is_for_operator),
            since: outage.since,
            until: outage.until,
        }
    }
}

/// The generation of Athos's contract that tokens are minted with.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ContractDetail {
    /// `external` or `roster`.
    #[schema(example = "roster")]
    generation: &'static str,
    /// `pinned` by the configuration, `learnt` from what Athos answered, or the `default`, before anything was learnt.
    #[schema(example = "learnt")]
    why: &'static str,
    /// When it was learnt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Timestamp>)]
    learnt_at: Option<Timestamp>,
    /// From what.
    #[serde(skip_serializing_if = "Option::is_none")]
    learnt_from: Option<String>,
}

impl From<EffectiveContract> for ContractDetail {
    fn from(effective: EffectiveContract) -> Self {
        let (why, learnt_at, learnt_from) = match effective.why {
            Why::Pinned => ("pinned", None, None),
            Why::Learned { at, from } => ("learnt", Some(at), Some(from)),
            Why::Default => ("default", None, None),
        };
        Self {
            generation: effective.generation.as_str(),
            why,
            learnt_at,
            learnt_from,
        }
    }
}

/// The secrets, keys and service tokens in force, by fingerprint or name, in the order of the configuration. A fingerprint tells a secret of
/// Athos's making from another and nothing else; to one that people made up it is a way to check guesses, so it is not
/// shown to everyone.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CredentialDetail {
    webhook_secrets: Vec<WebhookSecretDetail>,
    api_keys: Vec<ApiKeyDetail>,
    service_tokens: Vec<ServiceTokenDetail>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WebhookSecretDetail {
    #[schema(example = "ab12cd34")]
    fingerprint: String,
    /// When a delivery was last signed with it; null before the first.
    #[schema(value_type = Option<schema::Timestamp>)]
    last_used_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ApiKeyDetail {
    #[schema(example = "ab12cd34")]
    fingerprint: String,
    /// When Athos last accepted it; null before the first time.
    #[schema(value_type = Option<schema::Timestamp>)]
    last_used_at: Option<Timestamp>,
    state: KeyStateDetail,
    /// Athos's code, while it refuses the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

/// A key of another backend.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ServiceTokenDetail {
    /// What it is called; the fingerprint of its token when it was given no name.
    #[schema(example = "crm")]
    name: String,
    /// What it may do.
    scopes: Vec<&'static str>,
    /// When it was last good for what it was shown for; null before the first time.
    #[schema(value_type = Option<schema::Timestamp>)]
    last_used_at: Option<Timestamp>,
    /// When it was last shown for something that it may not do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Timestamp>)]
    last_refused_at: Option<Timestamp>,
}

wire_enum! {
    /// What Athos says to an API key, since the configuration was last read.
    #[schema(as = KeyState)]
    enum KeyStateDetail of KeyState {
        /// Nothing yet: another one is used first.
        Untried,
        /// It works.
        Ok,
        /// It does not; the others are tried first.
        Refused,
    }
}

impl CredentialDetail {
    fn of(credentials: &Credentials) -> Self {
        let secret = |secret: Credential| WebhookSecretDetail {
            fingerprint: secret.fingerprint,
            last_used_at: secret.last_used_at,
        };
        let key = |(key, state): (Credential, KeyState)| ApiKeyDetail {
            fingerprint: key.fingerprint,
            last_used_at: key.last_used_at,
            state: state.into(),
            code: key.last_code.filter(|_| state == KeyState::Refused),
        };
        let tokens = credentials.service_tokens.list();
        let token = |(key, life): (ServiceKey, Credential)| ServiceTokenDetail {
            scopes: key.scopes.words(),
            name: key.name,
            last_used_at: life.last_used_at,
            last_refused_at: life.last_refused_at,
        };
        Self {
            webhook_secrets: credentials.secrets.list().into_iter().map(secret).collect(),
            api_keys: credentials.keys().into_iter().map(key).collect(),
            service_tokens: tokens.into_iter().map(token).collect(),
        }
    }
}

/// Is the process alive
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, body = Health)))]
async fn show_health() -> Json<Health> {
    Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// Can the service do its work
///
/// 503 when webhooks cannot be kept; 200 with `degraded` when only Athos, or the clock, is the trouble. Needs no credentials; with
/// those of an admin or another backend it also tells how each secret and key fares, why fetching is paused in words, and which
/// replicas there are.
#[utoipa::path(
    get, path = "/readyz", tag = "operations",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)),
)]
async fn show_readiness(
    State(state): State<AppState>,
    caller: Result<Caller, ApiError>,
) -> impl IntoResponse {
    let is_operator = caller
        .is_ok_and(|caller| caller.scope() == Scope::All && caller.check(KeyScope::Admin).is_ok());
    let store = state.store.check().await;
    if let Err(error) = &store {
        tracing::warn!(%error, "not ready: the store fails");
    }
    let store_ok = store.is_ok();
    let worker_ok = state.worker.is_alive();
    let outage = state.worker.circuit_breaker().outage();
    let paused = outage.map(|outage| Hold::new(outage, is_operator));
    let clock = state.replica.clock_difference();
    let clock = clock.map(|difference| Check::from(!difference.is_too_large()));
    let is_degraded = paused.is_some() || clock == Some(Check::Failing);
    let status = match (store_ok && worker_ok, is_degraded) {
        (false, _) => ReadinessStatus::Unready,
        (true, true) => ReadinessStatus::Degraded,
        (true, false) => ReadinessStatus::Ready,
    };
    let code = match status {
        ReadinessStatus::Unready => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    // What cannot be read is told by the store's own check.
    let (endpoints, seen) = match is_operator && store_ok {
        true => (
            state.store.endpoints().await.ok(),
            state.replica.seen().await.ok(),
        ),
        false => (None, None),
    };
    let readiness = Readiness {
        status,
        store: store_ok.into(),
        store_problem: store.err().map(|error| error.advice()),
        worker: worker_ok.into(),
        worker_beat: state.worker.last_beat(),
        athos: Athos {
            status: paused.is_none().into(),
            paused,
            contract: state.minter.effective_contract().into(),
        },
        replicas_followed: state.store.following().map(|following| match following {
            Following::Notified => ReplicasFollowed::Notified,
            Following::Polling => ReplicasFollowed::Polling,
        }),
        clock,
        seen: seen.map(ReplicasSeen::from),
        endpoints: endpoints.map(Endpoint::of_interest),
        credentials: is_operator.then(|| CredentialDetail::of(&state.credentials)),
    };
    (code, Json(readiness))
}
