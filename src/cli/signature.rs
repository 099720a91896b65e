//! `sign` and `verify`: makes a signature, or explains one, without any network.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::clock::Clock;
use crate::model::Timestamp;
use athos_api::setting::parse_secret;
use athos_api::signature::{self, Header, InvalidSignature, Verdict, Verifier};

/// The secrets of a command that signs.
#[derive(Args, Clone, Debug)]
pub(super) struct SigningSecrets {
    /// The secret to sign with; of several, comma-separated, the first one signs
    #[arg(
        long = "secret",
        env = "ATHOS_WHSEC",
        hide_env_values = true,
        value_name = "SECRET",
        value_parser = parse_secret,
        value_delimiter = ',',
        required = true
    )]
    secrets: Vec<SecretString>,
}

impl SigningSecrets {
    /// The one that signs.
    pub(super) fn first(&self) -> anyhow::Result<&SecretString> {
        self.secrets.first().context("no secret to sign with")
    }
}

/// What to sign.
#[derive(Args, Clone, Debug)]
pub(super) struct SignArgs {
    /// The file with the body; `-` or nothing for standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub body: PathBuf,

    #[command(flatten)]
    pub secrets: SigningSecrets,

    /// When it is signed, in unix seconds; now by default
    #[arg(long, value_name = "SECONDS", value_parser = unix_seconds)]
    pub t: Option<i64>,
}

fn unix_seconds(text: &str) -> Result<i64, &'static str> {
    let seconds = text.trim().parse().ok();
    let seconds = seconds.filter(|seconds| (0..1_000_000_000_000).contains(seconds));
    seconds.ok_or("not unix seconds, such as 1780682954")
}

/// A signed body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    /// The value of the signature header.
    pub signature: String,
}

impl Signed {
    /// Writes the header as one line, ready for `curl -H`.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub(super) fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "X-Athos-Signature: {}", self.signature)
    }
}

/// Signs a body.
///
/// # Errors
/// When the body cannot be read.
pub(super) fn sign(
    args: &SignArgs,
    clock: &Clock,
    stdin: &mut impl Read,
) -> anyhow::Result<Signed> {
    let body = read_body(&args.body, stdin)?;
    let secret = args.secrets.first()?;
    let t = args.t.unwrap_or_else(|| clock.now().as_secs());
    Ok(Signed {
        signature: signature::sign(secret, t, &body),
    })
}

/// What to verify.
#[derive(Args, Clone, Debug)]
pub(super) struct VerifyArgs {
    /// The signature header as it arrived, with or without its name
    #[arg(long, value_name = "HEADER")]
    pub header: String,

    /// The file with the body as it arrived, byte for byte; `-` or nothing for standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub body: PathBuf,

    // Not trimmed: a stray blank is one of the mistakes it finds.
    /// The secrets in force, comma-separated
    #[arg(
        long = "secret",
        env = "ATHOS_WHSEC",
        hide_env_values = true,
        value_name = "SECRET",
        value_delimiter = ',',
        required = true
    )]
    pub secrets: Vec<SecretString>,

    /// When it arrived, in unix seconds or ISO 8601; now by default
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub now: Option<Timestamp>,
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    match text.parse::<i64>() {
        Ok(secs) => Ok(Timestamp::from_millis(secs.saturating_mul(1000))),
        Err(_) => text
            .parse()
            .map_err(|why| format!("not unix seconds, and {why}")),
    }
}

/// The verdict on a signature, and hints at what may be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verified {
    /// The verdict of a receiver.
    pub verdict: Verdict,
    /// What would have to be different for the signature to match; empty when nothing was found.
    pub hints: Vec<String>,
}

impl Verified {
    /// Whether a receiver would accept it.
    #[must_use]
    pub(super) fn is_valid(&self) -> bool {
        matches!(self.verdict, Verdict::Valid { .. })
    }

    /// 0 when valid, 1 when not.
    #[must_use]
    pub(super) fn exit_code(&self) -> u8 {
        u8::from(!self.is_valid())
    }

    /// Writes the verdict and the hints, a line each.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub(super) fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}: {}", self.verdict.name(), self.verdict)?;
        for hint in &self.hints {
            writeln!(out, "hint: {hint}")?;
        }
        Ok(())
    }
}

/// Verifies a signature, and looks for the usual mistakes when it does not match.
///
/// # Errors
/// When the body cannot be read.
pub(super) fn verify(
    args: &VerifyArgs,
    clock: &Clock,
    stdin: &mut impl Read,
) -> anyhow::Result<Verified> {
    let body = read_body(&args.body, stdin)?;
    let header = header_value(&args.header);
    let now = args.now.unwrap_or_else(|| clock.now());
    let verdict = Verifier::new(&args.secrets).verify(Some(header), &body, now);
    let hints = match &verdict {
        Verdict::Invalid(InvalidSignature::Mismatch) => {
            mismatch_hints(header, &body, &args.secrets)
        }
        Verdict::Invalid(InvalidSignature::Stale { .. })
            if matches_when_fresh(header, &body, &args.secrets) =>
        {
            vec![
                "the signature itself is right; only its time is off: check both clocks, or --now"
                    .into(),
            ]
        }
        Verdict::Invalid(InvalidSignature::Stale { .. }) => {
            vec!["were it fresh, it would not match either".into()]
        }
        _ => Vec::new(),
    };
    Ok(Verified { verdict, hints })
}

/// Takes off the header's name, if it was copied along.
fn header_value(header: &str) -> &str {
    let header = header.trim();
    match header.split_once(':') {
        Some((name, value))
            if name
                .trim()
                .eq_ignore_ascii_case(signature::SIGNATURE_HEADER) =>
        {
            value.trim()
        }
        _ => header,
    }
}

fn matches_when_fresh(header: &str, body: &[u8], secrets: &[SecretString]) -> bool {
    let Ok(parsed) = Header::parse(header) else {
        return false;
    };
    let now = Timestamp::from_millis(parsed.signed_at_secs.saturating_mul(1000));
    let verdict = Verifier::new(secrets).verify(Some(header), body, now);
    matches!(verdict, Verdict::Valid { .. })
}

/// Tries the mistakes that people make, one at a time.
fn mismatch_hints(header: &str, body: &[u8], secrets: &[SecretString]) -> Vec<String> {
    let matches_body = |body: &[u8]| matches_when_fresh(header, body, secrets);
    let matches_secrets = |change: fn(&str) -> String| {
        let changed: Vec<SecretString> = secrets
            .iter()
            .map(|secret| SecretString::from(change(secret.expose_secret())))
            .collect();
        matches_when_fresh(header, body, &changed)
    };
    let with_newline = [body, b"\n"].concat();
    let json = serde_json::from_slice::<Value>(body).ok();
    let compact = json.as_ref().map(Value::to_string);
    let pretty = json.and_then(|json| serde_json::to_string_pretty(&json).ok());
    let is_signed = |text: &Option<String>| {
        text.as_ref()
            .is_some_and(|text| matches_body(text.as_bytes()))
    };

    let found = [
        (
            matches_body(body.trim_ascii()),
            "it matches without the white space around the body: something added it after signing",
        ),
        (
            matches_body(&with_newline),
            "it matches with a newline at the end of the body: something took it off after signing",
        ),
        (
            is_signed(&compact) || is_signed(&pretty),
            "it matches the same JSON spaced differently: the body was parsed and written anew; verify the raw bytes",
        ),
        (
            matches_secrets(|secret| secret.trim().to_owned()),
            "it matches without the white space around the secret",
        ),
        (
            matches_secrets(|secret| secret.trim_start_matches("whsec_").to_owned()),
            "the sender left the prefix whsec_ off; the key is the whole secret, prefix included",
        ),
        (
            matches_secrets(|secret| format!("whsec_{secret}")),
            "it matches with the prefix whsec_: the key is the whole secret, prefix included",
        ),
    ];
    let found = found.into_iter().filter(|(is_it, _)| *is_it);
    let mut hints: Vec<String> = found.map(|(_, hint)| hint.to_owned()).collect();
    if hints.is_empty() {
        hints.push(
            "the secret is another one, or the body is not byte for byte what was signed".into(),
        );
    }
    hints
}

fn read_body(path: &Path, stdin: &mut impl Read) -> anyhow::Result<Vec<u8>> {
    if path != Path::new("-") {
        return fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    }
    let mut body = Vec::new();
    stdin
        .read_to_end(&mut body)
        .context("cannot read standard input")?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::clock::ManualClock;

    const SECRET: &str = "whsec_test";
    const BODY: &str = r#"{"a":1,"b":[true]}"#;
    const T: i64 = 1_780_682_954;

    #[derive(Parser)]
    struct SignCli {
        #[command(flatten)]
        args: SignArgs,
    }

    #[derive(Parser)]
    struct VerifyCli {
        #[command(flatten)]
        args: VerifyArgs,
    }

    fn clock() -> Clock {
        ManualClock::starting_at(Timestamp::from_millis(T * 1000)).clock()
    }

    fn signed(secret: &str, body: &str) -> String {
        signature::sign(&SecretString::from(secret), T, body.as_bytes())
    }

    fn judge(header: &str, body: &str, more: &[&str]) -> Verified {
        let base = ["verify", "--header", header];
        let secret = ["--secret", SECRET];
        let secret: &[&str] = if more.contains(&"--secret") {
            &[]
        } else {
            &secret
        };
        let cli = VerifyCli::parse_from(base.iter().chain(secret).chain(more));
        verify(&cli.args, &clock(), &mut body.as_bytes()).unwrap()
    }

    #[test]
    fn a_body_is_signed_from_standard_input_or_a_file_now_or_then() {
        let parse = |more: &[&str]| {
            SignCli::parse_from(["sign", "--secret", "whsec_test,other"].iter().chain(more)).args
        };
        let header = sign(&parse(&[]), &clock(), &mut BODY.as_bytes()).unwrap();
        assert_eq!(header.signature, signed(SECRET, BODY));
        let mut shown = Vec::new();
        header.write_to(&mut shown).unwrap();
        assert_eq!(
            shown,
            format!("X-Athos-Signature: {}\n", header.signature).into_bytes()
        );

        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), BODY).unwrap();
        let args = parse(&["--t", "7", file.path().to_str().unwrap()]);
        let header = sign(&args, &clock(), &mut io::empty()).unwrap();
        assert!(header.signature.starts_with("t=7,v1="));
        assert!(sign(&parse(&["/no/such/file"]), &clock(), &mut io::empty()).is_err());
    }

    #[test]
    fn a_match_is_valid_with_or_without_the_headers_name() {
        let header = signed(SECRET, BODY);
        for header in [header.clone(), format!("X-Athos-Signature: {header} ")] {
            let verified = judge(&header, BODY, &[]);
            assert_eq!(verified.exit_code(), 0, "{verified:?}");
            assert!(verified.hints.is_empty());
        }
        assert!(judge(&header, BODY, &["--secret", "whsec_new,whsec_test"]).is_valid());
    }

    #[test]
    fn a_mismatch_says_what_would_match() {
        let header = signed(SECRET, BODY);
        let pretty = "{\n  \"a\": 1,\n  \"b\": [\n    true\n  ]\n}";
        for (header, body, hint) in [
            (
                header.clone(),
                format!("{BODY}\n"),
                "white space around the body",
            ),
            (
                signed(SECRET, &format!("{BODY}\n")),
                BODY.into(),
                "newline at the end",
            ),
            (header.clone(), pretty.into(), "spaced differently"),
            (signed(SECRET, pretty), BODY.into(), "spaced differently"),
            (signed("test", BODY), BODY.into(), "left the prefix"),
            (header.clone(), "{}".into(), "another one"),
        ] {
            let verified = judge(&header, &body, &[]);
            assert_eq!(verified.verdict.name(), "mismatch");
            assert_eq!(verified.exit_code(), 1);
            assert!(verified.hints[0].contains(hint), "{hint}: {verified:?}");
        }
        let without_prefix = judge(&header, BODY, &["--secret", "test"]);
        assert!(without_prefix.hints[0].contains("with the prefix"));
        let with_space = judge(&header, BODY, &["--secret", "whsec_test "]);
        assert!(with_space.hints[0].contains("around the secret"));
    }

    #[test]
    fn a_stale_one_says_whether_it_is_only_the_time() {
        let header = signed(SECRET, BODY);
        let late = judge(&header, BODY, &["--now", "1780683255"]);
        let stale = InvalidSignature::Stale { age_secs: 301 };
        assert_eq!(late.verdict, Verdict::Invalid(stale));
        assert!(late.hints[0].contains("only its time"));
        let wrong_too = judge(&header, "x", &["--now", "2026-06-05T20:00:00Z"]);
        assert!(wrong_too.hints[0].contains("would not match"));
        let mut shown = Vec::new();
        late.write_to(&mut shown).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        assert!(
            shown.starts_with("stale: ") && shown.contains("hint: "),
            "{shown}"
        );
        assert!(!shown.contains(SECRET));
    }

    #[test]
    fn a_malformed_header_says_how() {
        let verified = judge("t=1", BODY, &[]);
        assert_eq!(verified.verdict.name(), "malformed");
        assert_eq!(verified.exit_code(), 1);
    }
}
