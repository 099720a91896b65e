//! Linked ids in databases from before: what their calls and mints lack is filled in.

use super::*;
use crate::model::Scope;
use crate::store::{Calls, IdentityKind, LinkedIds};

#[tokio::test]
async fn a_database_from_before_learns_from_the_calls_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("athos.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    migrations::run_to(&connection, 2).unwrap();
    let options = SqliteConnectOptions::new().filename(&file);
    let mut db = options.connect().await.unwrap();
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

    let store = open(&format!("sqlite://{}", file.display())).await.unwrap();
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
    let sql = "SELECT count(*) FROM mints WHERE rep = 'rep_1'";
    let mints = store.readers.work.read(|db| db.scalar::<i64>(sql, &[]));
    let mints = mints.await.unwrap();
    assert_eq!(mints, 1);
    store.close().await;
}

#[tokio::test]
async fn what_many_calls_lack_is_filled_in_step_by_step_and_gone_on_with_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/athos.db", folder.path().display());
    open(&url).await.unwrap().close().await;
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
    let store = open(&url).await.unwrap();
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
