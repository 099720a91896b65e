//! The credentials that we share with Athos and with other backends: which are current, and how they are used, which is
//! stored. Known here by fingerprint; only `WebhookSecrets` and `athos_api::Client` hold values.

mod doctor_check;
mod service_tokens;
mod usage;
mod webhook_secrets;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use athos_api as athos;

use crate::clock::Clock;
use crate::config::{Config, Problems};
use crate::model::{Credential, KeyState, ServiceKey, idle_secrets};
use crate::store::{SharedStore, StoreResult};

pub(crate) use doctor_check::is_doctor_check;
pub(crate) use service_tokens::ServiceTokens;
pub(crate) use usage::KeyUsage;
pub(crate) use webhook_secrets::WebhookSecrets;

/// Webhook secrets, API keys and service tokens.
pub struct Credentials {
    /// The secrets that webhooks are verified with.
    pub secrets: WebhookSecrets,
    /// The keys of other backends.
    pub service_tokens: ServiceTokens,
    athos: Arc<athos::Client>,
    key_usage: Arc<KeyUsage>,
    store: SharedStore,
    clock: Clock,
    noted: Mutex<LastWritten>,
}

#[derive(Default)]
struct LastWritten {
    /// The usage that is stored.
    written: Vec<Credential>,
    /// The secrets whose removal was suggested in the log.
    told_idle: HashSet<String>,
}

/// Credentials added and removed by a reload, by fingerprint or name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Those that are new.
    pub added: Vec<String>,
    /// Those that are gone.
    pub removed: Vec<String>,
}

impl Credentials {
    /// Starts with the keys of `athos` and the secrets and service tokens of `config`, and reads the stored usage of all of
    /// them.
    ///
    /// # Errors
    /// When the store cannot be used, or a service token is none.
    pub async fn start(
        config: &Config,
        athos: &Arc<athos::Client>,
        key_usage: Arc<KeyUsage>,
        store: &SharedStore,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let credentials = Self {
            secrets: WebhookSecrets::new(&config.athos_whsec, clock.clone()),
            service_tokens: ServiceTokens::new(&service_keys(config)?, clock.clone()),
            athos: Arc::clone(athos),
            key_usage,
            store: Arc::clone(store),
            clock: clock.clone(),
            noted: Mutex::default(),
        };
        credentials.watch_keys();
        credentials.remember().await?;
        Ok(credentials)
    }

    /// The current API keys, each with its state.
    pub fn keys(&self) -> Vec<(Credential, KeyState)> {
        let keys = self.athos.keys().into_iter();
        keys.filter_map(|(name, state)| Some((self.key_usage.of(&name)?, state)))
            .collect()
    }

    fn watch_keys(&self) {
        let keys = self.athos.keys().into_iter();
        let names: Vec<_> = keys.map(|(name, _)| name).collect();
        self.key_usage.watch(&names);
    }

    /// All current credentials.
    pub fn list(&self) -> Vec<Credential> {
        let keys = self.keys().into_iter().map(|(key, _)| key);
        let tokens = self.service_tokens.list().into_iter();
        let tokens = tokens.map(|(_, life)| life);
        self.secrets
            .list()
            .into_iter()
            .chain(keys)
            .chain(tokens)
            .collect()
    }

    /// What each is called in the log, with what makes it another one.
    fn names(&self) -> Vec<String> {
        let keys = self.keys().into_iter().map(|(key, _)| key);
        let shared = self.secrets.list().into_iter().chain(keys);
        let shared = shared.map(|one| format!("{} {}", one.kind.as_str(), one.fingerprint));
        let tokens = self.service_tokens.list().into_iter();
        let tokens = tokens.map(|(key, _)| format!("service_token {} ({})", key.name, key.scopes));
        shared.chain(tokens).collect()
    }

    /// A fingerprint of all of them together, by their own: processes that have the same credentials have the same.
    pub fn fingerprint(&self) -> String {
        // Names, for a token may have other scopes; and a token may be another under the same name.
        let tokens = self.service_tokens.list().into_iter();
        let mut all: Vec<_> = tokens.map(|(key, _)| key.fingerprint).collect();
        all.extend(self.names());
        all.sort();
        athos::signature::fingerprint(&all.join("\n").into())
    }

    /// Replaces secrets, keys and service tokens. Requests under way keep those they began with.
    ///
    /// # Errors
    /// When a service token is none, or a key has bytes that no header can carry; then nothing has changed.
    pub fn replace(&self, config: &Config) -> anyhow::Result<Replaced> {
        let before = self.names();
        let service_keys = service_keys(config)?;
        self.athos
            .replace_keys(&config.athos_api_key)
            .context("ATHOS_API_KEY cannot be used")?;
        self.watch_keys();
        self.secrets.replace(&config.athos_whsec);
        self.service_tokens.replace(&service_keys);
        let now = self.names();
        Ok(Replaced {
            added: missing_from(&before, &now),
            removed: missing_from(&now, &before),
        })
    }

    /// Reads their stored usage.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn remember(&self) -> StoreResult<()> {
        let known = self.store.credentials().await?;
        self.secrets.remember(&known);
        self.key_usage.remember(&known);
        self.service_tokens.remember(&known);
        Ok(())
    }

    /// Stores their usage if it has changed, and logs which secrets are unused.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn note(&self) -> StoreResult<()> {
        let all = self.list();
        self.secrets.measure();
        self.key_usage.measure();
        self.service_tokens.measure();
        self.warn_idle_secrets(&all);
        if self.noted().written != all {
            self.store.record_credential_usage(all.clone()).await?;
            self.noted().written = all;
        }
        Ok(())
    }

    fn warn_idle_secrets(&self, all: &[Credential]) {
        for (secret, idle) in idle_secrets(all, self.clock.now()) {
            if self.noted().told_idle.insert(secret.fingerprint.clone()) {
                let days = idle.as_secs() / 86_400;
                tracing::warn!(
                    secret = secret.fingerprint,
                    days,
                    "webhook secret unused for days while another is used; it can be removed from ATHOS_WHSEC"
                );
            }
        }
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, LastWritten> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of `those` that are not among `these`.
fn missing_from(these: &[String], those: &[String]) -> Vec<String> {
    let missing = those.iter().filter(|that| !these.contains(that));
    missing.cloned().collect()
}

/// The keys of other backends that `config` has, without their tokens.
fn service_keys(config: &Config) -> Result<Vec<ServiceKey>, Problems> {
    let keys = config.service_keys().map_err(Problems::new)?;
    Ok(keys.into_iter().map(|(key, _)| key).collect())
}
