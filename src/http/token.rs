//! `POST /athos/token`: a session token for the rep who clicked "start". Who that is comes from the caller's
//! credentials; only a service may name somebody else.

use std::time::Instant;

use axum::extract::State;
use axum::{Extension, Json};
use metrics::histogram;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::{Api, routes};
use super::auth::Caller;
use super::body::RawBody;
use super::error::{ApiError, ErrorEnvelope};
use super::extract::Minting;
use super::request_id::RequestId;
use super::state::AppState;
use super::wire::schema;
use crate::clock::new_id;
use crate::mint::{MintError, Rep};
use crate::model::{AGENT_PREFIX, AgentId, PlatformId, RepId, Timestamp};
use crate::store::{MintOutcome, NewMint};
use crate::telemetry::metric;
use athos_api as athos;
use athos_api::types::SessionToken;

pub(super) fn router() -> Api {
    routes!(mint_token)
}

/// Whom a service asks a token for. Reps need not send a body; theirs is not read.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MintRequest {
    /// Your id of the rep.
    #[schema(example = "rep_8842")]
    external_user_id: Option<String>,
    /// Your label of the rep's agency.
    #[schema(example = "agency_chicago")]
    external_agency_id: Option<String>,
    /// The same as `externalUserId`, as the newer contract calls it.
    platform_agent_id: Option<String>,
    /// The same as `externalAgencyId`, as the newer contract calls it.
    platform_agency_id: Option<String>,
    /// Athos's id of a registered rep; only where Athos speaks generation `roster`.
    #[schema(example = "athos_agent_bR4kQ2wZ9Lp0nH3xVq1Yt")]
    agent_id: Option<String>,
}

/// A session token for the browser SDK.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MintedToken {
    /// Single use, for about five minutes.
    token: String,
    /// When it expires.
    #[schema(value_type = schema::Timestamp)]
    expires_at: Timestamp,
}

/// Mint a session token
///
/// For the signed-in rep, or for the rep a service token names in the body. Works with both generations of Athos's
/// contract. Where it knows registered reps only (`roster`), a rep it does not know is registered first when AUTO_ENROLL
/// is on and their credentials say enough, and else refused with what to do.
#[utoipa::path(
    post, path = "/athos/token", tag = "athos",
    request_body(content = Option<MintRequest>, description = "Only for service tokens; a rep's ids come from the credentials"),
    responses(
        (status = 200, body = MintedToken),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "TENANT_QUOTA_EXCEEDED, CROSS_SITE_REQUEST, SCOPE_MISSING"),
        (status = 404, body = ErrorEnvelope, description = "AGENT_NOT_FOUND: the rep is not registered at Athos; the message says what to do"),
        (status = 408, body = ErrorEnvelope, description = "REQUEST_TIMEOUT: the body did not come"),
        (status = 413, body = ErrorEnvelope, description = "PAYLOAD_TOO_LARGE"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED"),
        (status = 502, body = ErrorEnvelope, description = "Athos refused, in its own words"),
        (status = 503, body = ErrorEnvelope, description = "Athos or our store is not available"),
        (status = 504, body = ErrorEnvelope, description = "UPSTREAM_TIMEOUT"),
    ),
    security(("bearer" = ["mint"])),
)]
async fn mint_token(
    State(state): State<AppState>,
    Extension(request): Extension<RequestId>,
    Minting(caller): Minting,
    body: RawBody,
) -> Result<Json<MintedToken>, ApiError> {
    let key = match &caller {
        Caller::Service(key) => Some(key.name.clone()),
        Caller::User(_) => None,
    };
    let (rep, asked_by) = match caller {
        Caller::User(user) => {
            let rep = Rep {
                id: RepId::Ours(user.rep),
                agency: user.agency,
                profile: Some(user.profile),
            };
            (rep, "user")
        }
        Caller::Service(_) => (named_rep(&body)?, "service"),
    };
    state
        .limits
        .mints
        .count(&rep.id)
        .map_err(|retry_after| ApiError::RateLimited {
            of: "session tokens for this rep",
            retry_after,
        })?;

    let id = new_id(&state.clock).to_string();
    let record = state.store.record_mint(NewMint {
        id: id.clone(),
        requested_at: state.clock.now(),
        rep: rep.id.clone(),
        agency: rep.agency.clone(),
        caller: asked_by,
    });
    let started = Instant::now();
    // The record is on disk before the token is handed out, and costs no time: Athos takes longer.
    let (recorded, minted) = tokio::join!(record, state.minter.mint(&rep));
    let outcome = outcome(&minted, state.clock.now());
    let label = minted.as_ref().err().map_or("minted", label);
    histogram!(metric::MINT_SECONDS, "outcome" => label).record(started.elapsed());
    tracing::info!(%request, mint = id, key,
        outcome = outcome.outcome,
        "session token asked for"
    );
    recorded?;
    finish(&state, id, outcome);
    let minted = minted?;
    Ok(Json(MintedToken {
        token: minted.token.expose_secret().to_owned(),
        expires_at: minted.expires_at,
    }))
}

fn named_rep(body: &RawBody) -> Result<Rep, ApiError> {
    let asked: MintRequest = body.json()?;
    let id = match (
        asked.external_user_id,
        asked.platform_agent_id,
        asked.agent_id,
    ) {
        (Some(id), None, None) => RepId::Ours(check("externalUserId", &id)?),
        (None, Some(id), None) => RepId::Ours(check("platformAgentId", &id)?),
        (None, None, Some(id)) => RepId::Athos(AgentId::new(&id).ok_or_else(|| {
            ApiError::InvalidRequest(format!(
                "agentId must be an id that Athos gave, which begins with {AGENT_PREFIX}; your own id of the rep is \
                 externalUserId or platformAgentId"
            ))
        })?),
        (None, None, None) => {
            return Err(ApiError::InvalidRequest(
                "externalUserId is missing: a service token must name the rep".to_owned(),
            ));
        }
        _ => {
            return Err(ApiError::InvalidRequest(
                "name the rep once: by externalUserId, platformAgentId or agentId".to_owned(),
            ));
        }
    };
    let agency = match (asked.external_agency_id, asked.platform_agency_id) {
        (Some(id), None) => Some(check("externalAgencyId", &id)?),
        (None, Some(id)) => Some(check("platformAgencyId", &id)?),
        (None, None) => None,
        (Some(_), Some(_)) => {
            return Err(ApiError::InvalidRequest(
                "name the agency once: by externalAgencyId or platformAgencyId".to_owned(),
            ));
        }
    };
    Ok(Rep {
        id,
        agency,
        profile: None,
    })
}

fn check(field: &str, id: &str) -> Result<PlatformId, ApiError> {
    PlatformId::new(id).map_err(|why| ApiError::InvalidRequest(format!("{field} {why}")))
}

fn outcome(minted: &Result<SessionToken, MintError>, answered_at: Timestamp) -> MintOutcome {
    let refused = |refusal: &athos::Refusal| (refusal.code.clone(), refusal.request_id.clone());
    let (outcome, athos_request_id) = match minted {
        Ok(_) => ("minted".to_owned(), None),
        Err(MintError::NotOnRoster { refusal, .. }) => refused(refusal),
        Err(MintError::Athos(athos::Error::Refused(refusal))) => refused(refusal),
        Err(MintError::Athos(error)) => (
            error.name().to_owned(),
            error.request_id().map(str::to_owned),
        ),
        Err(other) => (label(other).to_owned(), None),
    };
    MintOutcome {
        outcome,
        answered_at,
        expires_at: minted.as_ref().ok().map(|token| token.expires_at),
        athos_request_id,
    }
}

/// Not Athos's code: whatever stood there would be a metric for ever.
fn label(error: &MintError) -> &'static str {
    match error {
        MintError::Athos(error) => error.name(),
        MintError::NotOnRoster { .. } => "not_on_roster",
        MintError::NoSuchId(_) => "no_such_id",
        MintError::Store(_) => "not_stored",
    }
}

/// Completes the record after the answer has gone out: without it, the record says that the outcome is not known.
fn finish(state: &AppState, id: String, outcome: MintOutcome) {
    if state.minter.keep_outcome(id, outcome) {
        let writing = state.clone();
        state.tasks.spawn(async move {
            writing.minter.write_outcomes(&writing.shutdown).await;
        });
    }
}
