//! From an ended call to its webhook: scoring after a while, a signed POST, one retry, and a record of
//! every attempt. `active.rs` says which faults apply.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use super::vendor::{SharedVendor, Vendor};
use super::webhook::{Delivery, DeliveryOutcome, Webhook};
use athos_api::Timestamp;
use athos_api::signature::{self, SIGNATURE_HEADER, WEBHOOK_ID_HEADER};

/// Scores these calls after the configured delay and sends their webhooks, in the background.
pub(super) fn score_later(vendor: &SharedVendor, call_ids: Vec<String>) {
    let task = {
        let vendor = SharedVendor::clone(vendor);
        async move {
            if vendor.pause(vendor.options.score_delay).await {
                for id in call_ids {
                    score_now(&vendor, &id);
                }
            }
        }
    };
    vendor.tasks.spawn(task);
}

fn score_now(vendor: &SharedVendor, call_id: &str) {
    let now = vendor.now();
    let Some(webhook) = vendor.change(|memory| memory.score_call(call_id, now)) else {
        return;
    };
    tracing::info!(call_id, webhook_id = webhook.id, "simulator scored a call");
    let (is_suppressed, is_held) = vendor.change(|memory| {
        let is_suppressed = memory.faults.suppresses();
        (
            is_suppressed,
            !is_suppressed && memory.faults.hold().is_some(),
        )
    });
    if is_suppressed {
        record(
            vendor,
            &webhook,
            (1, 1),
            now,
            (DeliveryOutcome::Suppressed, None),
            Duration::ZERO,
        );
        settle(vendor);
    } else if is_held {
        vendor.change(|memory| memory.held.push(webhook));
        release_held(vendor);
    } else {
        let task = deliver(SharedVendor::clone(vendor), webhook);
        vendor.tasks.spawn(task);
    }
}

/// Lets held webhooks go, last first and one after the other, once there are enough of them or the fault
/// that holds them is gone.
pub(super) fn release_held(vendor: &SharedVendor) {
    let mut batch = vendor.change(|memory| {
        let hold = memory.faults.hold().unwrap_or(0);
        if memory.held.len() < hold {
            return Vec::new();
        }
        std::mem::take(&mut memory.held)
    });
    if batch.is_empty() {
        return;
    }
    batch.reverse();
    let task = {
        let vendor = SharedVendor::clone(vendor);
        async move {
            for webhook in batch {
                if send_first(&vendor, &webhook).await {
                    settle(&vendor);
                } else {
                    // Not awaited: a retry minutes away must not hold up the next one.
                    let task = retry(SharedVendor::clone(&vendor), webhook);
                    vendor.tasks.spawn(task);
                }
            }
        }
    };
    vendor.tasks.spawn(task);
}

async fn deliver(vendor: SharedVendor, webhook: Webhook) {
    if send_first(&vendor, &webhook).await {
        settle(&vendor);
    } else {
        retry(vendor, webhook).await;
    }
}

/// The first attempt, in as many copies as the faults say; tells whether nothing is left to do.
async fn send_first(vendor: &Vendor, webhook: &Webhook) -> bool {
    let copies = vendor.memory().faults.copies();
    let sent = join_all((1..=copies).map(|copy| send(vendor, webhook, (1, copy)))).await;
    let is_over = |outcome: &DeliveryOutcome| {
        matches!(
            outcome,
            DeliveryOutcome::Delivered | DeliveryOutcome::Undelivered
        )
    };
    sent.iter().any(is_over)
}

/// The one retry: same id, same body, a fresh signature. Then the webhook is dropped for good.
async fn retry(vendor: SharedVendor, webhook: Webhook) {
    if vendor.pause(vendor.options.webhook_retry).await
        && send(&vendor, &webhook, (2, 1)).await != DeliveryOutcome::Delivered
    {
        tracing::warn!(
            webhook_id = webhook.id,
            "simulator dropped a webhook for good"
        );
    }
    settle(&vendor);
}

fn settle(vendor: &Vendor) {
    vendor.change(|memory| memory.unsettled -= 1);
}

/// One attempt: sign, send, record.
async fn send(
    vendor: &Vendor,
    webhook: &Webhook,
    attempt_and_copy: (u8, usize),
) -> DeliveryOutcome {
    // The semaphore is never closed; without a permit the attempt would be made all the same.
    let _permit = vendor.in_flight.acquire().await;
    let at = vendor.now();
    let started = Instant::now();
    let (outcome, status) = match vendor.webhook_url() {
        None => (DeliveryOutcome::Undelivered, None),
        Some(url) => post(vendor, webhook, url, at).await,
    };
    let result = (outcome, status);
    record(
        vendor,
        webhook,
        attempt_and_copy,
        at,
        result,
        started.elapsed(),
    );
    outcome
}

async fn post(
    vendor: &Vendor,
    webhook: &Webhook,
    url: Url,
    now: Timestamp,
) -> (DeliveryOutcome, Option<u16>) {
    let (age_secs, is_spoiled) =
        vendor.change(|memory| (memory.faults.age_secs(), memory.faults.spoils_signature()));
    let nobodys = SecretString::from("whsec_that_nobody_shares");
    let shared = vendor.options.webhook_secrets.first().unwrap_or(&nobodys);
    let secret = if is_spoiled { &nobodys } else { shared };
    let t = (now.as_secs() - age_secs).max(0);
    let sent = vendor
        .sender
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(SIGNATURE_HEADER, signature::sign(secret, t, &webhook.body))
        .header(WEBHOOK_ID_HEADER, &webhook.id)
        .body(webhook.body.clone())
        .timeout(vendor.options.webhook_timeout)
        .send();
    let sent = tokio::select! {
        sent = sent => sent,
        () = vendor.shutdown.cancelled() => return (DeliveryOutcome::Unreachable, None),
    };
    match sent.map(|answer| answer.status()) {
        Ok(status) => (outcome_of(status), Some(status.as_u16())),
        Err(error) if error.is_timeout() => (DeliveryOutcome::Timeout, None),
        Err(_) => (DeliveryOutcome::Unreachable, None),
    }
}

fn outcome_of(status: StatusCode) -> DeliveryOutcome {
    if status.is_success() {
        DeliveryOutcome::Delivered
    } else {
        DeliveryOutcome::Refused
    }
}

fn record(
    vendor: &Vendor,
    webhook: &Webhook,
    (attempt, copy): (u8, usize),
    at: Timestamp,
    (outcome, status): (DeliveryOutcome, Option<u16>),
    latency: Duration,
) {
    let delivery = Delivery {
        id: webhook.id.clone(),
        call_id: webhook.call_id.clone(),
        attempt,
        copy,
        at,
        status,
        outcome,
        latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
    };
    tracing::info!(
        webhook_id = delivery.id,
        call_id = delivery.call_id,
        attempt,
        copy,
        status,
        ?outcome,
        latency_ms = delivery.latency_ms,
        "simulator sent a webhook"
    );
    vendor.change(|memory| memory.deliveries.push(delivery));
}
