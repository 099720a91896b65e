//! What is forwarded, where to, and what signs it, as the configuration says; checked before anything is sent.

use secrecy::ExposeSecret;
use url::Url;

use super::endpoint::Endpoint;
use super::ping::{self, Pinged};
use super::signature::ForwardSecret;
use crate::clock::Clock;
use crate::config::{Config, Problems};
use crate::model::MessageKind;

/// What is forwarded, and how: `FORWARD_…`.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) secrets: Vec<ForwardSecret>,
    pub(super) kinds: Vec<MessageKind>,
    public_url: Option<Url>,
}

impl Settings {
    /// What the configuration says.
    ///
    /// # Errors
    /// All that cannot work, by the names of the settings.
    pub fn new(config: &Config) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for (at, url) in config.forward_urls.iter().enumerate() {
            let place = at + 1;
            if endpoints.iter().any(|other| other.url() == url) {
                problems.push(format!(
                    "Entry {place} of FORWARD_URLS is there twice: remove one."
                ));
                continue;
            }
            match Endpoint::new(url, &config.forward_allow_http) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(why) => problems.push(format!("Entry {place} of FORWARD_URLS {why}.")),
            }
        }
        let mut secrets = Vec::new();
        for secret in &config.forward_secrets {
            match ForwardSecret::parse(secret.expose_secret()) {
                Ok(secret) => secrets.push(secret),
                Err(why) => problems.push(format!("An entry of FORWARD_SECRETS is {why}.")),
            }
        }
        if !config.forward_urls.is_empty() && config.forward_secrets.is_empty() {
            problems.push(
                "FORWARD_URLS is set without FORWARD_SECRETS: receivers could not tell messages from anybody else's; \
                 make a secret with: echo whsec_$(openssl rand -base64 32)"
                    .to_owned(),
            );
        }
        if !problems.is_empty() {
            return Err(Problems::new(problems));
        }
        let kinds = match &*config.forward_events {
            [] => MessageKind::DEFAULT.to_vec(),
            kinds => kinds.to_vec(),
        };
        Ok(Self {
            endpoints,
            secrets,
            kinds,
            public_url: config.public_url.clone(),
        })
    }

    /// What begins the links in messages.
    pub(super) fn link(&self) -> Option<&Url> {
        self.public_url.as_ref()
    }

    /// Sends a ping to each endpoint that is wanted by its URL, in the order of `FORWARD_URLS`; each with its URL, which may
    /// carry a secret.
    pub async fn ping_each(
        &self,
        is_wanted: impl Fn(&Url) -> bool,
        clock: &Clock,
    ) -> Vec<(Url, Pinged)> {
        let wanted = self.endpoints.iter();
        let wanted = wanted.filter(|endpoint| is_wanted(endpoint.url()));
        let pings = wanted.map(async |endpoint| {
            let pinged = ping::ping(endpoint, &self.secrets, clock).await;
            (endpoint.url().clone(), pinged)
        });
        futures_util::future::join_all(pings).await
    }
}
