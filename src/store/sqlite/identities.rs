//! Linked ids in SQL. Ids are resolved when calls and mints are written, so that readers search for ours only. An id that
//! is learned later is filled in where it was missing, and replaces nothing.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::SqliteStore;
use super::readers::ReadPool;
use super::writer::{Operation, Writer};
use crate::model::{AGENCY_PREFIX, AGENT_PREFIX, Identity, PlatformId, Timestamp};
use crate::store::{Identities, IdentityKind, LinkedIds, StoreResult};

/// Calls, and mints, that one transaction fills our id into.
const BATCH_ROWS: u32 = 500;

/// Links the ids of a call, and returns all that is known of them, and what is left to fill in. A call is as old as its
/// start: it does not change ids that are linked already.
pub(super) fn resolve_identity(
    tx: &Connection,
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

/// Whether a row was written.
fn insert(
    tx: &Connection,
    pairing: &LinkedIds,
    now: Timestamp,
    or_else: &'static str,
) -> StoreResult<bool> {
    let sql = format!(
        "INSERT INTO identities (kind, athos_id, our_id, on_record, learnt_at) VALUES (?1, ?2, ?3, ?4, ?5) {or_else}"
    );
    let written = tx.prepare_cached(&sql)?.execute(params![
        pairing.kind.as_str(),
        pairing.athos_id,
        pairing.our_id,
        pairing.on_record,
        now.as_millis(),
    ])?;
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

    fn apply(&self, tx: &Connection) -> StoreResult<Self::Output> {
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
fn fill_in(tx: &Connection, pairing: &LinkedIds) -> StoreResult<bool> {
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
    let values = params![pairing.athos_id, BATCH_ROWS];
    let calls = tx.prepare_cached(sql)?.execute(values)?;
    let mints = match pairing.kind {
        IdentityKind::Agency => 0,
        IdentityKind::Rep => {
            let sql = "UPDATE mints SET rep = (SELECT our_id FROM identities WHERE kind = 'rep' AND athos_id = ?1) \
                       WHERE id IN (SELECT id FROM mints WHERE rep IS NULL AND athos_rep = ?1 LIMIT ?2)";
            tx.prepare_cached(sql)?.execute(values)?
        }
    };
    Ok(calls.max(mints) >= BATCH_ROWS as usize)
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

    fn apply(&self, tx: &Connection) -> StoreResult<bool> {
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
pub(super) async fn unfinished(readers: &ReadPool) -> StoreResult<Vec<(LinkedIds, Timestamp)>> {
    let rows = sqlx::query(
        "SELECT kind, athos_id, our_id, on_record, learnt_at FROM identities WHERE kind = 'rep' \
           AND (EXISTS (SELECT 1 FROM calls WHERE rep IS NULL AND athos_rep = athos_id) \
                OR EXISTS (SELECT 1 FROM mints WHERE rep IS NULL AND athos_rep = athos_id)) \
         UNION ALL \
         SELECT kind, athos_id, our_id, on_record, learnt_at FROM identities WHERE kind = 'agency' \
           AND EXISTS (SELECT 1 FROM calls WHERE agency IS NULL AND athos_agency = athos_id)",
    )
    .fetch_all(readers)
    .await?;
    let pairing = |row: &SqliteRow| {
        let pairing = LinkedIds {
            kind: match row.get("kind") {
                "rep" => IdentityKind::Rep,
                _ => IdentityKind::Agency,
            },
            athos_id: row.get("athos_id"),
            our_id: row.get("our_id"),
            on_record: row.get("on_record"),
        };
        (pairing, Timestamp::from_millis(row.get("learnt_at")))
    };
    Ok(rows.iter().map(pairing).collect())
}

fn find(tx: &Connection, kind: IdentityKind, athos_id: &str) -> StoreResult<Option<LinkedIds>> {
    let known = tx
        .prepare_cached(
            "SELECT our_id, on_record FROM identities WHERE kind = ?1 AND athos_id = ?2",
        )?
        .query_row(params![kind.as_str(), athos_id], |row| {
            Ok(LinkedIds {
                kind,
                athos_id: athos_id.to_owned(),
                our_id: row.get(0)?,
                on_record: row.get(1)?,
            })
        })
        .optional()?;
    Ok(known)
}

/// Athos's id of a rep of ours; of several, the one that was learned last.
pub(super) async fn of_rep(readers: &ReadPool, rep: &PlatformId) -> StoreResult<Option<LinkedIds>> {
    let row = sqlx::query(
        "SELECT athos_id, on_record FROM identities WHERE kind = 'rep' AND our_id = ?1 \
         ORDER BY learnt_at DESC, athos_id LIMIT 1",
    )
    .bind(rep.as_str())
    .fetch_optional(readers)
    .await?;
    Ok(row.map(|row| LinkedIds {
        kind: IdentityKind::Rep,
        athos_id: row.get("athos_id"),
        our_id: rep.as_str().to_owned(),
        on_record: row.get("on_record"),
    }))
}

pub(super) async fn agencies(readers: &ReadPool) -> StoreResult<Vec<LinkedIds>> {
    let rows = sqlx::query(
        "SELECT athos_id, our_id, on_record FROM identities WHERE kind = 'agency' ORDER BY athos_id",
    )
    .fetch_all(readers)
    .await?;
    let pairing = |row: &SqliteRow| LinkedIds {
        kind: IdentityKind::Agency,
        athos_id: row.get("athos_id"),
        our_id: row.get("our_id"),
        on_record: row.get("on_record"),
    };
    Ok(rows.iter().map(pairing).collect())
}

/// Adds a condition for one rep or agency, named by either id. Ours is in the row wherever it is known, so Athos's is
/// looked for only where it is not.
pub(super) fn push_named(sql: &mut QueryBuilder<Sqlite>, kind: IdentityKind, id: &str) {
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
impl Identities for SqliteStore {
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
        self.noting(of_rep(&self.readers.work, rep).await)
    }

    async fn known_agencies(&self) -> StoreResult<Vec<LinkedIds>> {
        self.noting(agencies(&self.readers.background).await)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions;
    use sqlx::migrate::Migrator;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::super::{MIGRATIONS, SqliteStore};
    use crate::model::{PlatformId, Scope, Timestamp};
    use crate::store::{Calls, Identities, IdentityKind, LinkedIds, Maintenance};

    #[tokio::test]
    async fn a_database_from_before_learns_from_the_calls_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("athos.db");
        let mut db = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .connect()
            .await
            .unwrap();
        let old = MIGRATIONS.iter().filter(|step| step.version <= 2).cloned();
        let old = Migrator {
            migrations: old.collect(),
            ..Migrator::DEFAULT
        };
        old.run(&mut db).await.unwrap();
        sqlx::query(
            "INSERT INTO calls (id, status, source, rep, agency, athos_rep, athos_agency, sort_at, rev) VALUES \
               ('old', 'scored', 'roleplay', 'rep_1', 'acme', NULL, NULL, 1, 1), \
               ('both', 'scored', 'roleplay', 'rep_1', 'acme', 'athos_agent_1', 'athos_agency_1', 2, 2), \
               ('athos', 'scored', 'roleplay', NULL, NULL, 'athos_agent_1', 'athos_agency_1', 3, 3), \
               ('other', 'scored', 'roleplay', NULL, NULL, 'athos_agent_2', 'athos_agency_2', 4, 4); \
             INSERT INTO mints (id, requested_at, rep, caller, outcome) VALUES ('m', 1, 'rep_1', 'user', 'minted')",
        )
        .execute(&mut db)
        .await
        .unwrap();
        drop(db);

        let store = SqliteStore::open(&format!("sqlite://{}", file.display()))
            .await
            .unwrap();
        let rep = PlatformId::new("rep_1").unwrap();
        let agency = PlatformId::new("acme").unwrap();
        for id in ["old", "both", "athos"] {
            for scope in [Scope::Rep(rep.clone()), Scope::Agency(agency.clone())] {
                assert!(store.find_call(&scope, id).await.unwrap().is_some(), "{id}");
            }
        }
        let other = store.find_call(&Scope::All, "other").await.unwrap();
        assert_eq!(other.unwrap().row.rep.as_deref(), Some("athos_agent_2"));
        let agent = store.find_agent(&rep).await.unwrap().unwrap();
        assert_eq!(agent.athos_id, "athos_agent_1");
        let mints: i64 = sqlx::query_scalar("SELECT count(*) FROM mints WHERE rep = 'rep_1'")
            .fetch_one(&store.readers.work)
            .await
            .unwrap();
        assert_eq!(mints, 1);
        store.close().await;
    }

    #[tokio::test]
    async fn what_many_calls_lack_is_filled_in_step_by_step_and_gone_on_with_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/athos.db", folder.path().display());
        SqliteStore::open(&url).await.unwrap().close().await;
        let fill = |of: &str| {
            format!(
                "WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1200) \
                 INSERT INTO calls (id, status, source, athos_rep, athos_agency, sort_at, rev) \
                 SELECT '{of}_' || i, 'scored', 'roleplay', 'athos_agent_{of}', 'athos_agency_{of}', 1, \
                        i + (SELECT rev FROM latest_rev) FROM c"
            )
        };
        let mut db = SqliteConnectOptions::new()
            .filename(folder.path().join("athos.db"))
            .connect()
            .await
            .unwrap();
        for sql in [
            fill("broken_off"),
            "INSERT INTO identities VALUES ('rep', 'athos_agent_broken_off', 'rep_1', 1, 1), \
             ('agency', 'athos_agency_broken_off', 'acme', 1, 1)"
                .to_owned(),
            fill("new"),
        ] {
            let sql = sqlx::AssertSqlSafe(sql);
            sqlx::raw_sql(sql).execute(&mut db).await.unwrap();
        }
        let store = SqliteStore::open(&url).await.unwrap();
        let counts = async |db: &mut sqlx::SqliteConnection| {
            let sql = "SELECT (SELECT count(*) FROM calls WHERE rep = 'rep_1'), \
                       (SELECT count(*) FROM calls WHERE agency = 'acme'), (SELECT count(DISTINCT rev) FROM calls)";
            sqlx::query_as::<_, (i64, i64, i64)>(sql)
                .fetch_one(db)
                .await
                .unwrap()
        };
        assert_eq!(counts(&mut db).await, (1200, 1200, 2400));
        let pairing = |kind, athos_id: &str, our_id: &str| LinkedIds {
            kind,
            athos_id: athos_id.to_owned(),
            our_id: our_id.to_owned(),
            on_record: true,
        };
        let learnt = vec![
            pairing(IdentityKind::Rep, "athos_agent_new", "rep_1"),
            pairing(IdentityKind::Agency, "athos_agency_new", "acme"),
        ];
        let now = Timestamp::from_millis(2);
        let known = store.learn_identities(learnt.clone(), now).await.unwrap();
        assert_eq!(known, learnt);
        assert_eq!(counts(&mut db).await, (2400, 2400, 2400));
        store.close().await;
    }
}
