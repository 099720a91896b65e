//! The names of settings, and suggestions for misspelt ones.

use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Variables of libraries and the system that may be in the file.
const OTHERS: [&str; 17] = [
    "RUST_LOG",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "TOKIO_WORKER_THREADS",
    "NO_COLOR",
    "TMPDIR",
    "SQLITE_TMPDIR",
    "HOME",
    "PATH",
    "LANG",
    "TZ",
];

/// Variables that a command reads, and `serve` does not.
const OF_COMMANDS: [&str; 2] = ["COPY_FROM", "COPY_TO"];

/// Prefixes that only our variables should have.
const PREFIXES: [&str; 2] = ["ATHOS_", "AUTH_"];
/// Shortest name that gets a suggestion, in characters: a shorter one is likely of another program.
const LONG_NAME_CHARS: usize = 8;
/// Most edits between a misspelt name and the suggestion.
const MAX_SLIP_EDITS: usize = 2;

static SETTINGS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    super::arguments()
        .iter()
        .filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned()))
        .collect()
});

/// Whether this service or its libraries read the variable.
pub(crate) fn is_known(name: &str) -> bool {
    SETTINGS.contains(name)
        || OTHERS.contains(&name)
        || OF_COMMANDS.contains(&name)
        // curl's spelling of these; so do libraries.
        || (name.ends_with("_proxy") && OTHERS.contains(&&*name.to_uppercase()))
}

/// Whether a variable of the environment looks like a setting of this service.
pub(super) fn looks_like_ours(name: &str) -> bool {
    let is_ours = || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let is_near = || {
        name.len() >= LONG_NAME_CHARS
            && nearest(name).is_some_and(|(_, slips)| slips <= MAX_SLIP_EDITS)
    };
    !is_known(name) && !is_of_kubernetes(name) && (is_ours() || is_near())
}

/// Where a service of that name is: `ATHOS_BACKEND_SERVICE_HOST`, `ATHOS_BACKEND_PORT_8080_TCP_ADDR`.
fn is_of_kubernetes(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_PORT")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
}

/// The warning about an unknown name.
pub(super) fn unknown(name: &str, place: &str) -> String {
    let meant = match suggestion(name) {
        Some(meant) => format!("did you mean {meant}?"),
        None => "remove it, or look for its name in `athos-backend help serve`".to_owned(),
    };
    let shown = printable(name);
    format!("{shown} ({place}) is not a setting and changes nothing: {meant}")
}

/// The setting with the most similar name, if one is close.
fn suggestion(name: &str) -> Option<&'static str> {
    let upper = name.to_ascii_uppercase();
    let is_end = |known: &&String| known.ends_with(&format!("_{upper}"));
    let (near, slips) = nearest(&upper)?;
    if slips <= MAX_SLIP_EDITS.min(upper.len() / 3) {
        return Some(near);
    }
    SETTINGS.iter().find(is_end).map(String::as_str)
}

fn nearest(name: &str) -> Option<(&'static str, usize)> {
    let known = SETTINGS.iter().map(String::as_str).chain(["RUST_LOG"]);
    known
        .map(|known| (known, strsim::osa_distance(name, known)))
        .min_by_key(|(_, slips)| *slips)
}

/// The name, or a placeholder when it may be part of a secret that was broken over two lines.
pub(super) fn printable(name: &str) -> String {
    let is_upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let looks_like_one = name.contains('_') && name.len() <= 64 && name.chars().all(is_upper);
    if is_known(name) || looks_like_one || suggestion(name).is_some() {
        name.to_owned()
    } else {
        "the name before the =".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_gets_a_suggestion() {
        for (slip, meant) in [
            ("RETENTION_DAY", "RETENTION_DAYS"),
            ("STORE_TRANSCRIPT", "STORE_TRANSCRIPTS"),
            ("athos_whsec", "ATHOS_WHSEC"),
            ("ATHOS_WEHSEC", "ATHOS_WHSEC"),
            ("WHSEC", "ATHOS_WHSEC"),
            ("API_KEY", "ATHOS_API_KEY"),
            ("SOURCE", "SOURCES"),
            ("RUST_LOGS", "RUST_LOG"),
        ] {
            assert_eq!(suggestion(slip), Some(meant), "{slip}");
        }
        for other in ["POSTGRES_PASSWORD", "PORT", "X", "dGhpc2lz"] {
            assert_eq!(suggestion(other), None, "{other}");
        }
    }

    #[test]
    fn of_the_environment_only_names_like_ours_are_reported() {
        for ours in ["ATHOS_SECRET", "AUTH_ROLE", "RETENTION_DAY", "PUBLIC_URLS"] {
            assert!(looks_like_ours(ours), "{ours}");
        }
        for others in [
            "ATHOS_WHSEC",
            "HTTP_PROXY",
            "https_proxy",
            "SOURCE",
            "PORT",
            "USER",
            "ATHOS_BACKEND_SERVICE_HOST",
            "ATHOS_BACKEND_PORT_8080_TCP_ADDR",
            "ATHOS_PORT",
        ] {
            assert!(!looks_like_ours(others), "{others}");
        }
    }

    #[test]
    fn what_may_be_half_a_secret_is_not_shown() {
        for half in ["dGhpc2lz", "hush", "JBSWY3DPEHPK3PXP"] {
            assert!(!unknown(half, "line 1").contains(half));
        }
        assert!(unknown("POSTGRES_PASSWORD", "line 1").starts_with("POSTGRES_PASSWORD (line 1)"));
    }
}
