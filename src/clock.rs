//! The clock of `athos-api`, and ids that sort by time.

pub use athos_api::clock::{Clock, ManualClock};

/// A fresh UUIDv7: unique, and sorted by this clock's time.
#[must_use]
pub fn new_id(clock: &Clock) -> uuid::Uuid {
    let millis = u64::try_from(clock.now().as_millis()).unwrap_or(0);
    let time = uuid::Timestamp::from_unix_time(
        millis / 1000,
        u32::try_from(millis % 1000).unwrap_or(0) * 1_000_000,
        0,
        0,
    );
    uuid::Uuid::new_v7(time)
}
