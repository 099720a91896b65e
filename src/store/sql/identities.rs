//! Linked ids in SQL. Ids are resolved when calls and mints are written, so that readers search for ours only. An id that
//! is learned later is filled in where it was missing, and replaces nothing.

use std::collections::HashMap;

use async_trait::async_trait;

use super::writer::Writer;
use super::{Connection, GivenRows, Operation, Row, SqlStore, Statement, values};
use crate::model::{AGENCY_PREFIX, AGENT_PREFIX, Identity, PlatformId, Timestamp};
use crate::store::{Identities, IdentityKind, LinkedIds, StoreResult};

/// Calls, and mints, that one transaction fills our id into.
const BATCH_ROWS: u32 = 500;

/// Links the ids of a call, and returns all that is known of them, and what is left to fill in. A call is as old as its
/// start: it does not change ids that are linked already.
pub(super) fn resolve_identity(
    tx: &dyn Connection,
    said: &Identity,
    now: Timestamp,
) -> StoreResult<(Identity, Vec<LinkedIds>)> {
    let mut known = said.clone();
    let mut unfinished = Vec::new();
    for (kind, ours, athos) in [
        (IdentityKind::Rep, &mut known.rep, &known.athos_rep),
        (IdentityKind::Agency, &mut known.agency, &known.athos_agency),
    ] {
        let Some(athos_id) = athos else { continue };
        let Some(our_id) = ours else {
            *ours = find(tx, kind, athos_id)?.map(|pairing| pairing.our_id);
            continue;
        };
        let pairing = LinkedIds {
            kind,
            athos_id: athos_id.clone(),
            our_id: our_id.clone(),
            on_record: true,
        };
        if insert(tx, &pairing, now, "ON CONFLICT DO NOTHING")? && fill_in(tx, &pairing)? {
            unfinished.push(pairing);
        }
    }
    Ok((known, unfinished))
}

/// The same for many calls, with one statement; nothing for a call that tells of a link which is not known yet.
pub(super) fn resolve_known<'a>(
    tx: &dyn Connection,
    calls: impl Iterator<Item = &'a Identity> + Clone,
) -> StoreResult<Vec<Option<Identity>>> {
    let ids = |said: &'a Identity| {
        let ids = [
            (IdentityKind::Rep, &said.athos_rep),
            (IdentityKind::Agency, &said.athos_agency),
        ];
        let some = |(kind, id): (IdentityKind, &'a Option<String>)| Some((kind, id.as_ref()?));
        ids.into_iter().filter_map(some)
    };
    let mut sought = calls.clone().flat_map(ids).peekable();
    let mut linked: HashMap<(String, String), String> = HashMap::new();
    if sought.peek().is_some() {
        let rows: GivenRows<'_, _> = sought
            .map(|(kind, id)| [kind.as_str().into(), id.into()])
            .collect();
        let sql = "SELECT kind, athos_id, our_id FROM identities \
                   WHERE (kind, athos_id) IN (SELECT * FROM unnest(?1, ?2))";
        linked.extend(tx.rows(sql, &rows.values(), |row| {
            Ok(((row.get(0)?, row.get(1)?), row.get(2)?))
        })?);
    }
    let resolve = |said: &Identity| {
        let mut known = said.clone();
        for (kind, ours, athos) in [
            (IdentityKind::Rep, &mut known.rep, &known.athos_rep),
            (IdentityKind::Agency, &mut known.agency, &known.athos_agency),
        ] {
            let Some(athos_id) = athos else { continue };
            let link = linked.get(&(kind.as_str().to_owned(), athos_id.clone()));
            match (&*ours, link) {
                (Some(_), None) => return None,
                (Some(_), Some(_)) => {}
                (None, link) => *ours = link.cloned(),
            }
        }
        Some(known)
    };
    Ok(calls.map(resolve).collect())
}

/// Whether a row was written.
fn insert(
    tx: &dyn Connection,
    pairing: &LinkedIds,
    now: Timestamp,
    or_else: &'static str,
) -> StoreResult<bool> {
    let sql = format!(
        "INSERT INTO identities (kind, athos_id, our_id, on_record, learnt_at) VALUES (?1, ?2, ?3, ?4, ?5) {or_else}"
    );
    let written = tx.execute(
        &sql,
        values![
            pairing.kind.as_str(),
            pairing.athos_id,
            pairing.our_id,
            pairing.on_record,
            now,
        ],
    )?;
    Ok(written > 0)
}

/// Links ids of Athos's roster.
pub(super) struct Learn {
    pub(super) pairings: Vec<LinkedIds>,
    pub(super) now: Timestamp,
}

impl Operation for Learn {
    /// What is known now, and what is left to fill in.
    type Output = (Vec<LinkedIds>, Vec<LinkedIds>);
    const CHANGES_CALLS: bool = true;

    fn announced_at(&self) -> Option<Timestamp> {
        Some(self.now)
    }

    fn apply(&self, tx: &dyn Connection) -> StoreResult<Self::Output> {
        let mut known = Vec::with_capacity(self.pairings.len());
        let mut unfinished = Vec::new();
        for pairing in &self.pairings {
            let or_else = "ON CONFLICT (kind, athos_id) DO UPDATE SET our_id = excluded.our_id, on_record = 1, \
                             learnt_at = excluded.learnt_at \
                           WHERE excluded.on_record = 1 AND (identities.our_id <> excluded.our_id OR identities.on_record = 0)";
            if insert(tx, pairing, self.now, or_else)? && fill_in(tx, pairing)? {
                unfinished.push(pairing.clone());
            }
            known.extend(find(tx, pairing.kind, &pairing.athos_id)?);
        }
        Ok((known, unfinished))
    }
}

/// Fills our id into some of the calls and mints that had only Athos's; returns whether there may be more. Each call is a
/// change of its own on the live stream.
fn fill_in(tx: &dyn Connection, pairing: &LinkedIds) -> StoreResult<bool> {
    let sql = match pairing.kind {
        IdentityKind::Rep => {
            "UPDATE calls SET rep = known.our_id, rev = newest.rev + found.nth \
             FROM (SELECT seq, row_number() OVER (ORDER BY seq) AS nth FROM \
                     (SELECT seq FROM calls WHERE rep IS NULL AND athos_rep = ?1 LIMIT ?2) AS batch) AS found, \
                  (SELECT our_id FROM identities WHERE kind = 'rep' AND athos_id = ?1) AS known, \
                  latest_rev AS newest \
             WHERE calls.seq = found.seq"
        }
        IdentityKind::Agency => {
            "UPDATE calls SET agency = known.our_id, rev = newest.rev + found.nth \
             FROM (SELECT seq, row_number() OVER (ORDER BY seq) AS nth FROM \
                     (SELECT seq FROM calls WHERE agency IS NULL AND athos_agency = ?1 LIMIT ?2) AS batch) AS found, \
                  (SELECT our_id FROM identities WHERE kind = 'agency' AND athos_id = ?1) AS known, \
                  latest_rev AS newest \
             WHERE calls.seq = found.seq"
        }
    };
    let values = values![pairing.athos_id, BATCH_ROWS];
    let calls = tx.execute(sql, values)?;
    let mints = match pairing.kind {
        IdentityKind::Agency => 0,
        IdentityKind::Rep => {
            let sql = "UPDATE mints SET rep = (SELECT our_id FROM identities WHERE kind = 'rep' AND athos_id = ?1) \
                       WHERE id IN (SELECT id FROM mints WHERE rep IS NULL AND athos_rep = ?1 LIMIT ?2)";
            tx.execute(sql, values)?
        }
    };
    Ok(calls.max(mints) >= u64::from(BATCH_ROWS))
}

struct FillIn {
    pairing: LinkedIds,
    now: Timestamp,
}

impl Operation for FillIn {
    type Output = bool;
    const CHANGES_CALLS: bool = true;

    fn announced_at(&self) -> Option<Timestamp> {
        Some(self.now)
    }

    fn apply(&self, tx: &dyn Connection) -> StoreResult<bool> {
        fill_in(tx, &self.pairing)
    }
}

/// Fills in the rest, in further transactions.
pub(super) async fn go_on(
    writer: &Writer,
    unfinished: Vec<LinkedIds>,
    now: Timestamp,
) -> StoreResult<()> {
    for pairing in unfinished {
        let fill_in = || FillIn {
            pairing: pairing.clone(),
            now,
        };
        while writer.write(fill_in()).await? {}
    }
    Ok(())
}

/// What an earlier process left to fill in, and when it was learned.
pub(super) fn unfinished(db: &dyn Connection) -> StoreResult<Vec<(LinkedIds, Timestamp)>> {
    let of_kind = |kind: IdentityKind, lacking: &str| {
        let sql = format!(
            "SELECT athos_id, our_id, on_record, learnt_at FROM identities WHERE kind = ?1 AND ({lacking})"
        );
        db.rows(&sql, values![kind.as_str()], |row| {
            Ok((linked_ids(kind, row)?, row.get(3)?))
        })
    };
    let mut unfinished = of_kind(
        IdentityKind::Rep,
        "EXISTS (SELECT 1 FROM calls WHERE rep IS NULL AND athos_rep = athos_id) \
         OR EXISTS (SELECT 1 FROM mints WHERE rep IS NULL AND athos_rep = athos_id)",
    )?;
    unfinished.extend(of_kind(
        IdentityKind::Agency,
        "EXISTS (SELECT 1 FROM calls WHERE agency IS NULL AND athos_agency = athos_id)",
    )?);
    Ok(unfinished)
}

/// Reads Athos's id, ours, and whether it is on record.
fn linked_ids(kind: IdentityKind, row: &dyn Row) -> StoreResult<LinkedIds> {
    Ok(LinkedIds {
        kind,
        athos_id: row.get(0)?,
        our_id: row.get(1)?,
        on_record: row.get(2)?,
    })
}

fn find(tx: &dyn Connection, kind: IdentityKind, athos_id: &str) -> StoreResult<Option<LinkedIds>> {
    tx.first(
        "SELECT athos_id, our_id, on_record FROM identities WHERE kind = ?1 AND athos_id = ?2",
        values![kind.as_str(), athos_id],
        |row| linked_ids(kind, row),
    )
}

/// Athos's id of a rep of ours; of several, the one that was learned last.
fn of_rep(db: &dyn Connection, rep: &PlatformId) -> StoreResult<Option<LinkedIds>> {
    db.first(
        "SELECT athos_id, our_id, on_record FROM identities WHERE kind = 'rep' AND our_id = ?1 \
         ORDER BY learnt_at DESC, athos_id LIMIT 1",
        values![rep.as_str()],
        |row| linked_ids(IdentityKind::Rep, row),
    )
}

fn agencies(db: &dyn Connection) -> StoreResult<Vec<LinkedIds>> {
    db.rows(
        "SELECT athos_id, our_id, on_record FROM identities WHERE kind = 'agency' ORDER BY athos_id",
        &[],
        |row| linked_ids(IdentityKind::Agency, row),
    )
}

/// Adds a condition for one rep or agency, named by either id. Ours is in the row wherever it is known, so Athos's is
/// looked for only where it is not.
pub(super) fn push_named<'a>(sql: &mut Statement<'a>, kind: IdentityKind, id: &'a str) {
    let (column, athos_column, prefix) = match kind {
        IdentityKind::Rep => ("rep", "athos_rep", AGENT_PREFIX),
        IdentityKind::Agency => ("agency", "athos_agency", AGENCY_PREFIX),
    };
    if !id.starts_with(prefix) {
        sql.push(" AND ").push(column).push(" = ").push_bind(id);
        return;
    }
    sql.push(" AND (")
        .push(column)
        .push(" = (SELECT our_id FROM identities WHERE kind = '")
        .push(kind.as_str())
        .push("' AND athos_id = ")
        .push_bind(id)
        .push(") OR (")
        .push(column)
        .push(" IS NULL AND ")
        .push(athos_column)
        .push(" = ")
        .push_bind(id)
        .push("))");
}

#[async_trait]
impl Identities for SqlStore {
    async fn learn_identities(
        &self,
        pairings: Vec<LinkedIds>,
        now: Timestamp,
    ) -> StoreResult<Vec<LinkedIds>> {
        let learn = Learn { pairings, now };
        let (known, unfinished) = self.writer.write(learn).await?;
        go_on(&self.writer, unfinished, now).await?;
        Ok(known)
    }

    async fn find_agent(&self, rep: &PlatformId) -> StoreResult<Option<LinkedIds>> {
        let rep = rep.clone();
        let find = move |db: &dyn Connection| of_rep(db, &rep);
        self.readers.work.read(find).await
    }

    async fn known_agencies(&self) -> StoreResult<Vec<LinkedIds>> {
        self.readers.background.read(agencies).await
    }
}
