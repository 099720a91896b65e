//! Checks of the settings alone: where they come from, and what is wrong or suspicious.

use super::finding::Finding;
use crate::clock::Clock;
use crate::config::{Config, EnvFile};
use crate::forward;
use crate::http::{Authenticator, sdk_warning};
use crate::model::counted;
use crate::telemetry::Filter;

const CHECK: &str = "settings";

pub(super) fn check_all(
    config: &Config,
    env_file: &EnvFile,
    problems: &[String],
    clock: &Clock,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let from = match env_file.path() {
        Some(path) => format!("read from the environment and {}", path.display()),
        None => "read from the environment; there is no .env here".to_owned(),
    };
    let checked = config.check();
    let forwarding = forward::Settings::new(config).err();
    // A variable that cannot be read is also missing: reporting that too would mislead.
    let mut problems: Vec<&str> = match &checked {
        Err(checked) if problems.is_empty() => checked.iter().collect(),
        _ => problems.iter().map(String::as_str).collect(),
    };
    problems.extend(forwarding.iter().flat_map(|wrong| wrong.iter()));
    if problems.is_empty() {
        findings.push(Finding::ok(CHECK, from));
    } else {
        findings.push(Finding::fail(
            CHECK,
            format!("`serve` would not start; {from}"),
        ));
    }
    findings.extend(
        problems
            .into_iter()
            .map(|message| Finding::fail(CHECK, message)),
    );
    let warnings = config.warnings().into_iter();
    let warnings = warnings
        .chain(sdk_warning(config))
        .chain(env_file.unknown_names());
    findings.extend(warnings.map(|message| Finding::warn(CHECK, message)));
    for (name, line) in env_file.overruled() {
        let message =
            format!("{name} is in .env and, with another value, in the environment, which wins");
        findings.push(
            Finding::warn(CHECK, message)
                .fix(format!("keep one of them; in .env it is on line {line}")),
        );
    }
    findings.extend(match Filter::from_environment() {
        Ok(filter) => filter.warning.map(|message| Finding::warn(CHECK, message)),
        Err(wrong) => Some(Finding::fail(CHECK, wrong.to_string())),
    });
    findings.extend(callers(config, clock));
    findings
}

/// The configured ways to authenticate callers, without network requests. That there is none is reported above.
fn callers(config: &Config, clock: &Clock) -> Option<Finding> {
    const CHECK: &str = "callers";
    if let Err(error) = Authenticator::new(config, clock) {
        return Some(Finding::fail(CHECK, format!("{error:#}")));
    }
    let mut ways = Vec::new();
    if config.auth_jwt_secret.is_some() {
        ways.push("JWTs by a shared secret".to_owned());
    }
    if config.auth_jwt_public_key.is_some() {
        ways.push("JWTs by a public key".to_owned());
    }
    if config.auth_jwks_url.is_some() {
        ways.push("JWTs by published keys".to_owned());
    }
    if let Some(cookie) = &config.auth_cookie {
        ways.push(format!("also in the cookie {cookie}"));
    }
    if let Some(header) = &config.auth_proxy_user_header {
        ways.push(format!("a proxy that sets {header}"));
    }
    match config.service_tokens.len() {
        0 => {}
        count => ways.push(counted(count, "service token")),
    }
    if ways.is_empty() {
        return None;
    }
    let ways = ways.join(", ");
    let has_browsers = config.auth_cookie.is_some() || config.auth_proxy_user_header.is_some();
    if has_browsers {
        return Some(Finding::ok(CHECK, ways));
    }
    let (who, fix) = if has_jwt(config) {
        (
            "nobody can sign in to the practice page with a browser: it sends cookies only, and AUTH_COOKIE is not set",
            "name the cookie of your sign-in in AUTH_COOKIE; without one, your own pages can send the JWT (docs/embedding.md)",
        )
    } else {
        (
            "nobody can sign in with a browser, only other backends can call",
            "for reps, set AUTH_JWT_SECRET, AUTH_JWKS_URL or AUTH_JWT_PUBLIC_KEY with AUTH_COOKIE, or AUTH_PROXY_USER_HEADER",
        )
    };
    Some(Finding::warn(CHECK, format!("{ways}; {who}")).fix(fix))
}

fn has_jwt(config: &Config) -> bool {
    config.auth_jwt_secret.is_some()
        || config.auth_jwks_url.is_some()
        || config.auth_jwt_public_key.is_some()
}
