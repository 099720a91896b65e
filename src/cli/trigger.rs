//! `trigger`: signs a sample webhook and sends it to any URL, as the vendor would, or with a deliberate fault. It is
//! stateless; the simulator is `simulate`.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use athos_simulator::{Contract, SampleWebhook};
use clap::Args;
use reqwest::header::CONTENT_TYPE;
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::signature::SigningSecrets;
use crate::clients::http_client;
use crate::clock::{Clock, new_id};
use athos_api::local::reachable_addr;
use athos_api::setting::{parse_address, parse_url};
use athos_api::signature::{self, SIGNATURE_HEADER, WEBHOOK_ID_HEADER};

/// Where the service takes webhooks, and where it listens unless told otherwise.
const WEBHOOK_PATH: &str = "/athos/webhook";
const DEFAULT_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// How long the vendor waits for an answer.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// Twice what a receiver tolerates.
const STALE_BY_SECS: i64 = 2 * signature::TOLERANCE_SECS;

/// What to send, where to, and what to get wrong.
#[derive(Args, Clone, Debug)]
pub(super) struct TriggerArgs {
    /// Where to send it; else to /athos/webhook of the service at BIND_ADDR, or at PUBLIC_URL, or at 127.0.0.1:8080
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub url: Option<Url>,

    /// Where the service listens on this machine
    #[arg(long, env, value_name = "ADDR", value_parser = parse_address)]
    pub bind_addr: Option<SocketAddr>,

    /// Where the service is reached from elsewhere
    #[arg(long, env, value_name = "URL", value_parser = parse_url)]
    pub public_url: Option<Url>,

    #[command(flatten)]
    pub secrets: SigningSecrets,

    /// Say that the call was scored (the default)
    #[arg(long, conflicts_with = "failed")]
    pub success: bool,

    /// Say that the call could not be scored
    #[arg(long)]
    pub failed: bool,

    /// The call it is about
    #[arg(
        long,
        value_name = "ID",
        default_value = "athos_call_GZ1DjOkZv_VEPoE-CJ8mp"
    )]
    pub call_id: String,

    /// The generation of the contract whose shape it has
    #[arg(long, value_enum, default_value_t = Contract::External)]
    pub contract: Contract,

    /// Whose call it was, as you know them (externalUserId, or platformAgentId)
    #[arg(long, value_name = "ID", default_value = "rep_8842")]
    pub rep: String,

    /// The rep's agency, as you know it (externalAgencyId, or platformAgencyId); none by default
    #[arg(long, value_name = "ID")]
    pub agency: Option<String>,

    /// The webhook's id, by which a receiver knows a repetition; a fresh one by default
    #[arg(long, value_name = "ID")]
    pub webhook_id: Option<String>,

    /// Send it twice under the same id
    #[arg(long)]
    pub duplicate: bool,

    /// Sign it ten minutes ago; a 401 is then the right answer
    #[arg(long)]
    pub stale: bool,

    /// Sign it with a secret that nobody shares; a 401 is then the right answer
    #[arg(long)]
    pub bad_signature: bool,

    /// Replace a member of the body; the value is JSON, or else a string. May be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
}

impl TriggerArgs {
    /// The target: `--url`, or else the service of the settings.
    fn target(&self) -> anyhow::Result<Url> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        let local = |addr| format!("http://{}{WEBHOOK_PATH}", reachable_addr(addr));
        let text = match (self.bind_addr, &self.public_url) {
            // With port 0 the real port is not known here.
            (Some(addr), _) if addr.port() != 0 => local(addr),
            (_, Some(url)) => format!("{}{WEBHOOK_PATH}", url.as_str().trim_end_matches('/')),
            _ => local(DEFAULT_ADDR),
        };
        text.parse().with_context(|| format!("{text} is not a URL"))
    }
}

/// What was sent, and what came back.
#[derive(Clone, Debug)]
pub(super) struct Triggered {
    /// Where it went.
    pub url: Url,
    /// The webhook's id.
    pub webhook_id: String,
    /// The value of the signature header.
    pub signature: String,
    /// The body, as it was signed.
    pub body: String,
    /// One answer for each time it was sent.
    pub answers: Vec<Answer>,
    /// Whether the receiver was given a reason to refuse.
    pub refusal_is_right: bool,
}

/// The answer of the receiver.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

impl Triggered {
    /// Whether every answer was the right one: 2xx, or 401 when the signature was made to be refused.
    #[must_use]
    pub(super) fn is_success(&self) -> bool {
        let is_right = |answer: &Answer| match self.refusal_is_right {
            true => answer.status == 401,
            false => (200..300).contains(&answer.status),
        };
        self.answers.iter().all(is_right)
    }

    /// Writes the exchange for a person to read.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub(super) fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "POST {}", self.url)?;
        writeln!(out, "X-Athos-Webhook-Id: {}", self.webhook_id)?;
        writeln!(out, "X-Athos-Signature: {}", self.signature)?;
        writeln!(out, "\n{}", self.body)?;
        for answer in &self.answers {
            writeln!(out, "\n-> {} {}", answer.status, answer.body.trim_end())?;
        }
        if !self.is_success() {
            let wanted = if self.refusal_is_right { "401" } else { "2xx" };
            writeln!(out, "\nThe receiver should have answered {wanted}.")?;
        }
        Ok(())
    }
}

/// Signs and sends.
///
/// # Errors
/// When the arguments do not make a webhook, or nobody answers. An unwelcome answer is not an error: see
/// [`Triggered::is_success`].
pub(super) async fn trigger(args: TriggerArgs, clock: Clock) -> anyhow::Result<Triggered> {
    let body = sample(&args, &clock)?.to_string();
    let url = args.target()?;
    let shared = args.secrets.first()?;
    let nobodys = SecretString::from("whsec_that_nobody_shares");
    let secret = if args.bad_signature { &nobodys } else { shared };
    let age_secs = if args.stale { STALE_BY_SECS } else { 0 };
    let t = clock.now().as_secs() - age_secs;
    let signature = signature::sign(secret, t, body.as_bytes());
    let webhook_id = args.webhook_id;
    let webhook_id = webhook_id.unwrap_or_else(|| format!("wh_{}", new_id(&clock).simple()));

    let http = http_client(&url, ACK_TIMEOUT).context("failed to create the HTTP client")?;
    let mut answers = Vec::new();
    for _ in 0..if args.duplicate { 2 } else { 1 } {
        let sent = http
            .post(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE_HEADER, &signature)
            .header(WEBHOOK_ID_HEADER, &webhook_id)
            .body(body.clone())
            .send()
            .await;
        let answer = sent.with_context(|| format!("{url} did not answer"))?;
        answers.push(Answer {
            status: answer.status().as_u16(),
            body: answer.text().await.context("the answer broke off")?,
        });
    }
    Ok(Triggered {
        url,
        webhook_id,
        signature,
        body,
        answers,
        refusal_is_right: args.stale || args.bad_signature,
    })
}

/// The arguments do not make a webhook.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadArgs(String);

fn sample(args: &TriggerArgs, clock: &Clock) -> Result<Value, BadArgs> {
    let sample = SampleWebhook {
        call_id: &args.call_id,
        rep: &args.rep,
        agency: args.agency.as_deref(),
        is_scored: !args.failed,
        occurred_at: clock.now(),
        request_id: &format!("req_{}", new_id(clock)),
    };
    let mut body = sample.body(args.contract);
    for assignment in &args.set {
        set(&mut body, assignment)?;
    }
    Ok(body)
}

/// Applies one `path=value`. A path that is not there is an error: it would be a typo that tests nothing.
fn set(body: &mut Value, assignment: &str) -> Result<(), BadArgs> {
    let Some((path, value)) = assignment.split_once('=') else {
        let why = format!("--set {assignment}: not PATH=VALUE");
        return Err(BadArgs(why));
    };
    let known = paths(body);
    let mut at = Some(&mut *body);
    for key in path.split('.') {
        at = at.and_then(|object| object.get_mut(key));
    }
    let Some(at) = at else {
        let known = known.join(", ");
        let why = format!("--set {path}: no such path; there are {known}");
        return Err(BadArgs(why));
    };
    *at = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok(())
}

/// The paths of all members, dotted where they are nested.
fn paths(value: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for (key, inner) in value.as_object().into_iter().flatten() {
        all.push(key.clone());
        all.extend(paths(inner).into_iter().map(|path| format!("{key}.{path}")));
    }
    all
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use athos_api::signature::{Verdict, Verifier};
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, Request, ResponseTemplate};

    use super::*;
    use crate::clock::ManualClock;
    use crate::model::Timestamp;

    fn start_time() -> Timestamp {
        "2026-06-05T18:09:14.000Z".parse().unwrap()
    }

    /// A receiver that answers the given statuses in turn, and then 200.
    struct Receiver {
        server: MockServer,
        url: Url,
    }

    impl Receiver {
        async fn start(statuses: &[u16]) -> Self {
            let server = MockServer::start().await;
            for status in statuses {
                let answer = Mock::given(any()).respond_with(ResponseTemplate::new(*status));
                answer.up_to_n_times(1).mount(&server).await;
            }
            let ok = Mock::given(any()).respond_with(ResponseTemplate::new(200));
            ok.mount(&server).await;
            let url = format!("{}/hook", server.uri()).parse().unwrap();
            Self { server, url }
        }

        async fn received(&self) -> Vec<Received> {
            let requests = self.server.received_requests().await.unwrap();
            requests.into_iter().map(Received).collect()
        }
    }

    struct Received(Request);

    impl Received {
        fn header(&self, name: &str) -> &str {
            self.0.headers[name].to_str().unwrap()
        }

        fn json(&self) -> Value {
            self.0.body_json().unwrap()
        }

        fn verdict(&self) -> Verdict {
            let verifier = Verifier::new(&[SecretString::from("whsec_simulator_0000")]);
            let signature = self.header(SIGNATURE_HEADER);
            verifier.verify(Some(signature), &self.0.body, start_time())
        }
    }

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        trigger: TriggerArgs,
    }

    fn args(receiver: &Receiver, more: &[&str]) -> TriggerArgs {
        let url = receiver.url.to_string();
        let base = [
            "trigger",
            "--secret",
            "whsec_simulator_0000,other",
            "--url",
            &url,
        ];
        Cli::try_parse_from(base.iter().chain(more))
            .unwrap()
            .trigger
    }

    async fn run(receiver: &Receiver, more: &[&str]) -> anyhow::Result<Triggered> {
        let clock = ManualClock::starting_at(start_time()).clock();
        trigger(args(receiver, more), clock).await
    }

    #[test]
    fn without_a_url_the_nearest_service_that_the_settings_know_is_meant() {
        let target = |more: &[&str]| {
            let base = ["trigger", "--secret", "whsec_simulator_0000"];
            let cli = Cli::try_parse_from(base.iter().chain(more)).unwrap();
            cli.trigger.target().unwrap().to_string()
        };
        let public = ["--public-url", "https://practice.example.com/"];
        for (flags, expected) in [
            (&[][..], "http://127.0.0.1:8080/athos/webhook"),
            (
                &["--bind-addr", "127.0.0.1:9000"],
                "http://127.0.0.1:9000/athos/webhook",
            ),
            (
                &["--bind-addr", "0.0.0.0:9000"],
                "http://127.0.0.1:9000/athos/webhook",
            ),
            (
                &["--bind-addr", "[::1]:9000"],
                "http://[::1]:9000/athos/webhook",
            ),
            (&public, "https://practice.example.com/athos/webhook"),
            (
                &[&public[..], &["--bind-addr", "127.0.0.1:0"]].concat(),
                "https://practice.example.com/athos/webhook",
            ),
            (
                &[&public[..], &["--bind-addr", "127.0.0.1:9000"]].concat(),
                "http://127.0.0.1:9000/athos/webhook",
            ),
            (
                &[&public[..], &["--url", "http://localhost/hook"]].concat(),
                "http://localhost/hook",
            ),
        ] {
            assert_eq!(target(flags), expected, "{flags:?}");
        }
    }

    #[tokio::test]
    async fn a_scored_call_is_announced_by_default() {
        let receiver = Receiver::start(&[]).await;
        let sent = run(
            &receiver,
            &["--call-id", "c", "--rep", "r", "--agency", "a"],
        );
        let sent = sent.await.unwrap();
        assert!(sent.is_success());
        let received = receiver.received().await;
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].verdict().name(), "valid");
        assert_eq!(received[0].header(WEBHOOK_ID_HEADER), sent.webhook_id);
        let body = received[0].json();
        assert_eq!(body["success"], true);
        assert_eq!(body["callId"], "c");
        assert_eq!(body["externalUserId"], "r");
        assert_eq!(body["externalAgencyId"], "a");

        let mut shown = Vec::new();
        sent.write_to(&mut shown).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        assert!(
            shown.contains(&sent.body) && shown.contains("-> 200"),
            "{shown}"
        );
        assert!(!shown.contains("whsec_"), "{shown}");
    }

    #[tokio::test]
    async fn a_failed_call_a_given_id_and_a_repetition() {
        let receiver = Receiver::start(&[]).await;
        let more = ["--failed", "--duplicate", "--webhook-id", "wh_1"];
        let sent = run(&receiver, &more).await.unwrap();
        assert!(sent.is_success());
        let received = receiver.received().await;
        assert_eq!(received.len(), 2);
        assert!(
            received
                .iter()
                .all(|one| one.header(WEBHOOK_ID_HEADER) == "wh_1")
        );
        assert_eq!(received[0].json()["reason"], "SCORING_INCOMPLETE");
    }

    #[tokio::test]
    async fn a_signature_made_to_be_refused_must_be_refused() {
        for (flag, verdict) in [("--stale", "stale"), ("--bad-signature", "mismatch")] {
            let receiver = Receiver::start(&[401, 200]).await;
            assert!(run(&receiver, &[flag]).await.unwrap().is_success());
            assert!(
                !run(&receiver, &[flag]).await.unwrap().is_success(),
                "let in"
            );
            let received = receiver.received().await;
            assert_eq!(received[0].verdict().name(), verdict);
        }
        let receiver = Receiver::start(&[500]).await;
        let refused = run(&receiver, &[]).await.unwrap();
        assert!(!refused.is_success());
        let mut shown = Vec::new();
        refused.write_to(&mut shown).unwrap();
        assert!(
            String::from_utf8(shown)
                .unwrap()
                .contains("should have answered 2xx")
        );
    }

    #[tokio::test]
    async fn members_can_be_set_and_a_typo_is_an_error_that_names_the_choices() {
        let receiver = Receiver::start(&[]).await;
        let more = [
            "--set",
            "externalAgencyId=null",
            "--set",
            "event=call.begun",
        ];
        run(&receiver, &more).await.unwrap();
        let body = receiver.received().await[0].json();
        assert_eq!(body["event"], "call.begun");
        assert_eq!(body["externalAgencyId"], Value::Null);

        for bad in ["calId=x", "callId.x=1", "reason=x", "callId"] {
            let error = run(&receiver, &["--set", bad])
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains("callId"), "{error}");
        }
        assert_eq!(receiver.received().await.len(), 1, "nothing was sent");
    }

    #[tokio::test]
    async fn a_sample_may_have_the_newer_shape_and_its_members_can_be_set() {
        let receiver = Receiver::start(&[]).await;
        let more = ["--contract", "roster", "--rep", "r", "--agency", "a"];
        let set = [
            "--set",
            "agentId=athos_agent_1",
            "--set",
            "source=real_call",
        ];
        run(&receiver, &[&more[..], &set].concat()).await.unwrap();
        let body = receiver.received().await[0].json();
        assert_eq!(body["agentId"], "athos_agent_1");
        assert_eq!(body["platformAgentId"], "r");
        assert_eq!(body["platformAgencyId"], "a");
        assert_eq!(body["source"], "real_call");
        assert!(body.get("externalUserId").is_none());
    }

    #[test]
    fn nested_members_have_dotted_paths() {
        let mut body = json!({ "a": { "b": 1 }, "c": 2 });
        assert_eq!(paths(&body), ["a", "a.b", "c"]);
        set(&mut body, "a.b={\"d\":[1]}").unwrap();
        assert_eq!(body["a"]["b"]["d"][0], 1);
    }

    #[test]
    fn success_and_failed_exclude_each_other() {
        let both = ["trigger", "--secret", "s", "--success", "--failed"];
        assert!(Cli::try_parse_from(both).is_err());
    }
}
