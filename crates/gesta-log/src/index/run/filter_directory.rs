//! The filters of an open run: which filter covers a hash, and the filters that are cached.
//!
//! Filters are cached for as long as the block cache grants them room, and otherwise read for each
//! probe. Hashes are uniformly distributed, so finding a filter takes two memory accesses however
//! many there are. The contents of a filter are in [`bloom_filter`](super::bloom_filter).

use std::sync::OnceLock;

use super::{
    block::{BlockKind, BlockSource},
    block_reader::CachedBlocks,
    bloom_filter::{self, BloomProbe, CachedFilter, Line},
    error::RunError,
    term_hash::TermHash,
};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct FilterDirectory {
    /// For each prefix of hashes, the number of filters whose first hash is below that prefix. The
    /// last entry is the number of all filters.
    begun: Box<[u32]>,
    /// Number of bits of a hash after its prefix.
    rest_bits: u32,
    slots: Box<[FilterSlot]>,
}

/// One filter with all that a probe needs, in one cache line.
#[derive(Debug)]
#[repr(align(64))]
struct FilterSlot {
    first: TermHash,
    block: u32,
    kept: OnceLock<CachedFilter>,
}

/// The answer of the cached filters about a term.
#[derive(Clone, Copy, Debug)]
pub(in crate::index) enum FilterHint<'a> {
    /// The term is not in the run.
    Absent,
    /// The cached filter line that decides.
    Line(&'a Line),
    /// The filter is not cached.
    Unread,
}

impl FilterDirectory {
    /// Builds the directory of filters, given by first hash and block in order.
    pub(super) fn new(listed: Vec<(TermHash, u32)>) -> Self {
        // As many prefixes as filters, so that about one filter begins in each.
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

    /// Returns the filter that covers a hash, or `None` if the run has no such term.
    fn slot(&self, hash: TermHash) -> Option<&FilterSlot> {
        let beginning = (hash.bits() >> self.rest_bits) as usize;
        let from = *self.begun.get(beginning)? as usize;
        let to = *self.begun.get(beginning + 1)? as usize;
        // About one filter begins with each prefix, so this loop is short.
        let same = self.slots.get(from..to)?.iter().take_while(|slot| slot.first <= hash);
        self.slots.get((from + same.count()).checked_sub(1)?)
    }

    /// Returns the term block that may contain the hash, or `None` if the run has no such term.
    pub(super) fn find_term_block(
        &self,
        blocks: &mut CachedBlocks<'_>,
        probe: &BloomProbe,
    ) -> Result<Option<u32>, RunError> {
        let Some(slot) = self.slot(probe.hash) else { return Ok(None) };
        let ask = |body: &[u8]| bloom_filter::find_term_block(body, probe);
        match slot.keep(blocks)? {
            Some(kept) => ask(kept.body()).map_err(|what| blocks.malformed(slot.block, what)),
            None => blocks.decode(slot.block, BlockKind::Filter, ask),
        }
    }

    /// Returns the result of the cached filters for a term, without reading from disk.
    pub(super) fn hint(&self, probe: &BloomProbe) -> FilterHint<'_> {
        let Some(slot) = self.slot(probe.hash) else { return FilterHint::Absent };
        slot.kept
            .get()
            .and_then(|kept| kept.line(probe))
            .map_or(FilterHint::Unread, FilterHint::Line)
    }

    /// Number of cached filters.
    pub(super) fn kept(&self) -> usize {
        self.slots.iter().filter(|slot| slot.kept.get().is_some()).count()
    }
}

impl FilterSlot {
    /// Returns the filter, reading and caching it if there is room. `None` if there is none.
    fn keep(&self, blocks: &CachedBlocks<'_>) -> Result<Option<&CachedFilter>, RunError> {
        if let Some(kept) = self.kept.get() {
            return Ok(Some(kept));
        }
        let cache = &blocks.file.cache;
        // Reserve before reading, so that concurrent readers cannot exceed the budget.
        if !cache.try_reserve() {
            return Ok(None);
        }
        let read = blocks.read(self.block).and_then(|block| {
            let body = block.body(BlockKind::Filter);
            body.map(CachedFilter::new).map_err(|what| blocks.malformed(self.block, what))
        });
        let first = read.map(|kept| self.kept.set(kept).is_ok());
        // Reading failed, or another thread cached the filter first.
        if !matches!(first, Ok(true)) {
            cache.release(1);
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
