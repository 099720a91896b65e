//! How much of the database's time one caller may have: a few reads at a time, a few more that wait, and a refusal beyond
//! that, so that nobody's reads are in the way of other callers'.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::auth::CallerId;

/// Reads of one caller that run at a time.
const MAX_RUNNING_READS_PER_CALLER: usize = 2;
/// Reads of one person that run or wait: those of a few pages that load at the same time.
const MAX_READS_PER_PERSON: usize = 32;
/// The same for a key of another backend, which asks for many people.
const MAX_READS_PER_KEY: usize = 256;
/// Longest that a read waits for its turn.
const MAX_TURN_WAIT: Duration = Duration::from_secs(5);

/// Counts the reads of each caller.
#[derive(Debug, Default)]
pub(super) struct ReadLimit {
    callers: Mutex<HashMap<CallerId, Reads>>,
}

/// One caller's reads.
#[derive(Debug)]
struct Reads {
    count: usize,
    running: Arc<Semaphore>,
}

impl ReadLimit {
    /// Waits for the turn of one more read; `None` when there are too many.
    pub(super) async fn turn(self: &Arc<Self>, caller: CallerId) -> Option<Turn> {
        let (place, running) = self.enter(caller)?;
        let running = timeout(MAX_TURN_WAIT, running.acquire_owned()).await.ok()?;
        Some(Turn {
            _running: running.ok()?,
            _place: place,
        })
    }

    fn enter(self: &Arc<Self>, caller: CallerId) -> Option<(ReadPlace, Arc<Semaphore>)> {
        let most = match &caller {
            CallerId::Person(_) => MAX_READS_PER_PERSON,
            CallerId::Key(_) => MAX_READS_PER_KEY,
        };
        let mut callers = self.callers();
        let reads = callers.entry(caller.clone()).or_insert_with(|| Reads {
            count: 0,
            running: Arc::new(Semaphore::new(MAX_RUNNING_READS_PER_CALLER)),
        });
        if reads.count >= most {
            return None;
        }
        reads.count += 1;
        let place = ReadPlace {
            limit: Arc::clone(self),
            caller,
        };
        Some((place, Arc::clone(&reads.running)))
    }

    fn callers(&self) -> MutexGuard<'_, HashMap<CallerId, Reads>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One read, running or waiting; dropped, it is over.
#[derive(Debug)]
struct ReadPlace {
    limit: Arc<ReadLimit>,
    caller: CallerId,
}

impl Drop for ReadPlace {
    fn drop(&mut self) {
        let mut callers = self.limit.callers();
        if let Some(reads) = callers.get_mut(&self.caller) {
            reads.count -= 1;
            if reads.count == 0 {
                callers.remove(&self.caller);
            }
        }
    }
}

/// The turn of one read.
#[derive(Debug)]
pub(super) struct Turn {
    _running: OwnedSemaphorePermit,
    _place: ReadPlace,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PlatformId;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn a_caller_runs_two_reads_some_wait_and_others_are_not_in_their_way() {
        let limit = Arc::new(ReadLimit::default());
        let [rep_1, rep_2] = ["rep_1", "rep_2"].map(|id| PlatformId::new(id).unwrap());
        let turn = |who: &PlatformId| limit.turn(CallerId::Person(who.clone()));
        let key = |name: &str| limit.turn(CallerId::Key(name.to_owned()));
        let mut running = Vec::new();
        for _ in 0..MAX_RUNNING_READS_PER_CALLER {
            running.push(turn(&rep_1).now_or_never().flatten().unwrap());
        }
        let mut waiting: Vec<_> = (MAX_RUNNING_READS_PER_CALLER..MAX_READS_PER_PERSON)
            .map(|_| Box::pin(turn(&rep_1)))
            .collect();
        for wait in &mut waiting {
            assert!(wait.now_or_never().is_none(), "waits");
        }
        let one_more = turn(&rep_1).now_or_never().unwrap();
        assert!(one_more.is_none(), "refused at once");
        assert!(turn(&rep_2).now_or_never().flatten().is_some());
        // A key has the name of a person, and is another caller.
        let keys = ["rep_1", "crm"].map(|name| key(name).now_or_never().flatten());
        assert!(keys.iter().all(Option::is_some));

        // Whoever has waited longest is next, and whoever goes away leaves room.
        running.pop();
        let next = waiting.remove(0).now_or_never().flatten().unwrap();
        assert!((&mut waiting[0]).now_or_never().is_none());
        drop((running, waiting, next, keys));
        assert!(limit.callers().is_empty());
    }
}
