//! What is noted by and by: new names in what Athos sends, and how credentials fare.

use athos_backend::model::{Credential, CredentialKind, Drift, DriftKind, SeenDrift};
use athos_backend::store::SharedStore;

use crate::{NOW, after};

pub(crate) async fn what_is_new_is_counted_by_name_and_there_is_an_end_to_it(store: &SharedStore) {
    let drift = |place: &str, name: &str| Drift {
        kind: DriftKind::Field,
        place: place.to_owned(),
        name: name.to_owned(),
    };
    let (call, score) = (drift("call", "mood"), drift("score", "mood"));
    let first = vec![(call.clone(), 2)];
    let new = store.record_drift_counts(first, after(1)).await.unwrap();
    assert_eq!(new, std::slice::from_ref(&call));
    let second = vec![(call.clone(), 3), (score.clone(), 1)];
    let new = store.record_drift_counts(second, after(2)).await.unwrap();
    assert_eq!(new, std::slice::from_ref(&score));
    let seen = |drift, count, first, last| SeenDrift {
        drift,
        count,
        first_seen_at: after(first),
        last_seen_at: after(last),
    };
    assert_eq!(
        store.list_drift().await.unwrap(),
        [seen(score, 1, 2, 2), seen(call.clone(), 5, 1, 2)]
    );
    let many = (0..1200).map(|n| (drift("call", &format!("f{n}")), 1));
    let new = store
        .record_drift_counts(many.collect(), after(3))
        .await
        .unwrap();
    assert_eq!(new.len(), 998);
    assert_eq!(store.list_drift().await.unwrap().len(), 1000);
    // What is known is counted on.
    store
        .record_drift_counts(vec![(call.clone(), 1)], after(4))
        .await
        .unwrap();
    let all = store.list_drift().await.unwrap();
    assert!(all.contains(&seen(call, 6, 1, 4)));
}

pub(crate) async fn credentials_keep_their_latest(store: &SharedStore) {
    let note = async |credential: &Credential| {
        let noted = store
            .record_credential_usage(vec![credential.clone()])
            .await;
        noted.unwrap();
        store.credentials().await.unwrap()
    };
    let new = Credential::new(CredentialKind::ApiKey, "ab12cd34".to_owned(), after(5));
    assert_eq!(note(&new).await, std::slice::from_ref(&new));
    let used = Credential {
        last_used_at: Some(after(20)),
        last_refused_at: Some(after(10)),
        last_code: Some("API_KEY_REVOKED".to_owned()),
        ..new.clone()
    };
    assert_eq!(note(&used).await, std::slice::from_ref(&used));
    // Somebody who knows less, or had it longer, takes nothing away.
    let elsewhere = Credential {
        first_seen_at: NOW,
        last_used_at: Some(after(15)),
        ..new
    };
    let both = Credential {
        first_seen_at: NOW,
        ..used
    };
    assert_eq!(note(&elsewhere).await, std::slice::from_ref(&both));
    let secret = Credential::new(CredentialKind::WebhookSecret, "ab12cd34".to_owned(), NOW);
    assert_eq!(note(&secret).await, [both, secret.clone()]);
}
