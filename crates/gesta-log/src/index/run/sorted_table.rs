//! Sorted tables: names, categories and lifecycles, each in blocks that follow each other.
//!
//! Always holds: keys ascend byte by byte; a block's first key is whole, the others leave out what
//! they share with the one before; of every sixteenth block the directory knows the first key, so
//! a key is found with few reads. Not here: what a value means.

use super::{
    RunError,
    bit_packing::{put_varint, varint},
    block::{BODY_BYTES, Block, BlockKind, BlockSource},
};
use crate::format::{Fields, Malformed};

/// The directory knows the first key of one block in this many.
pub(super) const SAMPLED: u32 = 16;

/// Where a table is, and some of its keys.
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

    /// Adds an entry; its key is above those before it, and it fits a block. `put` takes bodies.
    pub(super) fn add<E>(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        put: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.body.len();
        self.append(key, value);
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
        let count = self.count.to_le_bytes();
        self.body.get_mut(..COUNT_BYTES).expect("it is there always").copy_from_slice(&count);
        put(&self.body)?;
        if self.blocks.is_multiple_of(SAMPLED) {
            self.samples.push(self.first_key.as_slice().into());
        }
        self.blocks += 1;
        self.count = 0;
        self.body.truncate(COUNT_BYTES);
        Ok(())
    }

    /// Ends the table, whose blocks began at `first`.
    pub(super) fn finish<E>(
        mut self,
        first: u32,
        put: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<SortedTable, E> {
        self.flush(put)?;
        Ok(SortedTable { first, end: first + self.blocks, samples: self.samples })
    }
}

/// KeyBound where on a table is read.
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

    fn lets_in(self, key: &[u8]) -> bool {
        match self {
            Self::At(from) => key >= from,
            Self::After(from) => key > from,
        }
    }
}

/// Goes through a table's entries in order.
#[derive(Debug)]
pub(super) struct TableCursor {
    kind: BlockKind,
    /// The next block.
    next: u32,
    end: u32,
    block: Option<Block>,
    /// Entries of the block that are still to come, and where.
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

    /// Begins at the first entry that `from` lets in; says whether there is one.
    pub(super) fn seek(
        &mut self,
        table: &SortedTable,
        from: KeyBound<'_>,
        blocks: &mut impl BlockSource,
    ) -> Result<bool, RunError> {
        let sample = table.samples.partition_point(|key| **key <= *from.key()).saturating_sub(1);
        let sampled = u32::try_from(sample).unwrap_or(u32::MAX).saturating_mul(SAMPLED);
        let mut low = table.first.saturating_add(sampled).min(table.end);
        let mut high = low.saturating_add(SAMPLED).min(table.end);
        // The last block whose first key is not above; the first one if all are.
        while high - low > 1 {
            let middle = low.midpoint(high);
            *self = Self { next: middle, end: table.end, ..Self::new(self.kind, table) };
            if self.next(blocks)? && self.key.as_slice() <= from.key() {
                low = middle;
            } else {
                high = middle;
            }
        }
        *self = Self { next: low, end: table.end, ..Self::new(self.kind, table) };
        while self.next(blocks)? {
            if from.lets_in(&self.key) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes to the next entry; says whether there is one.
    pub(super) fn next(&mut self, blocks: &mut impl BlockSource) -> Result<bool, RunError> {
        while self.left == 0 {
            if self.next >= self.end {
                return Ok(false);
            }
            let block = blocks.any(self.next)?;
            let count = block.body(self.kind).and_then(|body| Fields(body).u16());
            self.left = count.map_err(|what| blocks.bad(self.next, what))?;
            self.block = Some(block);
            self.at = COUNT_BYTES;
            self.key.clear();
            self.next += 1;
        }
        self.left -= 1;
        self.read().map_err(|what| blocks.bad(self.next - 1, what))?;
        Ok(true)
    }

    fn read(&mut self) -> Result<(), Malformed> {
        let block = self.block.as_ref().ok_or(Malformed::Short)?;
        let body = block.body(self.kind)?;
        let mut fields = Fields(body.get(self.at..).ok_or(Malformed::Short)?);
        let shared = take_length(&mut fields)?;
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

    /// Of which table.
    pub(super) fn kind(&self) -> BlockKind {
        self.kind
    }

    /// The entry's key.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The entry's value.
    pub(super) fn value(&self) -> &[u8] {
        &self.value
    }

    /// What to say of the entry, which cannot be what was written.
    pub(super) fn bad(&self, blocks: &impl BlockSource, what: Malformed) -> RunError {
        blocks.bad(self.next.saturating_sub(1), what)
    }
}

fn take_length(fields: &mut Fields<'_>) -> Result<usize, Malformed> {
    usize::try_from(varint(fields)?).map_err(|_| Malformed::Field("length"))
}
