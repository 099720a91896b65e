//! Parses the text of a flag, a variable or a line of `.env`. Blanks around a value and around each entry of a list are
//! ignored; an empty entry is an error. Errors do not show the text, which may be a secret.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::header::HeaderName;
use url::{ParseError, Url};

use crate::model::{Engine, MessageKind, Source, UnknownVariant};
use athos_api::setting::EMPTY;

const NO_URL: &str = "not a whole URL, such as https://app.example.com";

pub(super) fn word(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err(EMPTY),
        text => Ok(text.to_owned()),
    }
}

/// The URL of a database. It may have a password in it, and prints with its scheme only where it can.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl Deref for DatabaseUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (Engine::of(self), self.split_once(':')) {
            (Ok(Engine::Sqlite), _) => fmt::Debug::fmt(&self.0, f),
            (Ok(_), Some((scheme, _))) => write!(f, "\"{scheme}:…\""),
            _ => f.write_str("\"…\""),
        }
    }
}

pub(crate) fn database_url(text: &str) -> Result<DatabaseUrl, &'static str> {
    word(text).map(DatabaseUrl)
}

pub(super) fn url(text: &str) -> Result<Url, String> {
    let url = text.trim().parse();
    url.map_err(|error| match error {
        ParseError::RelativeUrlWithoutBase => NO_URL.to_owned(),
        error => format!("{NO_URL} ({error})"),
    })
}

/// The usual words for true and false, in any case.
pub(super) fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    match &*text.trim().to_ascii_lowercase() {
        "true" | "yes" | "on" | "1" | "t" | "y" => Ok(true),
        "false" | "no" | "off" | "0" | "f" | "n" => Ok(false),
        _ => Err("neither true nor false (nor yes or no, on or off, 1 or 0)"),
    }
}

pub(super) fn at_least_one(text: &str) -> Result<NonZeroU32, &'static str> {
    let number = text.trim().parse();
    number.map_err(|_| "not a whole number, of at least 1")
}

/// A source of calls by its name, for `reconcile --source`.
pub(crate) fn source(text: &str) -> Result<Source, UnknownVariant> {
    text.trim().parse()
}

/// The same for a setting: the error does not show the text.
pub(super) fn set_source(text: &str) -> Result<Source, String> {
    source(text).map_err(|why| format!("not one of {}", why.words.join(", ")))
}

/// A type of message; the text is not shown.
pub(super) fn message_kind(text: &str) -> Result<MessageKind, String> {
    let kind = text.trim().parse();
    kind.map_err(|why: UnknownVariant| format!("not one of {}", why.words.join(", ")))
}

pub(super) fn header(text: &str) -> Result<HeaderName, &'static str> {
    let header = text.trim().parse();
    header.map_err(|_| "not the name of a header, such as X-User")
}

pub(super) fn ip_range(text: &str) -> Result<IpNet, &'static str> {
    let text = text.trim();
    let one = || text.parse().map(|address: IpAddr| address.into());
    text.parse()
        .or_else(|_| one())
        .map_err(|_| "not an IP address, and not a range such as 10.0.0.0/8")
}

pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    let duration: Option<Duration> = text
        .trim()
        .parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| duration.try_into().ok());
    duration.ok_or("not a length of time such as 90s, 5m or 2h")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn yes_and_no_may_be_said_in_the_usual_ways() {
        for text in ["1", "yes", "TRUE", "on", " True ", "Y"] {
            assert_eq!(yes_or_no(text), Ok(true), "{text}");
        }
        for text in ["0", "no", "False", "OFF"] {
            assert_eq!(yes_or_no(text), Ok(false), "{text}");
        }
        for text in ["", "2", "ja", "enabled"] {
            assert!(yes_or_no(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_list_leaves_blanks_out_and_refuses_an_empty_entry() {
        let lists = [
            ("athos-api-key", "ath_live_a", "ath_live_b"),
            ("athos-whsec", "whsec_a", "whsec_b"),
            ("service-tokens", "a", "b"),
            ("forward-urls", "https://a.com/", "https://b.com/"),
            ("forward-secrets", "whsec_a", "whsec_b"),
            ("forward-events", "call.scored", "event.dead"),
            ("forward-allow-http", "a.internal", "b.internal"),
            ("cors-origins", "https://a.com", "https://b.com"),
            ("frame-ancestors", "https://a.com", "https://b.com"),
            ("trusted-proxies", "10.0.0.1", "10.1.0.0/16"),
            ("sources", "roleplay", "real_call"),
        ];
        let all: Vec<_> = crate::config::arguments()
            .iter()
            .filter(|arg| arg.get_value_delimiter().is_some())
            .filter_map(|arg| arg.get_long().map(str::to_owned))
            .collect();
        assert_eq!(all.len(), lists.len(), "{all:?}");
        for (flag, one, two) in lists {
            let read = |list: String| Config::from_flags([format!("--{flag}={list}")]);
            let plain = read(format!("{one},{two}")).unwrap();
            let spaced = read(format!(" {one} ,\t{two} ")).unwrap();
            let exposed = |config: &Config| {
                use secrecy::ExposeSecret;
                let secrets = [
                    &config.athos_api_key,
                    &config.athos_whsec,
                    &config.service_tokens,
                    &config.forward_secrets,
                ];
                let secrets = secrets.into_iter().flatten();
                let secrets: Vec<_> = secrets.map(|one| one.expose_secret().to_owned()).collect();
                format!("{config:?}{secrets:?}")
            };
            assert_eq!(exposed(&plain), exposed(&spaced), "{flag}");
            for list in [
                format!("{one},,{two}"),
                format!("{one},"),
                ",".to_owned(),
                " ".to_owned(),
            ] {
                assert!(read(list.clone()).is_err(), "{flag}={list}");
            }
        }
    }
}
