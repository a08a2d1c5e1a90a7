//! Where blocks are read from: the cache for those who ask, windows for who reads a run through.

use bytes::Bytes;

use super::{
    Run, RunError,
    block::{self, BLOCK_BYTES, Block, BlockSource},
    cache::BlockKey,
};
use crate::{
    disk::{Cache, Disk},
    format::Malformed,
};

/// Reads blocks one by one, and keeps them in the cache.
pub(super) struct CachedBlocks<'a> {
    pub(super) run: &'a Run,
    pub(super) disk: &'a dyn Disk,
}

impl CachedBlocks<'_> {
    /// Reads a block for somebody who keeps it.
    pub(super) fn read(&self, number: u32) -> Result<Block, RunError> {
        let bytes = read(self.run, self.disk, number, 1)?;
        verify(self.run, bytes, number)
    }
}

impl BlockSource for CachedBlocks<'_> {
    fn any(&mut self, number: u32) -> Result<Block, RunError> {
        let Run { cache, cache_number, .. } = self.run;
        let key = BlockKey { run: *cache_number, block: number };
        if let Some(block) = cache.get(key) {
            return Ok(block);
        }
        let block = self.read(number)?;
        cache.insert(key, block.clone());
        Ok(block)
    }

    fn bad(&self, number: u32, what: Malformed) -> RunError {
        self.run.bad(number, what)
    }
}

const WINDOW_BLOCKS: u32 = 32;
const WINDOWS_MAX: usize = 4;

/// Reads many blocks at once, and keeps what was read last to itself.
pub(super) struct BlockWindows<'a> {
    run: &'a Run,
    disk: &'a dyn Disk,
    /// The first block of each, the latest window last.
    windows: Vec<(u32, Bytes)>,
}

impl<'a> BlockWindows<'a> {
    pub(super) fn new(run: &'a Run, disk: &'a dyn Disk) -> Self {
        Self { run, disk, windows: Vec::new() }
    }

    pub(super) fn run(&self) -> &'a Run {
        self.run
    }

    fn have(&self, number: u32) -> Option<Bytes> {
        self.windows.iter().rev().find_map(|(first, bytes)| {
            let start = number.checked_sub(*first)? as usize * BLOCK_BYTES;
            (start < bytes.len()).then(|| bytes.slice(start..bytes.len().min(start + BLOCK_BYTES)))
        })
    }
}

impl BlockSource for BlockWindows<'_> {
    fn any(&mut self, number: u32) -> Result<Block, RunError> {
        let bytes = match self.have(number) {
            Some(bytes) => bytes,
            None => {
                let window = read(self.run, self.disk, number, WINDOW_BLOCKS)?;
                if self.windows.len() >= WINDOWS_MAX {
                    self.windows.remove(0);
                }
                let bytes = window.slice(..window.len().min(BLOCK_BYTES));
                self.windows.push((number, window));
                bytes
            }
        };
        verify(self.run, bytes, number)
    }

    fn bad(&self, number: u32, what: Malformed) -> RunError {
        self.run.bad(number, what)
    }
}

/// Reads up to so many blocks of those that there are.
fn read(run: &Run, disk: &dyn Disk, number: u32, blocks: u32) -> Result<Bytes, RunError> {
    let there = run.footer.blocks.checked_sub(number).filter(|there| *there > 0);
    let there = there.ok_or_else(|| run.bad(number, Malformed::Field("number of a block")))?;
    let length = there.min(blocks) as usize * BLOCK_BYTES;
    disk.read(&run.file, block::offset(number), length, Cache::Use)
        .map_err(|source| RunError::io(&run.file, source))
}

fn verify(run: &Run, bytes: Bytes, number: u32) -> Result<Block, RunError> {
    Block::verify(bytes, number, run.seed).map_err(|what| run.bad(number, what))
}
