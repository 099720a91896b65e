//! What a connection is doing: waiting for its client, or working for it. Kept in atomics that the connection's task
//! writes and the server reads; no timers.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

/// How long clients may keep us waiting, and we them.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Without a request. Longer than proxies keep their connections (60 s is usual), so that it is they who close
    /// them: a request may be on its way when we do.
    pub idle: Duration,
    /// From a request's first byte to the end of its headers.
    pub head: Duration,
    /// For a request's body, once its headers are here.
    pub body: Duration,
    /// Without taking any of the answer that is ready for it.
    pub stalled: Duration,
    /// For an answer to begin, body of the request and all. Longer than we wait for Athos; the live stream is answered at
    /// once and goes on in its body, which this does not limit.
    pub answer: Duration,
    /// The same for a delivery of Athos's, which gives it up after 10 s, and sends it again when it is told so before.
    pub delivery: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(75),
            head: Duration::from_secs(10),
            body: Duration::from_secs(5),
            stalled: Duration::from_secs(30),
            answer: Duration::from_secs(15),
            delivery: Duration::from_secs(9),
        }
    }
}

impl Deadlines {
    pub(super) fn shortest(&self) -> Duration {
        let of_clients = self.idle.min(self.head).min(self.stalled);
        of_clients.min(self.answer).min(self.delivery)
    }
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitState {
    /// A request.
    Request,
    /// The rest of a request's head.
    Head,
    /// The rest of a request's body.
    Body,
    /// The client to take the answer.
    Reader,
}

impl WaitState {
    /// The word in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Request => "idle",
            Self::Head => "slow_head",
            Self::Body => "slow_body",
            Self::Reader => "stalled",
        }
    }
}

/// How long the end waits for heads that are here, and not read yet.
pub(super) const UNREAD_GRACE: Duration = Duration::from_millis(100);
/// How long the end waits for the rest of a request, and for an answer to be taken.
const BODY_GRACE: Duration = Duration::from_secs(1);

/// One connection's state. Times are milliseconds since it was accepted, so that 0 can mean "not".
pub(super) struct Connection {
    accepted_at: Instant,
    /// What it waits for in the lowest bits, since when in the others; [`WORKING`] while it waits for nothing.
    state: AtomicU64,
    /// Since when the answer cannot be written on, plus one.
    blocked: AtomicU64,
    /// When the request that is worked for must be answered; [`NEVER`] between requests, [`PASSED`] once it is late.
    answer_by: AtomicU64,
    /// Wakes whoever works for it when it is late.
    worker: AtomicWaker,
}

const NEVER: u64 = u64::MAX;
const PASSED: u64 = 0;
const REQUEST: u64 = 0;
const HEAD: u64 = 1;
const BODY: u64 = 2;
const WORKING: u64 = 3;
const WHAT_BITS: u32 = 2;
const WHAT: u64 = (1 << WHAT_BITS) - 1;

impl Connection {
    pub(super) fn new() -> Self {
        Self {
            accepted_at: Instant::now(),
            state: AtomicU64::new(REQUEST),
            blocked: AtomicU64::new(0),
            answer_by: AtomicU64::new(NEVER),
            worker: AtomicWaker::new(),
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.accepted_at.elapsed().as_millis()).unwrap_or(u64::MAX >> WHAT_BITS)
    }

    fn set(&self, what: u64) {
        self.state
            .store(self.millis() << WHAT_BITS | what, Ordering::Relaxed);
    }

    fn is(&self, what: u64) -> bool {
        self.state.load(Ordering::Relaxed) & WHAT == what
    }

    /// Whether nothing has come in yet.
    pub(super) fn is_new(&self) -> bool {
        self.state.load(Ordering::Relaxed) == REQUEST
    }

    /// Bytes came in.
    pub(super) fn has_read(&self) {
        if self.is(REQUEST) {
            self.set(HEAD);
        }
    }

    /// A request's head is whole; until the guard is dropped, with the answer's last byte handed over, we work for it.
    pub(super) fn take_up_request(self: &Arc<Self>, body_follows: bool) -> Working {
        match body_follows {
            true => self.set(BODY),
            false => self.works(),
        }
        Working(Arc::clone(self))
    }

    /// The request's body is whole.
    pub(super) fn has_body(&self) {
        if self.is(BODY) {
            self.works();
        }
    }

    /// Since when does not matter.
    fn works(&self) {
        self.state.store(WORKING, Ordering::Relaxed);
    }

    /// The client does not take what is ready for it.
    pub(super) fn is_blocked(&self) {
        if self.blocked.load(Ordering::Relaxed) == 0 {
            self.blocked.store(self.millis() + 1, Ordering::Relaxed);
        }
    }

    /// It takes it again.
    pub(super) fn has_written(&self) {
        if self.blocked.load(Ordering::Relaxed) != 0 {
            self.blocked.store(0, Ordering::Relaxed);
        }
    }

    /// What it waits for, and for how long.
    fn waits(&self) -> Option<(WaitState, Duration)> {
        let now = self.millis();
        let blocked = self.blocked.load(Ordering::Relaxed);
        if blocked != 0 {
            let waited = now.saturating_sub(blocked - 1);
            return Some((WaitState::Reader, Duration::from_millis(waited)));
        }
        let state = self.state.load(Ordering::Relaxed);
        let what = match state & WHAT {
            REQUEST => WaitState::Request,
            HEAD => WaitState::Head,
            BODY => WaitState::Body,
            _ => return None,
        };
        let waited = now.saturating_sub(state >> WHAT_BITS);
        Some((what, Duration::from_millis(waited)))
    }

    /// Since when the client has kept us waiting, if it does.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let (_, waited) = self.waits()?;
        Instant::now().checked_sub(waited)
    }

    /// What the client keeps us waiting for though the server has been ending for that long: whoever has not asked yet is
    /// not waited for, and who has begun to ask, or does not take the answer, is for a moment.
    pub(super) fn holds_up_the_end(&self, ending_for: Duration) -> bool {
        let grace = match self.waits() {
            Some((WaitState::Request | WaitState::Head, _)) => UNREAD_GRACE,
            Some((WaitState::Body | WaitState::Reader, _)) => BODY_GRACE,
            None => return false,
        };
        ending_for >= grace
    }

    /// What it has waited for longer than it should. Bodies have their deadline where they are read: there, the client
    /// is told.
    pub(super) fn overdue(&self, deadlines: &Deadlines) -> Option<WaitState> {
        let (waits, waited) = self.waits()?;
        let deadline = match waits {
            WaitState::Request => deadlines.idle,
            WaitState::Head => deadlines.head,
            WaitState::Body => return None,
            WaitState::Reader => deadlines.stalled,
        };
        (waited >= deadline).then_some(waits)
    }
}

impl Connection {
    /// Wakes whoever works for a request that is late.
    pub(super) fn enforce_answer(&self) {
        let by = self.answer_by.load(Ordering::Relaxed);
        if by != NEVER && self.millis() >= by {
            // It may have been answered meanwhile, and the next one begun.
            let late = &self.answer_by;
            if late
                .compare_exchange(by, PASSED, Ordering::Release, Ordering::Relaxed)
                .is_ok()
            {
                self.worker.wake();
            }
        }
    }
}

/// When a connection's request must be answered. The server looks after all of them together: a timer for each request
/// would cost more than most answers.
#[derive(Clone)]
pub(in crate::http) struct AnswerDeadline(pub(super) Arc<Connection>);

impl AnswerDeadline {
    /// Runs `work`, unless it takes longer than `within`: `None` then, within a tick of the server.
    pub(in crate::http) async fn limit<W: Future>(
        &self,
        within: Duration,
        work: W,
    ) -> Option<W::Output> {
        let connection = &self.0;
        let within = u64::try_from(within.as_millis()).unwrap_or(NEVER);
        let by = connection.millis().saturating_add(within).max(PASSED + 1);
        connection.answer_by.store(by, Ordering::Relaxed);
        let mut work = pin!(work);
        let done = poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            // Registered before the look, so that no call is missed.
            connection.worker.register(context.waker());
            match connection.answer_by.load(Ordering::Acquire) {
                PASSED => Poll::Ready(None),
                _ => Poll::Pending,
            }
        })
        .await;
        connection.answer_by.store(NEVER, Ordering::Relaxed);
        done
    }
}

/// A request is being worked for.
pub(super) struct Working(Arc<Connection>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.set(REQUEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_DEADLINE: Deadlines = Deadlines {
        idle: Duration::ZERO,
        head: Duration::ZERO,
        body: Duration::ZERO,
        stalled: Duration::ZERO,
        answer: Duration::ZERO,
        delivery: Duration::ZERO,
    };

    #[test]
    fn what_a_connection_waits_for_follows_what_passes_through_it() {
        let connection = Arc::new(Connection::new());
        let waits = || connection.waits().map(|(what, _)| what);
        assert_eq!(waits(), Some(WaitState::Request));
        connection.has_read();
        assert_eq!(waits(), Some(WaitState::Head));
        let working = connection.take_up_request(true);
        assert_eq!(waits(), Some(WaitState::Body));
        connection.has_read();
        assert_eq!(waits(), Some(WaitState::Body));
        connection.has_body();
        assert_eq!((waits(), connection.waiting_since()), (None, None));
        // What the client sends ahead is not asked for yet.
        connection.has_read();
        assert_eq!(waits(), None);
        connection.is_blocked();
        assert_eq!(waits(), Some(WaitState::Reader));
        connection.has_written();
        drop(working);
        assert_eq!(waits(), Some(WaitState::Request));
        let _working = connection.take_up_request(false);
        assert_eq!(waits(), None);
    }

    #[test]
    fn the_end_waits_for_our_own_work_and_a_moment_for_who_has_begun_to_ask() {
        let connection = Arc::new(Connection::new());
        assert!(!connection.holds_up_the_end(Duration::ZERO));
        assert!(connection.holds_up_the_end(UNREAD_GRACE));
        connection.has_read();
        assert!(connection.holds_up_the_end(UNREAD_GRACE));
        let _working = connection.take_up_request(true);
        assert!(!connection.holds_up_the_end(UNREAD_GRACE));
        assert!(connection.holds_up_the_end(BODY_GRACE));
        connection.has_body();
        assert!(!connection.holds_up_the_end(Duration::MAX));
        connection.is_blocked();
        assert!(!connection.holds_up_the_end(UNREAD_GRACE));
        assert!(connection.holds_up_the_end(BODY_GRACE));
    }

    #[test]
    fn patience_ends_with_clients_and_not_with_our_own_work() {
        let connection = Arc::new(Connection::new());
        let patient = Deadlines::default();
        assert_eq!(connection.overdue(&patient), None);
        assert_eq!(connection.overdue(&NO_DEADLINE), Some(WaitState::Request));
        connection.has_read();
        assert_eq!(connection.overdue(&NO_DEADLINE), Some(WaitState::Head));
        let _working = connection.take_up_request(true);
        // Whoever reads the body tells the client.
        assert_eq!(connection.overdue(&NO_DEADLINE), None);
        assert!(connection.waiting_since().is_some());
        connection.has_body();
        assert_eq!(connection.overdue(&NO_DEADLINE), None);
        connection.is_blocked();
        assert_eq!(connection.overdue(&NO_DEADLINE), Some(WaitState::Reader));
    }

    #[tokio::test]
    async fn an_answer_is_late_once_the_server_has_seen_that_its_time_is_over() {
        let connection = Arc::new(Connection::new());
        let deadline = AnswerDeadline(Arc::clone(&connection));
        let hour = Duration::from_secs(3600);
        assert_eq!(deadline.limit(hour, async { 1 }).await, Some(1));
        let never = deadline.limit(Duration::ZERO, std::future::pending::<()>());
        let looks = async {
            loop {
                connection.enforce_answer();
                tokio::task::yield_now().await;
            }
        };
        let late = tokio::select! { late = never => late, () = looks => unreachable!() };
        assert_eq!(late, None);
        let in_time = async {
            connection.enforce_answer();
            tokio::task::yield_now().await;
        };
        assert_eq!(deadline.limit(hour, in_time).await, Some(()));
    }
}
