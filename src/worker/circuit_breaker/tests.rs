//! What opens the breaker and what does not, answer by answer; the simulated mixes are stories in `tests/api/outages.rs`.

use super::*;
use athos_api::Refusal;

const SECOND: Duration = Duration::from_secs(1);
const NOW: Timestamp = Timestamp::from_millis(10_000_000);

fn refused(status: u16, code: &str, retry_after: Option<u64>) -> Error {
    Error::Refused(Refusal {
        status,
        code: code.to_owned(),
        message: String::new(),
        request_id: None,
        retry_after: retry_after.map(Duration::from_secs),
        existing_agent: None,
    })
}

fn unreadable() -> Error {
    Error::Unreadable {
        why: "it is not JSON".to_owned(),
        request_id: None,
    }
}

fn unreachable() -> Error {
    Error::Unreachable("connection refused".to_owned())
}

const FIRST: Attempt<'_> = Attempt {
    call_id: "first",
    has_failed: false,
    is_probe: false,
};
const PROBE: Attempt<'_> = Attempt {
    call_id: "probe",
    has_failed: false,
    is_probe: true,
};

/// Eight first attempts at distinct calls, or eight retries, that all end like this.
fn eight(breaker: &CircuitBreaker, error: &Error, has_failed: bool) -> Vec<Verdict> {
    let ids: Vec<_> = (0..8).map(|n| format!("call_{n}")).collect();
    let attempts = ids.iter().map(|call_id| Attempt {
        call_id,
        has_failed,
        is_probe: false,
    });
    attempts
        .map(|attempt| breaker.failed(attempt, error, NOW))
        .collect()
}

#[test]
fn each_failure_is_held_against_the_right_one() {
    use OutageCause::{AthosDown, KeyRefused};
    let table = [
        // What failed, what opens after one first attempt, after eight, after eight retries while others succeed.
        (unreadable(), None, None, None),
        (refused(404, "CALL_NOT_FOUND", None), None, None, None),
        (refused(400, "INVALID_REQUEST", None), None, None, None),
        (
            refused(500, "INTERNAL_ERROR", None),
            None,
            Some(AthosDown),
            None,
        ),
        (refused(502, "HTTP_502", None), None, Some(AthosDown), None),
        (
            refused(504, "HTTP_504", Some(9)),
            None,
            Some(AthosDown),
            None,
        ),
        (refused(302, "HTTP_302", None), None, Some(AthosDown), None),
        (refused(503, "X", None), None, Some(AthosDown), None),
        (
            refused(503, "X", Some(9)),
            Some(AthosDown),
            Some(AthosDown),
            None,
        ),
        (Error::Timeout, None, Some(AthosDown), None),
        (
            Error::Interrupted(String::new()),
            None,
            Some(AthosDown),
            None,
        ),
        (unreachable(), None, Some(AthosDown), Some(AthosDown)),
        (
            refused(429, "X", None),
            Some(AthosDown),
            Some(AthosDown),
            Some(AthosDown),
        ),
        (
            refused(401, "API_KEY_REVOKED", None),
            Some(KeyRefused),
            Some(KeyRefused),
            Some(KeyRefused),
        ),
        (
            refused(403, "IP_NOT_ALLOWED", None),
            Some(KeyRefused),
            Some(KeyRefused),
            Some(KeyRefused),
        ),
        (
            refused(403, "SOMETHING_NEW", None),
            Some(KeyRefused),
            Some(KeyRefused),
            None,
        ),
        (
            Error::NoKey,
            Some(KeyRefused),
            Some(KeyRefused),
            Some(KeyRefused),
        ),
    ];
    for (error, one, many, retries) in table {
        let cause = |breaker: &CircuitBreaker| breaker.outage().map(|outage| outage.cause);
        let breaker = CircuitBreaker::default();
        breaker.failed(FIRST, &error, NOW);
        assert_eq!(cause(&breaker), one, "one: {error}");
        let breaker = CircuitBreaker::default();
        eight(&breaker, &error, false);
        assert_eq!(cause(&breaker), many, "many: {error}");
        let breaker = CircuitBreaker::default();
        breaker.succeeded(NOW.minus(60 * SECOND));
        eight(&breaker, &error, true);
        assert_eq!(cause(&breaker), retries, "retries: {error}");
        // What succeeded lately tells a refused key from a call that is refused, and Athos down from a call that it is busy
        // with.
        let breaker = CircuitBreaker::default();
        breaker.succeeded(NOW);
        breaker.failed(FIRST, &error, NOW);
        let may_be_the_call = error.may_concern_one_call() || error.blame() == Blame::Athos;
        assert_eq!(
            cause(&breaker).is_some(),
            one.is_some() && !may_be_the_call,
            "{error}"
        );
    }
}

#[test]
fn one_call_however_often_is_no_outage_and_a_success_forgets_what_failed() {
    let breaker = CircuitBreaker::default();
    for _ in 0..100 {
        breaker.failed(FIRST, &Error::Timeout, NOW);
    }
    assert_eq!(breaker.outage(), None);
    for n in 0..100 {
        let call_id = &format!("call_{n}");
        let attempt = Attempt { call_id, ..FIRST };
        breaker.failed(attempt, &refused(500, "X", None), NOW);
        if n % 4 == 0 {
            breaker.succeeded(NOW);
        }
    }
    assert_eq!(breaker.permit(NOW), Permit::All);
}

#[test]
fn with_nothing_fetched_for_long_retries_speak_against_athos_too() {
    let breaker = CircuitBreaker::default();
    eight(&breaker, &Error::Timeout, true);
    assert!(
        breaker.outage().is_some(),
        "as after a restart in an outage"
    );
    let breaker = CircuitBreaker::default();
    breaker.succeeded(NOW.minus(RECENT_WINDOW));
    eight(&breaker, &Error::Timeout, true);
    assert!(breaker.outage().is_some());
}

#[test]
fn each_failed_probe_doubles_the_wait_and_spends_nothing() {
    let breaker = CircuitBreaker::default();
    let verdicts = eight(&breaker, &unreachable(), false);
    assert_eq!(verdicts, [Verdict::Spend; 8]);
    let mut now = NOW;
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        let until = breaker.outage().unwrap().until;
        assert_eq!(
            until.since(now).as_secs(),
            wait,
            "others in flight do not make it longer"
        );
        assert_eq!(breaker.permit(now), Permit::Wait(until));
        now = until;
        assert_eq!(breaker.permit(now), Permit::Probe(Candidates::Any));
        assert!(
            matches!(breaker.permit(now), Permit::Wait(_)),
            "one at a time"
        );
        assert_eq!(breaker.failed(PROBE, &unreachable(), now), Verdict::Spare);
    }
    now = breaker.outage().unwrap().until;
    assert_eq!(breaker.permit(now), Permit::Probe(Candidates::Any));
    breaker.succeeded(now);
    assert_eq!(breaker.permit(now), Permit::All);
    assert_eq!(breaker.outage(), None);
}

#[test]
fn in_doubt_calls_never_tried_pass_at_once_and_then_each_second() {
    let breaker = CircuitBreaker::default();
    let error = refused(500, "INTERNAL_ERROR", None);
    eight(&breaker, &error, false);
    assert_eq!(
        breaker.permit(NOW),
        Permit::Probe(Candidates::Any),
        "no pause at first"
    );
    assert_eq!(breaker.failed(PROBE, &error, NOW), Verdict::Spare);
    for _ in 1..FREE_PROBES {
        assert_eq!(breaker.permit(NOW), Permit::Probe(Candidates::Untried));
        breaker.failed(PROBE, &error, NOW);
    }
    let until = breaker.outage().unwrap().until;
    assert_eq!(
        until,
        NOW.plus(SECOND),
        "they do not make the others wait longer"
    );
    assert_eq!(breaker.permit(NOW), Permit::Wait(until));
    assert_eq!(breaker.next_permit(NOW), Some(until));
    // The retries' turn comes more and more seldom; that of untried calls each second.
    let mut now = until;
    for wait in [2, 4, 8] {
        assert_eq!(breaker.permit(now), Permit::Probe(Candidates::Any));
        breaker.failed(PROBE, &error, now);
        assert_eq!(breaker.outage().unwrap().until.since(now).as_secs(), wait);
        assert_eq!(
            breaker.permit(now.plus(SECOND)),
            Permit::Probe(Candidates::Untried)
        );
        breaker.probe_unused();
        now = breaker.outage().unwrap().until;
    }
}

#[test]
fn a_probe_that_fails_alone_spends_since_it_may_be_its_own_fault() {
    let breaker = CircuitBreaker::default();
    let throttled = refused(429, "X", Some(30));
    assert_eq!(breaker.failed(FIRST, &throttled, NOW), Verdict::Spend);
    let until = breaker.outage().unwrap().until;
    assert_eq!(until.since(NOW).as_secs(), 30);
    assert_eq!(breaker.permit(until), Permit::Probe(Candidates::Any));
    let probe = Attempt {
        is_probe: true,
        ..FIRST
    };
    assert_eq!(breaker.failed(probe, &throttled, until), Verdict::Spend);
}

#[test]
fn neither_a_day_of_retry_after_nor_a_clock_set_back_keeps_it_open() {
    let breaker = CircuitBreaker::default();
    breaker.failed(FIRST, &refused(503, "BUSY", Some(86_400)), NOW);
    let until = breaker.outage().unwrap().until;
    assert_eq!(until.since(NOW), MAX_HOLD);
    assert!(matches!(breaker.permit(NOW), Permit::Wait(_)));
    let set_back = NOW.minus(Duration::from_secs(3600));
    assert_eq!(breaker.permit(set_back), Permit::Probe(Candidates::Any));
}

#[test]
fn a_refused_key_opens_it_at_once_and_a_probe_that_never_returns_is_replaced() {
    let breaker = CircuitBreaker::default();
    assert_eq!(breaker.failed(FIRST, &Error::NoKey, NOW), Verdict::Await);
    let until = breaker.outage().unwrap().until;
    assert_eq!(until.since(NOW), KEY_HOLDS.first);
    assert_eq!(breaker.permit(until), Permit::Probe(Candidates::Any));
    let Permit::Wait(again) = breaker.permit(until) else {
        panic!("a second probe");
    };
    assert_eq!(breaker.outage().unwrap().until, again);
    assert_eq!(breaker.permit(again), Permit::Probe(Candidates::Any));
    breaker.probe_unused();
    assert_eq!(breaker.permit(again), Permit::Probe(Candidates::Any));
    breaker.try_now(again.minus(SECOND));
    assert_eq!(breaker.permit(again), Permit::Probe(Candidates::Any));
}

#[test]
fn lists_and_fetching_share_the_account_and_nothing_else() {
    let breaker = CircuitBreaker::default();
    for error in [
        refused(500, "X", None),
        refused(503, "X", Some(60)),
        Error::Timeout,
        unreachable(),
        unreadable(),
    ] {
        for _ in 0..20 {
            breaker.list_failed(&error, NOW);
        }
        assert_eq!(breaker.permit(NOW), Permit::All, "{error}");
        eight(&breaker, &error, false);
        assert_eq!(breaker.permit_list(NOW), Ok(()), "{error}");
        assert_eq!(breaker.account_outage(), None, "{error}");
        let held = breaker.outage();
        breaker.list_succeeded();
        assert_eq!(breaker.outage(), held, "{error}");
        breaker.succeeded(NOW);
    }
    breaker.list_failed(&refused(401, "API_KEY_REVOKED", None), NOW);
    assert!(matches!(breaker.permit(NOW), Permit::Wait(_)));
    let outage = breaker.permit_list(NOW).unwrap_err();
    assert_eq!(outage.cause, OutageCause::KeyRefused);
    // A list that probes and fails for another reason leaves the question open.
    assert_eq!(breaker.permit_list(outage.until), Ok(()));
    breaker.list_failed(&Error::Timeout, outage.until);
    assert_eq!(breaker.permit(outage.until), Permit::Probe(Candidates::Any));
    breaker.list_succeeded();
    assert_eq!(breaker.permit(outage.until), Permit::All);
    // A throttled account is heard of while fetching is in doubt anyway.
    eight(&breaker, &Error::Timeout, false);
    breaker.list_failed(&refused(429, "X", Some(20)), NOW);
    assert!(breaker.permit_list(NOW).is_err());
    assert_eq!(breaker.outage().unwrap().until, NOW.plus(20 * SECOND));
}
