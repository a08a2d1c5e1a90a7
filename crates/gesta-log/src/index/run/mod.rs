//! The files of the index: sorted runs and the manifest.
//!
//! A *run* is an immutable file with everything that the index knows of the positions of one or
//! more neighbouring segments. The *manifest* lists the live runs. The bytes are specified in
//! `docs/format.md`.
//!
//! Invariants:
//! - A run answers as its segments would, or reports that it is damaged.
//! - A run is renamed to its final name once it is durable, and is live once a durable manifest
//!   lists it. Its inputs are removed only afterwards.
//! - Decoders accept arbitrary bytes, never panic, and allocate no more than the bytes justify.
//!
//! Hash collisions are not resolved here: callers compare the event's stream, type or tags. The
//! schedule of flushes and compactions is decided by the engine.

mod bit_packing;
mod block;
mod block_reader;
mod block_writer;
mod bloom_filter;
mod cache;
mod error;
mod filter_directory;
mod layout;
mod manifest;
mod merge;
mod merge_policy;
mod offset_block;
mod posting_tree;
mod postings_cursor;
mod run_file;
mod sorted_table;
mod stream_meta_value;
mod table_iter;
mod term_block;
mod term_hash;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use gesta_store::Direction;

pub(crate) use block_writer::OnBytes;
pub(crate) use cache::BlockCache;
pub(crate) use error::RunError;
pub(crate) use layout::{CoveredSegment, RunIdentity, RunName};
pub(crate) use manifest::{IndexManifest, ManifestEntry};
pub(crate) use merge::{MergeInput, merge_runs, rewrite_run};
pub(crate) use merge_policy::plan_merge;
pub(crate) use postings_cursor::{PostingsCursor, TermMatch};
pub(crate) use stream_meta_value::StreamMetaDelta;
pub(crate) use table_iter::{CategoryIter, StreamMetaIter, StreamNameIter};
pub(crate) use term_hash::{Term, TermHash, TermKey};
pub(crate) use write::{Positions, RunContents, TermPostings, write_run};

use block::{BLOCK_BYTES, BODY_BYTES, Block, BlockKind, BlockSource};
use block_reader::{BlockWindows, CachedBlocks};
pub(super) use bloom_filter::BloomProbe;
use filter_directory::FilterDirectory;
pub(super) use filter_directory::FilterHint;
use layout::{Directory, Footer};
use run_file::RunFile;
use term_block::TermBlockReader;

use crate::{
    disk::{Cache, Disk},
    format::Malformed,
    options::IndexedIds,
};

/// The location of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunLocation {
    pub(crate) segment: u64,
    /// The segment's salt.
    pub(crate) salt: [u8; 16],
    pub(crate) offset: u32,
    /// Offset of the segment's next record, if there is one.
    pub(crate) next: Option<u32>,
}

/// Lookup hint: caches the last segment and offset group, so that sequential lookups skip the
/// directory search and the block. Valid for all runs whose positions are disjoint.
#[derive(Debug, Default)]
pub(crate) struct LookupHint {
    segment: Option<CoveredSegment>,
    group: offset_block::OffsetGroup,
    /// The last position that was looked up.
    last: u64,
}

/// An open run. Can be shared by threads.
#[derive(Debug)]
pub(crate) struct Run {
    name: RunName,
    file: RunFile,
    directory: Directory,
    filters: FilterDirectory,
}

impl Run {
    /// Opens a run: reads its footer and its directory.
    ///
    /// # Errors
    /// [`RunError::Damaged`]: rebuild it. [`RunError::Newer`]: leave it alone.
    pub(crate) fn open(
        disk: &dyn Disk,
        name: RunName,
        cache: Arc<BlockCache>,
    ) -> Result<Self, RunError> {
        Self::open_file(disk, name, name.file(), cache)
    }

    /// Opens a complete run that still has its temporary name. The caller renames it before the
    /// first lookup.
    pub(crate) fn open_unfinished(
        disk: &dyn Disk,
        name: RunName,
        cache: Arc<BlockCache>,
    ) -> Result<Self, RunError> {
        let mut run = Self::open_file(disk, name, name.new_file(), cache)?;
        // Errors and later reads use the final name.
        run.file.name = name.file();
        Ok(run)
    }

    fn open_file(
        disk: &dyn Disk,
        name: RunName,
        file: String,
        cache: Arc<BlockCache>,
    ) -> Result<Self, RunError> {
        let footer = read_footer(disk, name, &file)?;
        let file = RunFile::new(file, footer, cache);
        let (directory, filters) = (Directory::default(), FilterDirectory::default());
        let mut run = Self { name, file, directory, filters };
        run.directory = run.read_directory(disk)?;
        // The directory's list moves to a structure made for lookup.
        run.filters = FilterDirectory::new(std::mem::take(&mut run.directory.filters));
        Ok(run)
    }

    fn read_directory(&self, disk: &dyn Disk) -> Result<Directory, RunError> {
        let Footer { directory, directory_bytes, .. } = self.file.footer;
        let mut blocks = BlockWindows::new(&self.file, disk);
        let mut bytes = Vec::new();
        // The directory spans several blocks like a large value.
        for (number, length) in stream_meta_value::pieces(directory_bytes, directory) {
            blocks.decode(number, BlockKind::Directory, |body| {
                bytes.extend_from_slice(body.get(..length).ok_or(Malformed::Short)?);
                Ok(())
            })?;
        }
        Directory::decode(&bytes, self.name).map_err(|what| self.malformed(directory, what))
    }

    fn malformed(&self, number: u32, what: Malformed) -> RunError {
        self.file.malformed(number, what)
    }

    fn cached<'a>(&'a self, disk: &'a dyn Disk) -> CachedBlocks<'a> {
        CachedBlocks { file: &self.file, disk }
    }

    /// The file, for cursors.
    pub(crate) fn file(&self) -> &RunFile {
        &self.file
    }

    pub(crate) fn name(&self) -> RunName {
        self.name
    }

    /// The entry of this run in a manifest.
    pub(crate) fn manifest_entry(&self) -> ManifestEntry {
        ManifestEntry { name: self.name, salt: self.file.footer.salt }
    }

    /// The id of the store that the run belongs to.
    pub(crate) fn store(&self) -> [u8; 16] {
        self.file.footer.store
    }

    /// The ids among the terms.
    pub(crate) fn ids(&self) -> IndexedIds {
        self.file.footer.ids
    }

    /// Returns whether categories, event types and correlation ids have the postings of events that
    /// were scavenged before the run was made.
    pub(crate) fn keeps_scavenged(&self) -> bool {
        self.file.footer.keeps_scavenged
    }

    /// The covered segments, in order.
    pub(crate) fn covered(&self) -> &[CoveredSegment] {
        &self.directory.covered
    }

    /// The first covered position.
    pub(crate) fn first(&self) -> u64 {
        self.directory.first()
    }

    /// The first position after the covered ones.
    pub(crate) fn end(&self) -> u64 {
        self.directory.end()
    }

    /// Size of the file.
    pub(crate) fn bytes(&self) -> u64 {
        block::offset(self.file.footer.blocks)
    }

    /// Looks up a term.
    pub(crate) fn find(
        &self,
        disk: &dyn Disk,
        hash: TermHash,
    ) -> Result<Option<TermMatch>, RunError> {
        let mut blocks = self.cached(disk);
        let block = self.filters.find_term_block(&mut blocks, &BloomProbe::of(hash))?;
        let Some(block) = block else { return Ok(None) };
        let origin = self.first();
        // The filter passes a few terms that the run does not have. The block decides.
        let entry = blocks.decode(block, BlockKind::Terms, |body| {
            TermBlockReader::new(body)?.find(hash, origin)
        })?;
        Ok(entry.map(TermMatch))
    }

    /// Returns the part of the answer that is known without reading from disk.
    pub(super) fn hint(&self, probe: &BloomProbe) -> FilterHint<'_> {
        self.filters.hint(probe)
    }

    /// Returns the posting with this ordinal, counted from 0.
    pub(crate) fn posting(
        &self,
        disk: &dyn Disk,
        found: &TermMatch,
        ordinal: u64,
    ) -> Result<Option<u64>, RunError> {
        found.posting(&self.file, disk, ordinal)
    }

    /// Returns the location of a record, or `None` if it does not exist or was scavenged.
    /// Sequential lookups with the same hint are cheap.
    pub(crate) fn locate(
        &self,
        disk: &dyn Disk,
        position: u64,
        near: &mut LookupHint,
    ) -> Result<Option<RunLocation>, RunError> {
        // A binary search of the directory only when the segment changes.
        if !near.segment.as_ref().is_some_and(|segment| segment.has(position)) {
            near.segment = self.directory.segment_of(position).copied();
        }
        let Some(segment) = &near.segment else { return Ok(None) };
        // Served from the decoded group without touching a block.
        let offsets = match near.group.get(position) {
            Some(offsets) => offsets,
            None => {
                // Decoding a whole group costs more than one offset and pays only for sequential
                // lookups.
                let is_near = position.abs_diff(near.last) <= offset_block::GROUP as u64;
                let look = |body: &[u8]| match is_near {
                    true => near.group.fill(body, position),
                    false => offset_block::find(body, position),
                };
                self.cached(disk).decode(
                    self.offset_block_of(position)?,
                    BlockKind::Offsets,
                    look,
                )?
            }
        };
        near.last = position;
        Ok(offsets.map(|offset_block::RecordOffsets { offset, next }| RunLocation {
            segment: segment.number,
            salt: segment.salt,
            offset,
            next,
        }))
    }

    fn offset_block_of(&self, position: u64) -> Result<u32, RunError> {
        let block = self.directory.offset_block_of(position);
        block.ok_or_else(|| self.malformed(0, Malformed::Field("places")))
    }

    /// Returns the nearest position at or after `at` in `direction` that has a record here.
    pub(crate) fn nearest(
        &self,
        disk: &dyn Disk,
        at: u64,
        direction: Direction,
    ) -> Result<Option<u64>, RunError> {
        let directory = &self.directory;
        let mut number = match (directory.offset_block_of(at), direction) {
            (Some(number), _) => number,
            (None, Direction::Forwards) => 0,
            (None, Direction::Backwards) => return Ok(None),
        };
        // Whole blocks may be without records where a segment was scavenged.
        while (number as usize) < directory.offset_blocks.len() {
            let block = self.cached(disk).block(number)?;
            let found = block
                .body(BlockKind::Offsets)
                .and_then(|body| offset_block::nearest(body, at, direction));
            if let Some(found) = found.map_err(|what| self.malformed(number, what))? {
                return Ok(Some(found));
            }
            number = match (direction, number.checked_sub(1)) {
                (Direction::Forwards, _) => number + 1,
                (Direction::Backwards, Some(before)) => before,
                (Direction::Backwards, None) => return Ok(None),
            };
        }
        Ok(None)
    }

    /// The names of the streams whose first event is here, in byte order: those that begin with
    /// `prefix` and are greater than `after`.
    pub(crate) fn names(&self, prefix: &str, after: Option<&str>) -> StreamNameIter {
        StreamNameIter::new(self, prefix, after)
    }

    /// The categories that occur here and are greater than `after`, in byte order.
    pub(crate) fn categories(&self, after: Option<&str>) -> CategoryIter {
        CategoryIter::new(self, after)
    }

    /// The changes of stream metadata, by stream name in byte order.
    pub(crate) fn stream_meta(&self) -> StreamMetaIter {
        StreamMetaIter::new(self)
    }

    /// Checks every block, bypassing the cache. `on_bytes` is called with the number of bytes read,
    /// and may stop the check.
    pub(crate) fn verify(&self, disk: &dyn Disk, on_bytes: OnBytes<'_>) -> Result<(), RunError> {
        let mut blocks = BlockWindows::new(&self.file, disk);
        let footer = self.file.footer.blocks.saturating_sub(1);
        for number in 0..footer {
            blocks.block(number)?;
            if on_bytes(BLOCK_BYTES).is_break() {
                return Err(RunError::Stopped);
            }
        }
        // Last and on its own, because its checksum has another seed.
        read_footer(disk, self.name, &self.file.name).map(drop)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // The filters are freed with the run, so other runs may have their room.
        self.file.cache.release(self.filters.kept());
    }
}

fn read_footer(disk: &dyn Disk, name: RunName, file: &str) -> Result<Footer, RunError> {
    let io = |source| RunError::io(file, source);
    let length = disk.length(file).map_err(io)?;
    let damaged = |offset, what| RunError::malformed(file, offset, what);
    let blocks = length / BLOCK_BYTES as u64;
    // The footer is the last block. A file that was cut or has grown has no footer there, or one
    // with another number of blocks.
    let last = blocks.checked_sub(1).and_then(|last| u32::try_from(last).ok());
    let last = last.ok_or_else(|| damaged(0, Malformed::Field("length of the file")))?;
    let offset = block::offset(last);
    let bytes: Bytes = disk.read(file, offset, BLOCK_BYTES, Cache::Use).map_err(io)?;
    let footer = Block::verify(bytes, last, Footer::own_seed())
        .and_then(|block| Footer::decode(block.body(BlockKind::Footer)?))
        .map_err(|what| damaged(offset, what))?;
    // The footer's own checksum does not depend on the file, so its claims are checked against it.
    if block::offset(footer.blocks) != length {
        return Err(damaged(offset, Malformed::Field("length of the file")));
    }
    // A run under another run's name.
    if footer.name != name {
        return Err(damaged(offset, Malformed::Field("covered segments")));
    }
    let directory = u64::from(footer.blocks) * BODY_BYTES as u64;
    // Bound the directory before memory is allocated for it.
    if footer.directory_bytes > directory {
        return Err(damaged(offset, Malformed::Field("length of the directory")));
    }
    Ok(footer)
}
