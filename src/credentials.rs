//! The credentials that we share with Athos: which are current, and how they are used, which is stored. Known here by
//! fingerprint; only `WebhookSecrets` and `athos_api::Client` hold the values.

mod doctor_check;
mod usage;
mod webhook_secrets;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use athos_api as athos;
use metrics::gauge;
use secrecy::SecretString;

use crate::clock::Clock;
use crate::model::{Credential, KeyState, idle_secrets};
use crate::store::{SharedStore, StoreResult};
use crate::telemetry::metric;

pub(crate) use doctor_check::is_doctor_check;
pub(crate) use usage::KeyUsage;
pub(crate) use webhook_secrets::WebhookSecrets;

/// Webhook secrets and API keys.
pub struct Credentials {
    /// The secrets that webhooks are verified with.
    pub secrets: WebhookSecrets,
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

/// Credentials added and removed by a reload, by fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Those that are new.
    pub added: Vec<String>,
    /// Those that are gone.
    pub removed: Vec<String>,
}

impl Credentials {
    /// Starts with `secrets` and the keys of `athos`, and reads the stored usage of all of them.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub async fn start(
        secrets: &[SecretString],
        athos: &Arc<athos::Client>,
        key_usage: Arc<KeyUsage>,
        store: &SharedStore,
        clock: &Clock,
    ) -> StoreResult<Self> {
        let credentials = Self {
            secrets: WebhookSecrets::new(secrets, clock.clone()),
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
        self.secrets.list().into_iter().chain(keys).collect()
    }

    /// Replaces secrets and keys. Requests under way keep those they began with.
    ///
    /// # Errors
    /// When a key has bytes that no header can carry; then nothing has changed.
    pub fn replace(
        &self,
        secrets: &[SecretString],
        keys: &[SecretString],
    ) -> anyhow::Result<Replaced> {
        let before = self.list();
        self.athos
            .replace_keys(keys)
            .context("ATHOS_API_KEY cannot be used")?;
        self.watch_keys();
        self.secrets.replace(secrets);
        let now = self.list();
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
        Ok(())
    }

    /// Stores their usage if it has changed, and logs which secrets are unused.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn note(&self) -> StoreResult<()> {
        let all = self.list();
        for one in &all {
            let labels = [
                ("kind", one.kind.as_str().to_owned()),
                ("fingerprint", one.fingerprint.clone()),
            ];
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            let last_used = one.last_used_at.map_or(0.0, |at| at.as_secs() as f64);
            gauge!(metric::CREDENTIAL_LAST_USED_TIMESTAMP_SECONDS, &labels).set(last_used);
        }
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

fn missing_from(these: &[Credential], those: &[Credential]) -> Vec<String> {
    let is_here = |that: &&Credential| {
        these
            .iter()
            .any(|this| this.kind == that.kind && this.fingerprint == that.fingerprint)
    };
    let missing = those.iter().filter(|that| !is_here(that));
    missing
        .map(|that| format!("{} {}", that.kind.as_str(), that.fingerprint))
        .collect()
}
