//! The on-disk format, version 2: headers, frames, records and their checksums.
//!
//! Encodes and decodes as specified in `docs/format.md`. A decoder accepts arbitrary bytes,
//! never panics, checks every length before it uses it, and allocates no more than the size of its
//! input. The rules by which bytes are adopted are in [`scan`](crate::segment::scan) and
//! [`recovery`](crate::recovery).

mod borrowed;
mod checksum;
mod frame;
mod gap;
mod gap_terms;
mod group;
mod header;
#[cfg(any(test, fuzzing))]
pub(crate) mod hostile;
mod record;
mod varint;

pub(crate) use borrowed::borrow_record;
pub use borrowed::{BorrowedEvent, Tags};
pub(crate) use checksum::Seed;
pub(crate) use frame::{
    Chain, ChainLink, FRAME_HEADER_BYTES, Frame, FrameHeader, FrameKind, Opening, align,
    gap_positions, mark_offset,
};
pub(crate) use gap::{Gap, GapAppend, IdsDigest};
pub(crate) use gap_terms::GapEvent;
pub(crate) use group::{
    EventsFrameBuilder, GroupLocation, PendingFrame, copy_events, encode_bare, encode_gap,
    encode_opening, write_frame_headers,
};
pub(crate) use header::{HEADER_BYTES, Rewritten, SegmentHeader};
pub(crate) use record::{
    RECORD_HEADER_BYTES, Record, append_continues, copy_record, decode_record, record_length,
};
pub(crate) use varint::{put_varint, varint};

use std::fmt;

/// The reason why bytes are not a valid header, frame or record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The bytes end too early.
    Short,
    Magic,
    Checksum(&'static str),
    /// A field has an impossible value.
    Field(&'static str),
    /// Another version of the format, or one with unknown incompatible features.
    OtherVersion,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("ends too early"),
            Self::Magic => f.write_str("magic number missing"),
            Self::Checksum(of) => write!(f, "{of} checksum does not match"),
            Self::Field(name) => write!(f, "invalid {name}"),
            Self::OtherVersion => f.write_str("written by another version"),
        }
    }
}

/// A reader of fixed-size fields from the front of a slice.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        // All lengths in the format pass through this check.
        let (front, rest) = self.0.split_at_checked(bytes).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(front)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (front, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*front)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }
}
