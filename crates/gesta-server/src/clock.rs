//! The time of the machine.
//!
//! Owns: the only looks at its clocks. Not here: the time of events, which the store keeps.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use gesta_store::RecordedAt;
use prost_types::Timestamp;

/// Returns the time of the machine, for messages; the store has a clock of its own.
#[expect(clippy::disallowed_methods, reason = "this is the server's clock")]
pub(crate) fn wall_now() -> RecordedAt {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RecordedAt::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

#[expect(clippy::disallowed_methods, reason = "this is the server's clock")]
pub(crate) fn monotonic_now() -> Instant {
    Instant::now()
}

/// Returns a time as RFC 3339 has it, in UTC.
pub(crate) fn time_text(at: RecordedAt) -> String {
    let (seconds, micros) = (at.micros() / 1_000_000, at.micros() % 1_000_000);
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let nanos = i32::try_from(micros * 1_000).unwrap_or_default();
    Timestamp { seconds, nanos }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_rfc_3339_has_it() {
        let at = RecordedAt::from_micros(1_700_000_000_250_000);
        assert_eq!(time_text(at), "2023-11-14T22:13:20.250Z");
    }
}
