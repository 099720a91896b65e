//! Checks across settings: each problem names the variable, what is wrong with it, and how to fix it.

use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::Config;
use crate::model::{Engine, Source};

/// All problems that keep the service from starting, one a line.
#[derive(Debug, thiserror::Error)]
pub struct Problems(Vec<String>);

impl Problems {
    pub(crate) fn new(problems: Vec<String>) -> Self {
        Self(problems)
    }

    /// Each problem.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration does not work:")?;
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// Something that works, but is probably not what was meant.
pub type Warning = String;

/// Marks the values in `.env.example` that stand for a secret.
const PLACEHOLDER: &str = "replace-me";
/// HS256 keys and bearer tokens shorter than this can be guessed (RFC 7518, 3.2), in bytes.
const STRONG_SECRET_BYTES: usize = 32;

/// One for each purpose.
const SMALLEST_POOL: u32 = 6;
/// Looking more often would be work; less often, and streams stand still where nothing is heard.
const SHORTEST_POLL: Duration = Duration::from_millis(100);
const LONGEST_POLL: Duration = Duration::from_secs(60);
const SHORTEST_ROUND: Duration = Duration::from_secs(10);
const SHORTEST_OVERLAP: Duration = Duration::from_secs(10 * 60);

impl Config {
    /// Checks what no single field can tell.
    ///
    /// # Errors
    /// All problems at once; the service does not start with any.
    pub fn check(&self) -> Result<Vec<Warning>, Problems> {
        let mut problems = Vec::new();
        self.check_placeholders(&mut problems);
        if self.athos_whsec.is_empty() {
            problems.push(
                "ATHOS_WHSEC is missing: without the webhook secret no delivery can be verified; set it to the \
                 whsec_… value from Athos."
                    .to_owned(),
            );
        }
        self.check_athos(&mut problems);
        self.check_callers(&mut problems);
        self.check_addresses(&mut problems);
        self.check_database(&mut problems);
        self.check_reconciliation(&mut problems);
        if problems.is_empty() {
            Ok(self.warnings())
        } else {
            Err(Problems(problems))
        }
    }

    /// Checks what a command uses that asks Athos and serves nobody: the key, the URL, the database and the sources.
    ///
    /// # Errors
    /// All problems at once.
    pub fn check_for_command(&self) -> Result<(), Problems> {
        let mut problems = Vec::new();
        if self.athos_api_key.is_empty() {
            problems
                .push("ATHOS_API_KEY is missing: Athos answers nobody without a key.".to_owned());
        }
        check_placeholder("ATHOS_API_KEY", &self.athos_api_key, &mut problems);
        self.check_athos(&mut problems);
        self.check_database(&mut problems);
        self.check_reconciliation(&mut problems);
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Problems(problems)),
        }
    }

    /// Refuses the public placeholders of `.env.example`.
    fn check_placeholders(&self, problems: &mut Vec<String>) {
        let secrets = [
            ("ATHOS_API_KEY", self.athos_api_key.as_slice()),
            ("ATHOS_WHSEC", &self.athos_whsec),
            ("AUTH_JWT_SECRET", self.auth_jwt_secret.as_slice()),
            ("AUTH_PROXY_SECRET", self.auth_proxy_secret.as_slice()),
            ("SERVICE_TOKENS", &self.service_tokens),
            ("FORWARD_SECRETS", &self.forward_secrets),
        ];
        for (name, secrets) in secrets {
            check_placeholder(name, secrets, problems);
        }
    }

    fn check_athos(&self, problems: &mut Vec<String>) {
        if self
            .athos_whsec
            .iter()
            .any(|secret| starts_with(secret, "ath_live_"))
            || self
                .athos_api_key
                .iter()
                .any(|key| starts_with(key, "whsec_"))
        {
            problems.push(
                "ATHOS_API_KEY and ATHOS_WHSEC are swapped: the key begins with ath_live_, the secret with \
                 whsec_."
                    .to_owned(),
            );
        }
        let is_sendable = |key: &SecretString| HeaderValue::from_str(key.expose_secret()).is_ok();
        if !self.athos_api_key.iter().all(is_sendable) {
            problems.push(
                "ATHOS_API_KEY has a character that cannot be sent to Athos: copy it again."
                    .to_owned(),
            );
        }
        if let Some(why) = unsafe_url(&self.athos_base_url) {
            problems.push(format!("ATHOS_BASE_URL {why}"));
        }
    }

    fn check_callers(&self, problems: &mut Vec<String>) {
        let jwt_sources: Vec<_> = [
            ("AUTH_JWT_SECRET", self.auth_jwt_secret.is_some()),
            ("AUTH_JWKS_URL", self.auth_jwks_url.is_some()),
            ("AUTH_JWT_PUBLIC_KEY", self.auth_jwt_public_key.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_set)| is_set.then_some(name))
        .collect();
        if jwt_sources.len() > 1 {
            problems.push(format!(
                "{} contradict each other: JWTs are verified in one way; keep one of them.",
                jwt_sources.join(" and ")
            ));
        }
        if let Err(wrong) = self.service_keys() {
            problems.extend(wrong);
        }
        let has_jwt = !jwt_sources.is_empty();
        if !has_jwt && self.auth_proxy_user_header.is_none() && self.service_tokens.is_empty() {
            problems.push(
                "No way to authenticate callers is configured: set AUTH_JWT_SECRET, AUTH_JWKS_URL or \
                 AUTH_JWT_PUBLIC_KEY for reps' JWTs, AUTH_PROXY_USER_HEADER behind an authenticating proxy, or \
                 SERVICE_TOKENS for other backends."
                    .to_owned(),
            );
        }
        let needs_jwt = [
            ("AUTH_ISSUER", self.auth_issuer.is_some()),
            ("AUTH_AUDIENCE", self.auth_audience.is_some()),
            ("AUTH_COOKIE", self.auth_cookie.is_some()),
            (
                "AUTH_CLAIM_EMAIL_VERIFIED",
                self.auth_claim_email_verified.is_some(),
            ),
        ];
        for (name, is_set) in needs_jwt {
            if is_set && !has_jwt {
                problems.push(format!(
                    "{name} is set, but no JWT can be verified: set AUTH_JWT_SECRET, AUTH_JWKS_URL or \
                     AUTH_JWT_PUBLIC_KEY as well, or remove it."
                ));
            }
        }
        if self
            .auth_cookie
            .as_deref()
            .is_some_and(|name| !is_cookie_name(name))
        {
            problems.push(
                "AUTH_COOKIE is not a valid cookie name: it has no spaces, and none of ( ) < > @ , ; : \\ \" / [ ] ? = { }."
                    .to_owned(),
            );
        }
        if let Some(why) = self.auth_jwks_url.as_ref().and_then(unsafe_url) {
            problems.push(format!("AUTH_JWKS_URL {why}"));
        }
        self.check_proxy(problems);
    }

    fn check_proxy(&self, problems: &mut Vec<String>) {
        let has_user = self.auth_proxy_user_header.is_some();
        if has_user && self.auth_proxy_secret.is_none() {
            problems.push(
                "AUTH_PROXY_USER_HEADER is set without AUTH_PROXY_SECRET: anyone could send that header; set a \
                 secret that your proxy sends in X-Auth-Proxy-Secret."
                    .to_owned(),
            );
        }
        let others = self.auth_proxy_secret.is_some()
            || self.auth_proxy_agency_header.is_some()
            || self.auth_proxy_role_header.is_some();
        if others && !has_user {
            problems.push(
                "AUTH_PROXY_… settings are there, but AUTH_PROXY_USER_HEADER is not: name the header in which \
                 your proxy says who the rep is, or remove them."
                    .to_owned(),
            );
        }
    }

    fn check_addresses(&self, problems: &mut Vec<String>) {
        if self.bind_addr == self.admin_addr && self.bind_addr.port() != 0 {
            problems.push(format!(
                "BIND_ADDR and ADMIN_ADDR are both {}: metrics need an address of their own.",
                self.bind_addr
            ));
        }
        let origins = [
            ("CORS_ORIGINS", &self.cors_origins),
            ("FRAME_ANCESTORS", &self.frame_ancestors),
        ];
        for (variable, origins) in origins {
            for origin in origins {
                if let Some(why) = inexact(origin) {
                    // What is before an @ may be a password.
                    let shown = origin.rsplit('@').next().unwrap_or_default();
                    problems.push(format!("{variable} has \"{shown}\", which {why}."));
                }
            }
        }
        if let Some(url) = &self.athos_sdk_url
            && let Some(why) = unsafe_url(url)
        {
            problems.push(format!("ATHOS_SDK_URL {why}"));
        }
    }

    fn check_database(&self, problems: &mut Vec<String>) {
        let engine = Engine::of(&self.database_url);
        match engine {
            Err(unknown) => problems.push(format!("{unknown}.")),
            Ok(Engine::Sqlite) if self.database_url.contains(":memory:") => problems.push(
                "DATABASE_URL names a database in memory, which forgets every event on a crash: name a file, for \
                 example sqlite://data/athos.db."
                    .to_owned(),
            ),
            Ok(Engine::Sqlite) if self.database_listen_url.is_some() => problems.push(
                "DATABASE_LISTEN_URL names a PostgreSQL server, but DATABASE_URL names a SQLite file: remove one of them."
                    .to_owned(),
            ),
            Ok(Engine::Sqlite) => {}
            Ok(Engine::Postgres) => self.check_server(problems),
        }
    }

    fn check_server(&self, problems: &mut Vec<String>) {
        if let Some(url) = &self.database_listen_url
            && !matches!(Engine::of(url), Ok(Engine::Postgres))
        {
            problems.push(
                "DATABASE_LISTEN_URL must begin with postgres:// or postgresql://, as DATABASE_URL does: it connects to the same \
                 database directly, without the pooler."
                    .to_owned(),
            );
        }
        if self.database_pool.get() < SMALLEST_POOL {
            problems.push(format!(
                "DATABASE_POOL is less than {SMALLEST_POOL}: each purpose (to write, the worker, requests, streams, sums, \
                 the background) has a connection of its own, so that none waits for another."
            ));
        }
        if !(SHORTEST_POLL..=LONGEST_POLL).contains(&self.database_poll) {
            problems.push(
                "DATABASE_POLL must be between 100ms and 1m: how often live streams look for changes of other replicas (default 1s)."
                    .to_owned(),
            );
        }
    }

    fn check_reconciliation(&self, problems: &mut Vec<String>) {
        if self.reconcile_every < SHORTEST_ROUND {
            problems.push(
                "RECONCILE_EVERY is less than 10s, which would keep Athos busy with lists: 5m finds a lost webhook \
                 soon enough."
                    .to_owned(),
            );
        }
        if self.reconcile_overlap < SHORTEST_OVERLAP {
            problems.push(
                "RECONCILE_OVERLAP is less than 10m: a call is listed when it has been scored, minutes after its \
                 end, and would be missed; 2h is safe."
                    .to_owned(),
            );
        }
        if let [first, rest @ ..] = &*self.sources
            && rest.contains(first)
        {
            problems.push(format!("SOURCES names {first} twice: once is enough."));
        }
    }

    /// Settings that work, but are probably mistakes.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.athos_api_key.is_empty() {
            warnings.push(
                "ATHOS_API_KEY is not set: webhooks are kept, but nothing can be minted or fetched"
                    .to_owned(),
            );
        }
        warnings.extend(self.secret_warnings());
        if !self.sources.contains(&Source::Roleplay) {
            warnings.push(
                "SOURCES leaves out roleplay: practice calls whose webhook is lost will not be found"
                    .to_owned(),
            );
        }
        if self.auth_jwt_secret.as_ref().is_some_and(is_weak) {
            warnings.push(format!(
                "AUTH_JWT_SECRET is shorter than {STRONG_SECRET_BYTES} bytes and can be guessed"
            ));
        }
        if self.service_token_values().iter().any(is_weak) {
            warnings.push(format!(
                "an entry of SERVICE_TOKENS is shorter than {STRONG_SECRET_BYTES} bytes and can be guessed"
            ));
        }
        if self
            .trusted_proxies
            .iter()
            .any(|range| range.prefix_len() == 0)
        {
            warnings.push(
                "TRUSTED_PROXIES has a range of all addresses: anyone may say who they are in X-Forwarded-For"
                    .to_owned(),
            );
        }
        if self.auth_jwks_url.is_some() && self.auth_audience.is_none() {
            warnings.push(
                "AUTH_AUDIENCE is not set: tokens that your identity provider made for other applications are \
                 accepted too"
                    .to_owned(),
            );
        }
        warnings.extend(self.email_warning());
        warnings
    }

    fn email_warning(&self) -> Option<Warning> {
        let claim = &self.auth_claim_email;
        match self.claim_of_checked_email() {
            Some("email_verified") if claim != "email" => Some(format!(
                "AUTH_CLAIM_EMAIL_VERIFIED=email_verified is believed for AUTH_CLAIM_EMAIL={claim}: in OpenID Connect it is \
                 about the claim email only; whoever can change {claim} unchecked can become any rep"
            )),
            None if self.auto_enroll => Some(format!(
                "AUTH_CLAIM_EMAIL_VERIFIED is not set, so nobody vouches for the address in {claim}: no rep is matched to \
                 an agent that Athos has with that address"
            )),
            _ => None,
        }
    }
}

fn check_placeholder(name: &str, secrets: &[SecretString], problems: &mut Vec<String>) {
    let is_placeholder = |secret: &SecretString| secret.expose_secret().contains(PLACEHOLDER);
    if secrets.iter().any(is_placeholder) {
        problems.push(format!(
            "{name} still has the value of .env.example, which everybody knows: set your own, or remove it."
        ));
    }
}

/// Whether a browser could send a cookie of this name (RFC 6265, 4.1.1).
fn is_cookie_name(name: &str) -> bool {
    let is_separator = |c: char| "()<>@,;:\\\"/[]?={}".contains(c);
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_graphic() && !is_separator(c))
}

/// Why browsers would never send this text as an origin, if so. A pattern with `*` is refused for frames too, where
/// browsers understand it: any subdomain could then embed the page.
fn inexact(origin: &str) -> Option<String> {
    const EXACT: &str = "write scheme, host and port only, for example https://app.example.com";
    if origin.contains('*') {
        return Some(format!(
            "is a pattern, and only exact origins are allowed: list each one; {EXACT}"
        ));
    }
    let url = Url::parse(origin).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    match url.map(|url| url.origin().ascii_serialization()) {
        Some(exact) if exact == origin => None,
        Some(exact) => Some(format!("is not an exact origin: write {exact}")),
        None => Some(format!("is not an exact origin: {EXACT}")),
    }
}

fn is_weak(secret: &SecretString) -> bool {
    secret.expose_secret().len() < STRONG_SECRET_BYTES
}

fn starts_with(secret: &SecretString, prefix: &str) -> bool {
    secret.expose_secret().starts_with(prefix)
}

/// Why a URL must not be trusted with secrets, if so: plain HTTP only stays within a machine or a container network.
fn unsafe_url(url: &Url) -> Option<&'static str> {
    let near = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_private(),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Some(Host::Domain(name)) => !name.contains('.') || name.ends_with(".localhost"),
        None => false,
    };
    match url.scheme() {
        "https" => None,
        "http" if near => None,
        "http" => Some(
            "must begin with https://: over plain HTTP the key would cross the network in the clear.",
        ),
        _ => Some("must be an https:// URL."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_needs_no_webhook_secret_and_no_way_to_know_callers() {
        let check = |flags: &[&str]| Config::from_flags(flags).unwrap().check_for_command();
        assert!(check(&["--athos-api-key=ath_live_a"]).is_ok());
        for (flags, named) in [
            (&[][..], "ATHOS_API_KEY is missing"),
            (&["--athos-api-key=replace-me"], "ATHOS_API_KEY still has"),
            (
                &["--athos-api-key=k", "--athos-base-url=http://example.com"],
                "ATHOS_BASE_URL",
            ),
            (
                &["--athos-api-key=k", "--database-url=mysql://a"],
                "DATABASE_URL",
            ),
        ] {
            let message = check(flags).unwrap_err().to_string();
            assert!(message.contains(named), "{message}");
            assert_eq!(message.lines().count(), 2, "{message}");
        }
    }

    fn problems(flags: &[&str]) -> String {
        match Config::from_flags(flags).unwrap().check() {
            Ok(_) => String::new(),
            Err(problems) => problems.to_string(),
        }
    }

    #[test]
    fn the_least_that_works_is_a_webhook_secret_and_one_way_to_know_callers() {
        assert_eq!(
            problems(&["--athos-whsec=whsec_a", "--service-tokens=t"]),
            ""
        );
        assert!(problems(&["--service-tokens=t"]).contains("ATHOS_WHSEC"));
        let none = problems(&["--athos-whsec=whsec_a"]);
        for name in [
            "AUTH_JWT_SECRET",
            "AUTH_PROXY_USER_HEADER",
            "SERVICE_TOKENS",
        ] {
            assert!(none.contains(name), "{none}");
        }
    }

    #[test]
    fn contradictions_are_named() {
        let cases: &[(&[&str], &str)] = &[
            (
                &["--service-tokens=replace-me-now"],
                "SERVICE_TOKENS still has",
            ),
            (
                &["--auth-jwt-secret=s", "--auth-jwks-url=https://a.b/c"],
                "AUTH_JWT_SECRET and AUTH_JWKS_URL contradict",
            ),
            (&["--auth-cookie=c"], "AUTH_COOKIE is set, but no JWT"),
            (
                &["--auth-jwt-secret=s", "--auth-cookie=a b"],
                "AUTH_COOKIE is not a valid cookie name",
            ),
            (
                &["--auth-jwt-secret=s", "--auth-cookie=__Host-a=b"],
                "AUTH_COOKIE is not a valid cookie name",
            ),
            (&["--auth-issuer=c"], "AUTH_ISSUER is set, but no JWT"),
            (
                &["--auth-claim-email-verified=c"],
                "AUTH_CLAIM_EMAIL_VERIFIED is set, but no JWT",
            ),
            (
                &["--auth-proxy-user-header=x-user"],
                "without AUTH_PROXY_SECRET",
            ),
            (&["--auth-proxy-secret=s"], "AUTH_PROXY_USER_HEADER is not"),
            (
                &["--athos-base-url=http://app.useathos.ai/v1"],
                "ATHOS_BASE_URL",
            ),
            (&["--athos-base-url=ftp://localhost"], "ATHOS_BASE_URL"),
            (
                &["--auth-jwks-url=http://idp.example.com/k"],
                "AUTH_JWKS_URL",
            ),
            (&["--athos-api-key=whsec_x"], "swapped"),
            (&["--admin-addr=127.0.0.1:8080"], "BIND_ADDR and ADMIN_ADDR"),
            (&["--database-url=mysql://x/y"], "DATABASE_URL must begin"),
            (
                &["--database-listen-url=postgres://x/y"],
                "DATABASE_LISTEN_URL names a PostgreSQL server",
            ),
            (
                &[
                    "--database-url=postgres://x/y",
                    "--database-listen-url=sqlite://a.db",
                ],
                "DATABASE_LISTEN_URL must begin",
            ),
            (
                &["--database-url=postgres://x/y", "--database-pool=5"],
                "DATABASE_POOL",
            ),
            (
                &["--database-url=postgres://x/y", "--database-poll=10ms"],
                "DATABASE_POLL",
            ),
            (&["--database-url=sqlite::memory:"], "forgets every event"),
            (&["--reconcile-every=0s"], "RECONCILE_EVERY"),
            (&["--reconcile-overlap=1m"], "RECONCILE_OVERLAP"),
            (&["--sources=roleplay,roleplay"], "SOURCES"),
            (
                &["--cors-origins=*"],
                "CORS_ORIGINS has \"*\", which is a pattern",
            ),
            (
                &["--cors-origins=https://*.a.com"],
                "CORS_ORIGINS has \"https://*.a.com\", which is a pattern",
            ),
            (&["--cors-origins=https://a.com/"], "write https://a.com."),
            (
                &["--cors-origins=https://a.com/b?c"],
                "write https://a.com.",
            ),
            (
                &["--cors-origins=HTTPS://A.com:443"],
                "write https://a.com.",
            ),
            (&["--cors-origins=https://u@a.com"], "write https://a.com."),
            (&["--cors-origins=null"], "not an exact origin"),
            (&["--cors-origins=a.com"], "not an exact origin"),
            (&["--cors-origins=ftp://a.com"], "not an exact origin"),
            (
                &["--frame-ancestors=https://b.com,https://*.a.com"],
                "FRAME_ANCESTORS has \"https://*.a.com\", which is a pattern",
            ),
            (&["--frame-ancestors='self'"], "FRAME_ANCESTORS"),
            (
                &["--frame-ancestors=https://a.com; script-src *"],
                "FRAME_ANCESTORS",
            ),
            (&["--frame-ancestors=*"], "FRAME_ANCESTORS"),
            (
                &["--athos-sdk-url=http://cdn.example.com/sdk.js"],
                "ATHOS_SDK_URL",
            ),
        ];
        for (flags, expected) in cases {
            let mut all = vec!["--athos-whsec=whsec_a", "--service-tokens=t"];
            all.retain(|base| {
                !flags
                    .iter()
                    .any(|flag| flag.split('=').next() == base.split('=').next())
            });
            all.extend(*flags);
            let said = problems(&all);
            assert!(said.contains(expected), "{flags:?}: {said}");
        }
    }

    #[test]
    fn an_address_counts_as_verified_by_its_own_claim_and_anything_else_is_a_warning() {
        let secret = "--auth-jwt-secret=0123456789abcdef0123456789abcdef";
        let read = |flags: &[&str]| {
            let base = ["--athos-whsec=whsec_0123456789abcdef", secret];
            let config = Config::from_flags(base.iter().chain(flags)).unwrap();
            let message = config.check().unwrap().join("\n");
            let claim = config.claim_of_checked_email().map(str::to_owned);
            (claim, message.contains("AUTH_CLAIM_EMAIL_VERIFIED"))
        };
        let (standard, own) = ("email_verified".to_owned(), "app.checked".to_owned());
        let other = "--auth-claim-email=app.email";
        let checked = "--auth-claim-email-verified=app.checked";
        assert_eq!(read(&[]), (Some(standard.clone()), false));
        assert_eq!(read(&[checked]), (Some(own.clone()), false));
        assert_eq!(read(&[other]), (None, false));
        assert_eq!(read(&[other, "--auto-enroll=true"]), (None, true));
        assert_eq!(read(&[other, checked]), (Some(own), false));
        let borrowed = "--auth-claim-email-verified=email_verified";
        assert_eq!(read(&[other, borrowed]), (Some(standard), true));
    }

    #[test]
    fn plain_http_is_for_this_machine_and_container_networks() {
        for url in [
            "http://127.0.0.1:8081",
            "http://simulator:8081",
            "http://10.0.0.7",
            "https://a.b",
        ] {
            assert_eq!(unsafe_url(&Url::parse(url).unwrap()), None, "{url}");
        }
        assert!(unsafe_url(&Url::parse("http://8.8.8.8").unwrap()).is_some());
    }
}
