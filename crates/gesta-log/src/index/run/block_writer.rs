//! Writes the blocks of a run to a new file.
//!
//! Block numbers are assigned in order, and every assigned block is written before the end. The
//! file is renamed to its final name once it is durable.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{
    RunError,
    block::{self, BLOCK_BYTES, BlockKind},
    layout::RunName,
};
use crate::{
    disk::{Disk, Operation},
    format::{Malformed, Seed},
    mutations::mutated,
};

/// Size of a write.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes between syncs. A single large sync at the end would delay the syncs of appends.
const SYNC_BYTES: usize = 16 << 20;

/// Callback for the number of bytes written or read; may stop the operation.
pub(crate) type OnBytes<'a> = &'a mut dyn FnMut(usize) -> ControlFlow<()>;

/// A file of blocks being written.
pub(super) struct BlockWriter<'a> {
    disk: &'a dyn Disk,
    name: RunName,
    file: String,
    seed: Seed,
    on_bytes: OnBytes<'a>,
    /// The blocks starting at number `written`.
    buffer: Vec<u8>,
    written: u32,
    unsynced: usize,
}

impl<'a> BlockWriter<'a> {
    pub(super) fn create(
        disk: &'a dyn Disk,
        name: RunName,
        seed: Seed,
        on_bytes: OnBytes<'a>,
    ) -> Result<Self, RunError> {
        let file = name.new_file();
        let buffer = Vec::with_capacity(WRITE_BYTES);
        let output = Self { disk, name, file, seed, on_bytes, buffer, written: 0, unsynced: 0 };
        output.run(Operation::Create { file: output.file.clone() })?;
        Ok(output)
    }

    fn run(&self, operation: Operation) -> Result<(), RunError> {
        self.disk.run(operation).map_err(|source| RunError::io(&self.file, source))
    }

    /// The number of the next block.
    pub(super) fn next(&self) -> Result<u32, RunError> {
        let buffered = self.buffer.len() / BLOCK_BYTES;
        // `u32::MAX` stays unused, so that the number of blocks fits as well.
        let next = u32::try_from(buffered).ok().and_then(|buffered| {
            self.written.checked_add(buffered).filter(|next| *next < u32::MAX)
        });
        // 16 TiB of index, which no store reaches.
        next.ok_or_else(|| RunError::malformed(&self.file, 0, Malformed::Field("size")))
    }

    /// Adds a block and returns its number.
    pub(super) fn add(&mut self, kind: BlockKind, body: &[u8]) -> Result<u32, RunError> {
        self.add_with(kind, body, self.seed)
    }

    fn add_with(&mut self, kind: BlockKind, body: &[u8], seed: Seed) -> Result<u32, RunError> {
        let number = self.next()?;
        block::put(&mut self.buffer, kind, body, number, seed);
        if self.buffer.len() >= WRITE_BYTES {
            self.write()?;
        }
        Ok(number)
    }

    /// Reserves the next number for a block that is [filled](Self::fill) later.
    pub(super) fn reserve(&mut self) -> Result<u32, RunError> {
        let number = self.next()?;
        // Zeros, which no reader takes for a block, until it is filled.
        self.buffer.resize(self.buffer.len() + BLOCK_BYTES, 0);
        Ok(number)
    }

    /// Writes the contents of a reserved block.
    pub(super) fn fill(
        &mut self,
        number: u32,
        kind: BlockKind,
        body: &[u8],
    ) -> Result<(), RunError> {
        let mut bytes = Vec::with_capacity(BLOCK_BYTES);
        block::put(&mut bytes, kind, body, number, self.seed);
        // Already flushed as zeros: overwrite it in place.
        let Some(buffered) = number.checked_sub(self.written) else {
            return self.write_at(number, Bytes::from(bytes));
        };
        let start = buffered as usize * BLOCK_BYTES;
        let place = self.buffer.get_mut(start..start + BLOCK_BYTES);
        place.expect("the block was reserved in the buffer").copy_from_slice(&bytes);
        Ok(())
    }

    fn write_at(&mut self, number: u32, bytes: Bytes) -> Result<(), RunError> {
        let length = bytes.len();
        let offset = block::offset(number);
        self.run(Operation::Write { file: self.file.clone(), offset, bytes })?;
        self.unsynced += length;
        if self.unsynced >= SYNC_BYTES {
            self.sync()?;
        }
        match (self.on_bytes)(length) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(RunError::Stopped),
        }
    }

    fn write(&mut self) -> Result<(), RunError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let (number, next) = (self.written, self.next()?);
        let bytes = std::mem::replace(&mut self.buffer, Vec::with_capacity(WRITE_BYTES));
        // Before the write: blocks of this buffer are filled in the file from now on.
        self.written = next;
        self.write_at(number, Bytes::from(bytes))
    }

    fn sync(&mut self) -> Result<(), RunError> {
        self.unsynced = 0;
        self.run(Operation::Sync { file: self.file.clone() })
    }

    /// Adds the footer, makes the file durable and renames it to its final name.
    pub(super) fn finish(mut self, footer: &[u8], seed: Seed) -> Result<(), RunError> {
        self.end(footer, seed)?;
        // Renamed only after the sync: a run under its final name is complete.
        self.run(Operation::Rename { from: self.file.clone(), to: self.name.file() })?;
        // The manifest may name the run only once its name is durable.
        self.run(Operation::SyncDirectory)
    }

    /// Adds the footer and makes the file durable under its temporary name.
    pub(super) fn end(&mut self, footer: &[u8], seed: Seed) -> Result<(), RunError> {
        self.add_with(BlockKind::Footer, footer, seed)?;
        self.write()?;
        if mutated!(RunNamedBeforeSync) {
            return Ok(());
        }
        self.sync()
    }
}
