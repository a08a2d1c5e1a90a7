//! The compaction policy: tiered, with a fan-in of eight.
//!
//! While its merges are performed, about 7 · log₈ *n* of *n* similarly sized runs remain, and each
//! byte is rewritten about log₈ *n* times.

use std::ops::Range;

/// Number of runs that are merged at once.
const FAN_IN: usize = 8;

/// Returns the next runs to merge, given the sizes of all runs in bytes, the oldest first. `None`
/// while there are few enough.
pub(crate) fn plan_merge(bytes: &[u64]) -> Option<Range<usize>> {
    // Levels are powers of eight. A run counts at least as high as the runs after it, so that the
    // runs of a level are neighbours. Newer runs come first, since they are the cheapest to merge.
    let mut end = bytes.len();
    let mut highest = 0;
    for (at, size) in bytes.iter().enumerate().rev() {
        let level = size.max(&1).ilog2() / FAN_IN.ilog2();
        // A larger run ends the group of smaller, newer ones.
        if level > highest {
            highest = level;
            end = at + 1;
        }
        if end - at >= FAN_IN && is_first_of_level(bytes, at, highest) {
            return Some(at..at + FAN_IN);
        }
    }
    None
}

/// Returns whether the previous run is on a higher level.
fn is_first_of_level(bytes: &[u64], at: usize, level: u32) -> bool {
    let before = at.checked_sub(1).and_then(|before| bytes.get(before));
    before.is_none_or(|size| size.max(&1).ilog2() / FAN_IN.ilog2() > level)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds runs of these sizes and merges as planned. Returns the maximum number of runs and the
    /// number of bytes rewritten.
    fn follow(sizes: impl Iterator<Item = u64>) -> (usize, u64) {
        let (mut runs, mut most, mut rewritten) = (Vec::new(), 0, 0);
        for size in sizes {
            runs.push(size);
            while let Some(range) = plan_merge(&runs) {
                assert_eq!(range.len(), FAN_IN);
                let merged = runs[range.clone()].iter().sum();
                rewritten += merged;
                runs.splice(range, [merged]);
            }
            most = most.max(runs.len());
        }
        (most, rewritten)
    }

    #[test]
    fn runs_stay_few_and_bytes_are_rewritten_seldom() {
        for size in [40 << 10, 5 << 20, 6_000_000] {
            let (most, rewritten) = follow(std::iter::repeat_n(size, 4_096));
            assert!(most <= 7 * 4 + 1, "{most}");
            assert!(rewritten <= 4 * 4_096 * size, "{}", rewritten / (4_096 * size));
        }
    }

    #[test]
    fn runs_of_all_sizes_stay_few() {
        let mut state = 7_u64;
        let sizes: Vec<u64> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            1 << 12 << (state >> 60)
        })
        .take(5_000)
        .collect();
        let (most, rewritten) = follow(sizes.iter().copied());
        assert!(most <= 7 * 9, "{most}");
        assert!(rewritten <= 12 * sizes.iter().sum::<u64>());
    }

    #[test]
    fn few_runs_are_left_alone() {
        assert_eq!(plan_merge(&[]), None);
        assert_eq!(plan_merge(&[1 << 20; 7]), None);
        assert_eq!(plan_merge(&[1 << 20; 8]), Some(0..8));
        assert_eq!(plan_merge(&[[1 << 30; 1].as_slice(), &[1 << 20; 9]].concat()), Some(1..9));
    }
}
