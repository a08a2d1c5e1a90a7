//! Chance, as a seed decides it.
//!
//! Owns: [`Chance`], the only source of randomness of a simulation. Always holds: equal seeds give
//! equal numbers on every machine. Not here: randomness that anybody's secrets could rest on.

use std::ops::Range;

use gesta_log::Rng;

/// A stream of random numbers that a seed fixes (SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// The numbers of this seed.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self { state: mixed(seed) }
    }

    /// Numbers of their own for somebody else, so that what one takes does not shift the other's.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::seeded(self.number())
    }

    /// Any number.
    pub const fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(Self::STEP);
        mixed(self.state)
    }

    /// A number of a range; the start of an empty one.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        let width = range.end.saturating_sub(range.start).max(1);
        range.start + self.number() % width
    }

    /// A number below `end`, for picking places; 0 where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.within(0..end as u64)).expect("a number below a usize")
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, times: u64) -> bool {
        self.within(0..100) < times
    }

    /// True so many times in a thousand.
    pub fn per_mille(&mut self, times: u64) -> bool {
        self.within(0..1_000) < times
    }

    /// One of these; there must be one.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        let place = self.below(choices.len());
        choices.get(place).expect("there is something to choose from").clone()
    }
}

impl Rng for Chance {
    fn bytes(&mut self) -> [u8; 16] {
        let (high, low) = (u128::from(self.number()), u128::from(self.number()));
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
