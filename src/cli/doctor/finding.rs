//! The findings of the checks: a status, what was seen, and what to do; printed as text or JSON.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::cli::output::one_line;
use crate::model::counted;

/// The status of a check, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CheckStatus {
    /// It works.
    Ok,
    /// It was not checked.
    Skipped,
    /// It works, but may not for long, or not as intended.
    Warn,
    /// It does not work.
    Fail,
}

impl CheckStatus {
    fn shown(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skip",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    check: String,
    pub(super) verdict: CheckStatus,
    /// What was seen.
    message: String,
    /// What to do.
    fix: Option<String>,
}

impl Finding {
    fn new(verdict: CheckStatus, check: &str, message: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            verdict,
            message: shown(&message.into()),
            fix: None,
        }
    }

    pub(super) fn ok(check: &str, message: impl Into<String>) -> Self {
        Self::new(CheckStatus::Ok, check, message)
    }

    pub(super) fn skipped(check: &str, message: impl Into<String>) -> Self {
        Self::new(CheckStatus::Skipped, check, message)
    }

    pub(super) fn warn(check: &str, message: impl Into<String>) -> Self {
        Self::new(CheckStatus::Warn, check, message)
    }

    pub(super) fn fail(check: &str, message: impl Into<String>) -> Self {
        Self::new(CheckStatus::Fail, check, message)
    }

    /// What to do about it.
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(shown(&fix.into()));
        self
    }
}

/// Longest text of a finding, in characters.
const MAX_TEXT_CHARS: usize = 600;

/// The text as it is shown: it may contain text from outside, and passwords.
fn shown(text: &str) -> String {
    one_line(&without_userinfo(text), MAX_TEXT_CHARS)
}

/// The text without the user information of URLs: it may be a password.
fn without_userinfo(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_end = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#');
        let (authority, rest) = part.split_at(part.find(is_end).unwrap_or(part.len()));
        let host = authority.rsplit('@').next().unwrap_or_default();
        shown.extend(["://", host, rest]);
    }
    shown
}

/// All findings, in the order of the report.
pub(super) struct CheckReport(pub(super) Vec<Finding>);

impl CheckReport {
    pub(super) fn worst(&self) -> CheckStatus {
        let verdicts = self.0.iter().map(|finding| finding.verdict);
        let verdicts = verdicts.filter(|verdict| *verdict != CheckStatus::Skipped);
        verdicts.max().unwrap_or(CheckStatus::Ok)
    }

    pub(super) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let report = json!({ "verdict": self.worst(), "findings": self.0 });
        writeln!(out, "{report:#}")
    }

    pub(super) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let names = self.0.iter().map(|finding| finding.check.chars().count());
        let width = names.max().unwrap_or_default();
        for finding in &self.0 {
            let (verdict, check) = (finding.verdict.shown(), &finding.check);
            writeln!(out, "{verdict:<4}  {check:<width$}  {}", finding.message)?;
            if let Some(fix) = &finding.fix {
                writeln!(out, "      {:<width$}  -> {fix}", "")?;
            }
        }
        let count = |verdict| self.0.iter().filter(|one| one.verdict == verdict).count();
        let (failures, warnings) = (count(CheckStatus::Fail), count(CheckStatus::Warn));
        let many = |count: usize, word: &str| match count {
            0 => format!("no {word}s"),
            _ => counted(count, word),
        };
        writeln!(
            out,
            "{}, {}",
            many(failures, "failure"),
            many(warnings, "warning")
        )
    }
}

/// A duration in a readable unit.
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7_200 => write!(f, "{} min", seconds / 60),
            seconds @ 7_200..172_800 => write!(f, "{} h", seconds / 3_600),
            seconds => write!(f, "{} d", seconds / 86_400),
        }
    }
}

/// A number of bytes in a readable unit.
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} bytes", self.0);
        }
        #[expect(clippy::cast_precision_loss, reason = "one digit after the point")]
        let mut size = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while size >= 1024.0 && unit + 1 < UNITS.len() {
            size /= 1024.0;
            unit += 1;
        }
        write!(f, "{size:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_finding_shows_what_is_before_the_host_of_a_url() {
        let finding = Finding::fail(
            "c",
            "https://me:pass@word@a.example:8443/b redirects to http://key@c.example, and x@y stays",
        )
        .fix("ask https://token@d.example?e=f@g");
        assert_eq!(
            finding.message,
            "https://a.example:8443/b redirects to http://c.example, and x@y stays"
        );
        assert_eq!(finding.fix.as_deref(), Some("ask https://d.example?e=f@g"));
    }
}
