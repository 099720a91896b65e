//! What is known of each call, in SQL. A call only ever learns: `scored` is never undone by `unscored`, nor either by
//! `processing`, in whatever order events arrive.

use std::collections::{HashMap, HashSet};

use super::{Connection, GivenRows, Value, identities, values};
use crate::model::{CallDetail, CallEvent, EventOutcome, Identity, Timestamp};
use crate::store::{LinkedIds, StoreResult};

// `rev` is unique and grows with every change; there is one writer, so none is given twice, not even when the call that
// had it is erased. It may have gaps.

/// A call's row as an event begins it, for values or a selection.
macro_rules! open {
    () => {
        "INSERT INTO calls (id, status, source, rep, agency, athos_rep, athos_agency, sort_at, rev) "
    };
}

/// A call that has its row learns whose it is, where it lacks that: an attempt may have been faster.
macro_rules! learn_whose {
    () => {
        "ON CONFLICT (id) DO UPDATE SET \
           rep = coalesce(calls.rep, excluded.rep), agency = coalesce(calls.agency, excluded.agency), \
           athos_rep = coalesce(calls.athos_rep, excluded.athos_rep), \
           athos_agency = coalesce(calls.athos_agency, excluded.athos_agency), rev = excluded.rev \
         WHERE (calls.rep IS NULL AND excluded.rep IS NOT NULL) \
            OR (calls.agency IS NULL AND excluded.agency IS NOT NULL) \
            OR (calls.athos_rep IS NULL AND excluded.athos_rep IS NOT NULL) \
            OR (calls.athos_agency IS NULL AND excluded.athos_agency IS NOT NULL)"
    };
}

/// Gives an event's call its row.
pub(super) fn open(
    tx: &dyn Connection,
    event: &CallEvent,
    received_at: Timestamp,
) -> StoreResult<()> {
    let sql = concat!(
        open!(),
        "VALUES (?1, 'processing', ?2, \
           coalesce(?3, (SELECT our_id FROM identities WHERE kind = 'rep' AND athos_id = ?5)), \
           coalesce(?4, (SELECT our_id FROM identities WHERE kind = 'agency' AND athos_id = ?6)), \
           ?5, ?6, ?7, (SELECT rev + 1 FROM latest_rev)) ",
        learn_whose!()
    );
    tx.execute(sql, &opened(event, received_at))?;
    Ok(())
}

/// The same for events about calls that differ, with one statement.
pub(super) fn open_together<'a>(
    tx: &dyn Connection,
    events: impl Iterator<Item = (&'a CallEvent, Timestamp)>,
) -> StoreResult<()> {
    let sql = concat!(
        open!(),
        "SELECT id, 'processing', source, \
           coalesce(rep, (SELECT our_id FROM identities WHERE kind = 'rep' AND athos_id = given.athos_rep)), \
           coalesce(agency, (SELECT our_id FROM identities WHERE kind = 'agency' AND athos_id = given.athos_agency)), \
           athos_rep, athos_agency, sort_at, (SELECT rev FROM latest_rev) + nth \
         FROM unnest(?1, ?2, ?3, ?4, ?5, ?6, ?7) WITH ORDINALITY \
           AS given (id, source, rep, agency, athos_rep, athos_agency, sort_at, nth) ",
        learn_whose!()
    );
    let rows: GivenRows<'_, _> = events.map(|(event, at)| opened(event, at)).collect();
    tx.execute(sql, &rows.values())?;
    Ok(())
}

/// What an event says of its call, in the order of the parameters of `open`.
fn opened(event: &CallEvent, received_at: Timestamp) -> [Value<'_>; 7] {
    let who = &event.identity;
    [
        Value::from(&event.call_id),
        Value::from(&event.source),
        Value::from(&who.rep),
        Value::from(&who.agency),
        Value::from(&who.athos_rep),
        Value::from(&who.athos_agency),
        event.occurred_at.unwrap_or(received_at).into(),
    ]
}

/// A call's row as its detail says, for values or a selection.
macro_rules! store {
    () => {
        "INSERT INTO calls \
         (id, status, source, rep, agency, athos_rep, athos_agency, drill_key, started_at, ended_at, \
          duration_sec, scored_at, overall_score, compliance_percent, sort_at, purged_at, rev) "
    };
}

/// A call that has its row becomes what its detail says, but for whose it is.
macro_rules! become_scored {
    () => {
        "status = excluded.status, source = excluded.source, \
           athos_rep = coalesce(excluded.athos_rep, calls.athos_rep), \
           athos_agency = coalesce(excluded.athos_agency, calls.athos_agency), \
           drill_key = excluded.drill_key, started_at = excluded.started_at, \
           ended_at = excluded.ended_at, duration_sec = excluded.duration_sec, \
           scored_at = excluded.scored_at, overall_score = excluded.overall_score, \
           compliance_percent = excluded.compliance_percent, reason = NULL, reason_message = NULL, \
           sort_at = coalesce(excluded.ended_at, excluded.started_at, calls.sort_at), rev = excluded.rev, \
           purged_at = CASE WHEN excluded.purged_at IS NOT NULL THEN coalesce(calls.purged_at, excluded.purged_at) END"
    };
}

/// The detail takes the place of one that is there.
macro_rules! replace_detail {
    () => {
        "ON CONFLICT (call_seq) DO UPDATE SET \
           raw = excluded.raw, has_recording = excluded.has_recording, fetched_at = excluded.fetched_at"
    };
}

/// Stores a call's detail; the same detail again changes nothing. Says what is left to fill in.
pub(super) fn store_detail(
    tx: &dyn Connection,
    detail: &CallDetail,
    now: Timestamp,
) -> StoreResult<Vec<LinkedIds>> {
    let call = &detail.header;
    let (who, unfinished) = identities::resolve_identity(tx, &call.identity, now)?;
    let is_known = tx.exists(
        "SELECT 1 FROM call_details JOIN calls ON seq = call_seq \
             WHERE id = ?1 AND status = 'scored' AND raw = ?2 AND has_recording = ?3",
        values![call.id, detail.raw, detail.has_recording],
    )?;
    if is_known {
        return Ok(unfinished);
    }
    let sql = concat!(
        store!(),
        "VALUES (?1, 'scored', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, \
                 (SELECT rev + 1 FROM latest_rev)) \
         ON CONFLICT (id) DO UPDATE SET \
           rep = coalesce(?16, calls.rep, excluded.rep), agency = coalesce(?17, calls.agency, excluded.agency), ",
        become_scored!(),
        " RETURNING seq"
    );
    let seq: i64 = tx.scalar(sql, &scored(detail, &who, now))?;
    let sql = concat!(
        "INSERT INTO call_details (call_seq, raw, has_recording, fetched_at) VALUES (?1, ?2, ?3, ?4) ",
        replace_detail!()
    );
    let values = values![seq, detail.raw, detail.has_recording, now];
    tx.execute(sql, values)?;
    Ok(unfinished)
}

/// A detail to be stored, whose call it is by all that is known, and when it was fetched.
pub(super) type Fetched<'a> = (&'a CallDetail, &'a Identity, Timestamp);

/// Stores the details of calls that differ, with one statement for each table; but for those of calls that have one already.
/// Returns which were stored.
pub(super) fn store_details_together(
    tx: &dyn Connection,
    fetched: &[Fetched<'_>],
) -> StoreResult<HashSet<String>> {
    let sql = concat!(
        store!(),
        "SELECT given.id, 'scored', given.source, coalesce(said_rep, known.rep, given.rep), \
           coalesce(said_agency, known.agency, given.agency), given.athos_rep, given.athos_agency, given.drill_key, \
           given.started_at, given.ended_at, given.duration_sec, given.scored_at, given.overall_score, \
           given.compliance_percent, given.sort_at, given.purged_at, (SELECT rev FROM latest_rev) + nth \
         FROM unnest(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) WITH ORDINALITY \
           AS given (id, source, rep, agency, athos_rep, athos_agency, drill_key, started_at, ended_at, duration_sec, \
                     scored_at, overall_score, compliance_percent, sort_at, purged_at, said_rep, said_agency, nth) \
         LEFT JOIN calls AS known ON known.id = given.id \
         WHERE known.status IS DISTINCT FROM 'scored' \
         ON CONFLICT (id) DO UPDATE SET rep = excluded.rep, agency = excluded.agency, ",
        become_scored!(),
        " RETURNING id, seq"
    );
    let rows: GivenRows<'_, _> = fetched
        .iter()
        .map(|(detail, who, now)| scored(detail, who, *now))
        .collect();
    let stored: HashMap<String, i64> = tx
        .rows(sql, &rows.values(), |row| Ok((row.get(0)?, row.get(1)?)))?
        .into_iter()
        .collect();
    let sql = concat!(
        "INSERT INTO call_details (call_seq, raw, has_recording, fetched_at) SELECT * FROM unnest(?1, ?2, ?3, ?4) ",
        replace_detail!()
    );
    let rows: GivenRows<'_, _> = fetched
        .iter()
        .filter_map(|(detail, _, now)| {
            let seq = *stored.get(&detail.header.id)?;
            Some([
                seq.into(),
                Value::from(&detail.raw),
                Value::from(&detail.has_recording),
                (*now).into(),
            ])
        })
        .collect();
    if !stored.is_empty() {
        tx.execute(sql, &rows.values())?;
    }
    Ok(stored.into_keys().collect())
}

/// What a detail says of its call, in the order of the parameters of `store_detail`.
fn scored<'a>(detail: &'a CallDetail, who: &'a Identity, now: Timestamp) -> [Value<'a>; 17] {
    let call = &detail.header;
    [
        Value::from(&call.id),
        Value::from(&call.source),
        Value::from(&who.rep),
        Value::from(&who.agency),
        Value::from(&who.athos_rep),
        Value::from(&who.athos_agency),
        Value::from(&call.drill_key),
        Value::from(&call.started_at),
        Value::from(&call.ended_at),
        Value::from(&call.duration_sec),
        Value::from(&call.scored_at),
        Value::from(&detail.overall_score),
        Value::from(&detail.compliance_percent),
        call.ended_at.or(call.started_at).unwrap_or(now).into(),
        Value::Integer(detail.purged.then_some(now.as_millis())),
        // What Athos answers itself is right, whatever a webhook said; what was only looked up fills a gap.
        Value::from(&call.identity.rep),
        Value::from(&call.identity.agency),
    ]
}

/// Stores that a call could not be scored, unless it was; says what is left to fill in.
pub(super) fn store_unscored(
    tx: &dyn Connection,
    event: &CallEvent,
    now: Timestamp,
) -> StoreResult<Vec<LinkedIds>> {
    let EventOutcome::Unscored { reason, message } = &event.outcome else {
        return Ok(Vec::new());
    };
    let (who, unfinished) = identities::resolve_identity(tx, &event.identity, now)?;
    tx.execute(
        "INSERT INTO calls \
         (id, status, source, rep, agency, athos_rep, athos_agency, reason, reason_message, \
          sort_at, rev) \
         VALUES (?1, 'unscored', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, \
                 (SELECT rev + 1 FROM latest_rev)) \
         ON CONFLICT (id) DO UPDATE SET \
           status = excluded.status, rep = coalesce(calls.rep, excluded.rep), \
           agency = coalesce(calls.agency, excluded.agency), \
           athos_rep = coalesce(calls.athos_rep, excluded.athos_rep), \
           athos_agency = coalesce(calls.athos_agency, excluded.athos_agency), \
           reason = excluded.reason, reason_message = excluded.reason_message, rev = excluded.rev \
         WHERE calls.status = 'processing'",
        values![
            event.call_id,
            event.source,
            who.rep,
            who.agency,
            who.athos_rep,
            who.athos_agency,
            reason,
            message,
            event.occurred_at.unwrap_or(now),
        ],
    )?;
    Ok(unfinished)
}
