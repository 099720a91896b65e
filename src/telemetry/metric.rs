//! The metrics of this program, each with its name, kind, unit and description in one place.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Declares the names, and [`describe`] for all of them.
macro_rules! metrics {
    ($($kind:ident $name:ident = $text:literal, $unit:expr, $description:literal;)*) => {
        $(pub(crate) const $name: &str = $text;)*

        /// Describes each metric to the recorder.
        pub(super) fn describe() {
            $(metrics!(@describe $kind $name, $unit, $description);)*
        }

        /// Each constant with the name that it stands for.
        #[cfg(test)]
        const ALL: &[(&str, &str)] = &[$((stringify!($name), $text)),*];
    };
    (@describe counter $name:ident, $unit:expr, $description:literal) => {
        describe_counter!($name, $unit, $description)
    };
    (@describe gauge $name:ident, $unit:expr, $description:literal) => {
        describe_gauge!($name, $unit, $description)
    };
    (@describe histogram $name:ident, $unit:expr, $description:literal) => {
        describe_histogram!($name, $unit, $description)
    };
}

metrics! {
    counter WEBHOOKS_TOTAL = "athos_webhooks_total", Unit::Count, "Webhook deliveries, by verdict";
    counter FETCH_ATTEMPTS_TOTAL = "athos_fetch_attempts_total", Unit::Count, "Requests for a call's detail, by outcome";
    counter EVENTS_SETTLED_TOTAL = "athos_events_settled_total", Unit::Count, "Settled attempts at events, by outcome";
    counter MESSAGES_SENT_TOTAL = "athos_messages_sent_total", Unit::Count, "Settled attempts at messages to endpoints of FORWARD_URLS, by endpoint and outcome";
    histogram MESSAGE_SEND_SECONDS = "athos_message_send_seconds", Unit::Seconds, "Time an endpoint takes to answer a message, by endpoint and outcome";
    gauge MESSAGES_WAITING = "athos_messages_waiting", Unit::Count, "Messages that wait or are under way, by endpoint";
    gauge MESSAGES_FAILED = "athos_messages_failed", Unit::Count, "Messages given up, by endpoint; they can be replayed";
    gauge ENDPOINT_FAILING = "athos_endpoint_failing", Unit::Count, "1 while an endpoint takes no messages or is disabled, by endpoint";
    counter RECONCILE_RUNS_TOTAL = "athos_reconcile_runs_total", Unit::Count, "Reconciliations, by source and outcome: completed, failed, refused, or held by an open circuit breaker";
    counter RECONCILE_REPAIRED_TOTAL = "athos_reconcile_repaired_total", Unit::Count, "Calls that reconciliation recovered because no webhook brought them, by source";
    counter DRIFT_TOTAL = "athos_drift_total", Unit::Count, "Bodies in which Athos sent a name that the contract does not mention, by its kind";
    counter PURGED_TOTAL = "athos_purged_total", Unit::Count, "What retention removed: transcripts, bodies of events, records of tokens and runs, messages to endpoints";
    counter ERASED_STOPPED_TOTAL = "athos_erased_stopped_total", Unit::Count, "Calls and webhooks discarded because of a tombstone, by the way they came";
    counter HTTP_REQUESTS_TOTAL = "athos_http_requests_total", Unit::Count, "Requests, by route, method and status";
    gauge CONNECTIONS_OPEN = "athos_connections_open", Unit::Count, "Connections, by listener";
    counter CONNECTIONS_CLOSED_TOTAL = "athos_connections_closed_total", Unit::Count, "Connections closed on clients who kept us waiting, by reason";
    histogram HTTP_REQUEST_SECONDS = "athos_http_request_seconds", Unit::Seconds, "Time to answer, by route";
    histogram MINT_SECONDS = "athos_mint_seconds", Unit::Seconds, "Time Athos takes to mint, by outcome";
    histogram COMMIT_BATCH_SIZE = "athos_commit_batch_size", Unit::Count, "Writes that share one transaction";
    histogram COMMIT_SYNC_SECONDS = "athos_commit_sync_seconds", Unit::Seconds, "Time from a transaction's first write to its sync";
    counter CREDENTIAL_USES_TOTAL = "athos_credential_uses_total", Unit::Count, "Webhooks that a secret signed, requests that an API key was good for; by fingerprint";
    counter CREDENTIAL_REFUSALS_TOTAL = "athos_credential_refusals_total", Unit::Count, "Requests with an API key that Athos refused; by fingerprint";
    gauge CREDENTIAL_LAST_USED_TIMESTAMP_SECONDS = "athos_credential_last_used_timestamp_seconds", Unit::Seconds, "When each secret and API key was last used, in unix seconds; 0 is never";
    gauge DATABASE_WAL_BYTES = "athos_database_wal_bytes", Unit::Bytes, "Size of the database's write-ahead log";
    counter DATABASE_READS_TIMED_OUT_TOTAL = "athos_database_reads_timed_out_total", Unit::Count, "Reads of the database that were ended because they took too long, or found no connection in time";
    gauge QUEUE_WAITING = "athos_queue_waiting", Unit::Count, "Events pending or leased";
    gauge QUEUE_OLDEST_AGE_SECONDS = "athos_queue_oldest_age_seconds", Unit::Seconds, "Age of the oldest of them";
    gauge EVENTS_DEAD = "athos_events_dead", Unit::Count, "Events given up; they can be replayed";
    gauge FETCHING_PAUSED = "athos_fetching_paused", Unit::Count, "1 while a refused key or a failing Athos pauses fetching";
    gauge LEADS = "athos_leads", Unit::Count, "1 while this replica leads a duty, by duty; only with a database on a server";
    gauge CLOCK_DIFFERENCE_SECONDS = "athos_clock_difference_seconds", Unit::Seconds, "By how much this machine's clock is ahead of the database server's";
    counter ENROLMENTS_TOTAL = "athos_enrolments_total", Unit::Count, "Reps registered at Athos when they first asked for a token, by outcome";
    counter WEBHOOK_IDS_REUSED_TOTAL = "athos_webhook_ids_reused_total", Unit::Count, "Deliveries under a webhook id that belongs to an event with other bytes; each is kept as an event of its own";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(folder: &std::path::Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn every_metric_that_is_described_is_emitted_and_none_is_emitted_by_another_name() {
        let mut text = String::new();
        let src = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
        sources(std::path::Path::new(src), &mut text);
        for (constant, name) in ALL {
            assert!(
                text.contains(&format!("metric::{constant}")),
                "{name} is described only"
            );
        }
        for emits in ["counter!(", "gauge!(", "histogram!("] {
            for (at, _) in text.match_indices(emits) {
                let name = text[at + emits.len()..].trim_start();
                assert!(!name.starts_with("\"athos_"), "{}", &name[..60]);
            }
        }
    }
}
