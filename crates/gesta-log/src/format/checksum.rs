//! CRC-32C (RFC 3720, appendix B.4), bound to a location.
//!
//! A checksum covers the segment's salt and number and the offset of the checked bytes, so bytes
//! that are valid elsewhere are not valid here.
//!
//! Payload bytes use the processor's CRC instruction. The eight bytes of an offset use lookup
//! tables (one per byte, all eight at once): for so short an input they are faster than a call.

/// The state that all checksums of one segment begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(salt: [u8; 16], segment: u64) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(&salt), &segment.to_le_bytes()))
    }

    /// Returns the checksum of bytes at an offset of the segment.
    pub(crate) fn of(self, offset: u64, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.at(offset), bytes)
    }

    /// Extends the state by the eight bytes of an offset.
    fn at(self, offset: u64) -> u32 {
        // CRC is linear: the effects of the bytes combine by XOR. The inversions undo those of
        // `crc32c`.
        let bytes = (u64::from(!self.0) ^ offset).to_le_bytes();
        let changes = EFFECTS.iter().zip(bytes);
        !changes.fold(0, |sum, (effect, byte)| sum ^ effect.get(usize::from(byte)).unwrap_or(&0))
    }
}

/// The effect on a checksum of a byte that is followed by 7, 6, .. 0 bytes.
static EFFECTS: [[u32; 256]; 8] = effects();

#[expect(clippy::indexing_slicing, reason = "evaluated when compiled")]
const fn effects() -> [[u32; 256]; 8] {
    /// The generator polynomial, lowest bit first.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut effects = [[0; 256]; 8];
    let mut byte = 0;
    // One zero byte more shifts the effect by eight bits.
    while byte < 256 {
        let mut effect = byte as u32;
        let mut bits = 0;
        while bits < 64 {
            effect = effect >> 1 ^ if effect & 1 == 1 { POLYNOMIAL } else { 0 };
            bits += 1;
            if bits % 8 == 0 {
                effects[8 - bits / 8][byte] = effect;
            }
        }
        byte += 1;
    }
    effects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_eight_bytes_like_others() {
        for offset in (0..64).map(|bit| 1 << bit).chain([0, u64::MAX, 0x0123_4567_89ab_cdef]) {
            let seed = Seed::new([3; 16], offset);
            let bytes = crc32c::crc32c_append(seed.0, &offset.to_le_bytes());
            assert_eq!(seed.of(offset, b"and more"), crc32c::crc32c_append(bytes, b"and more"));
        }
    }

    #[test]
    fn the_same_bytes_elsewhere_have_another_checksum() {
        let here = Seed::new([1; 16], 1);
        assert_eq!(here.of(4_096, b"bytes"), here.of(4_096, b"bytes"));
        assert_ne!(here.of(4_096, b"bytes"), here.of(4_104, b"bytes"));
        assert_ne!(here.of(4_096, b"bytes"), Seed::new([1; 16], 2).of(4_096, b"bytes"));
        assert_ne!(here.of(4_096, b"bytes"), Seed::new([2; 16], 1).of(4_096, b"bytes"));
    }
}
