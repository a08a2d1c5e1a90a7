//! The filters of an open run: which of them to ask for a hash, and those that are kept in memory.
//!
//! Owns: the way from a hash to its filter. Always holds: filters are kept as long as the cache's
//! budget has room for them, and read anew otherwise; hashes are spread evenly, so the way leads
//! through two places in memory, however many filters there are. Not here: what a filter says
//! ([`filter`](super::bloom_filter)).

use std::sync::OnceLock;

use super::{
    RunError,
    block::{BlockKind, BlockSource},
    block_reader::CachedBlocks,
    bloom_filter::{self, BloomProbe, CachedFilter, Line},
    term_hash::TermHash,
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct FilterDirectory {
    /// For each beginning of hashes how many filters begin below it; one more at the end.
    begun: Box<[u32]>,
    /// How many bits of a hash its beginning leaves.
    rest_bits: u32,
    slots: Box<[FilterSlot]>,
}

/// One filter, and all that is needed to ask it, next to each other.
#[derive(Debug)]
#[repr(align(64))]
struct FilterSlot {
    first: TermHash,
    block: u32,
    kept: OnceLock<CachedFilter>,
}

/// What memory has to say of a term in a run.
#[derive(Clone, Copy, Debug)]
pub(in crate::index) enum FilterHint<'a> {
    /// It surely is not there.
    Absent,
    /// Its bits in this line say.
    Line(&'a Line),
    /// Nothing: the filter is not in memory.
    Unread,
}

impl FilterDirectory {
    /// Of these filters, given with their first hash and their block, in order.
    pub(super) fn new(listed: Vec<(TermHash, u32)>) -> Self {
        let bits = listed.len().next_power_of_two().ilog2();
        let rest_bits = TermHash::BITS - bits;
        let beginnings = 1_u128 << bits;
        let below = |beginning: u128| {
            let below = |(first, _): &(TermHash, u32)| first.bits() >> rest_bits < beginning;
            listed.partition_point(below) as u32
        };
        let begun = (0..=beginnings).map(below).collect();
        let slot = |(first, block)| FilterSlot { first, block, kept: OnceLock::new() };
        let slots = listed.into_iter().map(slot).collect();
        Self { begun, rest_bits, slots }
    }

    /// The slot of the filter that answers for a hash; none if no term is there.
    fn slot(&self, hash: TermHash) -> Option<&FilterSlot> {
        let beginning = (hash.bits() >> self.rest_bits) as usize;
        let from = *self.begun.get(beginning)? as usize;
        let to = *self.begun.get(beginning + 1)? as usize;
        let same = self.slots.get(from..to)?.iter().take_while(|slot| slot.first <= hash);
        self.slots.get((from + same.count()).checked_sub(1)?)
    }

    /// The block of terms where a hash would be; none if it surely is in none.
    pub(super) fn block_for(
        &self,
        blocks: &mut CachedBlocks<'_>,
        probe: &BloomProbe,
    ) -> Result<Option<u32>, RunError> {
        let Some(slot) = self.slot(probe.hash) else { return Ok(None) };
        let ask = |body: &[u8]| bloom_filter::block_for(body, probe);
        match slot.keep(blocks)? {
            Some(kept) => ask(kept.body()).map_err(|what| blocks.bad(slot.block, what)),
            None => blocks.with(slot.block, BlockKind::Filter, ask),
        }
    }

    /// Where in memory it stands whether a term may be here.
    pub(super) fn hint(&self, probe: &BloomProbe) -> FilterHint<'_> {
        let Some(slot) = self.slot(probe.hash) else { return FilterHint::Absent };
        slot.kept
            .get()
            .and_then(|kept| kept.line(probe))
            .map_or(FilterHint::Unread, FilterHint::Line)
    }

    /// How many are kept.
    pub(super) fn kept(&self) -> usize {
        self.slots.iter().filter(|slot| slot.kept.get().is_some()).count()
    }
}

impl FilterSlot {
    /// The filter, which is kept from now on; none if there is no room for it.
    fn keep(&self, blocks: &CachedBlocks<'_>) -> Result<Option<&CachedFilter>, RunError> {
        if let Some(kept) = self.kept.get() {
            return Ok(Some(kept));
        }
        let cache = &blocks.run.cache;
        if !cache.take_room() {
            return Ok(None);
        }
        let read = blocks.read(self.block).and_then(|block| {
            let body = block.body(BlockKind::Filter);
            body.map(CachedFilter::new).map_err(|what| blocks.bad(self.block, what))
        });
        let first = read.map(|kept| self.kept.set(kept).is_ok());
        if !matches!(first, Ok(true)) {
            cache.give_back(1);
        }
        first?;
        Ok(self.kept.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_from_a_hash_leads_to_the_last_filter_that_begins_at_or_below_it() {
        let mut state = 3_u128;
        let mut hash = || {
            state = state.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
            TermHash::new(state >> 20)
        };
        for count in [0, 1, 2, 3, 4, 5, 100, 1_000] {
            let mut firsts: Vec<_> = (0..count).map(|_| hash()).collect();
            firsts.sort();
            let filters = FilterDirectory::new(firsts.iter().copied().zip(0..).collect());
            let ends = [TermHash::new(0), TermHash::new(u128::MAX)];
            let asked: Vec<_> = (0..5_000).map(|_| hash()).chain(ends).collect();
            for hash in asked.into_iter().chain(firsts.iter().copied()) {
                let begun = firsts.partition_point(|first| *first <= hash);
                let found = filters.slot(hash).map(|slot| slot.block as usize + 1);
                assert_eq!(found.unwrap_or_default(), begun, "{hash:?} of {count}");
            }
        }
    }
}
