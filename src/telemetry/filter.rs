//! `RUST_LOG`: which log lines are written. Warns of parts that match nothing or silence everything else by mistake.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::Misconfigured;

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT: &str = "info";
const US: &str = env!("CARGO_CRATE_NAME");

/// Which lines are written.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(super) filter: EnvFilter,
    /// What is probably a mistake.
    pub(crate) warning: Option<&'static str>,
}

impl Filter {
    /// The filter of the environment; an empty variable counts as not set.
    pub(crate) fn from_environment() -> Result<Self, Misconfigured> {
        match std::env::var(EnvFilter::DEFAULT_ENV) {
            Ok(text) => Self::read(&text),
            Err(std::env::VarError::NotPresent) => Self::read(""),
            Err(_) => Err(Misconfigured("RUST_LOG is not UTF-8.".to_owned())),
        }
    }

    fn read(text: &str) -> Result<Self, Misconfigured> {
        // Conditions on spans (`[span{field=1}]`) may have commas of their own.
        let separator: &[char] = if text.contains('[') { &[] } else { &[','] };
        let directives = text.split(separator).map(str::trim);
        let mut directives: Vec<_> = directives.filter(|one| !one.is_empty()).collect();
        let wrong = directives.iter().find(|one| !is_directive(one));
        if let Some(wrong) = wrong {
            return Err(Misconfigured(format!(
                "RUST_LOG has \"{wrong}\", which is neither a level (off, error, warn, info, debug, trace) nor a module \
                 with one: write for example info,hyper=debug."
            )));
        }
        let silent = !directives
            .iter()
            .any(|one| is_level(one) || one.starts_with(US));
        let warning = (silent && !directives.is_empty()).then_some(
            "RUST_LOG names no level for what it does not list, which would silence this service: info is used for that",
        );
        if silent {
            directives.insert(0, DEFAULT);
        }
        let filter = EnvFilter::new(directives.join(","));
        Ok(Self { filter, warning })
    }
}

/// Whether a directive without a level is probably a misspelt level: it would log one module and silence all others. Other
/// modules than ours need a level.
fn is_directive(text: &str) -> bool {
    let is_clear = is_level(text) || text.starts_with(US) || text.contains(['=', '[']);
    let target = text.split(['=', '[']).next().unwrap_or_default();
    let is_path = target
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_:-".contains(c));
    is_clear && is_path && EnvFilter::try_new(text).is_ok()
}

fn is_level(text: &str) -> bool {
    text.parse::<LevelFilter>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_level_is_reported() {
        for (text, wrong) in [
            ("warning", "warning"),
            ("info,hyper=verbose", "hyper=verbose"),
            ("info, hyper", "hyper"),
            ("info;hyper=debug", "info;hyper=debug"),
            ("athos_backend=warning", "athos_backend=warning"),
        ] {
            let message = Filter::read(text).unwrap_err().to_string();
            assert!(message.contains(&format!("\"{wrong}\"")), "{message}");
        }
    }

    #[test]
    fn this_service_is_silent_only_when_that_is_said() {
        for (text, read, warns) in [
            ("", "info", false),
            (" ,", "info", false),
            ("off", "off", false),
            ("WARN , hyper=debug", "warn,hyper=debug", false),
            (
                "athos_backend::worker",
                "athos_backend::worker=trace",
                false,
            ),
            ("hyper=debug", "info,hyper=debug", true),
        ] {
            let Filter { filter, warning } = Filter::read(text).unwrap();
            let expected = EnvFilter::new(read);
            assert_eq!(filter.to_string(), expected.to_string(), "{text}");
            assert_eq!(warning.is_some(), warns, "{text}");
        }
    }
}
