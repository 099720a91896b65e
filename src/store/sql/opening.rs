//! Calls get their rows moments after their webhooks were accepted. A row is on twice as many pages as the event: written for
//! many calls at a time, in a commit that nobody waits for, it costs a fraction. Whoever asks for calls meanwhile hurries it.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::privacy::tombstones::{self, Incoming};
use super::writer::Writer;
use super::{Connection, Durability, Operation, known_calls, lock, values};
use crate::model::{CallEvent, Engine, Timestamp};
use crate::store::{StoreError, StoreResult, UnopenedEvent};

/// How long a call waits for others. Whoever reads calls here hurries it.
const LINGER: Duration = Duration::from_millis(200);
/// The same where other replicas read, too, which cannot hurry it.
const LINGER_WHEN_SHARED: Duration = Duration::from_millis(25);
/// Most calls of one transaction: no webhook waits long for it.
const MAX_CALLS: usize = 128;
/// How soon to try again when nothing can be written.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Longest that a reader waits. When nothing can be written, what is there is shown.
pub(super) const READER_MAY_WAIT: Duration = Duration::from_millis(500);

/// An accepted event, whose call may have no row yet.
pub(super) struct Unopened {
    pub(super) event_id: i64,
    pub(super) said: CallEvent,
    pub(super) received_at: Timestamp,
}

/// What a process that ended left behind.
pub(super) fn find_unopened(db: &dyn Connection) -> StoreResult<Vec<UnopenedEvent>> {
    // Replicas open their own events, in no common order.
    let new = match db.engine() {
        Engine::Sqlite => "id > (SELECT up_to FROM opened_events) AND",
        Engine::Postgres => "",
    };
    let sql = format!(
        "SELECT id, received_at, body FROM events \
         WHERE {new} (next_attempt_at IS NOT NULL OR state = 'dead') \
           AND NOT EXISTS (SELECT 1 FROM calls WHERE calls.id = call_id) ORDER BY id"
    );
    db.rows(&sql, &[], |row| {
        Ok(UnopenedEvent {
            event_id: row.get(0)?,
            received_at: row.get(1)?,
            body: row.get(2)?,
        })
    })
}

/// The latest events, among which one is looked for that another replica accepted moments ago.
const LATEST_EVENTS: i64 = 10_000;

/// Whether another replica has accepted a webhook of this call, and will write the call's row in moments.
pub(super) fn is_coming(db: &dyn Connection, call_id: &str) -> StoreResult<bool> {
    match db.engine() {
        Engine::Sqlite => Ok(false),
        Engine::Postgres => db.exists(
            "SELECT 1 FROM events WHERE id > (SELECT max(id) FROM events) - ?2 AND call_id = ?1 \
               AND next_attempt_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM calls WHERE calls.id = ?1)",
            values![call_id, LATEST_EVENTS],
        ),
    }
}

/// Accepted events on the way to their calls' rows.
#[derive(Default)]
pub(in crate::store) struct Opening {
    /// In the order of their numbers; each until its call has its row.
    waiting: Mutex<VecDeque<Arc<Unopened>>>,
    /// How many have ever waited.
    accepted: AtomicU64,
    /// How many of them wait no more.
    opened: watch::Sender<u64>,
    arrivals: Notify,
    hurry: Notify,
}

impl Opening {
    pub(super) fn push(&self, unopened: Unopened) {
        lock(&self.waiting).push_back(Arc::new(unopened));
        self.accepted.fetch_add(1, Ordering::Release);
        self.arrivals.notify_one();
    }

    /// Opens calls until the writer is closed.
    pub(super) async fn run(&self, writer: &Writer, is_shared: bool) {
        let linger = match is_shared {
            true => LINGER_WHEN_SHARED,
            false => LINGER,
        };
        loop {
            self.arrivals.notified().await;
            tokio::select! {
                () = sleep(linger) => {}
                () = self.hurry.notified() => {}
            }
            // Those that come meanwhile wait for others in their turn.
            let until = self.accepted.load(Ordering::Acquire);
            let count = until - *self.opened.borrow();
            if !self.open_next(count, writer).await {
                return;
            }
            if self.is_any_waiting() {
                self.arrivals.notify_one();
            }
        }
    }

    /// Opens the calls of the next events; `false` when the writer is closed.
    async fn open_next(&self, count: u64, writer: &Writer) -> bool {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut next: Vec<_> = lock(&self.waiting).iter().take(count).cloned().collect();
        let count = next.len();
        let last = next.last().map(|last| last.event_id);
        if count > MAX_CALLS {
            // Ids are random. In their order, the calls of one transaction are on few pages of the index.
            next.sort_by(|one, other| one.said.call_id.cmp(&other.said.call_id));
        }
        let mut pieces = next.chunks(MAX_CALLS).peekable();
        while let Some(piece) = pieces.next() {
            let calls = OpenCalls {
                calls: piece.into(),
                up_to: last.filter(|_| pieces.peek().is_none()),
            };
            match write(writer, calls).await {
                Ok(()) => {}
                Err(StoreError::Closed) => return false,
                // Their attempts will write them.
                Err(error) => tracing::error!(%error, "failed to write the rows of new calls"),
            }
        }
        lock(&self.waiting).drain(..count);
        self.opened.send_modify(|opened| *opened += count as u64);
        true
    }

    /// Opens calls that are about to change, those of them that wait: what their webhooks said comes first.
    pub(super) fn open_first(
        &self,
        tx: &dyn Connection,
        changes: impl Fn(&str) -> bool,
    ) -> StoreResult<()> {
        let waiting: Vec<_> = lock(&self.waiting)
            .iter()
            .filter(|unopened| changes(&unopened.said.call_id))
            .cloned()
            .collect();
        open(tx, &waiting)
    }

    /// Waits a moment for what has been accepted so far: who was told that a webhook is in sees its call.
    pub(in crate::store) async fn caught_up(&self) {
        let accepted = self.accepted.load(Ordering::Acquire);
        if !self.is_any_waiting() {
            return;
        }
        self.hurry.notify_one();
        let mut opened = self.opened.subscribe();
        // Late is shown as it was: the row is not there yet.
        let _ = timeout(READER_MAY_WAIT, opened.wait_for(|count| *count >= accepted)).await;
    }

    /// Looks for a call, and on a miss once more when calls waited for their rows before the first look.
    pub(super) async fn look<T, F>(&self, find: impl Fn() -> F) -> StoreResult<Option<T>>
    where
        F: Future<Output = StoreResult<Option<T>>>,
    {
        // Asked first: the row may be written while the first look still reads what was there before it.
        let any_waited = self.is_any_waiting();
        let found = find().await?;
        if found.is_some() || !any_waited {
            return Ok(found);
        }
        self.caught_up().await;
        find().await
    }

    fn is_any_waiting(&self) -> bool {
        *self.opened.borrow() < self.accepted.load(Ordering::Acquire)
    }
}

/// Tries until it is written, or until it is refused for what it is.
async fn write(writer: &Writer, calls: OpenCalls) -> StoreResult<()> {
    loop {
        match writer.write(calls.clone()).await {
            Err(error) if error.concerns_all_writes() && !matches!(error, StoreError::Closed) => {
                sleep(RETRY_DELAY).await;
            }
            written => return written,
        }
    }
}

fn open(tx: &dyn Connection, unopened: &[Arc<Unopened>]) -> StoreResult<()> {
    let said = unopened
        .iter()
        .map(|unopened| (&unopened.said, unopened.received_at));
    let incoming: Vec<_> = said
        .clone()
        .map(|(said, at)| Incoming::event(said, at))
        .collect();
    // An erasure may have begun since they were accepted.
    let stopped = tombstones::find_tombstoned(tx, &incoming, "webhook")?;
    let open = said.zip(stopped).filter(|(_, stopped)| !stopped);
    // On a server each statement is a journey. A call's second event comes after the first.
    let mut together = HashSet::new();
    let (first, others): (Vec<_>, Vec<_>) = open.map(|(said, _)| said).partition(|(said, _)| {
        tx.engine() == Engine::Postgres && together.insert(said.call_id.as_str())
    });
    if !first.is_empty() {
        known_calls::open_together(tx, first.into_iter())?;
    }
    let mut others = others.into_iter();
    others.try_for_each(|(said, at)| known_calls::open(tx, said, at))
}

#[derive(Clone)]
struct OpenCalls {
    calls: Arc<[Arc<Unopened>]>,
    /// The calls of all events up to this one have their rows then.
    up_to: Option<i64>,
}

impl Operation for OpenCalls {
    type Output = ();
    /// What is undone is looked through again at the start.
    const DURABILITY: Durability = Durability::Committed;
    const CHANGES_CALLS: bool = true;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<()> {
        open(tx, &self.calls)?;
        if let (Engine::Sqlite, Some(up_to)) = (tx.engine(), self.up_to) {
            tx.execute(
                "UPDATE opened_events SET up_to = ?1 WHERE up_to < ?1",
                values![up_to],
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Looks once without finding, while the rows of all calls are written, and then finds.
    async fn look(opening: &Opening) -> (Option<&'static str>, u32) {
        let looks = Cell::new(0);
        let find = async || {
            looks.set(looks.get() + 1);
            let opened = opening.accepted.load(Ordering::Acquire);
            opening.opened.send_replace(opened);
            Ok((looks.get() > 1).then_some("call"))
        };
        (opening.look(find).await.unwrap(), looks.get())
    }

    #[tokio::test]
    async fn a_call_whose_row_is_written_during_the_first_look_is_found() {
        let opening = Opening::default();
        opening.accepted.store(1, Ordering::Release);
        assert_eq!(look(&opening).await, (Some("call"), 2));
    }

    #[tokio::test]
    async fn a_miss_is_looked_up_once_when_no_call_waits() {
        assert_eq!(look(&Opening::default()).await, (None, 1));
    }
}
