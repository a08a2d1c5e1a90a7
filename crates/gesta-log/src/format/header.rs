//! The segment header: the first 4 KiB of a segment, written before the file gets its final name.

use super::{Fields, Malformed};

/// Size of a segment's header. The first frame begins here.
pub(crate) const HEADER_BYTES: u64 = 4_096;

const MAGIC: [u8; 8] = *b"GESTALOG";
const VERSION_MAJOR: u16 = 2;
const VERSION_MINOR: u16 = 0;
/// Incompatible feature flag: the segment was rewritten and has gap frames.
const FEATURE_REWRITTEN: u64 = 1;
/// The flag before, and another one: gap frames may list event types and correlation ids. Earlier
/// versions set the first one alone.
const FEATURES_REWRITTEN: u64 = FEATURE_REWRITTEN | 2;
const CHECKSUM_AT: usize = HEADER_BYTES as usize - 4;

/// The identity of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store: [u8; 16],
    pub(crate) incarnation: [u8; 16],
    pub(crate) number: u64,
    pub(crate) salt: [u8; 16],
    /// Size at which the file was allocated. A shorter file was truncated.
    pub(crate) bytes: u64,
    /// `Some` if the segment was rewritten.
    pub(crate) rewritten: Option<Rewritten>,
}

/// The identity of the segment that a rewritten one replaces. All bytes of a rewritten segment
/// belong to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// The salt by which the successor names the segment: that of the original file.
    pub(crate) named_salt: [u8; 16],
    /// The adopted length by which the successor names the segment: that of the original file.
    pub(crate) named_length: u64,
    /// Number of scavenged events.
    pub(crate) scavenged: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES as usize);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION_MAJOR.to_le_bytes());
        bytes.extend_from_slice(&VERSION_MINOR.to_le_bytes());
        bytes.extend_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
        let features = if self.rewritten.is_some() { FEATURES_REWRITTEN } else { 0 };
        bytes.extend_from_slice(&features.to_le_bytes()); // incompatible features
        bytes.extend_from_slice(&0_u64.to_le_bytes()); // compatible features
        bytes.extend_from_slice(&self.store);
        bytes.extend_from_slice(&self.incarnation);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&self.bytes.to_le_bytes());
        if let Some(Rewritten { named_salt, named_length, scavenged }) = &self.rewritten {
            bytes.extend_from_slice(named_salt);
            bytes.extend_from_slice(&named_length.to_le_bytes());
            bytes.extend_from_slice(&scavenged.to_le_bytes());
        }
        bytes.resize(CHECKSUM_AT, 0);
        // Without a seed: the salt that seeds the segment's other checksums is in here.
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (content, rest) = bytes.split_at_checked(CHECKSUM_AT).ok_or(Malformed::Short)?;
        let mut fields = Fields(content);
        if fields.array()? != MAGIC {
            return Err(Malformed::Magic);
        }
        // Before the version: a damaged version field is damage, not another version.
        if Fields(rest).u32()? != crc32c::crc32c(content) {
            return Err(Malformed::Checksum("segment header"));
        }
        let (major, _minor, length) = (fields.u16()?, fields.u16()?, fields.u32()?);
        let (incompatible, _compatible) = (fields.u64()?, fields.u64()?);
        // Unknown compatible features can be ignored, incompatible ones cannot.
        let known = matches!(incompatible, 0 | FEATURE_REWRITTEN | FEATURES_REWRITTEN);
        if major != VERSION_MAJOR || u64::from(length) != HEADER_BYTES || !known {
            return Err(Malformed::OtherVersion);
        }
        let mut header = Self {
            store: fields.array()?,
            incarnation: fields.array()?,
            number: fields.u64()?,
            salt: fields.array()?,
            bytes: fields.u64()?,
            rewritten: None,
        };
        // Zeros without the flag.
        if incompatible & FEATURE_REWRITTEN != 0 {
            header.rewritten = Some(Rewritten {
                named_salt: fields.array()?,
                named_length: fields.u64()?,
                scavenged: fields.u64()?,
            });
        }
        Ok(header)
    }

    /// The salt by which the successor names the segment.
    pub(crate) fn named_salt(&self) -> [u8; 16] {
        self.rewritten.map_or(self.salt, |rewritten| rewritten.named_salt)
    }

    /// Returns the number of bytes that belong to the log, given the length that the successor
    /// names. `None` if no successor names one.
    pub(crate) fn adopted_length(&self, named: Option<u64>) -> Option<u64> {
        if self.rewritten.is_some() { Some(self.bytes) } else { named }
    }

    /// Returns the length by which the successor names the segment, given its own adopted length.
    pub(crate) fn named_length(&self, adopted_length: u64) -> u64 {
        self.rewritten.map_or(adopted_length, |rewritten| rewritten.named_length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            store: [1; 16],
            incarnation: [2; 16],
            number: 3,
            salt: [4; 16],
            bytes: 5,
            rewritten: None,
        }
    }

    fn rewritten() -> SegmentHeader {
        let rewritten = Rewritten { named_salt: [6; 16], named_length: 7, scavenged: 8 };
        SegmentHeader { rewritten: Some(rewritten), ..header() }
    }

    #[test]
    fn a_header_reads_as_it_was_written() {
        for header in [header(), rewritten()] {
            assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn any_flipped_bit_of_a_header_is_found() {
        let good = header().encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_unknown_incompatible_feature_is_refused() {
        let mut bytes = header().encode();
        bytes[16] = 2;
        let checksum = crc32c::crc32c(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(Malformed::OtherVersion));
    }
}
