//! A credential that we share with Athos or with another backend, known by its fingerprint only: when it came and how it has
//! fared.

use std::time::Duration;

use super::{Timestamp, string_enum};

/// A secret that nobody has used for so long, while another is in use, has been rotated out.
const IDLE_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a credential is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CredentialKind {
    /// It signs webhooks.
    WebhookSecret,
    /// It lets us ask Athos.
    ApiKey,
    /// It lets another backend ask us.
    ServiceToken,
}

string_enum!(CredentialKind, "kind of credential", {
    WebhookSecret: "webhook_secret",
    ApiKey: "api_key",
    ServiceToken: "service_token",
});

/// A credential's life so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// What it is for.
    pub kind: CredentialKind,
    /// Tells it from others without telling what it is.
    pub fingerprint: String,
    /// When it was first configured.
    pub first_seen_at: Timestamp,
    /// When it last did what it is for.
    pub last_used_at: Option<Timestamp>,
    /// When Athos last refused it; for a service token, when it was last used for something that it may not do.
    pub last_refused_at: Option<Timestamp>,
    /// With which code.
    pub last_code: Option<String>,
}

impl Credential {
    /// One that has just been configured.
    #[must_use]
    pub fn new(kind: CredentialKind, fingerprint: String, now: Timestamp) -> Self {
        Self {
            kind,
            fingerprint,
            first_seen_at: now,
            last_used_at: None,
            last_refused_at: None,
            last_code: None,
        }
    }

    /// Takes over what was known of it before.
    pub fn remember(&mut self, before: &Self) {
        self.first_seen_at = self.first_seen_at.min(before.first_seen_at);
        self.last_used_at = self.last_used_at.max(before.last_used_at);
        if before.last_refused_at > self.last_refused_at {
            self.last_refused_at = before.last_refused_at;
            self.last_code.clone_from(&before.last_code);
        }
    }
}

/// The webhook secrets among `all` that can be removed: no delivery was signed with them for days, while another one
/// signs. For how long; keys are not among them, since a spare one is never used.
#[must_use]
pub fn idle_secrets(all: &[Credential], now: Timestamp) -> Vec<(&Credential, Duration)> {
    let secrets = || {
        all.iter()
            .filter(|one| one.kind == CredentialKind::WebhookSecret)
    };
    let latest = secrets().filter_map(|one| one.last_used_at).max();
    secrets()
        .filter_map(|secret| {
            let last = secret.last_used_at.unwrap_or(secret.first_seen_at);
            let idle = now.since(last);
            (idle >= IDLE_AFTER && latest > Some(last)).then_some((secret, idle))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, first_seen_days: u64, used_days: Option<u64>) -> Credential {
        let day = |days: u64| Timestamp::from_millis(0).plus(Duration::from_secs(days * 86_400));
        Credential {
            last_used_at: used_days.map(day),
            ..Credential::new(
                CredentialKind::WebhookSecret,
                name.to_owned(),
                day(first_seen_days),
            )
        }
    }

    #[test]
    fn a_secret_is_idle_when_another_signs_and_never_when_none_does() {
        let now = Timestamp::from_millis(0).plus(Duration::from_secs(30 * 86_400));
        let idle = |all: &[Credential]| -> Vec<String> {
            let idle = idle_secrets(all, now).into_iter();
            idle.map(|(one, idle)| format!("{} {}", one.fingerprint, idle.as_secs() / 86_400))
                .collect()
        };
        let (old, new) = (secret("old", 1, Some(20)), secret("new", 19, Some(29)));
        assert_eq!(idle(&[old.clone(), new.clone()]), ["old 10"]);
        assert_eq!(idle(&[secret("unused", 2, None), new]), ["unused 28"]);
        // It came a day ago, and is about to be used.
        assert!(idle(&[old.clone(), secret("fresh", 29, None)]).is_empty());
        assert!(idle(&[old]).is_empty(), "a company that does not practise");
        let recent = secret("recent", 1, Some(25));
        assert!(idle(&[recent, secret("new", 19, Some(29))]).is_empty());
    }
}
