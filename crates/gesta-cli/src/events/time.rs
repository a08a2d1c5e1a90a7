//! Recorded times as text.
//!
//! Invariant: every recorded time survives a round trip, even one without a calendar date.

use gesta_store::RecordedAt;
use jiff::Timestamp;

/// Unit of a time that has no calendar date.
const MICROS_AFTER_1970: &str = " µs after 1970";

/// Formats a time as RFC 3339 in UTC with microseconds.
pub(crate) fn moment(recorded_at: RecordedAt) -> String {
    let micros = recorded_at.micros();
    let timestamp = i64::try_from(micros).ok().and_then(|micros| {
        // Only times thousands of years away have no calendar date.
        Timestamp::from_microsecond(micros).ok()
    });
    match timestamp {
        // Always six digits, so that times in a listing align and sort as text.
        Some(timestamp) => format!("{timestamp:.6}"),
        None => format!("{micros}{MICROS_AFTER_1970}"),
    }
}

/// Parses the format written by [`moment`].
pub(crate) fn recorded_at(text: &str) -> Option<RecordedAt> {
    let micros = match text.strip_suffix(MICROS_AFTER_1970) {
        Some(micros) => micros.parse().ok()?,
        None => u64::try_from(text.parse::<Timestamp>().ok()?.as_microsecond()).ok()?,
    };
    Some(RecordedAt::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_its_microseconds_even_when_they_are_none() {
        assert_eq!(moment(RecordedAt::from_micros(0)), "1970-01-01T00:00:00.000000Z");
        for micros in [0, 1, 999_999, 1_700_000_000_000_001, u64::MAX] {
            let at = RecordedAt::from_micros(micros);
            assert_eq!(recorded_at(&moment(at)), Some(at));
        }
        let later = RecordedAt::from_micros(1_700_000_000_000_001);
        assert_eq!(moment(later), "2023-11-14T22:13:20.000001Z");
        assert_eq!(
            moment(RecordedAt::from_micros(u64::MAX)),
            format!("{} µs after 1970", u64::MAX)
        );
    }
}
