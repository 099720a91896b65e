//! What the outbox takes and hands out, in words: the endpoints that messages go to, the messages that wait for each, and how
//! an attempt at one ended. A message is written in the transaction that changes what it tells of.

use async_trait::async_trait;

use super::{AuditEntry, StoreResult, StoredCall};
use crate::model::{MessageKind, Timestamp};

/// An endpoint of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEndpoint {
    /// Where it is; what it is known by.
    pub url: String,
    /// Which messages are written for it.
    pub kinds: Vec<MessageKind>,
}

/// An endpoint, and how it fares.
#[derive(Clone, Debug)]
pub struct EndpointRow {
    /// Its number.
    pub id: i64,
    /// Where it is. May carry a secret.
    pub url: String,
    /// Whether it is configured.
    pub is_active: bool,
    /// Since when nothing is sent to it, and why.
    pub disabled: Option<(Timestamp, String)>,
    /// Since when it has taken every message.
    pub healthy_since: Option<Timestamp>,
    /// Since when it has taken none.
    pub failing_since: Option<Timestamp>,
    /// When it was last asked, its HTTP status, and what went wrong.
    pub last_attempt_at: Option<Timestamp>,
    /// HTTP status of its last answer.
    pub last_status: Option<u16>,
    /// What went wrong, when something did.
    pub last_error: Option<String>,
    /// Messages that wait for it.
    pub waiting: u64,
    /// Messages it never took.
    pub failed: u64,
}

/// The right to settle a message, until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLease {
    /// Its number.
    pub seq: i64,
    /// Its id on the wire, which is another when what it tells of has changed.
    pub message_id: String,
    /// Which claim of it this is.
    pub number: i64,
}

/// A message, and the right to settle it.
#[derive(Clone, Debug)]
pub struct ClaimedMessage {
    /// The right to settle it.
    pub lease: MessageLease,
    /// What happened.
    pub kind: MessageKind,
    /// When.
    pub at: Timestamp,
    /// How many attempts were made before this one.
    pub attempts: u32,
    /// What it tells of, as it is now.
    pub subject: MessageSubject,
}

/// What a message tells of.
#[derive(Clone, Debug)]
pub enum MessageSubject {
    /// A call.
    Call(Box<StoredCall>),
    /// An event that was given up.
    Event {
        /// Its number.
        id: i64,
        /// Its webhook id.
        webhook_id: String,
        /// The call it was about, when that is known.
        call_id: Option<String>,
        /// Why it was given up, in words.
        reason: Option<String>,
    },
    /// Something that was done by hand.
    Audit(AuditEntry),
}

/// When messages for an endpoint are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessagesDue {
    /// Some are due now.
    pub any: bool,
    /// When the next become due after now.
    pub next: Option<Timestamp>,
}

/// How an attempt at a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The endpoint took it.
    Delivered {
        /// HTTP status.
        status: u16,
        /// The endpoint was down before: what it did not take meanwhile is due now.
        resumes: bool,
    },
    /// It did not.
    NotDelivered {
        /// When to try again; `None` when the schedule is spent.
        retry_at: Option<Timestamp>,
        /// HTTP status, when it answered.
        status: Option<u16>,
        /// Why, in words.
        reason: String,
    },
    /// It was not asked: the claim is given up, and the message is due as before.
    NotTried,
}

/// Whether the settlement of a message took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageSettled {
    /// It did.
    Yes {
        /// Since when the endpoint has taken no message.
        failing_since: Option<Timestamp>,
    },
    /// The lease had expired and somebody else has the message, or what it told of was erased.
    LeaseLost,
}

/// Messages for the company's own systems.
#[async_trait]
pub trait Outbox {
    /// Makes these the endpoints that messages are written for, and enables those that were disabled; their numbers, in order.
    async fn register_endpoints(
        &self,
        endpoints: Vec<NewEndpoint>,
        now: Timestamp,
    ) -> StoreResult<Vec<i64>>;

    /// The endpoints that are configured, and those that have messages left.
    async fn endpoints(&self) -> StoreResult<Vec<EndpointRow>>;

    /// Leases up to `limit` messages for an endpoint that are due at `now`, until `until`. Of the messages about one call only
    /// the oldest is due; what it tells of is read now, so it never tells less than one that was sent before.
    async fn claim_messages(
        &self,
        endpoint: i64,
        now: Timestamp,
        limit: u32,
        until: Timestamp,
    ) -> StoreResult<Vec<ClaimedMessage>>;

    /// Ends an attempt at a message.
    async fn settle_message(
        &self,
        lease: MessageLease,
        outcome: SendOutcome,
        now: Timestamp,
    ) -> StoreResult<MessageSettled>;

    /// Whether messages for an endpoint are due, and when the next will be: a claim is a write, and looking first keeps an
    /// endpoint for which nothing waits from costing any.
    async fn messages_due(&self, endpoint: i64, now: Timestamp) -> StoreResult<MessagesDue>;

    /// Sends nothing more to an endpoint until it is registered again; its messages wait.
    async fn disable_endpoint(
        &self,
        endpoint: i64,
        reason: &str,
        now: Timestamp,
    ) -> StoreResult<()>;
}
