//! Sources of blocks: through the cache for lookups, in read-ahead windows for sequential reads.

use bytes::Bytes;

use super::{
    block::{self, BLOCK_BYTES, Block, BlockSource},
    cache::BlockKey,
    error::RunError,
    run_file::RunFile,
};
use crate::{
    disk::{Disk, waiting},
    format::Malformed,
};

/// Reads single blocks through the cache.
pub(super) struct CachedBlocks<'a> {
    pub(super) file: &'a RunFile,
    pub(super) disk: &'a dyn Disk,
}

impl CachedBlocks<'_> {
    /// Reads a block without caching it, for a caller that keeps it.
    pub(super) fn read(&self, number: u32) -> Result<Block, RunError> {
        let bytes = read(self.file, self.disk, number, 1)?;
        verify(self.file, bytes, number)
    }
}

impl BlockSource for CachedBlocks<'_> {
    fn block(&mut self, number: u32) -> Result<Block, RunError> {
        let RunFile { cache, cache_id, .. } = self.file;
        let key = BlockKey { run: *cache_id, block: number };
        if let Some(block) = cache.get(key) {
            return Ok(block);
        }
        // Read without the cache's lock. Two threads may read the same block, which costs less than
        // to wait for each other's disk.
        let block = self.read(number)?;
        cache.insert(key, block.clone());
        Ok(block)
    }

    fn malformed(&self, number: u32, what: Malformed) -> RunError {
        self.file.malformed(number, what)
    }
}

const WINDOW_BLOCKS: u32 = 32;
const WINDOWS_MAX: usize = 4;

/// Reads blocks in windows and bypasses the cache. Several windows, because a merge reads offsets,
/// terms, postings and tables in turn.
pub(super) struct BlockWindows<'a> {
    file: &'a RunFile,
    disk: &'a dyn Disk,
    /// The first block and the bytes of each window, the latest last.
    windows: Vec<(u32, Bytes)>,
}

impl<'a> BlockWindows<'a> {
    pub(super) fn new(file: &'a RunFile, disk: &'a dyn Disk) -> Self {
        Self { file, disk, windows: Vec::new() }
    }

    fn have(&self, number: u32) -> Option<Bytes> {
        // The latest window first: most reads continue there.
        self.windows.iter().rev().find_map(|(first, bytes)| {
            let start = number.checked_sub(*first)? as usize * BLOCK_BYTES;
            (start < bytes.len()).then(|| bytes.slice(start..bytes.len().min(start + BLOCK_BYTES)))
        })
    }
}

impl BlockSource for BlockWindows<'_> {
    fn block(&mut self, number: u32) -> Result<Block, RunError> {
        let bytes = match self.have(number) {
            Some(bytes) => bytes,
            None => {
                let window = read(self.file, self.disk, number, WINDOW_BLOCKS)?;
                // Evict the oldest window.
                if self.windows.len() >= WINDOWS_MAX {
                    self.windows.remove(0);
                }
                let bytes = window.slice(..window.len().min(BLOCK_BYTES));
                self.windows.push((number, window));
                bytes
            }
        };
        verify(self.file, bytes, number)
    }

    fn malformed(&self, number: u32, what: Malformed) -> RunError {
        self.file.malformed(number, what)
    }
}

/// Reads up to `blocks` blocks, limited by the end of the file.
fn read(file: &RunFile, disk: &dyn Disk, number: u32, blocks: u32) -> Result<Bytes, RunError> {
    // Block numbers come from the file and may be out of range.
    let there = file.footer.blocks.checked_sub(number).filter(|there| *there > 0);
    let there =
        there.ok_or_else(|| file.malformed(number, Malformed::Field("number of a block")))?;
    let length = there.min(blocks) as usize * BLOCK_BYTES;
    waiting::read(disk, &file.name, block::offset(number), length)
        .map_err(|source| RunError::io(&file.name, source))
}

fn verify(file: &RunFile, bytes: Bytes, number: u32) -> Result<Block, RunError> {
    Block::verify(bytes, number, file.seed).map_err(|what| file.malformed(number, what))
}
