//! The clock of this crate.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gesta_store::RecordedAt;

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

pub(crate) fn epoch_seconds() -> u64 {
    since_epoch().as_secs()
}

pub(crate) fn now() -> RecordedAt {
    RecordedAt::from_micros(u64::try_from(since_epoch().as_micros()).unwrap_or(u64::MAX))
}
