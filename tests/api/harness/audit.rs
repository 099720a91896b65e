//! What a test leaves behind, and the judgement at its end: no secret in any answer or in the log, no body or
//! transcript in the log, no work that was not declared.

use std::collections::BTreeSet;

use super::database::Kept;
use super::{Answer, Left, Setup};
use crate::log::Mark;

/// Sentences shorter than this turn up by chance.
const SHORTEST_SENTENCE: usize = 24;

/// What is known of a test's secrets, and everything that was said.
pub(crate) struct Evidence {
    log: Mark,
    secrets: BTreeSet<String>,
    /// What was asked, what came back, and the one session token that may be in it.
    said: Vec<(String, String, Option<String>)>,
}

impl Evidence {
    pub(super) fn begin(setup: &Setup) -> Self {
        let secrets = &setup.secrets;
        let mut evidence = Self {
            log: Mark::here(),
            secrets: BTreeSet::new(),
            said: Vec::new(),
        };
        let own = [&secrets.whsec, &secrets.service, &secrets.jwt];
        let all = own.into_iter().chain(&secrets.api_keys);
        all.for_each(|secret| evidence.keep_secret(secret));
        setup
            .secret_flags()
            .for_each(|secret| evidence.keep_secret(secret));
        evidence
    }

    pub(super) fn keep_secret(&mut self, secret: &str) {
        self.secrets.insert(secret.to_owned());
    }

    pub(super) fn add(&mut self, answer: &Answer) {
        let text = format!("{:?}\n{}", answer.headers, answer.text());
        let mut token = None;
        if answer.asked == "POST /athos/token" && answer.status == 200 {
            let minted = answer.json()["token"].as_str().unwrap().to_owned();
            self.keep_secret(&minted);
            token = Some(minted);
        }
        self.said.push((answer.asked.clone(), text, token));
    }

    pub(super) fn add_text(&mut self, asked: &str, text: &str) {
        self.said.push((asked.to_owned(), text.to_owned(), None));
    }

    /// For a test that has failed: what the service had to say.
    pub(super) fn print_log(&self) {
        let log = self.log.since();
        let lines: Vec<_> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(60)..];
        eprintln!("--- the end of the log\n{}\n---", last.join("\n"));
    }

    /// Everything that is wrong.
    pub(super) fn judge(&self, kept: Kept, declared: Left) -> Vec<String> {
        let mut problems = Vec::new();
        for (asked, text, allowed) in &self.said {
            for secret in &self.secrets {
                if text.contains(secret) && allowed.as_ref() != Some(secret) {
                    problems.push(format!("the answer to {asked} holds the secret {secret}"));
                }
            }
        }
        let log = self.log.since();
        let private = kept.private.iter();
        let private = private.filter(|text| text.len() >= SHORTEST_SENTENCE);
        for secret in self.secrets.iter().chain(private) {
            if let Some(at) = log.find(secret.as_str()) {
                let line = log[at..].lines().next().unwrap_or_default();
                let start = log[..at].rfind('\n').map_or(0, |before| before + 1);
                problems.push(format!("the log holds a secret: {}{line}", &log[start..at]));
            }
        }
        if kept.left != declared {
            problems.push(format!(
                "the test leaves {:?}, and declared {declared:?}",
                kept.left
            ));
        }
        problems
    }
}
