//! Who may call a handler is in the type that the handler takes: [`Caller`] is anyone with credentials, [`Reader`] one
//! whose turn it is to read, [`Minting`] one who may ask for session tokens, [`Listener`] and [`Standing`] are those whom
//! other sites' pages may not act for, and [`Operator`] is an admin or another backend. Each but [`Caller`] asks a key for
//! one scope.

use std::ops::Deref;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::accept::wanted_file;
use super::auth::{Caller, Role, Standing};
use super::error::{ApiError, SCOPE_MISSING};
use super::read_limit::Turn;
use super::state::AppState;
use crate::export::FileFormat;
use crate::model::KeyScope;
use crate::store::Actor;

/// What a caller is told to wait who reads too much at once.
pub(super) const READ_RETRY_AFTER: Duration = Duration::from_secs(2);

/// Lets a caller pass whose key, if it is one, has this scope; what became of the key is on record.
pub(super) fn admit(
    caller: Caller,
    scope: Option<KeyScope>,
    state: &AppState,
) -> Result<Caller, ApiError> {
    if let Caller::Service(key) = &caller {
        let usage = &state.credentials.service_tokens;
        match scope.map_or(Ok(()), |scope| caller.check(scope)) {
            Ok(()) => usage.used(key),
            Err(refusal) => {
                usage.refused(key, SCOPE_MISSING);
                return Err(refusal);
            }
        }
    }
    Ok(caller)
}

/// Authenticates whoever makes a request. `acts`: other sites' pages may not make it.
async fn authenticate(
    parts: &Parts,
    acts: bool,
    scope: Option<KeyScope>,
    state: &AppState,
) -> Result<Caller, ApiError> {
    let authenticator = state.authenticator.get();
    admit(authenticator.authenticate(parts, acts).await?, scope, state)
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        authenticate(parts, !parts.method.is_safe(), None, state).await
    }
}

/// A caller who may ask for session tokens.
pub(super) struct Minting(pub(super) Caller);

impl FromRequestParts<AppState> for Minting {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let caller = authenticate(parts, true, Some(KeyScope::Mint), state).await?;
        Ok(Self(caller))
    }
}

/// A caller who may hear what was said. It costs something though the method is safe: other sites' pages may not, as with
/// methods that are not.
pub(super) struct Listener(pub(super) Caller);

impl FromRequestParts<AppState> for Listener {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let caller = authenticate(parts, true, Some(KeyScope::Transcripts), state).await?;
        Ok(Self(caller))
    }
}

impl FromRequestParts<AppState> for Standing {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        stand(parts, KeyScope::Read, state).await
    }
}

async fn stand(parts: &Parts, scope: KeyScope, state: &AppState) -> Result<Standing, ApiError> {
    let standing = Standing::begin(parts, state.authenticator.follow(), &state.clock).await?;
    admit(standing.caller.clone(), Some(scope), state)?;
    Ok(standing)
}

/// How a list is asked for: a page of it, by whom `R` says, or all of it as a file, for which the caller stands.
pub(super) enum Asked<R> {
    /// A page, as JSON.
    Page(R),
    /// All of it.
    File(FileFormat, Box<Standing>),
}

impl FromRequestParts<AppState> for Asked<Reader> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        Ok(match wanted_file(&parts.headers, FileFormat::ALL) {
            None => Self::Page(Reader::from_request_parts(parts, state).await?),
            Some(format) => {
                let standing = stand(parts, KeyScope::Read, state).await?;
                Self::File(format, Box::new(standing))
            }
        })
    }
}

impl FromRequestParts<AppState> for Asked<Operator> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let Some(format) = wanted_file(&parts.headers, &[FileFormat::Ndjson]) else {
            return Ok(Self::Page(
                Operator::from_request_parts(parts, state).await?,
            ));
        };
        let standing = stand(parts, KeyScope::Admin, state).await?;
        actor(&standing.caller)?;
        Ok(Self::File(format, Box::new(standing)))
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
        let acts = !parts.method.is_safe();
        let caller = authenticate(parts, acts, Some(KeyScope::Read), state).await?;
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
        let acts = !parts.method.is_safe();
        let caller = authenticate(parts, acts, Some(KeyScope::Admin), state).await?;
        let actor = actor(&caller)?;
        let turn = turn_of(&caller, state).await?;
        Ok(Self { actor, _turn: turn })
    }
}

/// Who an operator is, for the audit log.
fn actor(caller: &Caller) -> Result<Actor, ApiError> {
    match caller {
        Caller::Service(key) => Ok(Actor::Service(key.name.clone())),
        Caller::User(user) if user.role == Role::Admin => Ok(Actor::User(user.rep.clone())),
        Caller::User(_) => Err(ApiError::AdminOnly),
    }
}

/// Waits for a caller's turn to read.
pub(super) async fn turn_of(caller: &Caller, state: &AppState) -> Result<Turn, ApiError> {
    let turn = state.limits.reads.turn(caller.id()).await;
    turn.ok_or(ApiError::RateLimited {
        of: "reads at the same time",
        retry_after: READ_RETRY_AFTER,
    })
}
