//! Record offsets by position, including scavenged positions.
//!
//! In a list with *filled gaps*, a position without a record has the offset of the next record, or
//! [`NO_RECORD`] if none follows. Offsets therefore ascend, and a position whose successor has the
//! same offset has no record.

use gesta_store::Direction;

/// The offset of a missing record. No record begins at the last byte of a segment.
pub(crate) const NO_RECORD: u32 = u32::MAX;

/// Fills the gaps of a list in which positions without a record have [`NO_RECORD`].
pub(super) fn fill_gaps(offsets: &mut [u32]) {
    // From the back: each gap takes the offset of the record after it.
    let mut next = NO_RECORD;
    for offset in offsets.iter_mut().rev() {
        if *offset == NO_RECORD {
            *offset = next;
        }
        next = *offset;
    }
}

/// Returns the nearest position at or after `at` in `direction` that has a record. The list begins
/// at position `first`; its gaps may be filled or not.
pub(super) fn nearest_record(
    offsets: &[u32],
    first: u64,
    at: u64,
    direction: Direction,
) -> Option<u64> {
    let count = offsets.len() as u64;
    let mut place = match direction {
        Direction::Forwards => at.saturating_sub(first),
        Direction::Backwards => at.checked_sub(first)?.min(count.checked_sub(1)?),
    };
    while place < count {
        if record_at(offsets, place).is_some() {
            return Some(first + place);
        }
        place = match direction {
            Direction::Forwards => place + 1,
            Direction::Backwards => place.checked_sub(1)?,
        };
    }
    None
}

/// Returns the offset of the record at `place`, and of the next record.
pub(super) fn record_at(offsets: &[u32], place: u64) -> Option<(u32, Option<u32>)> {
    let place = usize::try_from(place).ok()?;
    let offset = *offsets.get(place)?;
    let next = offsets.get(place + 1).copied().filter(|next| *next != NO_RECORD);
    // An open gap has no offset, and a filled one has that of its successor.
    (offset != NO_RECORD && next != Some(offset)).then_some((offset, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_passed_over_both_ways() {
        let mut offsets = [NO_RECORD, 10, NO_RECORD, NO_RECORD, 20, 30, NO_RECORD];
        for _ in 0..2 {
            let nearest = |at, direction| nearest_record(&offsets, 100, at, direction);
            let forwards: Vec<_> =
                (99..108).map(|at| nearest(at, Direction::Forwards).unwrap_or(0)).collect();
            assert_eq!(forwards, [101, 101, 101, 104, 104, 104, 105, 0, 0]);
            let backwards: Vec<_> =
                (99..108).map(|at| nearest(at, Direction::Backwards).unwrap_or(0)).collect();
            assert_eq!(backwards, [0, 0, 101, 101, 101, 104, 105, 105, 105]);
            fill_gaps(&mut offsets);
        }
        assert_eq!(offsets, [10, 10, 20, 20, 20, 30, NO_RECORD]);
        assert_eq!(record_at(&offsets, 1), Some((10, Some(20))));
        assert_eq!(record_at(&offsets, 5), Some((30, None)));
    }
}
