//! Batched Bloom-filter probe: finds the first part that has a term.
//!
//! Each append looks up its streams and its first id in all runs, and most runs have neither. The
//! cost is cache misses, so the filter lines of many runs are located first and tested afterwards;
//! no miss waits for another.
//!
//! Invariant: no part that has the term is skipped, and parts are searched in the given order. The
//! contents of a filter line are in [`run`](super::run).

use std::array;

use gesta_store::StoreError;

use super::{
    on_disk_part::{LazyHash, RunContext},
    part::IndexPart,
    run::{BloomProbe, FilterHint, Term},
};

/// Number of parts that are probed together: one bit of a `u32` each.
const BATCH_PARTS: usize = 32;

/// Returns what `look` finds in the first part that has the term.
pub(super) fn find_first<'a, Found>(
    mut parts: impl Iterator<Item = &'a IndexPart>,
    term: &Term<'_>,
    mut look: impl FnMut(&IndexPart, &LazyHash) -> Result<Option<Found>, StoreError>,
) -> Result<Option<Found>, StoreError> {
    let hash = LazyHash::default();
    // Computed at most once, and only if there is a run: the hash is the expensive part.
    let mut probe = None;
    let of = |context: &RunContext| BloomProbe::of(hash.of(context.key(), term));
    loop {
        let some: [Option<&IndexPart>; BATCH_PARTS] = array::from_fn(|_| parts.next());
        let mut hints = [FilterHint::Absent; BATCH_PARTS];
        for (hint, part) in hints.iter_mut().zip(some.iter().flatten()) {
            *hint = match part {
                // A hash map lookup costs as much as a filter probe.
                IndexPart::Memtable(..) => FilterHint::Unread,
                IndexPart::File(file) => {
                    file.run().hint(probe.get_or_insert_with(|| of(file.context())))
                }
            };
        }
        // First pass done: all lines are known. Now load and test them.
        let mut left = candidates(probe.as_ref(), &hints);
        while left != 0 {
            let first = left.trailing_zeros() as usize;
            // Clears the lowest set bit.
            left &= left - 1;
            if let Some(part) = some.get(first).copied().flatten()
                && let Some(found) = look(part, &hash)?
            {
                return Ok(Some(found));
            }
        }
        if some.last().is_none_or(Option::is_none) {
            return Ok(None);
        }
    }
}

/// Returns the parts that may have the term, one bit each. Branch-free across parts, so that the
/// loads of their filter lines overlap.
fn candidates(probe: Option<&BloomProbe>, hints: &[FilterHint<'_>; BATCH_PARTS]) -> u32 {
    hints.iter().enumerate().fold(0, |parts, (nth, hint)| {
        let may = match (hint, probe) {
            (FilterHint::Absent, _) => false,
            (FilterHint::Line(line), Some(probe)) => probe.may_match(line),
            (FilterHint::Line(_), None) | (FilterHint::Unread, _) => true,
        };
        parts | u32::from(may) << nth
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, RwLock};

    use gesta_store::{EventId, Position};

    use super::*;
    use crate::{format::Seed, index::memtable::Memtable, options::IndexedIds};

    #[test]
    fn parts_are_looked_at_in_order_until_one_has_it_however_many_there_are() {
        let part = |first: u64| {
            let memtable = Memtable::new(
                (first, Seed::new([0; 16], first)),
                Position::new(first),
                IndexedIds::NONE,
                None,
            );
            IndexPart::Memtable(first, Arc::new(RwLock::new(memtable)))
        };
        let term = Term::Append(EventId::derived_from("test", 0));
        for count in [0, 1, 31, 32, 33, 64, 70] {
            let parts: Vec<_> = (0..count).map(part).collect();
            for wanted in 0..=count {
                let mut looked = 0;
                let found = find_first(parts.iter(), &term, |part, _| {
                    assert_eq!(part.first(), looked, "one after the other");
                    looked += 1;
                    Ok((part.first() == wanted).then_some(wanted))
                });
                assert_eq!(found.unwrap(), (wanted < count).then_some(wanted));
                assert_eq!(looked, (wanted + 1).min(count));
            }
        }
    }
}
