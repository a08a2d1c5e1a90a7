//! Term blocks: entries of terms, in the order of their hashes.
//!
//! An entry lies within one block. The hashes of a block form a bit-packed column, so finding an
//! entry takes a binary search and skips at most seven entries. The block of a term is found by
//! [`bloom_filter`](super::bloom_filter); long posting lists are in
//! [`posting_tree`](super::posting_tree).

use super::{
    bit_packing::{BitColumn, column_bytes, put_column, put_varint, varint, width},
    block::BODY_BYTES,
    posting_tree::{NodeAddress, PostingTree, put_deltas, read_deltas},
    term_hash::TermHash,
};
use crate::format::{Fields, Malformed};

/// Maximum length of a posting list that is stored in the entry.
pub(super) const FEW_MAX: u64 = 32;
/// The block stores the offset of every eighth entry.
const STRIDE: usize = 8;
const HEADER_BYTES: usize = 3 + TermHash::BYTES;
/// A limit that hashes of real terms do not reach. Keeps the number of terms of a filter near its
/// target.
const ENTRIES_MAX: usize = 512;

/// A term's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TermEntry {
    pub(super) hash: TermHash,
    pub(super) first_ordinal: u64,
    pub(super) postings: StoredPostings,
}

/// The positions of a term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StoredPostings {
    One(u64),
    /// From two to [`FEW_MAX`].
    Few(Vec<u64>),
    /// More than [`FEW_MAX`].
    Many(PostingTree),
}

impl StoredPostings {
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::One(_) => 1,
            Self::Few(postings) => postings.len() as u64,
            Self::Many(list) => list.count,
        }
    }
}

/// A term block being filled.
#[derive(Debug)]
pub(super) struct TermBlockBuilder {
    /// The first position of the run; positions in entries are relative to it.
    origin: u64,
    hashes: Vec<u128>,
    starts: Vec<u16>,
    entries: Vec<u8>,
}

impl TermBlockBuilder {
    pub(super) fn new(origin: u64) -> Self {
        Self { origin, hashes: Vec::new(), starts: Vec::new(), entries: Vec::new() }
    }

    /// The hash of the first entry.
    pub(super) fn first(&self) -> Option<TermHash> {
        self.hashes.first().copied().map(TermHash::new)
    }

    /// Adds an entry. Returns false if the block is full. Hashes ascend.
    pub(super) fn add(&mut self, entry: &TermEntry) -> bool {
        let start = self.entries.len();
        put_entry(&mut self.entries, entry, self.origin);
        let hash = entry.hash.bits();
        let (count, first) = (self.hashes.len() + 1, self.hashes.first().copied().unwrap_or(hash));
        debug_assert!(self.hashes.last().is_none_or(|last| *last < hash), "hashes ascend");
        // Each added hash may widen the column for all of them.
        let hashes = column_bytes(width(hash - first), count);
        let starts = 2 * count.div_ceil(STRIDE);
        let fits = HEADER_BYTES + starts + hashes + self.entries.len() <= BODY_BYTES;
        if !fits || count > ENTRIES_MAX {
            // Undo: the entry goes to the next block.
            self.entries.truncate(start);
            return false;
        }
        // This entry is one of those whose offset is stored.
        if self.hashes.len().is_multiple_of(STRIDE) {
            self.starts.push(start as u16);
        }
        self.hashes.push(hash);
        true
    }

    /// Returns the block's body and resets the builder.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let first = self.hashes.first().copied().unwrap_or(0);
        let width = self.hashes.last().map_or(0, |last| width(last - first));
        let mut body = Vec::with_capacity(BODY_BYTES);
        body.push(width as u8);
        body.extend_from_slice(&(self.hashes.len() as u16).to_le_bytes());
        body.extend_from_slice(&TermHash::new(first).to_bytes());
        self.starts.iter().for_each(|start| body.extend_from_slice(&start.to_le_bytes()));
        put_column(&mut body, width, self.hashes.iter().map(|hash| hash - first));
        body.extend_from_slice(&self.entries);
        self.hashes.clear();
        self.starts.clear();
        self.entries.clear();
        body
    }
}

/// Appends an entry: the count shifted by two bits, with the first ordinal in these if it is 0 or
/// 1, and otherwise 2 and the first ordinal after it; then the postings or the address of their
/// tree.
fn put_entry(out: &mut Vec<u8>, entry: &TermEntry, origin: u64) {
    // Most first ordinals are 0 or 1 and need no byte of their own.
    let short = entry.first_ordinal.min(2);
    put_varint(out, entry.postings.count() << 2 | short);
    if short == 2 {
        put_varint(out, entry.first_ordinal);
    }
    match &entry.postings {
        StoredPostings::One(position) => put_varint(out, position - origin),
        StoredPostings::Few(positions) => {
            put_varint(out, positions.first().map_or(0, |first| first - origin));
            put_deltas(out, positions, |_| {});
        }
        StoredPostings::Many(list) => put_varint(out, list.root.0),
    }
}

/// An entry before its postings are decoded.
struct RawTermEntry<'a> {
    count: u64,
    first_ordinal: u64,
    /// The first position relative to the run's, or the address of the posting tree.
    place: u64,
    width: u8,
    steps: Fields<'a>,
}

impl<'a> RawTermEntry<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        let head = varint(fields)?;
        let count = head >> 2;
        let first_ordinal = match head & 3 {
            short @ (0 | 1) => short,
            2 => varint(fields)?,
            _ => return Err(Malformed::Field("first ordinal")),
        };
        let place = varint(fields)?;
        let mut raw = Self { count, first_ordinal, place, width: 0, steps: Fields(&[]) };
        match count {
            0 => return Err(Malformed::Field("count of postings")),
            2..=FEW_MAX => {
                raw.width = fields.u8()?;
                let bytes = column_bytes(u32::from(raw.width), count as usize - 1);
                // Skipped here and decoded only if this is the entry that is looked for.
                raw.steps = Fields(fields.take(bytes)?);
            }
            _ => {}
        }
        Ok(raw)
    }

    fn entry(mut self, hash: TermHash, origin: u64) -> Result<TermEntry, Malformed> {
        let first = origin.checked_add(self.place).ok_or(Malformed::Field("posting"));
        let postings = match self.count {
            1 => StoredPostings::One(first?),
            2..=FEW_MAX => {
                let count = self.count as usize;
                let mut postings = Vec::with_capacity(count);
                read_deltas(&mut self.steps, self.width, first?, count, &mut postings)?;
                StoredPostings::Few(postings)
            }
            _ => StoredPostings::Many(PostingTree {
                count: self.count,
                root: NodeAddress(self.place),
            }),
        };
        Ok(TermEntry { hash, first_ordinal: self.first_ordinal, postings })
    }
}

/// A term block being read.
pub(super) struct TermBlockReader<'a> {
    first: u128,
    count: usize,
    hashes: BitColumn<'a>,
    starts: &'a [u8],
    entries: &'a [u8],
}

impl<'a> TermBlockReader<'a> {
    pub(super) fn new(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(body);
        let (width, count) = (fields.u8()?, usize::from(fields.u16()?));
        let first = TermHash::from_bytes(fields.array()?).bits();
        let starts = fields.take(2 * count.div_ceil(STRIDE))?;
        let hashes = BitColumn::take(&mut fields, u32::from(width), count)?;
        Ok(Self { first, count, hashes, starts, entries: fields.0 })
    }

    /// Looks up a hash.
    pub(super) fn find(&self, hash: TermHash, origin: u64) -> Result<Option<TermEntry>, Malformed> {
        // Hashes are stored relative to the first one of the block.
        let Some(ahead) = hash.bits().checked_sub(self.first) else { return Ok(None) };
        let Some(at) = self.hashes.count_not_above(ahead)?.checked_sub(1) else { return Ok(None) };
        if self.hashes.get_wide(at)? != ahead {
            return Ok(None);
        }
        let start = Fields(self.starts.get(at / STRIDE * 2..).ok_or(Malformed::Short)?).u16()?;
        let mut fields = Fields(self.entries.get(usize::from(start)..).ok_or(Malformed::Short)?);
        // Entries have no fixed size: skip from the nearest known offset.
        for _ in 0..at % STRIDE {
            RawTermEntry::read(&mut fields)?;
        }
        RawTermEntry::read(&mut fields)?.entry(hash, origin).map(Some)
    }

    /// Decodes all entries, in order.
    pub(super) fn all(&self, origin: u64, out: &mut Vec<TermEntry>) -> Result<(), Malformed> {
        let mut fields = Fields(self.entries);
        for at in 0..self.count {
            let hash = TermHash::new(self.first + self.hashes.get_wide(at)?);
            out.push(RawTermEntry::read(&mut fields)?.entry(hash, origin)?);
        }
        Ok(())
    }
}
