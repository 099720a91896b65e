//! Replicas and leaders in SQL. A term is checked in the transaction that writes (`holds`), which holds the lock of all writes,
//! at least shared, while a duty is only taken by a transaction that holds it alone: no write of a term commits after the next
//! term has begun.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Connection, Durability, Operation, SqlStore, values};
use crate::model::Timestamp;
use crate::store::replicas::latest_end;
use crate::store::{
    ClockDifference, Duty, Leader, Observed, REPLICA_FORGOTTEN_AFTER, ReplicaRow, Replicas,
    SharedStore, StoreResult, TERM_LASTS, Term,
};

/// Replicas to list; more are not meant to share a database.
const LISTED_MAX: u32 = 100;

/// Whether a term is the latest of its duty, and not given up.
pub(super) fn holds(tx: &dyn Connection, term: &Term) -> StoreResult<bool> {
    tx.exists(
        "SELECT 1 FROM leaders WHERE duty = ?1 AND term = ?2 AND replica = ?3",
        values![term.duty.as_str(), term.number, term.replica],
    )
}

/// Records that a replica lives, and renews its terms.
struct Heartbeat {
    replica: ReplicaRow,
    terms: Vec<Term>,
}

impl Operation for Heartbeat {
    type Output = Vec<Term>;
    /// The next one says it again.
    const DURABILITY: Durability = Durability::Committed;
    /// Each replica writes its own rows: those of others, and duties that it has lost, are not touched.
    const BESIDE_OTHERS: bool = true;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<Vec<Term>> {
        let replica = &self.replica;
        tx.execute(
            "INSERT INTO replicas (id, version, started_at, heartbeat_at, reloaded_at, credentials, clock_difference_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at, reloaded_at = excluded.reloaded_at, \
               credentials = excluded.credentials, clock_difference_ms = excluded.clock_difference_ms, ended_at = NULL",
            values![
                replica.id,
                replica.version,
                replica.started_at,
                replica.heartbeat_at,
                replica.reloaded_at,
                replica.credentials,
                replica.clock_difference.map(|difference| difference.millis),
            ],
        )?;
        let expires_at = replica.heartbeat_at.plus(TERM_LASTS);
        let mut renewed = Vec::new();
        for term in &self.terms {
            let changed = tx.execute(
                "UPDATE leaders SET expires_at = ?1 WHERE duty = ?2 AND term = ?3 AND replica = ?4",
                values![expires_at, term.duty.as_str(), term.number, term.replica],
            )?;
            if changed > 0 {
                renewed.push(term.clone());
            }
        }
        Ok(renewed)
    }
}

/// Takes a duty whose term is over, as `Leader::is_over` says.
struct TakeLead {
    duty: Duty,
    replica: String,
    now: Timestamp,
}

impl Operation for TakeLead {
    type Output = Option<Term>;

    fn apply(&self, tx: &dyn Connection) -> StoreResult<Option<Term>> {
        let number = tx.first(
            "INSERT INTO leaders (duty, term, replica, expires_at) VALUES (?1, 1, ?2, ?3) \
             ON CONFLICT (duty) DO UPDATE SET \
               term = leaders.term + 1, replica = excluded.replica, expires_at = excluded.expires_at \
             WHERE leaders.expires_at <= ?4 OR leaders.expires_at > ?5 \
             RETURNING term",
            values![
                self.duty.as_str(),
                self.replica,
                self.now.plus(TERM_LASTS),
                self.now,
                latest_end(self.now),
            ],
            |row| row.get(0),
        )?;
        Ok(number.map(|number| Term {
            duty: self.duty,
            replica: self.replica.clone(),
            number,
        }))
    }
}

/// Gives up what a replica leads.
struct Resign {
    replica: String,
    ended_at: Option<Timestamp>,
}

impl Operation for Resign {
    type Output = ();

    fn apply(&self, tx: &dyn Connection) -> StoreResult<()> {
        tx.execute(
            "UPDATE leaders SET replica = NULL, expires_at = 0 WHERE replica = ?1",
            values![self.replica],
        )?;
        tx.execute(
            "UPDATE replicas SET ended_at = ?1 WHERE id = ?2",
            values![self.ended_at, self.replica],
        )?;
        Ok(())
    }
}

fn leaders(db: &dyn Connection) -> StoreResult<Vec<Leader>> {
    let sql = "SELECT duty, term, replica, expires_at FROM leaders ORDER BY duty";
    let leaders = db.rows(sql, &[], |row| {
        let mut columns = row.from(0);
        // A later version may have other duties.
        let duty = columns.next::<&str>()?.parse().ok();
        let (term, replica, expires_at) = (columns.next()?, columns.next()?, columns.next()?);
        Ok(duty.map(|duty| Leader {
            duty,
            term,
            replica,
            expires_at,
        }))
    })?;
    Ok(leaders.into_iter().flatten().collect())
}

fn list(db: &dyn Connection, now: Timestamp) -> StoreResult<Vec<ReplicaRow>> {
    let sql = "SELECT id, version, started_at, heartbeat_at, reloaded_at, credentials, clock_difference_ms \
               FROM replicas WHERE ended_at IS NULL AND heartbeat_at >= ?1 \
               ORDER BY started_at, id LIMIT ?2";
    let since = now.minus(REPLICA_FORGOTTEN_AFTER);
    db.rows(sql, values![since, LISTED_MAX], |row| {
        let mut columns = row.from(0);
        Ok(ReplicaRow {
            id: columns.next()?,
            version: columns.next()?,
            started_at: columns.next()?,
            heartbeat_at: columns.next()?,
            reloaded_at: columns.next()?,
            credentials: columns.next()?,
            clock_difference: columns
                .next::<Option<i64>>()?
                .map(|millis| ClockDifference { millis }),
        })
    })
}

#[async_trait]
impl Replicas for SqlStore {
    fn is_shared(&self) -> bool {
        self.upkeep.is_shared()
    }

    async fn observe(&self) -> StoreResult<Observed> {
        let upkeep = Arc::clone(&self.upkeep);
        let observe = move |db: &dyn Connection| {
            Ok(Observed {
                leaders: leaders(db)?,
                clock_difference: upkeep.clock_difference(db)?,
            })
        };
        self.readers.work.read(observe).await
    }

    async fn heartbeat(&self, replica: ReplicaRow, terms: Vec<Term>) -> StoreResult<Vec<Term>> {
        self.writer.write(Heartbeat { replica, terms }).await
    }

    async fn take_lead(
        &self,
        duty: Duty,
        replica: &str,
        now: Timestamp,
    ) -> StoreResult<Option<Term>> {
        let take = TakeLead {
            duty,
            replica: replica.to_owned(),
            now,
        };
        self.writer.write(take).await
    }

    async fn resign(&self, replica: &str, ended_at: Option<Timestamp>) -> StoreResult<()> {
        let replica = replica.to_owned();
        self.writer.write(Resign { replica, ended_at }).await
    }

    async fn list_replicas(&self, now: Timestamp) -> StoreResult<Vec<ReplicaRow>> {
        let list = move |db: &dyn Connection| list(db, now);
        self.readers.work.read(list).await
    }

    fn led_by(&self, term: Term) -> SharedStore {
        Arc::new(self.under(term))
    }
}
