//! Starting, stopping, and being the same again.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;

use super::*;
use crate::StartError;
use athos_api::clock::Clock;

const FROM: &str = "from=2026-01-01T00:00:00.000Z";

#[tokio::test]
async fn the_same_seed_and_requests_give_the_same_answers() {
    let run = async |seed| {
        let sim = Sim::start(Options { seed, ..hasty() }).await;
        let mut answers = vec![sim.mint("r").await];
        for rep in ["a", "b", "a"] {
            let id = sim.scored_call(rep).await;
            answers.push(sim.detail(&id).await.body.to_string());
        }
        answers.push(format!(
            "{:?}",
            sim.list(&format!("{FROM}&limit=2")).await.body
        ));
        answers.push(format!("{:?}", sim.get("/_simulator/calls").await.body));
        answers.push(sim.detail("x").await.body.to_string());
        answers
    };
    let first = run(1).await;
    // Waiting at the control plane takes request ids, too; it does so the same number of times.
    assert_eq!(first, run(1).await);
    assert_ne!(first, run(2).await);
}

#[tokio::test]
async fn empty_secrets_are_refused_at_the_start() {
    let start = async |options| {
        let clock = Clock::system();
        crate::start(options, clock, CancellationToken::new())
            .await
            .err()
            .unwrap()
    };
    let blank = vec![SecretString::from(" ")];
    let error = start(Options {
        api_keys: blank.clone(),
        ..hasty()
    })
    .await;
    assert!(matches!(error, StartError::NoApiKey));
    let error = start(Options {
        webhook_secrets: blank,
        ..hasty()
    })
    .await;
    assert!(matches!(error, StartError::NoWebhookSecret));
}

#[tokio::test]
async fn it_stops_at_shutdown_even_while_a_client_waits() {
    let shutdown = CancellationToken::new();
    let options = Options {
        score_delay: Duration::from_secs(3600),
        ..hasty()
    };
    let running = crate::start(options, Clock::system(), shutdown.clone());
    let running = running.await.unwrap();
    let origin = running.origin();
    let http = crate::Sender::new().unwrap().near;
    let burst = http
        .post(format!("{origin}/_simulator/burst"))
        .json(&json!({ "calls": 3 }));
    assert_eq!(burst.send().await.unwrap().status(), 200);
    let waiting = http
        .get(format!("{origin}/_simulator/deliveries?wait=3"))
        .send();
    let waiting = tokio::spawn(waiting);
    shutdown.cancel();
    running.stopped().await.unwrap();
    drop(waiting.await);
}
