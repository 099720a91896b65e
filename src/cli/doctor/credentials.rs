//! What the database has of the credentials that are configured now: when each was last used.

use super::finding::{Finding, Span};
use crate::config::Config;
use crate::model::{Credential, CredentialKind, ServiceKey, Timestamp, idle_secrets};
use crate::store::Contents;
use athos_api::signature::fingerprint;

/// The webhook secrets that are configured now, and when each was last used.
pub(super) fn secrets(config: &Config, contents: &Contents, now: Timestamp) -> Vec<Finding> {
    const CHECK: &str = "webhook secret";
    let configured: Vec<String> = config.athos_whsec.iter().map(fingerprint).collect();
    let known: Vec<Credential> = contents
        .credentials
        .iter()
        .filter(|one| {
            one.kind == CredentialKind::WebhookSecret && configured.contains(&one.fingerprint)
        })
        .cloned()
        .collect();
    let idle = idle_secrets(&known, now);
    let finding = |name: &String| {
        let life = known.iter().find(|one| one.fingerprint == *name);
        let seen = format!("{name}: {}", used(life, now));
        if idle.iter().any(|(one, _)| one.fingerprint == *name) {
            return Finding::warn(CHECK, format!("{seen}, while another is in use"))
                .fix("it can be removed from ATHOS_WHSEC");
        }
        if life.is_none() {
            return Finding::warn(CHECK, seen).fix("reload (SIGHUP) or restart the service");
        }
        Finding::ok(CHECK, seen)
    };
    configured.iter().map(finding).collect()
}

/// The keys of other backends that are configured now, what each may do, and when it was last used.
pub(super) fn service_tokens(config: &Config, contents: &Contents, now: Timestamp) -> Vec<Finding> {
    const CHECK: &str = "service token";
    // What is wrong with them is told of the settings.
    let keys = config.service_keys().unwrap_or_default();
    let known = contents.credentials.iter();
    let known: Vec<_> = known
        .filter(|one| one.kind == CredentialKind::ServiceToken)
        .collect();
    let finding = |(key, _): (ServiceKey, _)| {
        let life = known.iter().find(|one| one.fingerprint == key.fingerprint);
        let seen = format!(
            "{} ({}): {}",
            key.name,
            key.scopes,
            used(life.copied(), now)
        );
        match life {
            None => Finding::warn(CHECK, seen).fix("reload (SIGHUP) or restart the service"),
            Some(life) if life.last_refused_at > life.last_used_at => {
                let ago = life
                    .last_refused_at
                    .map(|at| now.since(at))
                    .unwrap_or_default();
                Finding::warn(
                    CHECK,
                    format!("{seen}; {} ago for something that it may not do", Span(ago)),
                )
                .fix("the log says which scope it lacks; add it in SERVICE_TOKENS, or look who uses the key")
            }
            Some(_) => Finding::ok(CHECK, seen),
        }
    };
    keys.into_iter().map(finding).collect()
}

/// When a credential was last used, in words.
fn used(life: Option<&Credential>, now: Timestamp) -> String {
    match life {
        None => "the service has not run with it yet".to_owned(),
        Some(life) => match life.last_used_at {
            Some(at) => format!("last used {} ago", Span(now.since(at))),
            None => format!(
                "never used, here for {}",
                Span(now.since(life.first_seen_at))
            ),
        },
    }
}
