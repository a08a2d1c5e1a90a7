//! The index's files. A *run* is an immutable file with everything that the index knows of the
//! positions of some neighbouring segments; the *manifest* says which runs count.
//!
//! Owns: their bytes (exact in `docs/format.md`), writing, merging and asking them, and the cache of
//! their blocks. Always holds:
//! - a run answers as the segments would from which it was made, or says that it is damaged;
//! - a run has its name once it is durable, and counts once a durable manifest names it; its inputs
//!   are removed only then;
//! - decoders take any bytes without panicking and allocate no more than the bytes justify.
//!
//! Not here: when runs are written and merged, what is in memory, whether a hash stands for the
//! term that was meant (who reads the events compares), clocks, threads.

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
pub(crate) use layout::{Covered, RunIdentity, RunName};
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
use term_block::TermBlockReader;

use crate::{
    disk::{Cache, Disk},
    format::{Malformed, Seed},
};

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunLocation {
    pub(crate) segment: u64,
    /// The segment's.
    pub(crate) salt: [u8; 16],
    pub(crate) offset: u32,
    /// Where the next record of the same segment begins, if there is one.
    pub(crate) next: Option<u32>,
}

/// What was found last, for who asks where neighbours are. Of one run, or of several that cover
/// different positions.
#[derive(Debug, Default)]
pub(crate) struct LookupHint {
    segment: Option<Covered>,
    group: offset_block::OffsetGroup,
    /// The position that was asked for last.
    last: u64,
}

/// A run, open for questions. Threads may share it.
#[derive(Debug)]
pub(crate) struct Run {
    name: RunName,
    file: String,
    footer: Footer,
    seed: Seed,
    directory: Directory,
    cache: Arc<BlockCache>,
    cache_number: u64,
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

    /// Opens a run that is whole, but has the name of one that is being made; it is about to get its
    /// own, and is asked only then.
    pub(crate) fn open_unfinished(
        disk: &dyn Disk,
        name: RunName,
        cache: Arc<BlockCache>,
    ) -> Result<Self, RunError> {
        let mut run = Self::open_file(disk, name, name.new_file(), cache)?;
        run.file = name.file();
        Ok(run)
    }

    fn open_file(
        disk: &dyn Disk,
        name: RunName,
        file: String,
        cache: Arc<BlockCache>,
    ) -> Result<Self, RunError> {
        let footer = read_footer(disk, name, &file)?;
        let cache_number = cache.next_run();
        let (seed, directory) = (footer.seed(), Directory::default());
        let filters = FilterDirectory::default();
        let mut run = Self { name, file, footer, seed, directory, cache, cache_number, filters };
        run.directory = run.read_directory(disk)?;
        run.filters = FilterDirectory::new(std::mem::take(&mut run.directory.filters));
        Ok(run)
    }

    fn read_directory(&self, disk: &dyn Disk) -> Result<Directory, RunError> {
        let Footer { directory, directory_bytes, .. } = self.footer;
        let mut blocks = BlockWindows::new(self, disk);
        let mut bytes = Vec::new();
        for (number, length) in stream_meta_value::pieces(directory_bytes, directory) {
            blocks.with(number, BlockKind::Directory, |body| {
                bytes.extend_from_slice(body.get(..length).ok_or(Malformed::Short)?);
                Ok(())
            })?;
        }
        Directory::decode(&bytes, self.name).map_err(|what| self.bad(directory, what))
    }

    fn bad(&self, number: u32, what: Malformed) -> RunError {
        RunError::malformed(&self.file, block::offset(number), what)
    }

    fn cached<'a>(&'a self, disk: &'a dyn Disk) -> CachedBlocks<'a> {
        CachedBlocks { run: self, disk }
    }

    /// Its name.
    pub(crate) fn name(&self) -> RunName {
        self.name
    }

    /// How a manifest names it.
    pub(crate) fn manifest_entry(&self) -> ManifestEntry {
        ManifestEntry { name: self.name, salt: self.footer.salt }
    }

    /// The store that it is of.
    pub(crate) fn store(&self) -> [u8; 16] {
        self.footer.store
    }

    /// The segments that it covers, in order.
    pub(crate) fn covered(&self) -> &[Covered] {
        &self.directory.covered
    }

    /// The first position that it covers.
    pub(crate) fn first(&self) -> u64 {
        self.directory.first()
    }

    /// The first position after those that it covers.
    pub(crate) fn end(&self) -> u64 {
        self.directory.end()
    }

    /// How large its file is.
    pub(crate) fn bytes(&self) -> u64 {
        block::offset(self.footer.blocks)
    }

    /// What it knows of a term.
    pub(crate) fn find(
        &self,
        disk: &dyn Disk,
        hash: TermHash,
    ) -> Result<Option<TermMatch>, RunError> {
        let mut blocks = self.cached(disk);
        let block = self.filters.block_for(&mut blocks, &BloomProbe::of(hash))?;
        let Some(block) = block else { return Ok(None) };
        let origin = self.first();
        let entry = blocks
            .with(block, BlockKind::Terms, |body| TermBlockReader::new(body)?.find(hash, origin))?;
        Ok(entry.map(TermMatch))
    }

    /// What can be said of a term without reading.
    pub(super) fn hint(&self, probe: &BloomProbe) -> FilterHint<'_> {
        self.filters.hint(probe)
    }

    /// The posting with this ordinal, counted from 0.
    pub(crate) fn posting(
        &self,
        disk: &dyn Disk,
        found: &TermMatch,
        ordinal: u64,
    ) -> Result<Option<u64>, RunError> {
        found.posting(self, disk, ordinal)
    }

    /// Where the record of a position is; none if the run has none, or it was scavenged. Cheap for
    /// who asks for neighbours with what was found before.
    pub(crate) fn locate(
        &self,
        disk: &dyn Disk,
        position: u64,
        near: &mut LookupHint,
    ) -> Result<Option<RunLocation>, RunError> {
        if !near.segment.as_ref().is_some_and(|segment| segment.has(position)) {
            near.segment = self.directory.segment_of(position).copied();
        }
        let Some(segment) = &near.segment else { return Ok(None) };
        let offsets = match near.group.get(position) {
            Some(offsets) => offsets,
            None => {
                let is_near = position.abs_diff(near.last) <= offset_block::GROUP as u64;
                let look = |body: &[u8]| match is_near {
                    true => near.group.fill(body, position),
                    false => offset_block::find(body, position),
                };
                self.cached(disk).with(self.places_block(position)?, BlockKind::Offsets, look)?
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

    fn places_block(&self, position: u64) -> Result<u32, RunError> {
        let block = self.directory.places_block(position);
        block.ok_or_else(|| self.bad(0, Malformed::Field("places")))
    }

    /// The nearest position from `at` on that has a record here.
    pub(crate) fn nearest(
        &self,
        disk: &dyn Disk,
        at: u64,
        direction: Direction,
    ) -> Result<Option<u64>, RunError> {
        let directory = &self.directory;
        let mut number = match (directory.places_block(at), direction) {
            (Some(number), _) => number,
            (None, Direction::Forwards) => 0,
            (None, Direction::Backwards) => return Ok(None),
        };
        while (number as usize) < directory.places.len() {
            let block = self.cached(disk).any(number)?;
            let found = block
                .body(BlockKind::Offsets)
                .and_then(|body| offset_block::nearest(body, at, direction));
            if let Some(found) = found.map_err(|what| self.bad(number, what))? {
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

    /// StreamNameIter of the streams whose first event is here, in byte order: those that begin with
    /// `prefix` and come after `after`.
    pub(crate) fn names(&self, prefix: &str, after: Option<&str>) -> StreamNameIter {
        StreamNameIter::new(self, prefix, after)
    }

    /// CategoryIter that occur here, in byte order, after `after`.
    pub(crate) fn categories(&self, after: Option<&str>) -> CategoryIter {
        CategoryIter::new(self, after)
    }

    /// What changed here in the lives of streams, in the byte order of their names.
    pub(crate) fn lifecycles(&self) -> StreamMetaIter {
        StreamMetaIter::new(self)
    }

    /// Checks every block, past the cache. `go_on` is told of bytes as they are read.
    pub(crate) fn verify(&self, disk: &dyn Disk, go_on: OnBytes<'_>) -> Result<(), RunError> {
        let mut blocks = BlockWindows::new(self, disk);
        let footer = self.footer.blocks.saturating_sub(1);
        for number in 0..footer {
            blocks.any(number)?;
            if go_on(BLOCK_BYTES).is_break() {
                return Err(RunError::Stopped);
            }
        }
        read_footer(disk, self.name, &self.file).map(drop)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.cache.give_back(self.filters.kept());
    }
}

fn read_footer(disk: &dyn Disk, name: RunName, file: &str) -> Result<Footer, RunError> {
    let io = |source| RunError::io(file, source);
    let length = disk.length(file).map_err(io)?;
    let damaged = |offset, what| RunError::malformed(file, offset, what);
    let blocks = length / BLOCK_BYTES as u64;
    let last = blocks.checked_sub(1).and_then(|last| u32::try_from(last).ok());
    let last = last.ok_or_else(|| damaged(0, Malformed::Field("length of the file")))?;
    let offset = block::offset(last);
    let bytes: Bytes = disk.read(file, offset, BLOCK_BYTES, Cache::Use).map_err(io)?;
    let footer = Block::verify(bytes, last, Footer::own_seed())
        .and_then(|block| Footer::decode(block.body(BlockKind::Footer)?))
        .map_err(|what| damaged(offset, what))?;
    if block::offset(footer.blocks) != length {
        return Err(damaged(offset, Malformed::Field("length of the file")));
    }
    if footer.name != name {
        return Err(damaged(offset, Malformed::Field("covered segments")));
    }
    let directory = u64::from(footer.blocks) * BODY_BYTES as u64;
    if footer.directory_bytes > directory {
        return Err(damaged(offset, Malformed::Field("length of the directory")));
    }
    Ok(footer)
}
