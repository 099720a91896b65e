//! The outbox in SQL: messages about what changed, and the claim and the settlement of each. What is told of a call is derived
//! from its `rev`: whatever changes a call in a batch of writes is found there, so that no write can forget to tell.

use std::time::Duration;

use async_trait::async_trait;

use super::{Connection, Durability, Operation, Row, SqlStore, audit, calls, values};
use crate::model::{MessageKind, Timestamp};
use crate::store::{
    ClaimedMessage, EndpointRow, MessageLease, MessageSettled, MessageSubject, MessagesDue,
    NewEndpoint, Outbox, SendOutcome, StoreResult,
};

#[async_trait]
impl Outbox for SqlStore {
    async fn register_endpoints(
        &self,
        endpoints: Vec<NewEndpoint>,
        now: Timestamp,
    ) -> StoreResult<Vec<i64>> {
        // A start that changes nothing writes nothing: the disk may be full.
        let wanted = endpoints.clone();
        let find = move |db: &dyn Connection| find_registered(db, &wanted);
        match self.readers.work.read(find).await? {
            Some(numbers) => Ok(numbers),
            None => self.writer.write(Register { endpoints, now }).await,
        }
    }

    async fn endpoints(&self) -> StoreResult<Vec<EndpointRow>> {
        self.readers.requests.read(endpoints).await
    }

    async fn claim_messages(
        &self,
        endpoint: i64,
        now: Timestamp,
        limit: u32,
        until: Timestamp,
    ) -> StoreResult<Vec<ClaimedMessage>> {
        let claim = ClaimMessages {
            endpoint,
            now,
            limit,
            until,
        };
        let claimed = self.writer.write(claim).await?;
        let add = move |db: &dyn Connection| with_subjects(db, claimed);
        self.readers.work.read(add).await
    }

    async fn settle_message(
        &self,
        lease: MessageLease,
        outcome: SendOutcome,
        now: Timestamp,
    ) -> StoreResult<MessageSettled> {
        let settle = SettleMessage {
            lease,
            outcome,
            now,
        };
        self.writer.write(settle).await
    }

    async fn messages_due(&self, endpoint: i64, now: Timestamp) -> StoreResult<MessagesDue> {
        let due = move |db: &dyn Connection| messages_due(db, endpoint, now);
        self.readers.work.read(due).await
    }

    async fn disable_endpoint(
        &self,
        endpoint: i64,
        reason: &str,
        now: Timestamp,
    ) -> StoreResult<()> {
        let disable = Disable {
            endpoint,
            reason: reason.to_owned(),
            now,
        };
        self.writer.write(disable).await
    }
}

/// No message waits for longer, whatever the schedule or an answer says: one that would is of a clock that was set back.
const MAX_WAIT: Duration = Duration::from_secs(36 * 60 * 60);

/// Begins an id of a message; ids are unique across restored backups.
pub(super) fn new_prefix() -> String {
    format!("msg_{:032x}_", rand::random::<u128>())
}

/// Writes a message about every call that changed since the last time, for each endpoint that is told of such changes.
pub(super) fn write_messages(tx: &dyn Connection, now: Timestamp) -> StoreResult<()> {
    let has_endpoints: bool = tx.scalar(
        "SELECT EXISTS (SELECT 1 FROM endpoints WHERE is_active = 1)",
        &[],
    )?;
    if !has_endpoints {
        return Ok(());
    }
    let prefix = new_prefix();
    let changed = "calls.rev > (SELECT rev FROM told_rev) AND calls.status <> 'processing'";
    let kind = "CASE WHEN calls.told IS NOT DISTINCT FROM calls.status THEN 'call.updated' \
                ELSE 'call.' || calls.status END";
    // A message about the call waits: it tells of the newest state, and as the first that the endpoint hears of it.
    tx.execute(
        &format!(
            "UPDATE messages SET message_id = ?1 || calls.rev, at = ?2, due_at = ?2, attempts = 0, \
           status = NULL, error = NULL, \
           kind = CASE WHEN {kind} = 'call.updated' THEN messages.kind ELSE {kind} END \
         FROM calls WHERE {changed} AND call_seq = calls.seq AND state = 'waiting'"
        ),
        values![prefix, now],
    )?;
    tx.execute(
        &format!(
            "INSERT INTO messages (endpoint_id, message_id, kind, call_seq, at, state, due_at) \
         SELECT endpoints.id, ?1 || calls.rev, {kind}, calls.seq, ?2, 'waiting', ?2 \
         FROM calls JOIN endpoints ON is_active = 1 AND kinds LIKE '% ' || {kind} || ' %' \
         WHERE {changed} AND NOT EXISTS (SELECT 1 FROM messages \
           WHERE call_seq = calls.seq AND endpoint_id = endpoints.id AND state = 'waiting')"
        ),
        values![prefix, now],
    )?;
    tx.execute(
        &format!("UPDATE calls SET told = status WHERE {changed} AND told IS DISTINCT FROM status"),
        &[],
    )?;
    tx.execute(
        "UPDATE told_rev SET rev = (SELECT rev FROM latest_rev)",
        &[],
    )?;
    audit::write_messages(tx, &prefix, now)
}

/// Writes a message about an event that was given up.
pub(super) fn write_dead(tx: &dyn Connection, event_id: i64, now: Timestamp) -> StoreResult<()> {
    tx.execute(
        "INSERT INTO messages (endpoint_id, message_id, kind, event_id, at, state, due_at) \
         SELECT id, ?1, 'event.dead', ?2, ?3, 'waiting', ?3 FROM endpoints \
         WHERE is_active = 1 AND kinds LIKE '% event.dead %'",
        values![format!("{}{event_id}", new_prefix()), event_id, now],
    )?;
    Ok(())
}

/// Makes these the endpoints that there are.
pub(super) struct Register {
    pub(super) endpoints: Vec<NewEndpoint>,
    pub(super) now: Timestamp,
}

impl Operation for Register {
    type Output = Vec<i64>;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<Vec<i64>> {
        // Of what changed while there was no endpoint, none is told.
        tx.execute(
            "UPDATE told_rev SET rev = (SELECT rev FROM latest_rev), \
               act_id = (SELECT coalesce(max(id), 0) FROM acts) \
             WHERE NOT EXISTS (SELECT 1 FROM endpoints WHERE is_active = 1)",
            &[],
        )?;
        tx.execute(
            "UPDATE endpoints SET is_active = 0 WHERE is_active = 1",
            &[],
        )?;
        let mut numbers = Vec::with_capacity(self.endpoints.len());
        for endpoint in &self.endpoints {
            let number = tx.scalar(
                "INSERT INTO endpoints (url, kinds, is_active, added_at) VALUES (?1, ?2, 1, ?3) \
                 ON CONFLICT (url) DO UPDATE SET kinds = excluded.kinds, is_active = 1, \
                   failing_since = CASE WHEN endpoints.disabled_at IS NULL THEN endpoints.failing_since END, \
                   disabled_at = NULL, disabled_reason = NULL \
                 RETURNING id",
                values![endpoint.url, kinds_of(endpoint), self.now],
            )?;
            numbers.push(number);
        }
        Ok(numbers)
    }
}

/// The text of `endpoints.kinds`.
fn kinds_of(endpoint: &NewEndpoint) -> String {
    let kinds: Vec<_> = endpoint.kinds.iter().map(|kind| kind.as_str()).collect();
    format!(" {} ", kinds.join(" "))
}

/// The numbers of these endpoints, if they are the active ones, with the same kinds, and none is disabled.
fn find_registered(db: &dyn Connection, wanted: &[NewEndpoint]) -> StoreResult<Option<Vec<i64>>> {
    let sql = "SELECT id, url, kinds, disabled_at IS NOT NULL FROM endpoints WHERE is_active = 1";
    let active = db.rows(sql, &[], |row| {
        let (url, kinds): (String, String) = (row.get(1)?, row.get(2)?);
        Ok((row.get(0)?, url, kinds, row.get::<bool>(3)?))
    })?;
    if active.len() != wanted.len() {
        return Ok(None);
    }
    let number_of = |endpoint: &NewEndpoint| {
        let same = active.iter().find(|(_, url, kinds, is_disabled)| {
            *url == endpoint.url && *kinds == kinds_of(endpoint) && !is_disabled
        });
        same.map(|(number, ..)| *number)
    };
    Ok(wanted.iter().map(number_of).collect())
}

/// Leases messages that are due.
pub(in crate::store) struct ClaimMessages {
    pub(in crate::store) endpoint: i64,
    pub(in crate::store) now: Timestamp,
    pub(in crate::store) limit: u32,
    pub(in crate::store) until: Timestamp,
}

/// What a claim knows of a message; what it tells of is read afterwards.
pub(in crate::store) struct Claimed {
    lease: MessageLease,
    kind: MessageKind,
    at: Timestamp,
    attempts: u32,
    about: About,
}

/// The row that a message tells of: a call, an event or an entry of the audit log.
struct About {
    call: Option<i64>,
    event: Option<i64>,
    entry: Option<i64>,
}

impl Operation for ClaimMessages {
    type Output = Vec<Claimed>;
    /// Without it the message is due as before.
    const DURABILITY: Durability = Durability::Committed;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<Vec<Claimed>> {
        // Each half is in the order of its index, so that a claim costs the same however many wait; and the older ones of each
        // call are looked up by their index: PostgreSQL would compare all that wait with each other, as long as it does not
        // know how many there are.
        let due = |when, order| {
            format!(
                "SELECT * FROM (SELECT seq FROM messages AS due WHERE endpoint_id = ?2 AND {when} \
                   AND EXISTS (SELECT 1 FROM endpoints \
                               WHERE id = ?2 AND is_active = 1 AND disabled_at IS NULL) \
                   AND (SELECT older.seq FROM messages AS older \
                        WHERE older.call_seq = due.call_seq AND older.endpoint_id + 0 = ?2 \
                          AND older.seq < due.seq AND older.due_at IS NOT NULL LIMIT 1) IS NULL \
                 ORDER BY due_at {order} LIMIT ?4) AS found"
            )
        };
        let sql = format!(
            "UPDATE messages SET state = 'sending', lease = lease + 1, due_at = ?1 \
             WHERE seq IN (SELECT * FROM ({} UNION ALL {}) AS found LIMIT ?4) \
             RETURNING seq, message_id, lease, kind, at, attempts, call_seq, event_id, act_id",
            due("due_at <= ?3", "ASC"),
            due("due_at > ?5", "DESC"),
        );
        let latest = self.now.plus(MAX_WAIT);
        let values = values![self.until, self.endpoint, self.now, self.limit, latest];
        tx.rows(&sql, values, |row| {
            Ok(Claimed {
                lease: MessageLease {
                    seq: row.get(0)?,
                    message_id: row.get(1)?,
                    number: row.get(2)?,
                },
                kind: row.word(3)?,
                at: row.get(4)?,
                attempts: row.get(5)?,
                about: about(row, 6)?,
            })
        })
    }
}

fn about(row: &dyn Row, first_column: usize) -> StoreResult<About> {
    let mut columns = row.from(first_column);
    Ok(About {
        call: columns.next()?,
        event: columns.next()?,
        entry: columns.next()?,
    })
}

/// Adds what the claimed messages tell of, as it is now. One whose call was erased meanwhile is left out: it is gone.
fn with_subjects(db: &dyn Connection, claimed: Vec<Claimed>) -> StoreResult<Vec<ClaimedMessage>> {
    let mut messages = Vec::with_capacity(claimed.len());
    for claimed in claimed {
        let Some(subject) = subject_of(db, &claimed.about)? else {
            continue;
        };
        messages.push(ClaimedMessage {
            lease: claimed.lease,
            kind: claimed.kind,
            at: claimed.at,
            attempts: claimed.attempts,
            subject,
        });
    }
    Ok(messages)
}

/// What a message tells of, as it is now.
pub(super) fn subject(db: &dyn Connection, seq: i64) -> StoreResult<Option<MessageSubject>> {
    let sql = "SELECT call_seq, event_id, act_id FROM messages WHERE seq = ?1";
    match db.first(sql, values![seq], |row| about(row, 0))? {
        Some(about) => subject_of(db, &about),
        None => Ok(None),
    }
}

fn subject_of(db: &dyn Connection, about: &About) -> StoreResult<Option<MessageSubject>> {
    if let Some(call) = about.call {
        let call = calls::find_by_seq(db, call)?;
        return Ok(call.map(|call| MessageSubject::Call(Box::new(call))));
    }
    if let Some(entry) = about.entry {
        return Ok(audit::find(db, entry)?.map(MessageSubject::Audit));
    }
    let sql = "SELECT id, webhook_id, call_id, reason FROM events WHERE id = ?1";
    db.first(sql, values![about.event], |row| {
        let mut columns = row.from(0);
        Ok(MessageSubject::Event {
            id: columns.next()?,
            webhook_id: columns.next()?,
            call_id: columns.next()?,
            reason: columns.next()?,
        })
    })
}

/// Ends an attempt at a message.
pub(super) struct SettleMessage {
    pub(super) lease: MessageLease,
    pub(super) outcome: SendOutcome,
    pub(super) now: Timestamp,
}

/// Where the call has changed meanwhile, another message waits that tells of it as it is now.
const NEWER: &str = "EXISTS (SELECT 1 FROM messages AS newer WHERE newer.call_seq = messages.call_seq \
                     AND newer.endpoint_id = messages.endpoint_id AND newer.state = 'waiting')";

impl Operation for SettleMessage {
    type Output = MessageSettled;
    /// Without it the message is sent again, under the same id.
    const DURABILITY: Durability = Durability::Committed;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<MessageSettled> {
        let now = self.now;
        let was_tried = self.outcome != SendOutcome::NotTried;
        let (state, due, status, error) = match &self.outcome {
            SendOutcome::NotTried => ("waiting", Some(&now), None, None),
            SendOutcome::Delivered { status, .. } => ("delivered", None, Some(*status), None),
            SendOutcome::NotDelivered {
                retry_at,
                status,
                reason,
                ..
            } => match retry_at {
                Some(at) => ("waiting", Some(at), *status, Some(&**reason)),
                None => ("failed", None, *status, Some(&**reason)),
            },
        };
        let settled = tx.first(
            &format!(
                "UPDATE messages SET attempts = attempts + ?9, \
                   status = CASE WHEN ?9 = 1 THEN ?4 ELSE status END, \
                   error = CASE WHEN ?9 = 1 THEN ?5 ELSE error END, \
                   state = CASE WHEN ?6 = 'waiting' AND {NEWER} THEN 'superseded' ELSE ?6 END, \
                   due_at = CASE WHEN {NEWER} THEN NULL ELSE ?7 END, \
                   settled_at = CASE WHEN ?7 IS NULL OR {NEWER} THEN ?8 END \
                 WHERE seq = ?1 AND message_id = ?2 AND lease = ?3 AND state = 'sending' \
                 RETURNING endpoint_id, call_seq, state, kind"
            ),
            values![
                self.lease.seq,
                self.lease.message_id,
                self.lease.number,
                status,
                error,
                state,
                due,
                now,
                i64::from(was_tried),
            ],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )?;
        let Some((endpoint, call, state, kind)): Option<(i64, Option<i64>, String, String)> =
            settled
        else {
            return Ok(MessageSettled::LeaseLost);
        };
        if state != "delivered" {
            // Nobody took the message that the call has its score: the newer one says so.
            tx.execute(
                "UPDATE messages SET kind = ?1 WHERE kind = 'call.updated' AND state = 'waiting' \
                 AND call_seq = ?2 AND endpoint_id = ?3",
                values![kind, call, endpoint],
            )?;
        }
        if !was_tried {
            return Ok(MessageSettled::Yes {
                failing_since: None,
            });
        }
        if matches!(self.outcome, SendOutcome::Delivered { resumes: true, .. }) {
            resume(tx, endpoint, now)?;
        }
        let failing_since = tx.scalar(
            "UPDATE endpoints SET last_attempt_at = ?2, last_status = ?3, last_error = ?4, \
               healthy_since = CASE WHEN ?4 IS NULL THEN coalesce(healthy_since, ?2) END, \
               failing_since = CASE WHEN ?4 IS NULL THEN NULL ELSE coalesce(failing_since, ?2) END \
             WHERE id = ?1 RETURNING failing_since",
            values![endpoint, now, status, error],
        )?;
        Ok(MessageSettled::Yes { failing_since })
    }
}

/// What an endpoint did not take while it was down is due now, and what was given up meanwhile as well.
fn resume(tx: &dyn Connection, endpoint: i64, now: Timestamp) -> StoreResult<()> {
    let statements = [
        "UPDATE messages SET due_at = ?2 WHERE endpoint_id = ?1 AND state = 'waiting' AND due_at > ?2",
        "UPDATE messages SET state = 'waiting', due_at = ?2, attempts = 0, settled_at = NULL \
         WHERE endpoint_id = ?1 AND state = 'failed' \
           AND settled_at >= (SELECT failing_since FROM endpoints WHERE id = ?1) \
           AND NOT EXISTS (SELECT 1 FROM messages AS newer \
                           WHERE newer.call_seq = messages.call_seq AND newer.endpoint_id = ?1 \
                             AND newer.seq > messages.seq)",
    ];
    for statement in statements {
        tx.execute(statement, values![endpoint, now])?;
    }
    Ok(())
}

/// Sends nothing more to an endpoint.
pub(super) struct Disable {
    pub(super) endpoint: i64,
    pub(super) reason: String,
    pub(super) now: Timestamp,
}

impl Operation for Disable {
    type Output = ();

    fn apply(&self, tx: &dyn Connection) -> StoreResult<()> {
        tx.execute(
            "UPDATE endpoints SET disabled_at = ?2, disabled_reason = ?3 \
             WHERE id = ?1 AND disabled_at IS NULL",
            values![self.endpoint, self.now, self.reason],
        )?;
        Ok(())
    }
}

/// One that is due and cannot be claimed waits for an older one about its call.
pub(super) fn messages_due(
    db: &dyn Connection,
    endpoint: i64,
    now: Timestamp,
) -> StoreResult<MessagesDue> {
    db.one(
        "SELECT EXISTS (SELECT 1 FROM messages WHERE endpoint_id = ?1 AND due_at <= ?2) \
             OR EXISTS (SELECT 1 FROM messages WHERE endpoint_id = ?1 AND due_at > ?3), \
           (SELECT min(due_at) FROM messages WHERE endpoint_id = ?1 AND due_at > ?2 \
            AND EXISTS (SELECT 1 FROM endpoints WHERE id = ?1 AND disabled_at IS NULL))",
        values![endpoint, now, now.plus(MAX_WAIT)],
        |row| {
            Ok(MessagesDue {
                any: row.get(0)?,
                next: row.get(1)?,
            })
        },
    )
}

pub(super) fn endpoints(db: &dyn Connection) -> StoreResult<Vec<EndpointRow>> {
    let sql = "SELECT id, url, is_active, disabled_at, disabled_reason, healthy_since, failing_since, \
                 last_attempt_at, last_status, last_error, \
                 (SELECT count(*) FROM messages WHERE endpoint_id = endpoints.id AND due_at IS NOT NULL), \
                 (SELECT count(*) FROM messages WHERE endpoint_id = endpoints.id AND state = 'failed') \
               FROM endpoints ORDER BY id";
    db.rows(sql, &[], |row| {
        let mut columns = row.from(5);
        Ok(EndpointRow {
            id: row.get(0)?,
            url: row.get(1)?,
            is_active: row.get(2)?,
            disabled: row.get::<Option<_>>(3)?.zip(row.get(4)?),
            healthy_since: columns.next()?,
            failing_since: columns.next()?,
            last_attempt_at: columns.next()?,
            last_status: columns.next()?,
            last_error: columns.next()?,
            waiting: columns.next()?,
            failed: columns.next()?,
        })
    })
}
