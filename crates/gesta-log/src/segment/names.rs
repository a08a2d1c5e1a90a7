//! File names of segments, finished and unfinished.

use std::io;

use crate::disk::Disk;

const SEGMENT_SUFFIX: &str = ".seg";
/// Digits of the number in a segment's name, padded with zeros.
const DIGITS_MIN: usize = 16;
const DIGITS_MAX: usize = 20;
const SEGMENT_NAME_MAX: usize = DIGITS_MAX + SEGMENT_SUFFIX.len();
const UNFINISHED_SUFFIX: &str = ".new";

/// Returns the file name of a segment.
pub(crate) fn segment_file(number: u64) -> String {
    SegmentName::of(number).as_str().to_owned()
}

/// The file name of a segment, without an allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentName {
    /// Right-aligned.
    text: [u8; SEGMENT_NAME_MAX],
    length: usize,
}

impl SegmentName {
    /// Formats the number by hand: each single-record read needs a name, and `format!` is
    /// measurable.
    pub(crate) fn of(number: u64) -> Self {
        let mut text = [b'0'; SEGMENT_NAME_MAX];
        let (digits, suffix) = text.split_at_mut(DIGITS_MAX);
        suffix.copy_from_slice(SEGMENT_SUFFIX.as_bytes());
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        Self { text, length: SEGMENT_NAME_MAX - zeros.min(DIGITS_MAX - DIGITS_MIN) }
    }

    pub(crate) fn as_str(&self) -> &str {
        let name = self.text.get(SEGMENT_NAME_MAX - self.length..).unwrap_or_default();
        str::from_utf8(name).expect("digits and the suffix are text")
    }
}

fn segment_number(file: &str) -> Option<u64> {
    let digits = file.strip_suffix(SEGMENT_SUFFIX)?;
    // Only the name that the number gets counts: `1.seg` and `+1.seg` are not second names of
    // segment 1.
    digits.parse().ok().filter(|number| SegmentName::of(*number).as_str() == file)
}

/// Lists the numbers of all files that are named like segments, in order.
pub(crate) fn segment_numbers(disk: &dyn Disk) -> io::Result<Vec<u64>> {
    let names = disk.list()?;
    let mut numbers: Vec<_> = names.iter().filter_map(|file| segment_number(file)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Returns the temporary name of a segment that is being rewritten or imported.
pub(crate) fn unfinished_rewrite(number: u64) -> String {
    segment_file(number) + UNFINISHED_SUFFIX
}

/// Returns whether a file is a segment whose rewriting was interrupted.
pub(crate) fn is_unfinished_rewrite(file: &str) -> bool {
    let digits = file
        .strip_suffix(UNFINISHED_SUFFIX)
        .and_then(|segment| segment.strip_suffix(SEGMENT_SUFFIX));
    let number = digits.and_then(|digits| digits.parse().ok());
    number.is_some_and(|number| unfinished_rewrite(number) == file)
}

/// Returns the temporary name of a segment that is being preallocated. The salt keeps it apart
/// from that of another process with a segment of the same number.
pub(crate) fn unfinished_preallocation(number: u64, salt: [u8; 16]) -> String {
    let [a, b, c, d, ..] = salt;
    format!("{number:016}-{:08x}{UNFINISHED_SUFFIX}", u32::from_be_bytes([a, b, c, d]))
}

/// Returns whether a file is a segment whose preallocation was interrupted.
pub(crate) fn is_unfinished_preallocation(file: &str) -> bool {
    let Some(name) = file.strip_suffix(UNFINISHED_SUFFIX) else { return false };
    // Earlier versions named them by the number alone.
    let (number, salt) = name.split_once('-').unwrap_or((name, "00000000"));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_salt = salt.len() == 8 && salt.bytes().all(|byte| byte.is_ascii_hexdigit());
    number.len() >= DIGITS_MIN && are_digits(number) && is_salt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segments_name_is_its_number_in_sixteen_digits_or_as_many_as_it_takes() {
        for number in [0, 1, 9, 10, 42, 999, 1_000, 10_u64.pow(16) - 1, 10_u64.pow(16), u64::MAX] {
            assert_eq!(segment_file(number), format!("{number:016}.seg"));
            assert_eq!(segment_number(&segment_file(number)), Some(number));
        }
    }

    #[test]
    fn what_a_killed_rewriting_leaves_is_told_from_everything_else() {
        assert!(is_unfinished_rewrite("0000000000000007.seg.new"));
        for other in
            ["0000000000000007.seg", "0000000000000007.new", "7.seg.new", "INDEX.new", "seg.new"]
        {
            assert!(!is_unfinished_rewrite(other), "{other}");
        }
    }
}
