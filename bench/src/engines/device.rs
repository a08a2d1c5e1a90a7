//! The bare device under the loads: each append is one write of 4 KiB, and no event is stored.
//!
//! It is the baseline for the latency of a single append. Invariant: the file was filled with zeros
//! and synced before; it is written from start to end, repeatedly.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use rustix::fs::OFlags;

use gesta_bench::load::engine::{Engine, Offer, Writer};

const BLOCK_BYTES: usize = 4 << 10;
const BLOCKS: u64 = 16 << 10;

/// Method that makes a block durable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// By `fdatasync` after the write.
    Sync,
    /// By the write itself, past the page cache: `O_DIRECT` and `O_DSYNC`.
    Direct,
}

pub(crate) struct Device {
    how: How,
    file: File,
    /// Number of blocks written.
    written: Mutex<u64>,
}

impl Device {
    pub(crate) fn open(directory: &Path, how: How) -> Result<Self> {
        let path = directory.join("blocks");
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        for block in 0..BLOCKS {
            file.write_all_at(&[0; BLOCK_BYTES], block * BLOCK_BYTES as u64)?;
        }
        file.sync_all()?;
        let flags = match how {
            How::Sync => OFlags::empty(),
            How::Direct => OFlags::DIRECT | OFlags::DSYNC,
        };
        let flags = i32::try_from(flags.bits())?;
        let file = OpenOptions::new().write(true).custom_flags(flags).open(&path);
        let file = file.context("opening for direct writes")?;
        Ok(Self { how, file, written: Mutex::new(0) })
    }
}

impl Engine for Device {
    fn writer(&self) -> Result<Box<dyn Writer + '_>> {
        Ok(Box::new(DeviceWriter { device: self, buffer: vec![7; 2 * BLOCK_BYTES] }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.file.sync_all()?)
    }
}

struct DeviceWriter<'a> {
    device: &'a Device,
    /// Twice the size of a block, so that it contains an aligned one, which direct writes need.
    buffer: Vec<u8>,
}

impl Writer for DeviceWriter<'_> {
    fn append(&mut self, offer: &Offer<'_>) -> Result<u64> {
        let aligned = self.buffer.as_ptr().align_offset(BLOCK_BYTES);
        let block = self.buffer.get_mut(aligned..aligned + BLOCK_BYTES).unwrap_or_default();
        for (byte, payload) in block.iter_mut().zip(offer.payloads.iter().flatten()) {
            *byte = *payload;
        }
        let mut written = self.device.written.lock().unwrap_or_else(PoisonError::into_inner);
        self.device.file.write_all_at(block, *written % BLOCKS * BLOCK_BYTES as u64)?;
        match self.device.how {
            How::Sync => self.device.file.sync_data()?,
            How::Direct => {}
        }
        *written += 1;
        Ok(*written)
    }
}
