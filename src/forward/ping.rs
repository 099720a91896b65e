//! A signed `ping`: what an endpoint answers to a message that says nothing.

use std::time::{Duration, Instant};

use super::endpoint::{Endpoint, Failure, Message};
use super::message;
use super::signature::ForwardSecret;
use crate::clock::Clock;

/// How long somebody waits for the answers; less than a request to the service may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// What an endpoint answered to a ping.
#[derive(Clone, Debug)]
pub struct Pinged {
    /// Host and port; the rest of the URL may carry a secret.
    pub host: String,
    /// HTTP status, when it answered.
    pub status: Option<u16>,
    /// Why it does not count as taken, in words.
    pub error: Option<String>,
    /// How long the answer took.
    pub took: Duration,
}

pub(super) async fn ping(endpoint: &Endpoint, secrets: &[ForwardSecret], clock: &Clock) -> Pinged {
    let now = clock.now();
    let message = Message {
        id: format!("msg_{:032x}_ping", rand::random::<u128>()),
        body: message::ping(now),
    };
    let started = Instant::now();
    let sending = endpoint.send(&message, secrets, now);
    let answered = tokio::time::timeout(DEADLINE, sending).await;
    let (status, error) = match answered {
        Ok(Ok(status)) => (Some(status.as_u16()), None),
        Ok(Err(Failure { status, reason, .. })) => (status, Some(reason)),
        Err(_) => {
            let reason = format!("no whole answer within {} s", DEADLINE.as_secs());
            (None, Some(reason))
        }
    };
    Pinged {
        host: endpoint.host(),
        status,
        error,
        took: started.elapsed(),
    }
}
