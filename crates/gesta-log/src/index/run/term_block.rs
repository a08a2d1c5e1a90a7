//! What a run says of each term: blocks of entries, in the order of their hashes.
//!
//! Always holds: an entry lies within one block; a block's hashes are a column, so the entry of a
//! hash is found without reading those before it, eight at most.
//! Not here: which block a term is in ([`filter`](super::bloom_filter)), and long lists of postings
//! ([`lists`](super::posting_tree)).

use super::{
    bit_packing::{BitColumn, column_bytes, put_column, put_varint, varint, width},
    block::BODY_BYTES,
    posting_tree::{NodeAddress, PostingTree, put_steps, read_steps},
    term_hash::TermHash,
};
use crate::format::{Fields, Malformed};

/// Lists up to this length are in the entry itself.
pub(super) const FEW_MAX: u64 = 32;
/// The place of each eighth entry is known.
const STRIDE: usize = 8;
const HEADER_BYTES: usize = 3 + TermHash::BYTES;
/// More than real hashes ever need; keeps the number of terms of a filter near what it is made for.
const ENTRIES_MAX: usize = 512;

/// What is known of a term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TermEntry {
    pub(super) hash: TermHash,
    pub(super) first_ordinal: u64,
    pub(super) postings: StoredPostings,
}

/// The positions where a term occurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StoredPostings {
    One(u64),
    /// From two to [`FEW_MAX`].
    Few(Vec<u64>),
    /// More.
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

/// Entries until they fill a block.
#[derive(Debug)]
pub(super) struct TermBlockBuilder {
    /// The first position of the run: what positions in entries are counted from.
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

    /// Adds an entry if there is room; its hash is above those before it.
    pub(super) fn add(&mut self, entry: &TermEntry) -> bool {
        let start = self.entries.len();
        put_entry(&mut self.entries, entry, self.origin);
        let hash = entry.hash.bits();
        let (count, first) = (self.hashes.len() + 1, self.hashes.first().copied().unwrap_or(hash));
        debug_assert!(self.hashes.last().is_none_or(|last| *last < hash), "hashes ascend");
        let hashes = column_bytes(width(hash - first), count);
        let starts = 2 * count.div_ceil(STRIDE);
        let fits = HEADER_BYTES + starts + hashes + self.entries.len() <= BODY_BYTES;
        if !fits || count > ENTRIES_MAX {
            self.entries.truncate(start);
            return false;
        }
        if self.hashes.len().is_multiple_of(STRIDE) {
            self.starts.push(start as u16);
        }
        self.hashes.push(hash);
        true
    }

    /// The block's body; it is empty afterwards.
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

/// The count with two bits below it (0 and 1: the first ordinal is that; 2: it follows), then the
/// first ordinal if it follows, then the postings or where they are.
fn put_entry(out: &mut Vec<u8>, entry: &TermEntry, origin: u64) {
    let short = entry.first_ordinal.min(2);
    put_varint(out, entry.postings.count() << 2 | short);
    if short == 2 {
        put_varint(out, entry.first_ordinal);
    }
    match &entry.postings {
        StoredPostings::One(position) => put_varint(out, position - origin),
        StoredPostings::Few(positions) => {
            put_varint(out, positions.first().map_or(0, |first| first - origin));
            put_steps(out, positions, |_| {});
        }
        StoredPostings::Many(list) => put_varint(out, list.root.0),
    }
}

/// An entry as it lies in a block.
struct RawTermEntry<'a> {
    count: u64,
    first_ordinal: u64,
    /// First position less the run's, or an address.
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
                read_steps(&mut self.steps, self.width, first?, count, &mut postings)?;
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

/// A block of entries, to be read.
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

    /// The entry of a hash, if it is here.
    pub(super) fn find(&self, hash: TermHash, origin: u64) -> Result<Option<TermEntry>, Malformed> {
        let Some(ahead) = hash.bits().checked_sub(self.first) else { return Ok(None) };
        let Some(at) = self.hashes.count_not_above(ahead)?.checked_sub(1) else { return Ok(None) };
        if self.hashes.get_wide(at)? != ahead {
            return Ok(None);
        }
        let start = Fields(self.starts.get(at / STRIDE * 2..).ok_or(Malformed::Short)?).u16()?;
        let mut fields = Fields(self.entries.get(usize::from(start)..).ok_or(Malformed::Short)?);
        for _ in 0..at % STRIDE {
            RawTermEntry::read(&mut fields)?;
        }
        RawTermEntry::read(&mut fields)?.entry(hash, origin).map(Some)
    }

    /// All entries, in order.
    pub(super) fn all(&self, origin: u64, out: &mut Vec<TermEntry>) -> Result<(), Malformed> {
        let mut fields = Fields(self.entries);
        for at in 0..self.count {
            let hash = TermHash::new(self.first + self.hashes.get_wide(at)?);
            out.push(RawTermEntry::read(&mut fields)?.entry(hash, origin)?);
        }
        Ok(())
    }
}
