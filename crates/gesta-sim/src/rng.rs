//! Seeded random numbers.
//!
//! Owns: [`SimRng`], the only source of randomness of a simulation. Invariant: equal seeds give
//! equal numbers on every machine. Not here: randomness for secrets.

use std::ops::Range;

use gesta_log::Rng;

/// A random number generator with a fixed seed (SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct SimRng {
    state: u64,
}

impl SimRng {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// Creates a generator.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Self {
        Self { state: mixed(seed) }
    }

    /// Derives an independent generator, so that draws from one do not shift those of the other.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.next_u64())
    }

    /// Draws a number.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(Self::STEP);
        mixed(self.state)
    }

    /// Draws a number from a range; returns the start of an empty range.
    pub fn in_range(&mut self, range: Range<u64>) -> u64 {
        let width = range.end.saturating_sub(range.start).max(1);
        range.start + self.next_u64() % width
    }

    /// Draws an index below `end`; returns 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.in_range(0..end as u64)).expect("a number below a usize")
    }

    /// Returns `true` with a probability of `times` in 100.
    pub fn percent(&mut self, times: u64) -> bool {
        self.in_range(0..100) < times
    }

    /// Returns `true` with a probability of `times` in 1,000.
    pub fn per_mille(&mut self, times: u64) -> bool {
        self.in_range(0..1_000) < times
    }

    /// Draws one of `choices`.
    ///
    /// # Panics
    /// If `choices` is empty.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        let place = self.below(choices.len());
        choices.get(place).expect("there is something to choose from").clone()
    }
}

impl Rng for SimRng {
    fn bytes(&mut self) -> [u8; 16] {
        let (high, low) = (u128::from(self.next_u64()), u128::from(self.next_u64()));
        (high << 64 | low).to_le_bytes()
    }

    fn fork(&mut self) -> Box<dyn Rng> {
        Box::new(Self::fork(self))
    }
}

const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
