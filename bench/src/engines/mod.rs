//! The compared engines, one per file.
//!
//! Invariants: every engine acknowledges an append when it is durable. All can return the events of
//! a stream and those with a tag, except the bare log, which has no index and is the baseline for
//! the cost of one, and the bare device, which stores no events.

mod bare;
mod device;
mod fjall;
mod sqlite;
mod tephra;

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use gesta_log::{LogStore, Options};
use serde::Serialize;

use gesta_bench::load::{engine::Engine, event_store::StoreEngine};

pub(crate) use self::bare::bytes_of;

/// An engine by its name.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    Gesta,
    Bare,
    Tephra,
    Sqlite,
    Fjall,
    DeviceSync,
    DeviceDirect,
}

impl Peer {
    /// Opens the engine in an empty directory, or reopens its files for reading. A bare log
    /// prepares files for `bare_bytes`.
    pub(crate) fn open(self, directory: &Path, bare_bytes: u64) -> Result<Box<dyn Engine>> {
        Ok(match self {
            Self::Gesta => Box::new(StoreEngine(LogStore::open(directory, Options::default())?)),
            Self::Bare => Box::new(bare::BareLog::create(directory, bare_bytes)?),
            Self::Tephra => Box::new(tephra::Tephra::open(directory)?),
            Self::Sqlite => Box::new(sqlite::Sqlite::open(directory)?),
            Self::Fjall => Box::new(fjall::Fjall::open(directory)?),
            Self::DeviceSync => Box::new(device::Device::open(directory, device::How::Sync)?),
            Self::DeviceDirect => Box::new(device::Device::open(directory, device::How::Direct)?),
        })
    }
}
