//! Settles many attempts with few statements, on an engine to which each statement is a journey. What is rare is left to be
//! settled by itself, after them.

use std::collections::HashSet;

use super::inbox::Settle;
use super::known_calls::Fetched;
use super::privacy::{erase, tombstones};
use super::{Connection, GivenRows, Operation, Value, identities, known_calls};
use crate::model::{CallDetail, Identity};
use crate::store::{Lease, SettleResult, Settlement, StoreResult};

type Outputs = Vec<Option<<Settle as Operation>::Output>>;

/// An attempt that brought a call's detail.
struct Scored<'a> {
    /// Its place among the settlements.
    place: usize,
    settle: &'a Settle,
    detail: &'a CallDetail,
    /// Whose call it is, by all that is known.
    who: Identity,
}

/// Settles the attempts that brought a call's detail; of several at the same call the first, and none that tells of ids which
/// were not linked. The others are nothing.
pub(super) fn settle_together(tx: &dyn Connection, settles: &[&Settle]) -> StoreResult<Outputs> {
    let mut outputs: Outputs = settles.iter().map(|_| None).collect();
    let mut calls = HashSet::new();
    let details = settles.iter().enumerate();
    let details = details.filter_map(|(place, settle)| match &settle.settlement {
        Settlement::Scored(detail) => Some((place, *settle, &**detail)),
        _ => None,
    });
    let details: Vec<_> = details
        .filter(|(_, _, detail)| calls.insert(detail.header.id.as_str()))
        .collect();
    let said = details.iter().map(|(_, _, detail)| &detail.header.identity);
    let known = identities::resolve_known(tx, said)?;
    let details = details.into_iter().zip(known);
    let scored = details.filter_map(|((place, settle, detail), who)| {
        Some(Scored {
            place,
            settle,
            detail,
            who: who?,
        })
    });
    let scored = end_leases(tx, scored.collect(), &mut outputs)?;
    if let Some(first) = scored.first() {
        let opening = &first.settle.opening;
        opening.open_first(tx, |id| calls.contains(id))?;
    }
    let scored = erase_tombstoned(tx, scored, &mut outputs)?;
    if scored.is_empty() {
        return Ok(outputs);
    }
    record_attempts(tx, &scored)?;
    let fetched = scored
        .iter()
        .map(|each| (each.detail, &each.who, each.settle.now));
    let fetched: Vec<Fetched<'_>> = fetched.collect();
    let stored = known_calls::store_details_together(tx, &fetched)?;
    for each in scored {
        let mut unfinished = Vec::new();
        if !stored.contains(&each.detail.header.id) {
            unfinished = known_calls::store_detail(tx, each.detail, each.settle.now)?;
        }
        outputs[each.place] = Some((SettleResult::Yes, unfinished));
    }
    Ok(outputs)
}

/// Returns the attempts whose lease held, which it ends.
fn end_leases<'a>(
    tx: &dyn Connection,
    scored: Vec<Scored<'a>>,
    outputs: &mut Outputs,
) -> StoreResult<Vec<Scored<'a>>> {
    if scored.is_empty() {
        return Ok(scored);
    }
    let row = |each: &Scored<'a>| {
        let Lease {
            event_id,
            webhook_id,
            number,
        } = &each.settle.lease;
        [
            (*event_id).into(),
            (*number).into(),
            Value::from(webhook_id),
            each.settle.now.into(),
        ]
    };
    let rows: GivenRows<'_, _> = scored.iter().map(row).collect();
    let sql = "UPDATE events SET state = 'done', next_attempt_at = NULL, reason = NULL, attempts = attempts + 1, \
                 settled_at = given.at \
               FROM unnest(?1, ?2, ?3, ?4) AS given (event_id, number, webhook_id, at) \
               WHERE id = given.event_id AND lease = given.number AND events.webhook_id = given.webhook_id \
                 AND state = 'processing' \
               RETURNING id";
    let settled = tx.rows(sql, &rows.values(), |row| row.get(0))?;
    let settled: HashSet<i64> = settled.into_iter().collect();
    let (held, lost): (Vec<_>, Vec<_>) = scored
        .into_iter()
        .partition(|each| settled.contains(&each.settle.lease.event_id));
    for each in lost {
        outputs[each.place] = Some((SettleResult::LeaseLost, Vec::new()));
    }
    Ok(held)
}

/// Returns the attempts at calls that may be stored, and removes what the others left.
fn erase_tombstoned<'a>(
    tx: &dyn Connection,
    scored: Vec<Scored<'a>>,
    outputs: &mut Outputs,
) -> StoreResult<Vec<Scored<'a>>> {
    let incoming = scored.iter().filter_map(|each| each.settle.result());
    let incoming: Vec<_> = incoming.collect();
    let stopped = tombstones::find_tombstoned(tx, &incoming, "attempt")?;
    let mut stored = Vec::with_capacity(scored.len());
    for (each, is_stopped) in scored.into_iter().zip(stopped) {
        if is_stopped {
            erase::erase_event(tx, each.settle.lease.event_id)?;
            outputs[each.place] = Some((SettleResult::Erased, Vec::new()));
        } else {
            stored.push(each);
        }
    }
    Ok(stored)
}

fn record_attempts(tx: &dyn Connection, scored: &[Scored<'_>]) -> StoreResult<()> {
    let row = |each: &Scored<'_>| {
        let lease = &each.settle.lease;
        let numbers = [lease.event_id, lease.number, each.settle.now.as_millis()];
        numbers.map(Value::from)
    };
    let rows: GivenRows<'_, _> = scored.iter().map(row).collect();
    let sql = "INSERT INTO attempts (event_id, number, at, outcome) \
               SELECT event_id, number, at, 'scored' FROM unnest(?1, ?2, ?3) AS given (event_id, number, at)";
    tx.execute(sql, &rows.values())?;
    Ok(())
}
