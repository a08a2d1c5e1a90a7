//! Which parts may have a term, out of many that mostly have not.
//!
//! Owns: the order in which parts are asked for one term. Always holds: what is found is what the
//! first part has that has anything; no part that has something is passed over. Every append asks for
//! its streams and its id in all files, and what it waits for is memory: so the lines of many filters
//! are first found, then looked at, none of them waiting for another. Not here: what a line says
//! ([`run`](super::run)).

use std::array;

use gesta_store::StoreError;

use super::{
    on_disk_part::{LazyHash, RunContext},
    part::IndexPart,
    run::{BloomProbe, FilterHint, Term},
};

/// So many parts are sifted together, a bit of a word for each.
const TOGETHER: usize = 32;

/// What `look` finds in the first of these parts that has the term.
pub(super) fn find_first<'a, Found>(
    mut parts: impl Iterator<Item = &'a IndexPart>,
    term: &Term<'_>,
    mut look: impl FnMut(&IndexPart, &LazyHash) -> Result<Option<Found>, StoreError>,
) -> Result<Option<Found>, StoreError> {
    let hash = LazyHash::default();
    let mut probe = None;
    let of = |context: &RunContext| BloomProbe::of(hash.of(context.key(), term));
    loop {
        let some: [Option<&IndexPart>; TOGETHER] = array::from_fn(|_| parts.next());
        let mut hints = [FilterHint::Absent; TOGETHER];
        for (hint, part) in hints.iter_mut().zip(some.iter().flatten()) {
            *hint = match part {
                // To look there costs what a filter would.
                IndexPart::Memtable(..) => FilterHint::Unread,
                IndexPart::File(file) => {
                    file.run().hint(probe.get_or_insert_with(|| of(file.context())))
                }
            };
        }
        let mut left = may_have(probe.as_ref(), &hints);
        while left != 0 {
            let first = left.trailing_zeros() as usize;
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

/// The parts that may have the term, a bit for each. Without a branch from one to the next.
fn may_have(probe: Option<&BloomProbe>, hints: &[FilterHint<'_>; TOGETHER]) -> u32 {
    hints.iter().enumerate().fold(0, |parts, (nth, hint)| {
        let may = match (hint, probe) {
            (FilterHint::Absent, _) => false,
            (FilterHint::Line(line), Some(probe)) => probe.may_be_in(line),
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
    use crate::{format::Seed, index::memtable::Memtable};

    #[test]
    fn parts_are_looked_at_in_order_until_one_has_it_however_many_there_are() {
        let part = |first: u64| {
            let memory =
                Memtable::new(first, Seed::new([0; 16], first), Position::new(first), None);
            IndexPart::Memtable(first, Arc::new(RwLock::new(memory)))
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
