//! The calls of events that a process which ended had accepted, and given no row. Those of this process the store opens by
//! itself.

use athos_api::types;

use crate::store::{Inbox, StoreResult};

pub(super) async fn resume(store: &dyn Inbox) -> StoreResult<()> {
    for event in store.find_unopened().await? {
        // An event that is not understood any more has no call.
        if let Ok(said) = types::read_event(&event.body) {
            store.open_call(event.event_id, said, event.received_at);
        }
    }
    Ok(())
}
