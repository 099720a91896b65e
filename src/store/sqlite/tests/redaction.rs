//! Redaction while a call changes.

use super::*;
use crate::store::Transcript;

#[tokio::test]
async fn a_detail_that_was_stored_anew_is_not_replaced_by_what_was_read_before() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("athos.db");
    let store = open(&format!("sqlite://{}", file.display())).await.unwrap();
    let mut db = SqliteConnectOptions::new()
        .filename(file)
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql(
        "INSERT INTO calls (seq, id, status, source, sort_at, rev) VALUES (1, 'c', 'scored', 'roleplay', 1, 5); \
         INSERT INTO call_details VALUES (1, 'of a new score', 0, 1)",
    )
    .execute(&mut db)
    .await
    .unwrap();
    let read_before = Transcript {
        call: 1,
        rev: 4,
        raw: Some("of an old score".to_owned()),
    };
    let now = Timestamp::from_millis(9);
    let stale = store.redact_transcripts(vec![read_before], now);
    stale.await.unwrap();
    let kept = "SELECT raw FROM call_details";
    let raw: String = sqlx::query_scalar(kept).fetch_one(&mut db).await.unwrap();
    assert_eq!(raw, "of a new score");
    let mut found = store.find_transcripts(now).await.unwrap();
    assert_eq!(found[0].raw.as_deref(), Some("of a new score"));
    found[0].raw = Some("what is left of a new score".to_owned());
    store.redact_transcripts(found, now).await.unwrap();
    assert_eq!(store.find_transcripts(now).await.unwrap(), []);
    let raw: String = sqlx::query_scalar(kept).fetch_one(&mut db).await.unwrap();
    assert_eq!(raw, "what is left of a new score");
    store.close().await;
}
