//! Writes that share a transaction: what each does, how durable it must be, and who waits for it.

use std::any::Any;
use std::iter::once;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{Connection, StoreError, StoreResult, replicas};
use crate::model::{Engine, Timestamp};
use crate::store::Term;

/// What must be true before the caller of an operation is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) enum Durability {
    /// It is committed: it outlives the process. A power cut may undo it, together with what was committed after it,
    /// until the next synced commit; it must be something that is done again then.
    Committed,
    /// It is on the disk, and so is everything that was committed before.
    Synced,
}

/// A write that shares its transaction with others. It may be applied twice, when the first transaction is rolled back.
/// It must be short: everyone else's writes wait for it.
pub(in crate::store) trait Operation: Send + 'static {
    /// What the caller gets once it is as durable as it must be.
    type Output: Send + 'static;

    const DURABILITY: Durability = Durability::Synced;

    /// Whether readers of the live stream should look.
    const CHANGES_CALLS: bool = false;

    /// Whether several replicas may do it at the same time, on an engine that they share. Otherwise it may rely on what it
    /// has read as if it were the only writer: nothing else is written until it is committed.
    const BESIDE_OTHERS: bool = false;

    /// When it changes what is known of calls, and endpoints must be told.
    fn announced_at(&self) -> Option<Timestamp> {
        None
    }

    /// Does it, inside a transaction that somebody else commits.
    fn apply(&self, tx: &dyn Connection) -> StoreResult<Self::Output>;

    /// Does what can be done together with few statements, on an engine to which each statement is a journey; nothing for
    /// those that must be applied by themselves.
    fn apply_together(
        operations: &[&Self],
        _tx: &dyn Connection,
    ) -> StoreResult<Vec<Option<Self::Output>>>
    where
        Self: Sized,
    {
        Ok(operations.iter().map(|_| None).collect())
    }

    /// What else is to happen once it is committed.
    fn committed(self, _output: &Self::Output)
    where
        Self: Sized,
    {
    }
}

/// Does an operation and takes it back: the output says what it would have done.
pub(in crate::store) struct DryRun<O>(pub(in crate::store) O);

impl<O: Operation> Operation for DryRun<O> {
    type Output = O::Output;
    const DURABILITY: Durability = Durability::Committed;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<O::Output> {
        tx.batch("SAVEPOINT dry_run")?;
        let output = self.0.apply(tx);
        tx.batch("ROLLBACK TO dry_run; RELEASE dry_run")?;
        output
    }
}

/// A queued operation of any kind, and whoever waits for it.
pub(super) trait Queued: Any + Send {
    /// Forgets what an attempt that was rolled back has done.
    fn begin(&mut self);
    /// Does it, unless that is done, and all of its kind among `others` that can be done with it.
    fn apply(&mut self, others: &mut [Box<dyn Queued>], tx: &dyn Connection) -> StoreResult<()>;
    fn beside_others(&self) -> bool;
    fn durability(&self) -> Durability;
    fn changes_calls(&self) -> bool;
    fn announced_at(&self) -> Option<Timestamp>;
    fn acknowledge(self: Box<Self>, committed: StoreResult<()>);
}

struct Waiting<O: Operation> {
    operation: O,
    /// What it may only be done in.
    term: Option<Arc<Term>>,
    /// What it came to; an error is this one's alone, and the batch goes on.
    output: Option<StoreResult<O::Output>>,
    tried_together: bool,
    reply: oneshot::Sender<StoreResult<O::Output>>,
}

/// Makes an operation ready to be queued, and what its output comes through. `term`: what it may only be done in.
pub(super) fn queued<O: Operation>(
    operation: O,
    term: Option<Arc<Term>>,
) -> (Box<dyn Queued>, oneshot::Receiver<StoreResult<O::Output>>) {
    let (reply, answer) = oneshot::channel();
    let waiting = Waiting {
        operation,
        term,
        output: None,
        tried_together: false,
        reply,
    };
    (Box::new(waiting), answer)
}

impl<O: Operation> Queued for Waiting<O> {
    fn begin(&mut self) {
        self.output = None;
        self.tried_together = false;
    }

    fn apply(&mut self, others: &mut [Box<dyn Queued>], tx: &dyn Connection) -> StoreResult<()> {
        if let Some(term) = &self.term {
            let done = match replicas::holds(tx, term)? {
                true => Ok(self.operation.apply(tx)?),
                false => Err(StoreError::NotLeader),
            };
            self.output = Some(done);
            return Ok(());
        }
        if !self.tried_together && tx.engine() == Engine::Postgres {
            let others = others.iter_mut().map(|other| &mut **other as &mut dyn Any);
            let others = others.filter_map(|other| other.downcast_mut::<Self>());
            let others = others.filter(|other| other.term.is_none());
            let mut kind: Vec<_> = once(&mut *self).chain(others).collect();
            let operations: Vec<_> = kind.iter().map(|each| &each.operation).collect();
            let outputs = O::apply_together(&operations, tx)?;
            for (each, output) in kind.iter_mut().zip(outputs) {
                each.output = output.map(Ok);
                each.tried_together = true;
            }
        }
        if self.output.is_none() {
            self.output = Some(Ok(self.operation.apply(tx)?));
        }
        Ok(())
    }

    fn beside_others(&self) -> bool {
        O::BESIDE_OTHERS
    }

    fn durability(&self) -> Durability {
        O::DURABILITY
    }

    fn changes_calls(&self) -> bool {
        O::CHANGES_CALLS
    }

    fn announced_at(&self) -> Option<Timestamp> {
        self.operation.announced_at()
    }

    fn acknowledge(self: Box<Self>, committed: StoreResult<()>) {
        let Self {
            operation,
            output,
            reply,
            ..
        } = *self;
        let outcome = committed.and_then(|()| output.unwrap_or(Err(StoreError::Closed)));
        if let Ok(output) = &outcome {
            operation.committed(output);
        }
        // Nobody may be waiting any more; the write stands all the same.
        let _ = reply.send(outcome);
    }
}

/// What is written with every batch that says something new of calls, in the same transaction.
pub(in crate::store) type AfterChanges = fn(&dyn Connection, Timestamp) -> StoreResult<()>;

/// Writes that share a transaction, and whoever waits for them.
pub(in crate::store) struct Batch {
    operations: Vec<Box<dyn Queued>>,
    after_changes: AfterChanges,
    /// Since when it is written.
    pub(super) started: Instant,
}

impl Batch {
    pub(super) fn new(operations: Vec<Box<dyn Queued>>, after_changes: AfterChanges) -> Self {
        Self {
            operations,
            after_changes,
            started: Instant::now(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.operations.len()
    }

    /// How durable the transaction must be: as its most demanding operation.
    pub(in crate::store) fn durability(&self) -> Durability {
        let each = self.operations.iter();
        let most = each.map(|operation| operation.durability()).max();
        most.unwrap_or(Durability::Synced)
    }

    /// Whether one of its operations changes calls, or tells endpoints of a change.
    pub(in crate::store) fn changes_calls(&self) -> bool {
        let mut each = self.operations.iter();
        each.any(|operation| operation.changes_calls() || operation.announced_at().is_some())
    }

    /// Whether other replicas may write at the same time.
    pub(in crate::store) fn is_beside_others(&self) -> bool {
        let mut each = self.operations.iter();
        !self.changes_calls() && each.all(|operation| operation.beside_others())
    }

    /// Does all of it, inside a transaction that the caller commits.
    pub(in crate::store) fn apply(&mut self, tx: &dyn Connection) -> StoreResult<()> {
        for operation in &mut self.operations {
            operation.begin();
        }
        let mut left = &mut self.operations[..];
        while let Some((operation, others)) = left.split_first_mut() {
            operation.apply(others, tx)?;
            left = others;
        }
        let each = self.operations.iter();
        let announced_at = each.filter_map(|operation| operation.announced_at());
        let Some(at) = announced_at.max() else {
            return Ok(());
        };
        (self.after_changes)(tx, at)
    }

    /// Each operation in a batch of its own.
    pub(super) fn split(self) -> impl Iterator<Item = Self> {
        self.operations.into_iter().map(move |operation| Self {
            operations: vec![operation],
            after_changes: self.after_changes,
            started: self.started,
        })
    }

    /// Tells everybody who waits how it ended.
    pub(super) fn acknowledge(self, committed: &StoreResult<()>) {
        for operation in self.operations {
            operation.acknowledge(committed.clone());
        }
    }
}
