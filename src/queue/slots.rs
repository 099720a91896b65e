//! Slots: how many attempts ask the other side at a time, and how many rows are claimed ahead of them. A claim and a
//! settlement each take a commit's time: while the other side answers soon, no slot waits for either.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Most rows that are claimed ahead, and most settlements that wait to be committed.
const MAX_AHEAD: usize = 128;
/// Rows are claimed ahead as far as the slots work them off in this time.
const AHEAD: Duration = Duration::from_secs(1);
/// Longest that a claimed row waits for a slot. Then another claim is better: its lease runs.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Stands for an answer that did not come.
const NEVER: u64 = u64::MAX;

/// A number of slots.
pub(crate) struct Slots {
    free: Semaphore,
    count: usize,
    /// How long the last answer took, in milliseconds.
    last_answer_ms: AtomicU64,
}

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            free: Semaphore::new(count),
            count,
            last_answer_ms: AtomicU64::new(NEVER),
        }
    }

    /// How many rows may be claimed, when so many attempts are not settled yet.
    pub(crate) fn room(&self, unsettled: usize) -> usize {
        let answer_ms = u128::from(self.last_answer_ms.load(Ordering::Relaxed).max(1));
        let answers = AHEAD.as_millis() / answer_ms;
        let ahead = self
            .count
            .saturating_mul(usize::try_from(answers).unwrap_or(usize::MAX))
            .min(MAX_AHEAD);
        let bound = self.count + MAX_AHEAD;
        let room = (self.free.available_permits() + ahead).min(bound.saturating_sub(unsettled));
        // While others wait for the slots, a few more are not worth a claim.
        if unsettled > self.count && room < self.count {
            return 0;
        }
        room
    }

    /// Waits for a slot; `None` when the claim is to be given up.
    pub(crate) async fn take(&self) -> Option<Slot<'_>> {
        self.take_within(MAX_WAIT).await
    }

    async fn take_within(&self, wait: Duration) -> Option<Slot<'_>> {
        let taken = tokio::time::timeout(wait, self.free.acquire()).await;
        Some(Slot {
            slots: self,
            _permit: taken.ok()?.ok()?,
            taken_at: Instant::now(),
        })
    }

    /// Returns when a slot is free, if none is.
    pub(crate) async fn freed(&self) {
        if self.free.available_permits() == 0 {
            let _free = self.free.acquire().await;
        } else {
            std::future::pending().await
        }
    }
}

/// A slot in use; dropped, it is free.
pub(crate) struct Slot<'s> {
    slots: &'s Slots,
    _permit: SemaphorePermit<'s>,
    taken_at: Instant,
}

impl Slot<'_> {
    /// Takes note of whether the other side did what it was asked, and how soon.
    pub(crate) fn answered(self, is_ok: bool) {
        let millis = u64::try_from(self.taken_at.elapsed().as_millis()).unwrap_or(NEVER);
        let took = if is_ok { millis } else { NEVER };
        self.slots.last_answer_ms.store(took, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_an_answer_of(millis: u64) -> Slots {
        let slots = Slots::new(8);
        slots.last_answer_ms.store(millis, Ordering::Relaxed);
        slots
    }

    #[test]
    fn rows_are_claimed_ahead_as_far_as_they_are_worked_off_in_a_second() {
        for (millis, ahead) in [
            (0, 128),
            (62, 128),
            (250, 32),
            (999, 8),
            (1001, 0),
            (NEVER, 0),
        ] {
            let slots = after_an_answer_of(millis);
            assert_eq!(slots.room(0), 8 + ahead, "{millis} ms");
        }
    }

    #[test]
    fn settlements_that_wait_leave_no_room() {
        let slots = after_an_answer_of(1);
        assert_eq!(slots.room(100), 36);
        assert_eq!(slots.room(128), 8);
        assert_eq!(slots.room(129), 0);
        assert_eq!(slots.room(1000), 0);
    }

    #[tokio::test]
    async fn a_failure_ends_claiming_ahead_and_an_answer_begins_it() {
        let slots = Slots::new(2);
        assert_eq!(slots.room(0), 2);
        slots.take().await.unwrap().answered(true);
        assert!(slots.room(0) > 2);
        slots.take().await.unwrap().answered(false);
        assert_eq!(slots.room(0), 2);
    }

    #[tokio::test]
    async fn a_claim_that_waits_too_long_is_given_up() {
        let slots = Slots::new(1);
        let held = slots.take().await.unwrap();
        assert!(slots.take_within(Duration::from_millis(1)).await.is_none());
        drop(held);
        assert!(slots.take_within(Duration::ZERO).await.is_some());
    }
}
