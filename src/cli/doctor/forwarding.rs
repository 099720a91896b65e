//! Checks of forwarding: what each endpoint of `FORWARD_URLS` answers to a signed ping.

use super::finding::Finding;
use crate::clock::Clock;
use crate::config::Config;
use crate::forward::{Pinged, Settings};

const CHECK: &str = "endpoint";

/// Pings every endpoint. Where nothing is forwarded there is nothing to say; what cannot work is told of the settings.
pub(super) async fn look_at_endpoints(config: &Config, clock: &Clock) -> Vec<Finding> {
    let Ok(settings) = Settings::new(config) else {
        return Vec::new();
    };
    let answers = settings.ping_each(|_| true, clock).await;
    answers.iter().map(|(_, pinged)| tell(pinged)).collect()
}

fn tell(pinged: &Pinged) -> Finding {
    let host = &pinged.host;
    let Some(error) = &pinged.error else {
        let took = pinged.took.as_millis();
        return Finding::ok(CHECK, format!("{host} took a signed ping in {took} ms"));
    };
    let fix = match pinged.status {
        Some(401 | 403) => {
            "check that it verifies with a secret of FORWARD_SECRETS, by the base64 after whsec_, and the raw body"
        }
        Some(410) => "it says that it is gone: take it out of FORWARD_URLS",
        Some(_) => "have it answer 2xx to what it verifies, also to types that it does not know",
        None => "check FORWARD_URLS, DNS, and that it is reached from here",
    };
    Finding::fail(CHECK, format!("{host}: {error}")).fix(fix)
}
