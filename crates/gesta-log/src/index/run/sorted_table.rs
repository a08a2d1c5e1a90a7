//! Sorted tables: stream names, categories and stream metadata, each in contiguous blocks.
//!
//! Keys ascend in byte order. The first key of a block is stored whole, the others without the
//! prefix that they share with their predecessor. The directory samples the first key of every
//! sixteenth block, so that a seek reads few blocks. Values are opaque.

use super::{
    RunError,
    bit_packing::{put_varint, varint},
    block::{BODY_BYTES, Block, BlockKind, BlockSource},
};
use crate::format::{Fields, Malformed};

/// One block in this many has its first key in the directory.
pub(super) const SAMPLE_INTERVAL: u32 = 16;

/// The location of a table, and its sampled keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SortedTable {
    pub(super) first: u32,
    pub(super) end: u32,
    /// The first key of every sixteenth block.
    pub(super) samples: Vec<Box<[u8]>>,
}

/// A table being written.
#[derive(Debug)]
pub(super) struct TableWriter {
    body: Vec<u8>,
    count: u16,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
    blocks: u32,
    samples: Vec<Box<[u8]>>,
}

const COUNT_BYTES: usize = 2;

impl TableWriter {
    pub(super) fn new() -> Self {
        Self {
            body: vec![0; COUNT_BYTES],
            count: 0,
            first_key: Vec::new(),
            last_key: Vec::new(),
            blocks: 0,
            samples: Vec::new(),
        }
    }

    /// Adds an entry. Keys ascend, and an entry fits in a block. `put` writes the body of a block.
    pub(super) fn add<E>(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        put: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        debug_assert!(self.count == 0 || *self.last_key < *key, "keys ascend");
        let start = self.body.len();
        self.append(key, value);
        // Does not fit: append it again to a new block, there with its whole key.
        if self.body.len() > BODY_BYTES {
            self.body.truncate(start);
            self.flush(put)?;
            self.append(key, value);
        }
        if self.count == 0 {
            key.clone_into(&mut self.first_key);
        }
        self.count += 1;
        key.clone_into(&mut self.last_key);
        Ok(())
    }

    fn append(&mut self, key: &[u8], value: Option<&[u8]>) {
        // The first key of a block is whole, so a block can be read on its own.
        let shared = match self.count {
            0 => 0,
            _ => key.iter().zip(&self.last_key).take_while(|(one, other)| one == other).count(),
        };
        let (_, rest) = key.split_at(shared);
        put_varint(&mut self.body, shared as u64);
        put_varint(&mut self.body, rest.len() as u64);
        self.body.extend_from_slice(rest);
        if let Some(value) = value {
            put_varint(&mut self.body, value.len() as u64);
            self.body.extend_from_slice(value);
        }
    }

    fn flush<E>(&mut self, put: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.count == 0 {
            return Ok(());
        }
        // The count precedes the entries, so it is filled in last.
        let count = self.count.to_le_bytes();
        self.body
            .get_mut(..COUNT_BYTES)
            .expect("the body begins with room for the count")
            .copy_from_slice(&count);
        put(&self.body)?;
        // Between two samples a search reads four blocks. More of them would save few reads, and
        // take memory in each open run.
        if self.blocks.is_multiple_of(SAMPLE_INTERVAL) {
            self.samples.push(self.first_key.as_slice().into());
        }
        self.blocks += 1;
        self.count = 0;
        self.body.truncate(COUNT_BYTES);
        Ok(())
    }

    /// Ends the table, whose first block is `first`.
    pub(super) fn finish<E>(
        mut self,
        first: u32,
        put: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<SortedTable, E> {
        self.flush(put)?;
        Ok(SortedTable { first, end: first + self.blocks, samples: self.samples })
    }
}

/// The start of an iteration.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyBound<'a> {
    At(&'a [u8]),
    After(&'a [u8]),
}

impl<'a> KeyBound<'a> {
    fn key(self) -> &'a [u8] {
        match self {
            Self::At(key) | Self::After(key) => key,
        }
    }

    fn includes(self, key: &[u8]) -> bool {
        match self {
            Self::At(from) => key >= from,
            Self::After(from) => key > from,
        }
    }
}

/// A cursor over a table's entries.
#[derive(Debug)]
pub(super) struct TableCursor {
    kind: BlockKind,
    /// The next block to read.
    next: u32,
    end: u32,
    block: Option<Block>,
    /// Number of entries left in the block, and the offset of the next one.
    left: u16,
    at: usize,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl TableCursor {
    pub(super) fn new(kind: BlockKind, table: &SortedTable) -> Self {
        Self {
            kind,
            next: table.first,
            end: table.end,
            block: None,
            left: 0,
            at: 0,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Moves to the first entry that `from` includes. Returns false if there is none.
    pub(super) fn seek(
        &mut self,
        table: &SortedTable,
        from: KeyBound<'_>,
        blocks: &mut impl BlockSource,
    ) -> Result<bool, RunError> {
        // The samples narrow the search to `SAMPLE_INTERVAL` blocks without a read.
        let sample = table.samples.partition_point(|key| **key <= *from.key()).saturating_sub(1);
        let sampled = u32::try_from(sample).unwrap_or(u32::MAX).saturating_mul(SAMPLE_INTERVAL);
        let mut low = table.first.saturating_add(sampled).min(table.end);
        let mut high = low.saturating_add(SAMPLE_INTERVAL).min(table.end);
        // Binary search for the last block whose first key is at most `from`; if none is, the first
        // block.
        while high - low > 1 {
            let middle = low.midpoint(high);
            *self = Self { next: middle, end: table.end, ..Self::new(self.kind, table) };
            if self.next(blocks)? && self.key.as_slice() <= from.key() {
                low = middle;
            } else {
                high = middle;
            }
        }
        // Scan the chosen block, and the next one if the key would be at its end.
        *self = Self { next: low, end: table.end, ..Self::new(self.kind, table) };
        while self.next(blocks)? {
            if from.includes(&self.key) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Moves to the next entry. Returns false at the end.
    pub(super) fn next(&mut self, blocks: &mut impl BlockSource) -> Result<bool, RunError> {
        // Blocks are never empty, but a damaged count may be zero.
        while self.left == 0 {
            if self.next >= self.end {
                return Ok(false);
            }
            let block = blocks.block(self.next)?;
            let count = block.body(self.kind).and_then(|body| Fields(body).u16());
            self.left = count.map_err(|what| blocks.malformed(self.next, what))?;
            self.block = Some(block);
            self.at = COUNT_BYTES;
            self.key.clear();
            self.next += 1;
        }
        self.left -= 1;
        self.read().map_err(|what| blocks.malformed(self.next - 1, what))?;
        Ok(true)
    }

    fn read(&mut self) -> Result<(), Malformed> {
        let block = self.block.as_ref().ok_or(Malformed::Short)?;
        let body = block.body(self.kind)?;
        let mut fields = Fields(body.get(self.at..).ok_or(Malformed::Short)?);
        let shared = take_length(&mut fields)?;
        // Only possible in a damaged or crafted block.
        if shared > self.key.len() {
            return Err(Malformed::Field("shared part of a key"));
        }
        let rest = take_length(&mut fields)?;
        self.key.truncate(shared);
        self.key.extend_from_slice(fields.take(rest)?);
        if self.kind == BlockKind::StreamMeta {
            let value = take_length(&mut fields)?;
            fields.take(value)?.clone_into(&mut self.value);
        }
        self.at = body.len() - fields.0.len();
        Ok(())
    }

    pub(super) fn kind(&self) -> BlockKind {
        self.kind
    }

    /// The current key.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The current value.
    pub(super) fn value(&self) -> &[u8] {
        &self.value
    }

    /// The error for an entry with invalid contents.
    pub(super) fn malformed(&self, blocks: &impl BlockSource, what: Malformed) -> RunError {
        blocks.malformed(self.next.saturating_sub(1), what)
    }
}

fn take_length(fields: &mut Fields<'_>) -> Result<usize, Malformed> {
    usize::try_from(varint(fields)?).map_err(|_| Malformed::Field("length"))
}
