//! What the simulator can be told when it starts: flags for `simulate`, a plain struct for `demo` and tests.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use athos_api::setting::{parse_address, parse_secret, parse_url};

/// The API key that works when none is given.
pub const DEMO_API_KEY: &str = "ath_live_simulator_0000";
/// The secret that signs webhooks when none is given.
pub const DEMO_WEBHOOK_SECRET: &str = "whsec_simulator_0000";

const DEFAULT_BIND: &str = "127.0.0.1:8081";

/// How the simulated vendor is set up.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Where the simulated Athos listens; port 0 takes any free port
    #[arg(long, value_name = "ADDR", value_parser = parse_address, default_value = DEFAULT_BIND)]
    pub bind: SocketAddr,

    /// Where to deliver signed webhooks; without it they are logged and listed as undelivered
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub webhook_url: Option<Url>,

    /// Secrets shared with the receiver, comma-separated; the first one signs
    #[arg(
        long = "webhook-secret",
        env = "ATHOS_WHSEC",
        hide_env_values = true,
        value_name = "SECRET",
        value_parser = parse_secret,
        value_delimiter = ',',
        default_value = DEMO_WEBHOOK_SECRET
    )]
    pub webhook_secrets: Vec<SecretString>,

    /// API keys that are accepted, comma-separated
    #[arg(
        long = "api-key",
        env = "ATHOS_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        value_parser = parse_secret,
        value_delimiter = ',',
        default_value = DEMO_API_KEY
    )]
    pub api_keys: Vec<SecretString>,

    /// Same seed and same requests: same ids, personas and scores; another one with each start unless given
    #[arg(long, value_name = "N", value_parser = parse_seed, default_value_t = rand::random::<u32>().into(), hide_default_value = true)]
    pub seed: u64,

    /// How long scoring takes once a call has ended, such as 2s, 500ms or 0s
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "2s")]
    pub score_delay: Duration,

    /// How long after a failed delivery its one retry follows
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5m")]
    pub webhook_retry: Duration,

    /// How long a webhook's receiver has to answer
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10s")]
    pub webhook_timeout: Duration,

    /// Which generation of the contract to speak; `PUT /_simulator/contract` switches later
    #[arg(long, value_enum, default_value_t = Contract::External)]
    pub contract: Contract,
}

/// The defaults of the flags, untouched by the environment, and a seed that nobody has had: what `demo` builds on. With a
/// seed that repeats, a database that outlives the simulator would take new calls for old ones.
impl Default for Options {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 8081)),
            webhook_url: None,
            webhook_secrets: vec![SecretString::from(DEMO_WEBHOOK_SECRET)],
            api_keys: vec![SecretString::from(DEMO_API_KEY)],
            seed: rand::random::<u32>().into(),
            score_delay: Duration::from_secs(2),
            webhook_retry: Duration::from_secs(300),
            webhook_timeout: Duration::from_secs(10),
            contract: Contract::External,
        }
    }
}

impl Options {
    /// What a service beside it has to be told, one line per fact. A key or secret of somebody's own is not shown: it may be
    /// that of the real Athos, from the same `.env`.
    #[must_use]
    pub fn facts(&self) -> String {
        let shown = |values: &[SecretString], public: &str, from: &str| match values
            .iter()
            .all(|value| value.expose_secret() == public)
        {
            true => public.to_owned(),
            false => format!("(from {from})"),
        };
        let key = shown(&self.api_keys, DEMO_API_KEY, "--api-key or ATHOS_API_KEY");
        let secret = shown(
            &self.webhook_secrets,
            DEMO_WEBHOOK_SECRET,
            "--webhook-secret or ATHOS_WHSEC",
        );
        format!(
            "api-key: {key}\nwebhook-secret: {secret}\nseed: {}",
            self.seed
        )
    }
}

/// The generations of the vendor's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Contract {
    /// Mid-2026: tokens are minted for any `externalUserId`
    External,
    /// Autumn 2026: tokens are minted for registered agents; real calls, compliance and recordings
    Roster,
    /// `roster`, for clients of either: mints of both shapes are accepted, lists need no `source`, and calls and webhooks
    /// carry the ids of both
    Both,
}

/// Reads a seed. The words of the standard library for what is none help nobody.
pub fn parse_seed(text: &str) -> Result<u64, &'static str> {
    let seed = text.trim().parse();
    seed.map_err(|_| "not a whole number that fits in 64 bits")
}

/// The text is not a number with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duration such as 500ms, 2s, 5m or 1h")]
pub struct InvalidDuration;

/// Reads `500ms`, `2s`, `5m` or `1h`; `0` alone needs no unit.
///
/// # Errors
/// When the text is anything else.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| InvalidDuration)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" if number == 0 => 1,
        _ => return Err(InvalidDuration),
    };
    let ms = number.checked_mul(unit_ms).ok_or(InvalidDuration)?;
    Ok(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        for bad in [
            "",
            "2",
            "s",
            "-1s",
            "1.5s",
            "2 s",
            "2d",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_duration(bad), Err(InvalidDuration), "{bad:?}");
        }
    }

    #[test]
    fn the_flags_defaults_are_those_of_the_struct() {
        let flags = Cli::parse_from([
            "simulate",
            "--api-key",
            DEMO_API_KEY,
            "--webhook-secret",
            DEMO_WEBHOOK_SECRET,
            "--seed=7",
        ]);
        let defaults = Options {
            seed: 7,
            ..Options::default()
        };
        assert_eq!(format!("{:?}", flags.options), format!("{defaults:?}"));
    }

    #[test]
    fn without_a_seed_the_simulator_draws_one() {
        let flag = Cli::parse_from(["simulate"]).options.seed;
        let seeds = [flag, Options::default().seed, Options::default().seed];
        let different: std::collections::HashSet<_> = seeds.into_iter().collect();
        assert_eq!(different.len(), 3, "but for one chance in a billion");
    }

    #[test]
    fn the_facts_have_the_public_key_and_secret_and_no_others() {
        let facts = Options {
            seed: 7,
            ..Options::default()
        }
        .facts();
        assert_eq!(
            facts,
            format!("api-key: {DEMO_API_KEY}\nwebhook-secret: {DEMO_WEBHOOK_SECRET}\nseed: 7")
        );
        let own = Cli::parse_from([
            "simulate",
            "--api-key=ath_live_a",
            "--webhook-secret=whsec_b",
        ]);
        let facts = own.options.facts();
        assert!(
            !facts.contains("ath_live_a") && !facts.contains("whsec_b"),
            "{facts}"
        );
        assert!(facts.contains("api-key: (from --api-key"), "{facts}");
    }

    #[test]
    fn keys_and_secrets_may_be_several_and_do_not_print() {
        let cli = Cli::parse_from([
            "simulate",
            "--api-key=ath_live_a,ath_live_b",
            "--webhook-secret=whsec_x,whsec_y",
        ]);
        assert_eq!(cli.options.api_keys.len(), 2);
        assert_eq!(cli.options.webhook_secrets.len(), 2);
        let shown = format!("{:?}", cli.options);
        assert!(
            !shown.contains("ath_live_a") && !shown.contains("whsec_x"),
            "{shown}"
        );
    }
}
