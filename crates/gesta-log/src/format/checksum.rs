//! CRC-32C (RFC 3720, appendix B.4), bound to a place.
//!
//! Always holds: a checksum covers the segment's salt and number and the offset of what it is for,
//! so bytes that are valid elsewhere are not valid here.

/// What all checksums of one segment begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(salt: [u8; 16], segment: u64) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(&salt), &segment.to_le_bytes()))
    }

    /// The checksum of bytes at this offset of the segment.
    pub(crate) fn of(self, offset: u64, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(self.0, &offset.to_le_bytes()), bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_elsewhere_have_another_checksum() {
        let here = Seed::new([1; 16], 1);
        assert_eq!(here.of(4_096, b"bytes"), here.of(4_096, b"bytes"));
        assert_ne!(here.of(4_096, b"bytes"), here.of(4_104, b"bytes"));
        assert_ne!(here.of(4_096, b"bytes"), Seed::new([1; 16], 2).of(4_096, b"bytes"));
        assert_ne!(here.of(4_096, b"bytes"), Seed::new([2; 16], 1).of(4_096, b"bytes"));
    }
}
