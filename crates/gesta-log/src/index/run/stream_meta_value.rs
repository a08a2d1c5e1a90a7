//! Changes of stream metadata as a run stores them: the last metadata, and the tombstone.
//!
//! Small metadata is stored in the table, larger metadata in contiguous blocks of its own. The JSON
//! is opaque here.

use bytes::Bytes;

use super::{
    RunError,
    bit_packing::{put_varint, varint},
    block::{BODY_BYTES, BlockKind, BlockSource},
};
use crate::format::{Fields, Malformed};

/// Maximum size of metadata in the table.
pub(super) const INLINE_BYTES_MAX: usize = 1_024;

const TOMBSTONED: u8 = 1;
const INLINE: u8 = 2;
const LARGE: u8 = 4;

/// The combined change that the events of a run make to a stream's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamMetaDelta {
    /// The JSON of the last metadata.
    pub(crate) metadata: Option<Bytes>,
    pub(crate) tombstoned: bool,
}

impl StreamMetaDelta {
    /// Combines two changes, `later` being the later one.
    pub(super) fn then(self, later: Self) -> Self {
        Self {
            metadata: later.metadata.or(self.metadata),
            tombstoned: self.tombstoned || later.tombstoned,
        }
    }
}

/// Metadata as the table stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StoredMetadata {
    None,
    Inline(Vec<u8>),
    Large { bytes: u64, first: u32 },
}

/// A value of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamMetaValue {
    pub(super) tombstoned: bool,
    pub(super) metadata: StoredMetadata,
}

impl StreamMetaValue {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![if self.tombstoned { TOMBSTONED } else { 0 }];
        let mut flag = |bit| out.iter_mut().for_each(|flags: &mut u8| *flags |= bit);
        match &self.metadata {
            StoredMetadata::None => {}
            StoredMetadata::Inline(json) => {
                flag(INLINE);
                out.extend_from_slice(json);
            }
            StoredMetadata::Large { bytes, first } => {
                flag(LARGE);
                put_varint(&mut out, *bytes);
                out.extend_from_slice(&first.to_le_bytes());
            }
        }
        out
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(value);
        let flags = fields.u8()?;
        let metadata = match flags & !TOMBSTONED {
            0 => StoredMetadata::None,
            INLINE => StoredMetadata::Inline(fields.0.to_vec()),
            LARGE => StoredMetadata::Large { bytes: varint(&mut fields)?, first: fields.u32()? },
            _ => return Err(Malformed::Field("stream metadata")),
        };
        Ok(Self { tombstoned: flags & TOMBSTONED != 0, metadata })
    }

    /// Returns the change, reading large metadata.
    pub(super) fn delta(self, blocks: &mut impl BlockSource) -> Result<StreamMetaDelta, RunError> {
        let metadata = match self.metadata {
            StoredMetadata::None => None,
            StoredMetadata::Inline(json) => Some(Bytes::from(json)),
            StoredMetadata::Large { bytes, first } => {
                let mut json = Vec::new();
                for (number, length) in pieces(bytes, first) {
                    blocks.decode(number, BlockKind::Large, |body| {
                        json.extend_from_slice(body.get(..length).ok_or(Malformed::Short)?);
                        Ok(())
                    })?;
                }
                Some(Bytes::from(json))
            }
        };
        Ok(StreamMetaDelta { metadata, tombstoned: self.tombstoned })
    }
}

/// The blocks of a large value, and the number of bytes in each.
pub(super) fn pieces(bytes: u64, first: u32) -> impl Iterator<Item = (u32, usize)> {
    let blocks = bytes.div_ceil(BODY_BYTES as u64);
    (0..blocks).map(move |at| {
        let left = bytes - at * BODY_BYTES as u64;
        // No file has block `u32::MAX`, so the read reports a wrong address as damage.
        let number = u32::try_from(u64::from(first) + at).unwrap_or(u32::MAX);
        (number, left.min(BODY_BYTES as u64) as usize)
    })
}
