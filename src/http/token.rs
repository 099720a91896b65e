//! `POST /athos/token`: a session token for the rep who clicked "start". Who that is comes from the caller's
//! credentials; only a service may name somebody else.

use std::time::Instant;

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use metrics::histogram;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::body::RawBody;
use super::error::{ApiError, ErrorEnvelope};
use super::observe::RequestId;
use super::state::AppState;
use crate::athos::types::SessionToken;
use crate::athos::{self, ANSWER_DEADLINE};
use crate::model::{PlatformId, RepId, Timestamp};
use crate::store::{MintOutcome, NewMint};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(mint_token))
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
    /// Athos's id of a registered agent; only in the `roster` generation.
    agent_id: Option<String>,
}

/// A session token for the browser SDK.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MintedToken {
    /// Single use, for about five minutes.
    token: String,
    /// When it expires.
    expires_at: Timestamp,
}

struct Rep {
    id: PlatformId,
    agency: Option<PlatformId>,
    asked_by: &'static str,
}

/// Mint a session token
///
/// For the signed-in rep, or for the rep a service token names in the body.
#[utoipa::path(
    post, path = "/athos/token", tag = "athos",
    request_body(content = Option<MintRequest>, description = "Only for service tokens; a rep's ids come from the credentials"),
    responses(
        (status = 200, body = MintedToken),
        (status = 400, body = ErrorEnvelope, description = "INVALID_REQUEST"),
        (status = 401, body = ErrorEnvelope, description = "UNAUTHENTICATED, INVALID_TOKEN, TOKEN_EXPIRED"),
        (status = 403, body = ErrorEnvelope, description = "TENANT_QUOTA_EXCEEDED, CROSS_SITE_REQUEST"),
        (status = 404, body = ErrorEnvelope, description = "AGENT_NOT_FOUND"),
        (status = 408, body = ErrorEnvelope, description = "REQUEST_TIMEOUT: the body did not come"),
        (status = 413, body = ErrorEnvelope, description = "PAYLOAD_TOO_LARGE"),
        (status = 429, body = ErrorEnvelope, description = "RATE_LIMITED"),
        (status = 502, body = ErrorEnvelope, description = "Athos refused, in its own words"),
        (status = 503, body = ErrorEnvelope, description = "Athos or our store is not available"),
        (status = 504, body = ErrorEnvelope, description = "UPSTREAM_TIMEOUT"),
    ),
    security(("bearer" = [])),
)]
async fn mint_token(
    State(state): State<AppState>,
    Extension(request): Extension<RequestId>,
    caller: Caller,
    body: RawBody,
) -> Result<impl IntoResponse, ApiError> {
    let rep = match caller {
        Caller::User(user) => Rep {
            id: user.rep,
            agency: user.agency,
            asked_by: "user",
        },
        Caller::Service => named_rep(&body)?,
    };
    state
        .mint_limit
        .count(&RepId::Ours(rep.id.clone()))
        .map_err(|retry_after| ApiError::RateLimited { retry_after })?;

    let id = state.clock.new_id().to_string();
    let record = state.store.record_mint(NewMint {
        id: id.clone(),
        requested_at: state.clock.now(),
        rep: RepId::Ours(rep.id.clone()),
        agency: rep.agency.clone(),
        caller: rep.asked_by,
    });
    let started = Instant::now();
    // The record is on disk before the token is handed out, and costs no time: Athos takes longer.
    let (recorded, minted) = tokio::join!(record, mint(&state.athos, &rep));
    let outcome = outcome(&minted, state.clock.now());
    // Not Athos's code: whatever stood there would be a metric for ever.
    let label = minted.as_ref().err().map_or("minted", athos::Error::name);
    histogram!("athos_mint_seconds", "outcome" => label).record(started.elapsed());
    tracing::info!(%request, mint = id,
        outcome = outcome.outcome,
        "session token asked for"
    );
    recorded?;
    finish(&state, id, outcome);
    let minted = minted?;
    let token = MintedToken {
        token: minted.token.expose_secret().to_owned(),
        expires_at: minted.expires_at,
    };
    Ok(([(CACHE_CONTROL, "no-store")], Json(token)))
}

fn named_rep(body: &RawBody) -> Result<Rep, ApiError> {
    let asked: MintRequest = body.json()?;
    let id = match (
        asked.external_user_id,
        asked.platform_agent_id,
        asked.agent_id,
    ) {
        (Some(id), None, None) => check("externalUserId", &id)?,
        (None, Some(id), None) => check("platformAgentId", &id)?,
        (None, None, Some(_)) => {
            return Err(ApiError::InvalidRequest(
                "agentId is an id of Athos's roster, which this service does not mint for; name the rep by \
                 externalUserId"
                    .to_owned(),
            ));
        }
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
        asked_by: "service",
    })
}

fn check(field: &str, id: &str) -> Result<PlatformId, ApiError> {
    PlatformId::new(id).map_err(|why| ApiError::InvalidRequest(format!("{field} {why}")))
}

async fn mint(athos: &athos::Client, rep: &Rep) -> Result<SessionToken, athos::Error> {
    timeout(ANSWER_DEADLINE, athos.mint(&rep.id, rep.agency.as_ref()))
        .await
        .unwrap_or(Err(athos::Error::Timeout))
}

fn outcome(minted: &Result<SessionToken, athos::Error>, answered_at: Timestamp) -> MintOutcome {
    let outcome = match minted {
        Ok(_) => "minted",
        Err(athos::Error::Refused(refusal)) => &refusal.code,
        Err(error) => error.name(),
    };
    MintOutcome {
        outcome: outcome.to_owned(),
        answered_at,
        expires_at: minted.as_ref().ok().map(|token| token.expires_at),
        athos_request_id: match minted {
            Ok(_) => None,
            Err(error) => error.request_id().map(str::to_owned),
        },
    }
}

/// Completes the record after the answer has gone out: without it, the record says that the outcome is not known.
fn finish(state: &AppState, id: String, outcome: MintOutcome) {
    let store = state.store.clone();
    state.tasks.spawn(async move {
        if let Err(error) = store.finish_mint(&id, outcome).await {
            tracing::warn!(%error, mint = id, "the outcome of a mint was not recorded");
        }
    });
}
