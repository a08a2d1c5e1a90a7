//! Generation of streams, tags, ids and payloads.
//!
//! Deterministic for a seed, except for ids, which contain the time. Payloads are incompressible
//! and generated before the measurement. Ids are unique within a run and sort by time, as in
//! applications. Generation costs the same for every engine.

use std::{fmt::Write as _, ops::Range};

use super::clock::unix_millis;

/// Size of the buffer that payloads are slices of.
const POOL_BYTES: usize = 16 << 20;

/// A fast pseudo-random number generator (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub const fn of_seed(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`, or 0 if `end` is 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        ((self.next() as u128 * end as u128) >> 64) as u64
    }
}

/// Returns a random number from 0 up to 1, different in each run.
pub fn random_fraction() -> f64 {
    let mut random = Random::of_seed(uuid::Uuid::now_v7().as_u64_pair().1);
    random.next() as f64 / u64::MAX as f64
}

/// Random bytes shared by all threads of a run.
#[derive(Clone, Debug)]
pub struct Pool {
    bytes: Vec<u8>,
    event_bytes: usize,
}

impl Pool {
    /// Creates a pool for payloads of `event_bytes` bytes.
    pub fn new(seed: u64, event_bytes: usize) -> Self {
        let mut random = Random::of_seed(seed);
        let words = (POOL_BYTES + event_bytes).div_ceil(8);
        let bytes = (0..words).flat_map(|_| random.next().to_le_bytes()).collect();
        Self { bytes, event_bytes }
    }

    fn offset(&self, random: &mut Random) -> usize {
        let end = self.bytes.len().saturating_sub(self.event_bytes).max(1);
        random.below(end as u64) as usize
    }

    /// Returns a mutable copy of the payload at an offset.
    pub fn copy(&self, offset: usize) -> Vec<u8> {
        self.payload(offset).to_vec()
    }

    /// Returns the payload at an offset, which wraps around at the end of the pool.
    fn payload(&self, offset: usize) -> &[u8] {
        let begin = offset % self.bytes.len().saturating_sub(self.event_bytes).max(1);
        self.bytes.get(begin..begin + self.event_bytes).unwrap_or_default()
    }
}

/// Payloads of the events of one append.
#[derive(Clone, Copy, Debug)]
pub struct Payloads<'a> {
    cut: Cut<'a>,
    pub count: usize,
}

#[derive(Clone, Copy, Debug)]
enum Cut<'a> {
    /// Consecutive payloads from an offset of the pool.
    Pooled(&'a Pool, usize),
    Same(&'a [u8]),
}

impl<'a> Payloads<'a> {
    pub const fn of(pool: &'a Pool, offset: usize, count: usize) -> Self {
        Self { cut: Cut::Pooled(pool, offset), count }
    }

    /// The same payload for every event.
    pub const fn same(bytes: &'a [u8], count: usize) -> Self {
        Self { cut: Cut::Same(bytes), count }
    }

    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.count).map(move |nth| match self.cut {
            Cut::Pooled(pool, offset) => pool.payload(offset + nth * pool.event_bytes),
            Cut::Same(bytes) => bytes,
        })
    }
}

/// Generator of the appends of one thread.
#[derive(Debug)]
pub struct Generator<'a> {
    pool: &'a Pool,
    random: Random,
    own: ThreadShare,
    stream: String,
    tag: String,
}

/// One thread's share of streams and tags: the numbers congruent to `thread` modulo `threads`.
#[derive(Clone, Copy, Debug)]
pub struct ThreadShare {
    pub thread: u64,
    pub threads: u64,
}

/// Numbers of a generated append. [`Generator`] holds the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    pub stream: u64,
    pub tag: u64,
    /// Id of the first event. The others have the consecutive ids.
    pub first_id: u128,
    pub offset: usize,
}

impl<'a> Generator<'a> {
    pub fn new(pool: &'a Pool, seed: u64, own: ThreadShare) -> Self {
        let mut mixed = Random::of_seed(seed ^ own.thread.wrapping_mul(0xd129_0d3d_9e21_6a35));
        let random = Random::of_seed(mixed.next());
        Self { pool, random, own, stream: String::new(), tag: String::new() }
    }

    /// Generates an append to one of `streams` streams with one of `tags` tags.
    pub fn next(&mut self, streams: u64, tags: u64) -> Generated {
        let stream = self.random.below(streams);
        self.finish(stream, tags)
    }

    /// Generates an append to a stream and with a tag that no other thread uses.
    pub fn next_own(&mut self, streams: u64, tags: u64) -> Generated {
        let ThreadShare { thread, threads } = self.own;
        let stream = self.random.below((streams / threads).max(1)) * threads + thread;
        let tag = self.random.below((tags / threads).max(1)) * threads + thread;
        self.named(stream, tag)
    }

    fn finish(&mut self, stream: u64, tags: u64) -> Generated {
        let tag = self.random.below(tags);
        self.named(stream, tag)
    }

    /// Generates an append to a stream of the category [`FEW`].
    pub fn next_few(&mut self, stream: u64, tags: u64) -> Generated {
        let drawn = self.finish(stream, tags);
        set(&mut self.stream, FEW, '-', stream);
        drawn
    }

    fn named(&mut self, stream: u64, tag: u64) -> Generated {
        set(&mut self.stream, "bench", '-', stream);
        set(&mut self.tag, "bench", ':', tag);
        Generated { stream, tag, first_id: self.id(), offset: self.pool.offset(&mut self.random) }
    }

    /// A UUIDv7 (RFC 9562) whose last 24 bits are zero, to number the events of an append.
    fn id(&mut self) -> u128 {
        let random = (u128::from(self.random.next()) << 16) & !0xff_ffff;
        let high = u128::from(unix_millis() & 0xffff_ffff_ffff) << 80;
        let version = 0x7 << 76 | u128::from(self.random.next() & 0xfff) << 64;
        high | version | 0b10 << 62 | (random & ((1 << 62) - 1))
    }

    pub fn stream(&self) -> &str {
        &self.stream
    }

    pub fn tag(&self) -> &str {
        &self.tag
    }
}

/// Category of the streams that the read benchmark loads.
pub const FEW: &str = "few";

/// Returns the name of a stream in [`FEW`].
pub fn few_name(number: u64) -> String {
    let mut name = String::new();
    set(&mut name, FEW, '-', number);
    name
}

fn set(text: &mut String, first: &str, between: char, number: u64) {
    text.clear();
    write!(text, "{first}{between}{number}").expect("a text takes everything");
}

/// Returns the ids of an append's events.
pub fn ids(first: u128, count: usize) -> impl Iterator<Item = u128> {
    let Range { start, end } = first..first + count as u128;
    start..end
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const OWN: ThreadShare = ThreadShare { thread: 2, threads: 8 };

    #[test]
    fn the_same_seed_draws_the_same_and_another_thread_does_not() {
        let pool = Pool::new(1, 256);
        let draw = |seed, thread| {
            let mut draw = Generator::new(&pool, seed, ThreadShare { thread, threads: 8 });
            let Generated { stream, tag, offset, .. } = draw.next(1_000_000, 1_000_000);
            (stream, tag, offset)
        };
        assert_eq!(draw(7, 0), draw(7, 0));
        assert_ne!(draw(7, 0), draw(7, 1));
        assert_ne!(draw(7, 0), draw(8, 0));
    }

    #[test]
    fn own_names_are_drawn_by_no_other_thread() {
        let pool = Pool::new(1, 256);
        let mut draw = Generator::new(&pool, 1, OWN);
        for _ in 0..1_000 {
            let drawn = draw.next_own(1_000, 1_000);
            assert_eq!((drawn.stream % 8, drawn.tag % 8), (2, 2));
            assert!(drawn.stream < 1_000 && drawn.tag < 1_000);
        }
        assert!(draw.stream().starts_with("bench-") && draw.tag().starts_with("bench:"));
    }

    #[test]
    fn ids_are_unique_and_sort_by_time() {
        let pool = Pool::new(1, 256);
        let mut draw = Generator::new(&pool, 1, OWN);
        let mut seen = HashSet::new();
        let mut last_time = 0;
        for _ in 0..1_000 {
            let first = draw.next(10, 10).first_id;
            assert!(ids(first, 100).all(|id| seen.insert(id)), "an id is drawn once");
            assert_eq!(((first >> 76) & 0xf, (first >> 62) & 3), (7, 2), "version and variant");
            assert!(first >> 80 >= last_time);
            last_time = first >> 80;
        }
    }

    #[test]
    fn payloads_have_the_size_asked_for_and_are_not_alike() {
        let pool = Pool::new(1, 300);
        let mut draw = Generator::new(&pool, 1, OWN);
        let drawn = draw.next(10, 10);
        let payloads = Payloads::of(&pool, drawn.offset, 100);
        assert!(payloads.iter().all(|payload| payload.len() == 300));
        assert_eq!(payloads.iter().collect::<HashSet<_>>().len(), 100);
        let end = Payloads::of(&pool, POOL_BYTES + 100, 3);
        assert!(end.iter().all(|payload| payload.len() == 300), "the pool has no end");
    }
}
