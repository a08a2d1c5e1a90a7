//! What is offered: which stream, which tag, which ids, which bytes.
//!
//! Always holds: the same seed draws the same; bytes cannot be compressed and are drawn before
//! anything is timed; ids are unique within a run and begin with their time, as those of programs
//! do. What drawing costs is the same for every engine.

use std::{fmt::Write as _, ops::Range};

use super::clock::unix_millis;

/// Bytes that payloads are cut from.
const POOL_BYTES: usize = 16 << 20;

/// A fast generator of numbers that look random (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn of_seed(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        ((self.next() as u128 * end as u128) >> 64) as u64
    }
}

/// Random bytes for all threads of a run.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    bytes: Vec<u8>,
    event_bytes: usize,
}

impl Pool {
    /// For payloads of so many bytes each.
    pub(crate) fn new(seed: u64, event_bytes: usize) -> Self {
        let mut random = Random::of_seed(seed);
        let words = (POOL_BYTES + event_bytes).div_ceil(8);
        let bytes = (0..words).flat_map(|_| random.next().to_le_bytes()).collect();
        Self { bytes, event_bytes }
    }

    fn offset(&self, random: &mut Random) -> usize {
        let end = self.bytes.len().saturating_sub(self.event_bytes).max(1);
        random.below(end as u64) as usize
    }

    /// A copy of the payload that begins there, to be changed.
    pub(crate) fn copy(&self, offset: usize) -> Vec<u8> {
        self.payload(offset).to_vec()
    }

    /// The payload that begins there; the pool's end is followed by its beginning.
    fn payload(&self, offset: usize) -> &[u8] {
        let begin = offset % self.bytes.len().saturating_sub(self.event_bytes).max(1);
        self.bytes.get(begin..begin + self.event_bytes).unwrap_or_default()
    }
}

/// The payloads of an append's events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payloads<'a> {
    cut: Cut<'a>,
    pub(crate) count: usize,
}

#[derive(Clone, Copy, Debug)]
enum Cut<'a> {
    /// One after the other from this place of the pool on.
    Drawn(&'a Pool, usize),
    Same(&'a [u8]),
}

impl<'a> Payloads<'a> {
    pub(crate) const fn of(pool: &'a Pool, offset: usize, count: usize) -> Self {
        Self { cut: Cut::Drawn(pool, offset), count }
    }

    /// The same for every event.
    pub(crate) const fn same(bytes: &'a [u8], count: usize) -> Self {
        Self { cut: Cut::Same(bytes), count }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.count).map(move |nth| match self.cut {
            Cut::Drawn(pool, offset) => pool.payload(offset + nth * pool.event_bytes),
            Cut::Same(bytes) => bytes,
        })
    }
}

/// Draws what one thread offers.
#[derive(Debug)]
pub(crate) struct Draw<'a> {
    pool: &'a Pool,
    random: Random,
    /// A thread's own numbers are those that leave this rest; all threads' rests differ.
    own: Own,
    stream: String,
    tag: String,
}

/// A thread's share of the names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) thread: u64,
    pub(crate) threads: u64,
}

/// A name's number, whose text is in the draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drawn {
    pub(crate) stream: u64,
    pub(crate) tag: u64,
    /// The id of the first event; those of the others follow it.
    pub(crate) first_id: u128,
    pub(crate) offset: usize,
}

impl<'a> Draw<'a> {
    pub(crate) fn new(pool: &'a Pool, seed: u64, own: Own) -> Self {
        let mut mixed = Random::of_seed(seed ^ own.thread.wrapping_mul(0xd129_0d3d_9e21_6a35));
        let random = Random::of_seed(mixed.next());
        Self { pool, random, own, stream: String::new(), tag: String::new() }
    }

    /// The next append's streams are of the first `streams`, its tags of the first `tags`.
    pub(crate) fn next(&mut self, streams: u64, tags: u64) -> Drawn {
        let stream = self.random.below(streams);
        self.finish(stream, tags)
    }

    /// The same, with a stream that no other thread draws.
    pub(crate) fn next_own(&mut self, streams: u64, tags: u64) -> Drawn {
        let Own { thread, threads } = self.own;
        let stream = self.random.below((streams / threads).max(1)) * threads + thread;
        let tag = self.random.below((tags / threads).max(1)) * threads + thread;
        self.named(stream, tag)
    }

    fn finish(&mut self, stream: u64, tags: u64) -> Drawn {
        let tag = self.random.below(tags);
        self.named(stream, tag)
    }

    /// The same, with a stream of another category, of which there are few.
    pub(crate) fn next_few(&mut self, stream: u64, tags: u64) -> Drawn {
        let drawn = self.finish(stream, tags);
        set(&mut self.stream, FEW, '-', stream);
        drawn
    }

    fn named(&mut self, stream: u64, tag: u64) -> Drawn {
        set(&mut self.stream, "bench", '-', stream);
        set(&mut self.tag, "bench", ':', tag);
        Drawn { stream, tag, first_id: self.id(), offset: self.pool.offset(&mut self.random) }
    }

    /// A UUID of version 7 (RFC 9562) whose last 24 bits are left for an append's later events.
    fn id(&mut self) -> u128 {
        let random = (u128::from(self.random.next()) << 16) & !0xff_ffff;
        let high = u128::from(unix_millis() & 0xffff_ffff_ffff) << 80;
        let version = 0x7 << 76 | u128::from(self.random.next() & 0xfff) << 64;
        high | version | 0b10 << 62 | (random & ((1 << 62) - 1))
    }

    pub(crate) fn stream(&self) -> &str {
        &self.stream
    }

    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }
}

/// The category of streams that are read again.
pub(crate) const FEW: &str = "few";

/// The name of a stream of that category.
pub(crate) fn few_name(number: u64) -> String {
    let mut name = String::new();
    set(&mut name, FEW, '-', number);
    name
}

fn set(text: &mut String, first: &str, between: char, number: u64) {
    text.clear();
    write!(text, "{first}{between}{number}").expect("a text takes everything");
}

/// The ids of an append's events.
pub(crate) fn ids(first: u128, count: usize) -> impl Iterator<Item = u128> {
    let Range { start, end } = first..first + count as u128;
    start..end
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const OWN: Own = Own { thread: 2, threads: 8 };

    #[test]
    fn the_same_seed_draws_the_same_and_another_thread_does_not() {
        let pool = Pool::new(1, 256);
        let draw = |seed, thread| {
            let mut draw = Draw::new(&pool, seed, Own { thread, threads: 8 });
            let Drawn { stream, tag, offset, .. } = draw.next(1_000_000, 1_000_000);
            (stream, tag, offset)
        };
        assert_eq!(draw(7, 0), draw(7, 0));
        assert_ne!(draw(7, 0), draw(7, 1));
        assert_ne!(draw(7, 0), draw(8, 0));
    }

    #[test]
    fn own_names_are_drawn_by_no_other_thread() {
        let pool = Pool::new(1, 256);
        let mut draw = Draw::new(&pool, 1, OWN);
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
        let mut draw = Draw::new(&pool, 1, OWN);
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
        let mut draw = Draw::new(&pool, 1, OWN);
        let drawn = draw.next(10, 10);
        let payloads = Payloads::of(&pool, drawn.offset, 100);
        assert!(payloads.iter().all(|payload| payload.len() == 300));
        assert_eq!(payloads.iter().collect::<HashSet<_>>().len(), 100);
        let end = Payloads::of(&pool, POOL_BYTES + 100, 3);
        assert!(end.iter().all(|payload| payload.len() == 300), "the pool has no end");
    }
}
