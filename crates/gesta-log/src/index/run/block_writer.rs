//! Writing a run's blocks to a new file.
//!
//! Always holds: numbers are given in order, and what was given one is written before the end; the
//! file has its name only once all of it is durable.

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
    planted::{self, Bug},
};

/// Bytes that are written at once.
const WRITE_BYTES: usize = 1 << 20;
/// Synced in between after this much, so that one large sync at the end holds nobody up.
const SYNC_BYTES: usize = 16 << 20;

/// Told of bytes as they are written; may say to stop.
pub(crate) type OnBytes<'a> = &'a mut dyn FnMut(usize) -> ControlFlow<()>;

/// A file of blocks that is being written.
pub(super) struct BlockWriter<'a> {
    disk: &'a dyn Disk,
    name: RunName,
    file: String,
    seed: Seed,
    go_on: OnBytes<'a>,
    /// BlockSource from number `written` on.
    buffer: Vec<u8>,
    written: u32,
    unsynced: usize,
}

impl<'a> BlockWriter<'a> {
    pub(super) fn create(
        disk: &'a dyn Disk,
        name: RunName,
        seed: Seed,
        go_on: OnBytes<'a>,
    ) -> Result<Self, RunError> {
        let file = name.new_file();
        let buffer = Vec::with_capacity(WRITE_BYTES);
        let output = Self { disk, name, file, seed, go_on, buffer, written: 0, unsynced: 0 };
        output.run(Operation::Create { file: output.file.clone() })?;
        Ok(output)
    }

    fn run(&self, operation: Operation) -> Result<(), RunError> {
        self.disk.run(operation).map_err(|source| RunError::io(&self.file, source))
    }

    /// The number that the next block gets.
    pub(super) fn next(&self) -> Result<u32, RunError> {
        let buffered = self.buffer.len() / BLOCK_BYTES;
        let next = u32::try_from(buffered).ok().and_then(|buffered| {
            self.written.checked_add(buffered).filter(|next| *next < u32::MAX)
        });
        // Sixteen tebibytes: more than the index of any store that there is.
        next.ok_or_else(|| RunError::malformed(&self.file, 0, Malformed::Field("size")))
    }

    /// Adds a block; says its number.
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

    /// Gives a number to a block that is [filled](Self::fill) later.
    pub(super) fn reserve(&mut self) -> Result<u32, RunError> {
        let number = self.next()?;
        self.buffer.resize(self.buffer.len() + BLOCK_BYTES, 0);
        Ok(number)
    }

    /// Says what a reserved block says.
    pub(super) fn fill(
        &mut self,
        number: u32,
        kind: BlockKind,
        body: &[u8],
    ) -> Result<(), RunError> {
        let mut bytes = Vec::with_capacity(BLOCK_BYTES);
        block::put(&mut bytes, kind, body, number, self.seed);
        let Some(buffered) = number.checked_sub(self.written) else {
            return self.write_at(number, Bytes::from(bytes));
        };
        let start = buffered as usize * BLOCK_BYTES;
        let place = self.buffer.get_mut(start..start + BLOCK_BYTES);
        place.expect("it was reserved").copy_from_slice(&bytes);
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
        match (self.go_on)(length) {
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
        self.written = next;
        self.write_at(number, Bytes::from(bytes))
    }

    fn sync(&mut self) -> Result<(), RunError> {
        self.unsynced = 0;
        self.run(Operation::Sync { file: self.file.clone() })
    }

    /// Adds the last block and gives the file its name, durably.
    pub(super) fn finish(mut self, footer: &[u8], seed: Seed) -> Result<(), RunError> {
        self.end(footer, seed)?;
        self.run(Operation::Rename { from: self.file.clone(), to: self.name.file() })?;
        self.run(Operation::SyncDirectory)
    }

    /// Adds the last block and makes the file durable, without giving it its name.
    pub(super) fn end(&mut self, footer: &[u8], seed: Seed) -> Result<(), RunError> {
        self.add_with(BlockKind::Footer, footer, seed)?;
        self.write()?;
        if planted::is(Bug::RunNamedBeforeSync) {
            return Ok(());
        }
        self.sync()
    }
}
