//! The storage, as traits in the domain's verbs, one for each role: the inbox, the calls, the mints, and so on. An engine
//! (`sqlite/`) implements them; no SQL leaves it.

mod audit;
mod calls;
mod changes;
mod copy;
mod deliveries;
mod due_times;
mod error;
mod identities;
mod inbox;
mod maintenance;
mod migrations;
mod mints;
mod open;
mod operators;
mod outbox;
mod page;
mod postgres;
mod privacy;
mod reconcile;
mod replicas;
mod server;
mod sql;
mod sqlite;

use std::sync::Arc;
use std::time::Duration;

pub use audit::{Actor, AuditEntry, AuditFilter, AuditLog};
pub use calls::{
    CallChange, CallFilter, Calls, Changes, PageKey, Progress, ProgressFilter, ScorePoint,
    StoredCall,
};
pub use changes::{ChangeFeed, FeedChange, FeedPage};
pub use copy::{CopiedTable, CopyStep};
pub use deliveries::{
    Act, CallsToForward, Deliveries, DeliveryFilter, DeliveryReplay, DeliveryRow, DeliveryState,
    ReplayedDeliveries, StoredDelivery, UntoldCalls,
};
pub use due_times::{DueTimes, Listening, NextDue};
pub use error::StoreError;
pub use identities::{Identities, IdentityKind, LinkedIds};
pub use inbox::{
    Accepted, ClaimFilter, ClaimedEvent, Failure, Inbox, Lease, NewEvent, QueueDepth, SettleResult,
    Settlement, UnopenedEvent,
};
pub use maintenance::{Following, Maintenance};
pub use mints::{MINT_MAY_TAKE, Mint, MintFilter, MintOutcome, Mints, NewMint};
pub use open::{
    Backup, Contents, Examined, Integrity, InvalidUrl, PartialCopy, Place, Schema, Step, back_up,
    copy, database_file, examine, open, open_existing, open_with,
};
pub use operators::{
    Attempt, EventCall, EventFilter, EventRow, EventVerdict, Operators, Origin, Received, Replay,
    Replayable, ReplayableEvent, StoredEvent, WouldReplay,
};
pub use outbox::{
    ClaimedMessage, EndpointRow, MessageLease, MessageSettled, MessageSubject, MessagesDue,
    NewEndpoint, Outbox, SendOutcome,
};
pub use page::Page;
pub use postgres::ServerOptions;
pub use privacy::{ErasedRows, Privacy, Transcript};
pub use reconcile::{
    ListedCall, NewRun, Reconciliation, RecoveredCall, RecoveryCause, Run, RunEnd,
};
pub use replicas::{
    CLOCKS_MAY_DIFFER, ClockDifference, Duty, Leader, Observed, REPLICA_FORGOTTEN_AFTER,
    ReplicaRow, Replicas, TERM_LASTS, Term,
};
pub use server::{Connections, ServerState};

/// Longest anyone waits for a write. Athos gives a delivery up after 10 s (docs/athos-contract.md, "Webhooks"): a
/// refusal before that makes it come again.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(8);

/// Everything the service stores. All methods are safe to call from any task; a write is on disk when it returns.
pub trait Store:
    Inbox
    + Calls
    + ChangeFeed
    + Mints
    + Identities
    + Reconciliation
    + Privacy
    + Operators
    + AuditLog
    + Outbox
    + Deliveries
    + Maintenance
    + Replicas
{
}

impl<T> Store for T where
    T: Inbox
        + Calls
        + ChangeFeed
        + Mints
        + Identities
        + Reconciliation
        + Privacy
        + Operators
        + AuditLog
        + Outbox
        + Deliveries
        + Maintenance
        + Replicas
        + Replicas
{
}

/// A store, shared.
pub type SharedStore = Arc<dyn Store>;

/// The result of a store operation.
pub type StoreResult<T> = Result<T, StoreError>;
