//! What a run says of the lives of streams: their last metadata, and whether they were tombstoned.
//!
//! Always holds: small metadata are in the table itself, larger ones in blocks of their own that
//! follow each other. Not here: what metadata mean.

use bytes::Bytes;

use super::{
    RunError,
    bit_packing::{put_varint, varint},
    block::{BODY_BYTES, BlockKind, BlockSource},
};
use crate::format::{Fields, Malformed};

/// Metadata up to this size are in the table.
pub(super) const HERE_BYTES_MAX: usize = 1_024;

const TOMBSTONED: u8 = 1;
const HERE: u8 = 2;
const LARGE: u8 = 4;

/// What the events of a run changed in the life of the stream that they describe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamMetaDelta {
    /// The JSON of the last metadata.
    pub(crate) metadata: Option<Bytes>,
    pub(crate) tombstoned: bool,
}

impl StreamMetaDelta {
    /// What both say, `later` last.
    pub(super) fn then(self, later: Self) -> Self {
        Self {
            metadata: later.metadata.or(self.metadata),
            tombstoned: self.tombstoned || later.tombstoned,
        }
    }
}

/// Metadata as the table has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StoredMetadata {
    None,
    Here(Vec<u8>),
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
            StoredMetadata::Here(json) => {
                flag(HERE);
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
            HERE => StoredMetadata::Here(fields.0.to_vec()),
            LARGE => StoredMetadata::Large { bytes: varint(&mut fields)?, first: fields.u32()? },
            _ => return Err(Malformed::Field("lifecycle")),
        };
        Ok(Self { tombstoned: flags & TOMBSTONED != 0, metadata })
    }

    /// The whole of it, large metadata read as well.
    pub(super) fn lifecycle(
        self,
        blocks: &mut impl BlockSource,
    ) -> Result<StreamMetaDelta, RunError> {
        let metadata = match self.metadata {
            StoredMetadata::None => None,
            StoredMetadata::Here(json) => Some(Bytes::from(json)),
            StoredMetadata::Large { bytes, first } => {
                let mut json = Vec::new();
                for (number, length) in pieces(bytes, first) {
                    blocks.with(number, BlockKind::Large, |body| {
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

/// The blocks of large metadata, and how many bytes of each.
pub(super) fn pieces(bytes: u64, first: u32) -> impl Iterator<Item = (u32, usize)> {
    let blocks = bytes.div_ceil(BODY_BYTES as u64);
    (0..blocks).map(move |at| {
        let left = bytes - at * BODY_BYTES as u64;
        let number = u32::try_from(u64::from(first) + at).unwrap_or(u32::MAX);
        (number, left.min(BODY_BYTES as u64) as usize)
    })
}
