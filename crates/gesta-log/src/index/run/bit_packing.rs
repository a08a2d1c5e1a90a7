//! Bit-packed columns: numbers of the same width in bits, without padding. Decoding accepts
//! arbitrary bytes and never panics.

use crate::format::{Fields, Malformed};
pub(super) use crate::format::{put_varint, varint};

/// Maximum width, so that a number and its bit shift fit in 16 bytes.
pub(super) const WIDTH_MAX: u32 = 112;
/// Maximum width with which a number and its bit shift fit in 8 bytes.
const NARROW_MAX: u32 = 56;

/// Number of significant bits.
pub(super) const fn width(value: u128) -> u32 {
    u128::BITS - value.leading_zeros()
}

/// Size of a column.
pub(super) const fn column_bytes(width: u32, count: usize) -> usize {
    (width as usize * count).div_ceil(8)
}

/// Appends a column: each number in `width` bits, the lowest bit first.
pub(super) fn put_column(out: &mut Vec<u8>, width: u32, numbers: impl Iterator<Item = u128>) {
    debug_assert!(width <= WIDTH_MAX, "a number and its shift fit in 16 bytes");
    let (mut pending, mut bits) = (0_u128, 0);
    // Collects bits until whole bytes can be appended.
    for number in numbers {
        pending |= number << bits;
        bits += width;
        let bytes = pending.to_le_bytes();
        out.extend_from_slice(bytes.get(..bits as usize / 8).expect("at most 16 bytes"));
        pending >>= bits / 8 * 8;
        bits %= 8;
    }
    if bits > 0 {
        out.push(pending as u8);
    }
}

/// A column with random access.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitColumn<'a> {
    /// From the beginning of the column to the end of the block. Longer than the column, so that
    /// most reads are whole words.
    bytes: &'a [u8],
    width: u32,
    count: usize,
}

impl<'a> BitColumn<'a> {
    /// Takes a column from the front of `fields`.
    pub(super) fn take(
        fields: &mut Fields<'a>,
        width: u32,
        count: usize,
    ) -> Result<Self, Malformed> {
        if width > WIDTH_MAX {
            return Err(Malformed::Field("width"));
        }
        let bytes = fields.0;
        fields.take(column_bytes(width, count))?;
        Ok(Self { bytes, width, count })
    }

    /// Returns a number, truncated to 64 bits.
    pub(super) fn get(&self, index: usize) -> Result<u64, Malformed> {
        if self.width > NARROW_MAX {
            return self.get_wide(index).map(|number| number as u64);
        }
        let (rest, shift) = self.from(index)?;
        // One unaligned load. Only at the end of the block are fewer bytes left.
        let word = match rest.first_chunk() {
            Some(word) => u64::from_le_bytes(*word),
            None => u64::from_le_bytes(padded(rest)),
        };
        Ok(word >> shift & ((1 << self.width) - 1))
    }

    /// Returns a number of any width.
    pub(super) fn get_wide(&self, index: usize) -> Result<u128, Malformed> {
        let (rest, shift) = self.from(index)?;
        let word = match rest.first_chunk() {
            Some(word) => u128::from_le_bytes(*word),
            None => u128::from_le_bytes(padded(rest)),
        };
        Ok(word >> shift & ((1 << self.width) - 1))
    }

    fn from(&self, index: usize) -> Result<(&'a [u8], usize), Malformed> {
        if index >= self.count {
            return Err(Malformed::Short);
        }
        let bit = index * self.width as usize;
        Ok((self.bytes.get(bit / 8..).ok_or(Malformed::Short)?, bit % 8))
    }

    /// Returns how many of the ascending numbers are at most `limit`.
    pub(super) fn count_not_above(&self, limit: u128) -> Result<usize, Malformed> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.get_wide(middle)? <= limit {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut word = [0; N];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_reads_as_it_was_written_and_no_longer_one_does() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::MAX / 2, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut fields = Fields(&bytes);
            assert_eq!(varint(&mut fields), Ok(value));
            assert!(fields.0.is_empty());
            assert!(varint(&mut Fields(&bytes[..bytes.len() - 1])).is_err(), "cut");
        }
        assert!(varint(&mut Fields(&[0xff; 11])).is_err());
        assert!(
            varint(&mut Fields(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]))
                .is_err()
        );
    }

    #[test]
    fn a_column_of_any_width_reads_as_it_was_written() {
        for bits in 0..=WIDTH_MAX {
            let numbers: Vec<u128> =
                (0..37).map(|at| (u128::MAX / 3).wrapping_mul(at) & ((1 << bits) - 1)).collect();
            let mut bytes = Vec::new();
            put_column(&mut bytes, bits, numbers.iter().copied());
            assert_eq!(bytes.len(), column_bytes(bits, numbers.len()));
            for trailing in [0, 20] {
                bytes.resize(column_bytes(bits, numbers.len()) + trailing, 0xaa);
                let mut fields = Fields(&bytes);
                let column = BitColumn::take(&mut fields, bits, numbers.len()).unwrap();
                assert_eq!(fields.0.len(), trailing);
                for (at, number) in numbers.iter().enumerate() {
                    assert_eq!(column.get_wide(at), Ok(*number), "{bits} bits, {at}");
                    assert_eq!(column.get(at), Ok(*number as u64), "{bits} bits, {at}");
                }
                assert!(column.get(numbers.len()).is_err());
            }
        }
        assert!(BitColumn::take(&mut Fields(&[0; 4]), 5, 7).is_err(), "35 bits are 5 bytes");
        assert!(BitColumn::take(&mut Fields(&[0; 64]), WIDTH_MAX + 1, 1).is_err());
    }
}
