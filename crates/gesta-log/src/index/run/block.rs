//! Blocks: the 4 KiB units of a run, each with a kind and a checksum.
//!
//! A [`Block`] has been verified. Its checksum is bound to the run's salt and the block's number,
//! so a block of another run or from another offset does not verify. The contents of a block are
//! defined by kind, in other modules.

use bytes::Bytes;

use super::RunError;
use crate::{
    format::{Malformed, Seed},
    mutations::mutated,
};

pub(super) const BLOCK_BYTES: usize = 4_096;
const CHECKSUM_AT: usize = BLOCK_BYTES - 4;
/// Size of a block's contents: all but the kind and the checksum.
pub(super) const BODY_BYTES: usize = CHECKSUM_AT - 1;

/// The kind of a block's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    Offsets,
    Terms,
    Postings,
    Filter,
    Names,
    Categories,
    StreamMeta,
    /// A piece of a value that is too large for its table.
    Large,
    Directory,
    Footer,
}

impl BlockKind {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Offsets => 1,
            Self::Terms => 2,
            Self::Postings => 3,
            Self::Filter => 4,
            Self::Names => 5,
            Self::Categories => 6,
            Self::StreamMeta => 7,
            Self::Large => 8,
            Self::Directory => 9,
            Self::Footer => 10,
        }
    }
}

/// A verified block.
#[derive(Clone, Debug)]
pub(super) struct Block(Bytes);

impl Block {
    pub(super) fn verify(bytes: Bytes, number: u32, seed: Seed) -> Result<Self, Malformed> {
        let (content, rest) = bytes.split_at_checked(CHECKSUM_AT).ok_or(Malformed::Short)?;
        let checksum = rest.try_into().map_err(|_| Malformed::Short)?;
        // Bound to the run and the block's number: a block that a misdirected write leaves
        // elsewhere does not verify.
        let sound = u32::from_le_bytes(checksum) == seed.of(offset(number), content);
        if !sound && !mutated!(BlockChecksumIgnored) {
            return Err(Malformed::Checksum("block"));
        }
        Ok(Self(bytes))
    }

    pub(super) fn is(&self, kind: BlockKind) -> bool {
        self.0.first() == Some(&kind.code())
    }

    /// Returns the contents if the block is of this kind.
    pub(super) fn body(&self, kind: BlockKind) -> Result<&[u8], Malformed> {
        match self.0.split_first() {
            Some((code, rest)) if *code == kind.code() => {
                rest.get(..BODY_BYTES).ok_or(Malformed::Short)
            }
            Some(_) | None => Err(Malformed::Field("kind of block")),
        }
    }
}

/// Returns the offset of a block in its file.
pub(super) const fn offset(number: u32) -> u64 {
    number as u64 * BLOCK_BYTES as u64
}

/// Appends a block with the contents `body`.
pub(super) fn put(out: &mut Vec<u8>, kind: BlockKind, body: &[u8], number: u32, seed: Seed) {
    assert!(body.len() <= BODY_BYTES, "the caller splits contents to fit a block");
    let start = out.len();
    out.push(kind.code());
    out.extend_from_slice(body);
    out.resize(start + CHECKSUM_AT, 0);
    let checksum = seed.of(offset(number), out.get(start..).expect("it was just added"));
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// A source of verified blocks.
pub(super) trait BlockSource {
    /// Reads a block of any kind.
    fn block(&mut self, number: u32) -> Result<Block, RunError>;

    /// The error for a verified block whose contents are invalid.
    fn malformed(&self, number: u32, what: Malformed) -> RunError;

    /// Reads a block of `kind` and decodes its contents with `read`.
    fn decode<T>(
        &mut self,
        number: u32,
        kind: BlockKind,
        read: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T, RunError> {
        let block = self.block(number)?;
        block.body(kind).and_then(read).map_err(|what| self.malformed(number, what))
    }
}
