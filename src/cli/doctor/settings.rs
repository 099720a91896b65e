//! What the settings say by themselves: where they come from, and what is wrong or odd about them.

use super::finding::Finding;
use crate::clock::Clock;
use crate::config::{Config, EnvFile};
use crate::http::{Authenticator, sdk_warning};
use crate::model::counted;

const CHECK: &str = "settings";

pub(super) fn look(config: &Config, env_file: &EnvFile, clock: &Clock) -> Vec<Finding> {
    let mut findings = Vec::new();
    let from = match env_file.path() {
        Some(path) => format!("read from the environment and {}", path.display()),
        None => "read from the environment; there is no .env here".to_owned(),
    };
    match config.check() {
        Ok(_) => findings.push(Finding::ok(CHECK, from)),
        Err(problems) => {
            findings.push(Finding::fail(
                CHECK,
                format!("`serve` would not start; {from}"),
            ));
            let problems = problems.iter();
            findings.extend(problems.map(|problem| Finding::fail(CHECK, problem)));
        }
    }
    let warnings = config.warnings().into_iter().chain(sdk_warning(config));
    findings.extend(warnings.map(|told| Finding::warn(CHECK, told)));
    for name in env_file.overruled() {
        findings.push(
            Finding::warn(
                CHECK,
                format!(
                    "{name} is in .env and, with another value, in the environment, which wins"
                ),
            )
            .fix("keep one of them"),
        );
    }
    findings.extend(callers(config, clock));
    findings
}

/// How callers are known, as far as that is known without asking anybody. That nobody is has been told before.
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
    (!ways.is_empty()).then(|| Finding::ok(CHECK, ways.join(", ")))
}
