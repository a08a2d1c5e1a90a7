//! The layout of a run: file name, covered segments, directory and footer.
//!
//! The footer is the last block and holds the number of blocks, so a truncated or extended file is
//! not a run. The directory has all that is needed to find the block of a lookup without searching
//! on disk. The contents of other blocks are defined in their own modules.

use std::{fmt, ops::Range};

use super::{
    bit_packing::{put_varint, varint},
    block::{BODY_BYTES, BlockKind},
    sorted_table::SortedTable,
    term_hash::TermHash,
};
use crate::{
    format::{Fields, Malformed, Seed},
    options::IndexedIds,
};

const SUFFIX: &str = ".run";
const MAGIC: [u8; 8] = *b"GESTARUN";
const VERSION_MAJOR: u16 = 2;
const VERSION_MINOR: u16 = 0;
/// Compatible feature flag: categories, event types and correlation ids have the postings of
/// scavenged events, and streams that of a scavenged first event. The other flags are the kinds of
/// ids.
const FEATURE_KEEPS_SCAVENGED: u64 = 1 << 3;

const _: () = assert!(IndexedIds::ALL.bits() & FEATURE_KEEPS_SCAVENGED == 0);

/// The name of a run: the numbers of the first and the last covered segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunName {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl RunName {
    /// The file name.
    pub(crate) fn file(self) -> String {
        format!("{:016}-{:016}{SUFFIX}", self.first, self.last)
    }

    /// The temporary file name, used until the run is durable.
    pub(crate) fn new_file(self) -> String {
        self.file() + ".new"
    }

    /// Parses a file name. Only the canonical form is accepted.
    pub(crate) fn of(file: &str) -> Option<Self> {
        let (first, last) = file.strip_suffix(SUFFIX)?.split_once('-')?;
        let name = Self { first: first.parse().ok()?, last: last.parse().ok()? };
        // `u64::parse` also accepts a sign and missing zeros; only one spelling names the file.
        (name.file() == file).then_some(name)
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file())
    }
}

/// One segment that a run covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CoveredSegment {
    pub(crate) number: u64,
    pub(crate) salt: [u8; 16],
    pub(crate) incarnation: [u8; 16],
    /// First position.
    pub(crate) first: u64,
    /// First position after the segment.
    pub(crate) end: u64,
    /// Number of bytes that belong to the log.
    pub(crate) adopted_length: u64,
    /// The chain value after the segment.
    pub(crate) chain: [u8; 32],
    /// The recorded time of the last event, in microseconds since 1970; `None` for a segment
    /// without events.
    pub(crate) last_recorded_at: Option<u64>,
}

impl CoveredSegment {
    /// Returns whether both describe the same segment file; their lengths may differ.
    pub(crate) fn is_same_segment(&self, other: &Self) -> bool {
        (self.number, self.salt, self.incarnation, self.first)
            == (other.number, other.salt, other.incarnation, other.first)
    }
}

impl CoveredSegment {
    const BYTES: usize = 105;

    pub(super) fn has(&self, position: u64) -> bool {
        (self.first..self.end).contains(&position)
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.incarnation);
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.end.to_le_bytes());
        out.extend_from_slice(&self.adopted_length.to_le_bytes());
        out.extend_from_slice(&self.chain);
        out.push(u8::from(self.last_recorded_at.is_some()));
        out.extend_from_slice(&self.last_recorded_at.unwrap_or(0).to_le_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            number: fields.u64()?,
            salt: fields.array()?,
            incarnation: fields.array()?,
            first: fields.u64()?,
            end: fields.u64()?,
            adopted_length: fields.u64()?,
            chain: fields.array()?,
            last_recorded_at: match (fields.u8()?, fields.u64()?) {
                (0, 0) => None,
                (1, micros) => Some(micros),
                (_, _) => return Err(Malformed::Field("last recorded-at")),
            },
        })
    }
}

/// The identity of a run, from which its salt derives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunIdentity {
    /// The store's id.
    pub(crate) store: [u8; 16],
    /// Random bytes, new for each run.
    pub(crate) random: [u8; 16],
}

impl RunIdentity {
    /// Derives the salt of a run that covers these segments.
    pub(super) fn salt(&self, covered: &[CoveredSegment]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_derive_key("gesta index 1: salt of a run");
        hasher.update(&self.store).update(&self.random);
        for covered in covered {
            // Bound to the covered files as well: equal random bytes alone would not make equal
            // salts.
            hasher.update(&covered.number.to_le_bytes()).update(&covered.salt);
        }
        let mut salt = [0; 16];
        hasher.finalize_xof().fill(&mut salt);
        salt
    }
}

/// The contents of the last block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    /// The ids among the terms.
    pub(super) ids: IndexedIds,
    /// False for a run of an earlier version: it may lack postings of scavenged events.
    pub(super) keeps_scavenged: bool,
    pub(super) store: [u8; 16],
    pub(super) salt: [u8; 16],
    pub(super) name: RunName,
    /// Number of all blocks, including the footer.
    pub(super) blocks: u32,
    pub(super) directory: u32,
    pub(super) directory_bytes: u64,
    pub(super) terms: u64,
}

impl Footer {
    /// The checksum seed of the footer itself. Constant, because the seed of other blocks is read
    /// from the footer.
    pub(super) fn own_seed() -> Seed {
        Seed::new([0; 16], 0)
    }

    /// The checksum seed of all other blocks.
    pub(super) fn seed(&self) -> Seed {
        Seed::new(self.salt, self.name.first)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(BODY_BYTES);
        body.extend_from_slice(&MAGIC);
        body.extend_from_slice(&VERSION_MAJOR.to_le_bytes());
        body.extend_from_slice(&VERSION_MINOR.to_le_bytes());
        body.extend_from_slice(&0_u64.to_le_bytes()); // incompatible features
        let kept = if self.keeps_scavenged { FEATURE_KEEPS_SCAVENGED } else { 0 };
        let compatible = self.ids.bits() | kept;
        body.extend_from_slice(&compatible.to_le_bytes());
        body.extend_from_slice(&self.store);
        body.extend_from_slice(&self.salt);
        body.extend_from_slice(&self.name.first.to_le_bytes());
        body.extend_from_slice(&self.name.last.to_le_bytes());
        body.extend_from_slice(&self.blocks.to_le_bytes());
        body.extend_from_slice(&self.directory.to_le_bytes());
        body.extend_from_slice(&self.directory_bytes.to_le_bytes());
        body.extend_from_slice(&self.terms.to_le_bytes());
        body
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(body);
        if fields.array()? != MAGIC {
            return Err(Malformed::Magic);
        }
        let (major, _minor) = (fields.u16()?, fields.u16()?);
        let (incompatible, compatible) = (fields.u64()?, fields.u64()?);
        // An older version is rebuilt like a damaged run; a newer one is not touched.
        if major < VERSION_MAJOR {
            return Err(Malformed::Field("version"));
        }
        if major > VERSION_MAJOR || incompatible != 0 {
            return Err(Malformed::OtherVersion);
        }
        Ok(Self {
            ids: IndexedIds::from_bits(compatible),
            keeps_scavenged: compatible & FEATURE_KEEPS_SCAVENGED != 0,
            store: fields.array()?,
            salt: fields.array()?,
            name: RunName { first: fields.u64()?, last: fields.u64()? },
            blocks: fields.u32()?,
            directory: fields.u32()?,
            directory_bytes: fields.u64()?,
            terms: fields.u64()?,
        })
    }
}

/// The directory of an open run; kept in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) covered: Vec<CoveredSegment>,
    /// First position of each offset block. Offset blocks are the file's first blocks.
    pub(super) offset_blocks: Vec<u64>,
    /// Range of the term, posting and filter blocks, which are interleaved.
    pub(super) terms: Range<u32>,
    /// First hash and block of each filter. Empty in an open run, which keeps them in a
    /// [`FilterDirectory`](super::filter_directory::FilterDirectory).
    pub(super) filters: Vec<(TermHash, u32)>,
    pub(super) names: SortedTable,
    pub(super) categories: SortedTable,
    pub(super) stream_meta: SortedTable,
}

impl Directory {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_count(&mut out, self.covered.len());
        self.covered.iter().for_each(|covered| covered.put(&mut out));
        put_count(&mut out, self.offset_blocks.len());
        self.offset_blocks.iter().for_each(|first| out.extend_from_slice(&first.to_le_bytes()));
        out.extend_from_slice(&self.terms.start.to_le_bytes());
        out.extend_from_slice(&self.terms.end.to_le_bytes());
        put_count(&mut out, self.filters.len());
        for (first, block) in &self.filters {
            out.extend_from_slice(&first.to_bytes());
            out.extend_from_slice(&block.to_le_bytes());
        }
        for table in [&self.names, &self.categories, &self.stream_meta] {
            out.extend_from_slice(&table.first.to_le_bytes());
            out.extend_from_slice(&table.end.to_le_bytes());
            put_count(&mut out, table.samples.len());
            for sample in &table.samples {
                put_varint(&mut out, sample.len() as u64);
                out.extend_from_slice(sample);
            }
        }
        out
    }

    pub(super) fn decode(bytes: &[u8], name: RunName) -> Result<Self, Malformed> {
        let mut fields = Fields(bytes);
        let directory = Self {
            covered: take_list(&mut fields, CoveredSegment::BYTES, CoveredSegment::take)?,
            offset_blocks: take_list(&mut fields, 8, Fields::u64)?,
            terms: fields.u32()?..fields.u32()?,
            filters: take_list(&mut fields, TermHash::BYTES + 4, |fields| {
                Ok((TermHash::from_bytes(fields.array()?), fields.u32()?))
            })?,
            names: take_table(&mut fields)?,
            categories: take_table(&mut fields)?,
            stream_meta: take_table(&mut fields)?,
        };
        // Trailing bytes would mean that the directory was written by something else.
        if !fields.0.is_empty() {
            return Err(Malformed::Field("length of the directory"));
        }
        directory.check(name)?;
        Ok(directory)
    }

    fn check(&self, name: RunName) -> Result<(), Malformed> {
        // The name has to match the first and last segment, and segments have to ascend without
        // overlap.
        let ends = self.covered.first().zip(self.covered.last());
        let named = ends.is_some_and(|(first, last)| {
            RunName { first: first.number, last: last.number } == name
        });
        let mut pairs = self.covered.iter().zip(self.covered.iter().skip(1));
        let in_order = pairs.all(|(one, next)| one.number < next.number && one.end <= next.first);
        if named && in_order && self.covered.iter().all(|covered| covered.first <= covered.end) {
            Ok(())
        } else {
            Err(Malformed::Field("covered segments"))
        }
    }

    pub(super) fn table(&self, kind: BlockKind) -> &SortedTable {
        match kind {
            BlockKind::Names => &self.names,
            BlockKind::Categories => &self.categories,
            BlockKind::StreamMeta => &self.stream_meta,
            BlockKind::Offsets
            | BlockKind::Terms
            | BlockKind::Postings
            | BlockKind::Filter
            | BlockKind::Large
            | BlockKind::Directory
            | BlockKind::Footer => {
                unreachable!("only names, categories and stream metadata have tables")
            }
        }
    }

    pub(super) fn table_mut(&mut self, kind: BlockKind) -> &mut SortedTable {
        match kind {
            BlockKind::Names => &mut self.names,
            BlockKind::Categories => &mut self.categories,
            BlockKind::StreamMeta => &mut self.stream_meta,
            BlockKind::Offsets
            | BlockKind::Terms
            | BlockKind::Postings
            | BlockKind::Filter
            | BlockKind::Large
            | BlockKind::Directory
            | BlockKind::Footer => {
                unreachable!("only names, categories and stream metadata have tables")
            }
        }
    }

    /// The first covered position.
    pub(super) fn first(&self) -> u64 {
        self.covered.first().map_or(0, |covered| covered.first)
    }

    /// The first position after the covered ones.
    pub(super) fn end(&self) -> u64 {
        self.covered.last().map_or(0, |covered| covered.end)
    }

    /// Returns the segment that has a position.
    pub(super) fn segment_of(&self, position: u64) -> Option<&CoveredSegment> {
        // The last segment that begins at or before the position; a segment without events is
        // skipped by `has`.
        let begun = self.covered.partition_point(|covered| covered.first <= position);
        self.covered.get(begun.checked_sub(1)?).filter(|covered| covered.has(position))
    }

    /// Returns the block with the offset of a position. The block begins at a position of the same
    /// segment.
    pub(super) fn offset_block_of(&self, position: u64) -> Option<u32> {
        let begun = self.offset_blocks.partition_point(|first| *first <= position);
        u32::try_from(begun.checked_sub(1)?).ok()
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("there are fewer of these than blocks");
    out.extend_from_slice(&count.to_le_bytes());
}

/// Reads a list whose items take at least `bytes` bytes each. The count is checked against the
/// remaining bytes before memory is reserved.
fn take_list<'a, T>(
    fields: &mut Fields<'a>,
    bytes: usize,
    mut take: impl FnMut(&mut Fields<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = fields.u32()? as usize;
    // A crafted count must not reserve more memory than the input justifies.
    if count > fields.0.len() / bytes {
        return Err(Malformed::Short);
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(take(fields)?);
    }
    Ok(items)
}

fn take_table(fields: &mut Fields<'_>) -> Result<SortedTable, Malformed> {
    Ok(SortedTable {
        first: fields.u32()?,
        end: fields.u32()?,
        samples: take_list(fields, 1, |fields| {
            let length = varint(fields)?;
            let length = usize::try_from(length).map_err(|_| Malformed::Short)?;
            fields.take(length).map(Box::from)
        })?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_of_an_older_version_is_damage_and_one_of_a_newer_version_is_left_alone() {
        let footer = Footer {
            ids: IndexedIds::CORRELATION,
            keeps_scavenged: true,
            store: [1; 16],
            salt: [2; 16],
            name: RunName { first: 3, last: 4 },
            blocks: 5,
            directory: 6,
            directory_bytes: 7,
            terms: 8,
        };
        let mut bytes = footer.encode();
        assert_eq!(Footer::decode(&bytes), Ok(footer));
        for (major, refused) in [(1, Malformed::Field("version")), (3, Malformed::OtherVersion)] {
            bytes[8] = major;
            assert_eq!(Footer::decode(&bytes), Err(refused));
        }
    }
}
