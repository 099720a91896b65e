//! Callers whose request goes on: what they showed when they came is judged again, since it may not be good any more. It
//! does not end their request; whoever serves it asks.

use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use tokio::sync::watch;

use super::{Authenticator, Caller};
use crate::clock::Clock;
use crate::http::error::ApiError;
use crate::model::Timestamp;

/// How often credentials are judged again although none were replaced: an issuer may have withdrawn a key.
const JUDGE_AGAIN: Duration = Duration::from_secs(60);
/// How long a caller may stand at most: service tokens and a proxy's word have no end of their own.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// Up to so much less than the longest, so that those who came together do not come back together.
const LONGEST_JITTER: Duration = Duration::from_secs(10 * 60);

/// A caller, and what they showed. Other sites' pages may not hold one: it takes a place.
pub(in crate::http) struct Standing {
    /// Who it is.
    pub(in crate::http) caller: Caller,
    request: Parts,
    current: watch::Receiver<Arc<Authenticator>>,
    clock: Clock,
    since: Timestamp,
    until: Timestamp,
    judged_at: Timestamp,
}

impl Standing {
    /// Judges whoever makes `request` by what is in force, which is followed from before they are judged: nothing is
    /// replaced in between unseen.
    pub(in crate::http) async fn begin(
        request: &Parts,
        mut current: watch::Receiver<Arc<Authenticator>>,
        clock: &Clock,
    ) -> Result<Self, ApiError> {
        let authenticator = Arc::clone(&current.borrow_and_update());
        let caller = authenticator.authenticate(request, true).await?;
        let now = clock.now();
        let longest = now.plus(LONGEST.saturating_sub(LONGEST_JITTER.mul_f64(rand::random())));
        Ok(Self {
            until: caller.expires_at().map_or(longest, |at| at.min(longest)),
            caller,
            request: request.clone(),
            current,
            clock: clock.clone(),
            since: now,
            judged_at: now,
        })
    }

    /// Whether the caller is still who they were, by what is in force now.
    pub(in crate::http) async fn is_good(&mut self) -> bool {
        let now = self.clock.now();
        // A clock that was set back would lengthen the time that is left.
        if now >= self.until || now.plus(JUDGE_AGAIN) < self.since {
            return false;
        }
        let is_replaced = self.current.has_changed().unwrap_or(true);
        if !is_replaced && now.since(self.judged_at) < JUDGE_AGAIN {
            return true;
        }
        self.judged_at = now;
        let authenticator = Arc::clone(&self.current.borrow_and_update());
        let again = authenticator.authenticate(&self.request, true).await;
        let is_good = again.is_ok_and(|caller| caller == self.caller);
        if !is_good {
            tracing::info!("stream closed: the credentials of its caller are no longer valid");
        }
        is_good
    }

    /// Returns when there is a reason to ask whether the caller is good.
    pub(in crate::http) async fn replaced(&mut self) {
        if self.current.changed().await.is_ok() {
            self.current.mark_changed();
        }
    }
}
