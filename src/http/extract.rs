//! Who may call a handler is in the type that the handler takes: [`Caller`] is anyone with credentials, [`Reader`] one
//! whose turn it is to read, [`ActingCaller`] and [`Standing`] are those whom other sites' pages may not act for, and
//! [`Operator`] is an admin or another backend. What one key may do and another may not is for these to ask.

use std::ops::Deref;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::auth::{Caller, Role, Standing};
use super::error::ApiError;
use super::read_limit::Turn;
use super::state::AppState;
use crate::store::Actor;

/// What a caller is told to wait who reads too much at once.
const RETRY_AFTER: Duration = Duration::from_secs(2);

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let acts = !parts.method.is_safe();
        state.authenticator.get().authenticate(parts, acts).await
    }
}

/// A caller who costs something though the method is safe: other sites' pages may not, as with methods that are not.
pub(super) struct ActingCaller(pub(super) Caller);

impl FromRequestParts<AppState> for ActingCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let caller = state.authenticator.get().authenticate(parts, true).await?;
        Ok(Self(caller))
    }
}

impl FromRequestParts<AppState> for Standing {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        Self::begin(parts, state.authenticator.follow(), &state.clock).await
    }
}

/// A caller whose turn it is to read. Handlers that read for a caller take this instead of [`Caller`].
pub(super) struct Reader {
    caller: Caller,
    _turn: Turn,
}

impl Deref for Reader {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl FromRequestParts<AppState> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let turn = turn_of(&caller, state).await?;
        Ok(Self {
            caller,
            _turn: turn,
        })
    }
}

/// An admin or another backend, whose turn it is to read: who may look into the inbox, which has the calls of all reps,
/// and act on it.
pub(super) struct Operator {
    /// Who it is, for the audit log.
    pub(super) actor: Actor,
    _turn: Turn,
}

impl FromRequestParts<AppState> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let actor = match &caller {
            Caller::Service => Actor::Service,
            Caller::User(user) if user.role == Role::Admin => Actor::User(user.rep.clone()),
            Caller::User(_) => return Err(ApiError::AdminOnly),
        };
        let turn = turn_of(&caller, state).await?;
        Ok(Self { actor, _turn: turn })
    }
}

async fn turn_of(caller: &Caller, state: &AppState) -> Result<Turn, ApiError> {
    let turn = state.limits.reads.turn(caller.person()).await;
    turn.ok_or(ApiError::RateLimited {
        of: "reads at the same time",
        retry_after: RETRY_AFTER,
    })
}
