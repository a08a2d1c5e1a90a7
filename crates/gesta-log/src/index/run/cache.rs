//! The block cache: recently used blocks of runs, within a budget.
//!
//! Cached blocks are verified. Eviction is CLOCK, so a block that is used again outlives one that
//! is not, and a scan of a whole run evicts little.
//!
//! Up to three quarters of the budget can be reserved by runs that keep their filters outside
//! the cache: every append probes the filters, and lookups here would contend for a shard's lock
//! and the block's reference count. The unreserved part holds blocks, and shrinks as filters are
//! loaded.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use super::block::{BLOCK_BYTES, Block};

const SHARDS: usize = 16;
/// Size of a block with its map entry and bookkeeping.
const SLOT_BYTES: usize = BLOCK_BYTES + 160;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct BlockKey {
    /// From [`BlockCache::next_run_id`]; never reused.
    pub(super) run: u64,
    pub(super) block: u32,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct BlockCache {
    shards: [Mutex<CacheShard>; SHARDS],
    runs: AtomicU64,
    budget_bytes: usize,
    /// Bytes that runs may still reserve for filters.
    filter_bytes_left: AtomicUsize,
}

impl BlockCache {
    /// Creates a cache with a budget in bytes.
    pub(crate) fn new(budget_bytes: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            runs: AtomicU64::new(0),
            budget_bytes,
            filter_bytes_left: AtomicUsize::new(filter_budget(budget_bytes)),
        }
    }

    /// Maximum number of blocks of a shard, given the current reservations.
    fn slots_max(&self) -> usize {
        // One budget for both: blocks lose what filters reserve.
        let kept =
            filter_budget(self.budget_bytes) - self.filter_bytes_left.load(Ordering::Relaxed);
        (self.budget_bytes - kept) / SLOT_BYTES / SHARDS
    }

    /// Reserves room for one filter. Returns false if none is left. The caller
    /// [releases](Self::release) it later.
    pub(super) fn try_reserve(&self) -> bool {
        let less = |left: usize| left.checked_sub(SLOT_BYTES);
        // Relaxed: the counter guards no other memory.
        let taken = self.filter_bytes_left.try_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if let Ok(left) = taken
            && let Some(shard) = self.shards.get(left / SLOT_BYTES % SHARDS)
        {
            // Each reservation shrinks one shard, in turn; all shards together shrink by as much as
            // was reserved.
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.shrink_to(self.slots_max());
        }
        taken.is_ok()
    }

    /// Releases reservations of [`try_reserve`](Self::try_reserve).
    pub(super) fn release(&self, blocks: usize) {
        let left = self.filter_bytes_left.fetch_add(blocks * SLOT_BYTES, Ordering::Relaxed);
        let budget = filter_budget(self.budget_bytes);
        debug_assert!(left + blocks * SLOT_BYTES <= budget, "only reserved room is released");
    }

    /// Returns an id that no other run has.
    pub(super) fn next_run_id(&self) -> u64 {
        self.runs.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn get(&self, key: BlockKey) -> Option<Block> {
        let mut shard = self.shard(key)?;
        let at = *shard.places.get(&key)?;
        let slot = shard.slots.get_mut(at)?;
        slot.referenced = true;
        Some(slot.block.clone())
    }

    pub(super) fn insert(&self, key: BlockKey, block: Block) {
        if let Some(mut shard) = self.shard(key) {
            // Not marked yet, so that blocks that are read only once are dropped first.
            shard.insert(CacheSlot { key, block, referenced: false }, self.slots_max());
        }
    }

    fn shard(&self, key: BlockKey) -> Option<MutexGuard<'_, CacheShard>> {
        // The upper bits select the shard, the lower ones the map's bucket.
        let shard = self.shards.get(mix(key.run, key.block) as usize >> 20 & (SHARDS - 1))?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug, Default)]
struct CacheShard {
    slots: Vec<CacheSlot>,
    places: HashMap<BlockKey, usize, BuildHasherDefault<BlockKeyHasher>>,
    hand: usize,
}

#[derive(Debug)]
struct CacheSlot {
    key: BlockKey,
    block: Block,
    referenced: bool,
}

impl CacheShard {
    fn insert(&mut self, slot: CacheSlot, slots_max: usize) {
        // Another thread may have read the same block concurrently.
        if self.places.contains_key(&slot.key) || slots_max == 0 {
            return;
        }
        if self.slots.len() < slots_max {
            self.places.insert(slot.key, self.slots.len());
            self.slots.push(slot);
            return;
        }
        let at = self.victim();
        let Some(victim) = self.slots.get_mut(at) else { return };
        self.places.remove(&victim.key);
        self.places.insert(slot.key, at);
        *victim = slot;
    }

    fn shrink_to(&mut self, slots_max: usize) {
        while self.slots.len() > slots_max {
            self.drop_one();
        }
    }

    fn drop_one(&mut self) {
        let at = self.victim();
        if at >= self.slots.len() {
            return;
        }
        self.places.remove(&self.slots.swap_remove(at).key);
        // `swap_remove` moved the last slot here.
        if let Some(moved) = self.slots.get(at) {
            self.places.insert(moved.key, at);
        }
        self.hand = if self.slots.is_empty() { 0 } else { at % self.slots.len() };
    }

    /// The CLOCK hand: returns the next slot that was not used since the last pass, and clears the
    /// mark of those before it.
    fn victim(&mut self) -> usize {
        loop {
            // The first round clears the marks, so the second one finds a slot at the latest.
            let at = self.hand;
            self.hand = (at + 1) % self.slots.len();
            match self.slots.get_mut(at) {
                Some(slot) if slot.referenced => slot.referenced = false,
                Some(_) | None => return at,
            }
        }
    }
}

/// The part of a budget that can be reserved for filters.
const fn filter_budget(budget_bytes: usize) -> usize {
    budget_bytes / 4 * 3
}

/// Keys are small numbers made here, so they cannot be chosen to collide.
#[derive(Debug, Default)]
struct BlockKeyHasher {
    run: u64,
    block: u32,
}

impl Hasher for BlockKeyHasher {
    fn finish(&self) -> u64 {
        mix(self.run, self.block)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.run = self.run.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, run: u64) {
        self.run = run;
    }

    fn write_u32(&mut self, block: u32) {
        self.block = block;
    }
}

const fn mix(run: u64, block: u32) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (run.wrapping_mul(ODD).rotate_left(32) ^ block as u64).wrapping_mul(ODD);
    mixed ^ mixed >> 32
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        format::Seed,
        index::run::block::{self, BlockKind},
    };

    fn a_block(number: u32) -> Block {
        let seed = Seed::new([0; 16], 0);
        let mut bytes = Vec::new();
        block::put(&mut bytes, BlockKind::Terms, &number.to_le_bytes(), number, seed);
        Block::verify(Bytes::from(bytes), number, seed).unwrap()
    }

    fn number(block: &Block) -> u32 {
        u32::from_le_bytes(block.body(BlockKind::Terms).unwrap()[..4].try_into().unwrap())
    }

    #[test]
    fn the_budget_is_kept_and_what_is_asked_for_again_stays() {
        let cache = BlockCache::new(SHARDS * SLOT_BYTES * 8);
        let (run, hot) = (cache.next_run_id(), cache.next_run_id());
        assert_ne!(run, hot);
        cache.insert(BlockKey { run: hot, block: 7 }, a_block(7));
        for block in 0..10_000 {
            let here = cache.get(BlockKey { run: hot, block: 7 });
            assert_eq!(number(&here.expect("it is asked for all the time")), 7);
            cache.insert(BlockKey { run, block }, a_block(block));
        }
        let held: Vec<_> =
            (0..10_000).filter_map(|block| cache.get(BlockKey { run, block })).collect();
        assert!(held.len() < SHARDS * 8, "{}", held.len());
        assert!(held.len() > SHARDS * 4, "{}", held.len());
        for block in 0..10_000 {
            if let Some(held) = cache.get(BlockKey { run, block }) {
                assert_eq!(number(&held), block);
            }
        }
    }

    #[test]
    fn blocks_take_what_filters_leave_and_give_it_back() {
        let cache = BlockCache::new(SHARDS * SLOT_BYTES * 80);
        let run = cache.next_run_id();
        let held = |blocks: std::ops::Range<u32>| {
            blocks.filter(|block| cache.get(BlockKey { run, block: *block }).is_some()).count()
        };
        (0..5_000).for_each(|block| cache.insert(BlockKey { run, block }, a_block(block)));
        assert!(held(0..5_000) > SHARDS * 70, "{}", held(0..5_000));
        let mut kept = 0;
        while cache.try_reserve() {
            kept += 1;
        }
        assert_eq!(kept, SHARDS * 60);
        assert!(held(0..5_000) <= SHARDS * 21, "{}", held(0..5_000));
        (5_000..10_000).for_each(|block| cache.insert(BlockKey { run, block }, a_block(block)));
        assert!(held(0..10_000) <= SHARDS * 21, "{}", held(0..10_000));
        cache.release(kept);
        (10_000..15_000).for_each(|block| cache.insert(BlockKey { run, block }, a_block(block)));
        assert!(held(0..15_000) > SHARDS * 70, "{}", held(0..15_000));
    }

    #[test]
    fn without_a_budget_nothing_is_kept() {
        let cache = BlockCache::new(0);
        cache.insert(BlockKey { run: 0, block: 0 }, a_block(0));
        assert!(cache.get(BlockKey { run: 0, block: 0 }).is_none());
    }
}
