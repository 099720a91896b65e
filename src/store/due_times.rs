//! When events are due, as far as this process knows: whoever works on them need not ask the database at each arrival.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::ClaimFilter;
use crate::model::Timestamp;

/// Longest from the time of a webhook to when another process sees its event: the deadline of its answer, and how far clocks may
/// differ.
const WRITTEN_WITHIN: Duration = Duration::from_secs(20);

/// When the next events are due.
#[derive(Clone, Copy, Debug)]
pub struct NextDue {
    /// Of all that wait.
    pub any: Option<Timestamp>,
    /// Of those that need nothing from Athos.
    pub without_fetch: Option<Timestamp>,
}

/// Bounds: nothing is due sooner, unless another process wrote it. Something due then may be gone by now.
#[derive(Debug)]
pub struct DueTimes {
    any: AtomicI64,
    without_fetch: AtomicI64,
    last_arrival: AtomicI64,
    arrivals: Notify,
    /// A [`Listening`].
    listening: AtomicU8,
}

/// Which events wake whoever works on events. Waking a thread for one that must wait anyway costs the webhook that brought it.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub enum Listening {
    /// All.
    All,
    /// Those that need nothing from Athos.
    WithoutFetch,
    /// None.
    No,
}

impl Default for DueTimes {
    /// Anything may be due.
    fn default() -> Self {
        Self {
            any: AtomicI64::new(i64::MIN),
            without_fetch: AtomicI64::new(i64::MIN),
            last_arrival: AtomicI64::new(i64::MIN),
            arrivals: Notify::new(),
            listening: AtomicU8::new(Listening::All as u8),
        }
    }
}

impl DueTimes {
    /// Says which events wake from now on. To be called before looking what is due: what comes afterwards wakes, or is found
    /// by the next look, which must not be for an event to bring about.
    pub fn listen(&self, listening: Listening) {
        self.listening.store(listening as u8, Ordering::SeqCst);
    }

    /// An event waits. Wakes whoever works on events, also when something was due before: it notices what time it is.
    pub(super) fn note(&self, due: Timestamp, needs_fetch: bool) {
        self.any.fetch_min(due.as_millis(), Ordering::SeqCst);
        if !needs_fetch {
            self.without_fetch
                .fetch_min(due.as_millis(), Ordering::SeqCst);
        }
        let listening = self.listening.load(Ordering::SeqCst);
        let hears = match needs_fetch {
            true => Listening::All,
            false => Listening::WithoutFetch,
        };
        if listening <= hears as u8 {
            self.wake();
        }
    }

    /// An event has come in, and is due at once.
    pub(super) fn note_arrival(&self, received_at: Timestamp, needs_fetch: bool) {
        self.last_arrival
            .fetch_max(received_at.as_millis(), Ordering::AcqRel);
        self.note(received_at, needs_fetch);
    }

    /// When the latest event came in that was not asked about yet; the beginning of time when there is none. Later than now,
    /// it came in before the clock was set back.
    pub fn take_last_arrival(&self) -> Timestamp {
        Timestamp::from_millis(self.last_arrival.swap(i64::MIN, Ordering::AcqRel))
    }

    /// `note`, for what the database says.
    pub(super) fn note_next(&self, next: NextDue) {
        for (due, needs_fetch) in [(next.any, true), (next.without_fetch, false)] {
            if let Some(due) = due {
                self.note(due, needs_fetch);
            }
        }
    }

    /// What a claim left. Not to be told of after an event that was written later.
    pub(super) fn found(&self, next: NextDue) {
        for (bound, due) in [
            (&self.any, next.any),
            (&self.without_fetch, next.without_fetch),
        ] {
            bound.store(
                due.map_or(i64::MAX, Timestamp::as_millis),
                Ordering::Release,
            );
        }
    }

    /// When to look for such events; `None` when none are waiting.
    #[must_use]
    pub fn earliest(&self, which: ClaimFilter) -> Option<Timestamp> {
        let bound = match which {
            ClaimFilter::WithoutFetch => &self.without_fetch,
            ClaimFilter::All | ClaimFilter::Probe | ClaimFilter::UntriedProbe => &self.any,
        };
        let due = bound.load(Ordering::SeqCst);
        (due != i64::MAX).then_some(Timestamp::from_millis(due))
    }

    /// The earliest time for which a claim at `now` need look. What another process wrote moments ago is not known here; what it
    /// wrote before that, for a time as long ago, is found by the next look at the database (`note_next`).
    pub(super) fn since(&self, now: Timestamp) -> Timestamp {
        let moments_ago = now.minus(WRITTEN_WITHIN);
        let earliest = self.earliest(ClaimFilter::All);
        earliest.map_or(moments_ago, |due| due.min(moments_ago))
    }

    /// Woken when an event waits. Register before looking.
    pub fn arrival(&self) -> Notified<'_> {
        self.arrivals.notified()
    }

    /// Has whoever waits look again.
    pub fn wake(&self) {
        self.arrivals.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// Whether an event that comes in wakes who listens so.
    fn is_woken(listening: Listening, needs_fetch: bool) -> bool {
        let due = DueTimes::default();
        due.found(NextDue {
            any: None,
            without_fetch: None,
        });
        due.listen(listening);
        due.note_arrival(Timestamp::from_millis(7), needs_fetch);
        let earliest = due.earliest(ClaimFilter::All);
        assert_eq!(earliest, Some(Timestamp::from_millis(7)), "{listening:?}");
        due.arrival().now_or_never().is_some()
    }

    #[test]
    fn only_what_is_listened_for_wakes_and_all_of_it_is_known_to_be_due() {
        for (listening, by_fetch, by_others) in [
            (Listening::All, true, true),
            (Listening::WithoutFetch, false, true),
            (Listening::No, false, false),
        ] {
            assert_eq!(is_woken(listening, true), by_fetch, "{listening:?}");
            assert_eq!(is_woken(listening, false), by_others, "{listening:?}");
        }
    }
}
