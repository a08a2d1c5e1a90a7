//! The form of the tests: short or full, their seeds and time limits.

use std::{env, time::Duration};

use gesta_services::e2e::is_full;

/// Time after which something that has not happened fails a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the value for this form of the test.
pub(crate) fn short_or_full<T>(short: T, full: T) -> T {
    if is_full() { full } else { short }
}

/// Pseudorandom numbers: SplitMix64.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Returns the numbers of this seed, or of a new one, which a failure shows. `GESTA_SEED`
    /// repeats a run.
    #[expect(clippy::print_stdout, reason = "a failed test shows its output")]
    pub(crate) fn of_run() -> Self {
        let given = env::var("GESTA_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
        println!("GESTA_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn of_seed(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below this one.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// Returns `true` once in this number of times.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
