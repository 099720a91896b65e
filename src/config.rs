//! Configuration: one clap struct that is at once the flags, the environment, the help text and the table in
//! docs/configuration.md. What one field alone cannot tell is checked across fields in `checks`.

mod checks;
mod env_file;
pub(crate) mod names;
mod read;
mod secrets;
mod service_keys;
mod values;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use ipnet::IpNet;
use reqwest::header::HeaderName;
use secrecy::SecretString;
use url::Url;

use crate::model::{MessageKind, Source};
use crate::store::ServerOptions;
use athos_api::contract::Generation;
use athos_api::setting::{parse_address, parse_secret as secret};

pub use checks::{Problems, Warning};
pub use env_file::EnvFile;
pub(crate) use read::Unreadable;
pub use values::DatabaseUrl;
use values::{
    at_least_one, duration, header, ip_range, message_kind, set_source, url, word, yes_or_no,
};
pub(crate) use values::{database_url, source};

/// Settings that cannot work, whoever found out; the process ends with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misconfigured(pub String);

/// Settings of the service. Each is an environment variable (also from `.env`) and a flag; a flag wins.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Settings (also environment variables, and lines of .env)")]
pub struct Config {
    /// API key (`ath_live_…`); several, comma-separated, are tried in order when one is refused
    #[arg(long, env, hide_env_values = true, value_delimiter = ',', value_parser = secret, value_name = "KEY")]
    pub athos_api_key: Vec<SecretString>,

    /// Webhook signing secret (`whsec_…`); several, comma-separated, are all accepted. Required
    #[arg(long, env, hide_env_values = true, value_delimiter = ',', value_parser = secret, value_name = "SECRET")]
    pub athos_whsec: Vec<SecretString>,

    /// Where Athos's API is
    #[arg(
        long,
        env,
        value_name = "URL",
        value_parser = url,
        default_value = "https://app.useathos.ai/api/external/v1"
    )]
    pub athos_base_url: Url,

    /// Which generation of Athos's contract to mint with: `external`, `roster`, or `auto`, which finds out
    #[arg(
        long,
        env,
        value_name = "GENERATION",
        ignore_case = true,
        default_value = "auto"
    )]
    pub athos_contract: Contract,

    /// Register reps at Athos, from their credentials, when they first ask for a token (`true`, generation `roster`)
    #[arg(long, env, value_name = "BOOL", action = ArgAction::Set, value_parser = yes_or_no, default_value = "false")]
    pub auto_enroll: bool,

    /// Where the service listens
    #[arg(long, env, value_name = "ADDR", value_parser = parse_address, default_value = "127.0.0.1:8080")]
    pub bind_addr: SocketAddr,

    /// Where Prometheus metrics are served; keep it private
    #[arg(long, env, value_name = "ADDR", value_parser = parse_address, default_value = "127.0.0.1:9464")]
    pub admin_addr: SocketAddr,

    /// Where browsers and Athos reach the service, for example <https://practice.example.com>
    #[arg(long, env, value_name = "URL", value_parser = url)]
    pub public_url: Option<Url>,

    /// Where the database is: a SQLite file, made when missing, or a server (`postgres://user:password@host/database`)
    #[arg(
        long,
        env,
        hide_env_values = true,
        value_parser = database_url,
        value_name = "URL",
        default_value = "sqlite://data/athos.db"
    )]
    pub database_url: DatabaseUrl,

    /// The same server without the pooler before it, to hear at once what other replicas change
    #[arg(long, env, hide_env_values = true, value_parser = database_url, value_name = "URL")]
    pub database_listen_url: Option<DatabaseUrl>,

    /// How often a replica looks for changes of others, also when it does not hear of them
    #[arg(long, env, value_name = "TIME", value_parser = duration, default_value = "1s")]
    pub database_poll: Duration,

    /// Most connections of one replica to a server, besides one that listens
    #[arg(long, env, value_name = "N", value_parser = at_least_one, default_value = "8")]
    pub database_pool: NonZeroU32,

    /// Verify callers' JWTs with this shared secret (HS256)
    #[arg(long, env, hide_env_values = true, value_parser = secret, value_name = "SECRET")]
    pub auth_jwt_secret: Option<SecretString>,

    /// Verify callers' JWTs with the keys published here (RS256, ES256, EdDSA and kin)
    #[arg(long, env, value_name = "URL", value_parser = url)]
    pub auth_jwks_url: Option<Url>,

    /// Verify callers' JWTs with this public key: PEM, line breaks may be written `\n`
    #[arg(long, env, value_parser = word, value_name = "PEM")]
    pub auth_jwt_public_key: Option<String>,

    /// Refuse JWTs of any other issuer (`iss`)
    #[arg(long, env, value_parser = word, value_name = "ISS")]
    pub auth_issuer: Option<String>,

    /// Refuse JWTs for any other audience (`aud`)
    #[arg(long, env, value_parser = word, value_name = "AUD")]
    pub auth_audience: Option<String>,

    /// Name of the cookie that carries the JWT; without it, only `Authorization: Bearer` does
    #[arg(long, env, value_parser = word, value_name = "NAME")]
    pub auth_cookie: Option<String>,

    /// Claim with the rep's id; a path such as `app.user_id` reaches into objects
    #[arg(long, env, value_parser = word, value_name = "CLAIM", default_value = "sub")]
    pub auth_claim_user: String,

    /// Claim with the agency's id
    #[arg(long, env, value_parser = word, value_name = "CLAIM", default_value = "agency_id")]
    pub auth_claim_agency: String,

    /// Claim with the role: `rep`, `manager` or `admin`, or a list, of which the highest counts; anything else is `rep`
    #[arg(long, env, value_parser = word, value_name = "CLAIM", default_value = "role")]
    pub auth_claim_role: String,

    /// Claim with the rep's name, for display and for enrolment
    #[arg(long, env, value_parser = word, value_name = "CLAIM", default_value = "name")]
    pub auth_claim_name: String,

    /// Claim with the rep's e-mail address, for display and for enrolment
    #[arg(long, env, value_parser = word, value_name = "CLAIM", default_value = "email")]
    pub auth_claim_email: String,

    /// Claim that says that the address was checked (`true`); without it, `email_verified` does for the claim `email`, and
    /// nothing for any other
    #[arg(long, env, value_parser = word, value_name = "CLAIM")]
    pub auth_claim_email_verified: Option<String>,

    /// Claim with the agency's name, for enrolment; without it, a new agency is called by its id
    #[arg(long, env, value_parser = word, value_name = "CLAIM")]
    pub auth_claim_agency_name: Option<String>,

    /// Header in which an authenticating proxy names the rep
    #[arg(long, env, value_name = "HEADER", value_parser = header)]
    pub auth_proxy_user_header: Option<HeaderName>,

    /// Header in which it names the agency
    #[arg(long, env, value_name = "HEADER", value_parser = header)]
    pub auth_proxy_agency_header: Option<HeaderName>,

    /// Header in which it names the role, or several with commas between them
    #[arg(long, env, value_name = "HEADER", value_parser = header)]
    pub auth_proxy_role_header: Option<HeaderName>,

    /// What the proxy must send in `X-Auth-Proxy-Secret` to be believed
    #[arg(long, env, hide_env_values = true, value_parser = secret, value_name = "SECRET")]
    pub auth_proxy_secret: Option<SecretString>,

    /// Bearer tokens of other backends, comma-separated: `name:scopes:token` with scopes of `mint`, `read`, `transcripts`,
    /// `admin` and `metrics`, several joined by `+`; a token alone may do everything
    #[arg(long, env, hide_env_values = true, value_delimiter = ',', value_parser = secret, value_name = "TOKEN")]
    pub service_tokens: Vec<SecretString>,

    /// Where scored calls are sent to as signed messages, comma-separated; without any, nothing is forwarded
    #[arg(long, env, hide_env_values = true, value_delimiter = ',', value_parser = url, value_name = "URL")]
    pub forward_urls: Vec<Url>,

    /// What signs them: `whsec_` and the base64 of 24 to 64 bytes; of several, comma-separated, each does. Not Athos's secret
    #[arg(long, env, hide_env_values = true, value_delimiter = ',', value_parser = secret, value_name = "SECRET")]
    pub forward_secrets: Vec<SecretString>,

    /// Which messages are sent, comma-separated: `call.scored`, `call.unscored`, `call.updated`, `event.dead`; without any, these. `audit.recorded` is
    /// sent when it is named
    #[arg(long, env, value_delimiter = ',', value_parser = message_kind, value_name = "TYPE")]
    pub forward_events: Vec<MessageKind>,

    /// Hosts of FORWARD_URLS, comma-separated, that may be reached without TLS wherever they are
    #[arg(long, env, value_delimiter = ',', value_parser = word, value_name = "HOST")]
    pub forward_allow_http: Vec<String>,

    /// Exact origins, comma-separated, whose pages may call with credentials
    #[arg(long, env, value_delimiter = ',', value_parser = word, value_name = "ORIGIN")]
    pub cors_origins: Vec<String>,

    /// Exact origins, comma-separated, whose pages may show the practice page in a frame; without any, none may
    #[arg(long, env, value_delimiter = ',', value_parser = word, value_name = "ORIGIN")]
    pub frame_ancestors: Vec<String>,

    /// Where the page loads Athos's browser SDK from; without it, the copy in `static/vendor/`, else a guess at a public CDN
    #[arg(long, env, value_name = "URL", value_parser = url)]
    pub athos_sdk_url: Option<Url>,

    /// Connections held at the same time; beyond it, those that have waited longest for a request make room
    #[arg(long, env, value_name = "COUNT", value_parser = at_least_one, default_value = "2048")]
    pub max_connections: NonZeroU32,

    /// Proxies in front of the service, addresses or ranges, comma-separated: their `X-Forwarded-For` says who the client
    /// is, and only they may send `AUTH_PROXY_…` headers
    #[arg(long, env, value_delimiter = ',', value_parser = ip_range, value_name = "IP")]
    pub trusted_proxies: Vec<IpNet>,

    /// Session tokens a rep may ask for in a minute
    #[arg(long, env, value_name = "COUNT", value_parser = at_least_one, default_value = "10")]
    pub mint_limit_per_rep: NonZeroU32,

    /// Calls fetched from Athos at the same time
    #[arg(long, env, value_name = "COUNT", value_parser = at_least_one, default_value = "32")]
    pub fetch_concurrency: NonZeroU32,

    /// Whose calls are looked for in Athos's lists: `roleplay`, `real_call`, or both, comma-separated
    #[arg(long, env, value_delimiter = ',', value_name = "SOURCE", value_parser = set_source, default_value = "roleplay")]
    pub sources: Vec<Source>,

    /// How often Athos's list of calls is compared with what is here
    #[arg(long, env, value_name = "TIME", value_parser = duration, default_value = "5m")]
    pub reconcile_every: Duration,

    /// How much of the list is read again each time: scores may come long after a call
    #[arg(long, env, value_name = "TIME", value_parser = duration, default_value = "2h")]
    pub reconcile_overlap: Duration,

    /// Longest call with a real customer; such calls are listed by their start, so this much more is read again
    #[arg(long, env, value_name = "TIME", value_parser = duration, default_value = "4h")]
    pub real_call_longest: Duration,

    /// Remove transcripts and raw bodies after so many days, and keep the scores; without it, nothing is removed
    #[arg(long, env, value_name = "DAYS", value_parser = at_least_one)]
    pub retention_days: Option<NonZeroU32>,

    /// Keep what was said in calls; with `false`, no transcript or quote is ever written, scores and feedback are
    #[arg(long, env, value_name = "BOOL", action = ArgAction::Set, value_parser = yes_or_no, default_value = "true")]
    pub store_transcripts: bool,

    /// How to write the log, which goes to standard error; `RUST_LOG` says how much of it
    #[arg(
        long,
        env,
        value_name = "FORMAT",
        ignore_case = true,
        default_value = "pretty"
    )]
    pub log_format: LogFormat,
}

/// Every setting, as clap knows it.
fn arguments() -> Vec<clap::Arg> {
    let command = Config::augment_args(clap::Command::new("settings"));
    command.get_arguments().cloned().collect()
}

/// Which generation of the contract tokens are minted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Contract {
    /// What Athos was last found to understand, and `external` before that
    Auto,
    /// For any id of yours (`externalUserId`), as Athos's quickstart describes
    External,
    /// For reps that are registered at Athos (`platformAgentId`)
    Roster,
}

impl Contract {
    /// The generation that is insisted on.
    #[must_use]
    pub fn pinned(self) -> Option<Generation> {
        match self {
            Self::Auto => None,
            Self::External => Some(Generation::External),
            Self::Roster => Some(Generation::Roster),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Pretty,
    /// One JSON object a line, for machines
    Json,
}

impl Config {
    /// How a database on a server is used.
    #[must_use]
    pub fn server_options(&self) -> ServerOptions {
        ServerOptions {
            pool: self.database_pool,
            poll: Some(self.database_poll),
            listen_url: self.database_listen_url.as_deref().map(str::to_owned),
        }
    }

    /// The claim that vouches for the e-mail address. OpenID Connect's `email_verified` is about its `email` and about no
    /// other claim: an address that people may type themselves must not pass as checked.
    #[must_use]
    pub fn claim_of_checked_email(&self) -> Option<&str> {
        let standard = (self.auth_claim_email == "email").then_some("email_verified");
        self.auth_claim_email_verified.as_deref().or(standard)
    }

    /// Whether a running service takes over this variable when it is told to read `.env` again.
    #[must_use]
    pub fn is_reloaded(variable: &str) -> bool {
        matches!(variable, "ATHOS_API_KEY" | "ATHOS_WHSEC" | "SERVICE_TOKENS")
            || variable.starts_with("AUTH_")
            || variable.starts_with("FORWARD_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn variables() -> BTreeMap<String, clap::Arg> {
        let variable = |arg: clap::Arg| Some((arg.get_env()?.to_str()?.to_owned(), arg));
        arguments().into_iter().filter_map(variable).collect()
    }

    /// What docs/configuration.md must say, row by row.
    fn documented_row(variable: &str, arg: &clap::Arg) -> String {
        let default = arg.get_default_values().first().map_or_else(
            || "none".to_owned(),
            |value| format!("`{}`", value.to_string_lossy()),
        );
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        format!("| `{variable}` | {default} | {help} |")
    }

    #[test]
    fn the_document_has_a_row_for_every_variable_in_the_words_of_the_help() {
        let document = include_str!("../docs/configuration.md");
        let missing: Vec<_> = variables()
            .iter()
            .map(|(variable, arg)| documented_row(variable, arg))
            .filter(|row| !document.contains(row))
            .collect();
        assert!(
            missing.is_empty(),
            "docs/configuration.md lacks:\n{}",
            missing.join("\n")
        );
    }

    #[test]
    fn the_env_example_has_every_variable_and_no_other_and_is_a_working_configuration() {
        let text = include_str!("../.env.example");
        let uncommented: String = text
            .lines()
            .map(|line| {
                let line = line.strip_prefix("# ").unwrap_or(line);
                let is_variable = line.split_once('=').is_some_and(|(name, _)| {
                    name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
                });
                if is_variable {
                    format!("{line}\n")
                } else {
                    String::new()
                }
            })
            .collect();
        let mut all: Vec<_> = env_file::read_text(&uncommented).into_keys().collect();
        all.retain(|name| name != "RUST_LOG");
        assert_eq!(all, variables().into_keys().collect::<Vec<_>>());

        let active = env_file::read_text(text);
        assert!(!active.is_empty());
        let flags = active
            .iter()
            .map(|(name, value)| format!("--{}={value}", name.to_lowercase().replace('_', "-")));
        let config = Config::from_flags(flags.clone()).unwrap();
        let as_it_is = config.check().unwrap_err().to_string();
        assert!(
            as_it_is.contains("ATHOS_WHSEC still has the value of .env.example"),
            "{as_it_is}"
        );
        let own = flags.map(|flag| flag.replace("replace-me", "0123456789abcdef0123456789abcdef"));
        let warnings = Config::from_flags(own).unwrap().check().unwrap();
        assert_eq!(warnings, Vec::<Warning>::new());
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let config = Config::from_flags([
            "--athos-api-key=ath_live_hush",
            "--athos-whsec=whsec_hush",
            "--service-tokens=svc_hush",
            "--auth-jwt-secret=jwt_hush",
            "--auth-proxy-secret=proxy_hush",
            "--database-url=postgres://me:hush@db/athos",
            "--database-listen-url=hush:1",
        ])
        .unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }
}
