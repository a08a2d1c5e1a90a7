//! Baseline of the raw device: the latency of a durable 4 KiB write.
//!
//! Writes go to a preallocated, synced file of zeros, so that only data and no file system metadata
//! reaches the device.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::fs::OFlags;
use serde::Serialize;

use super::{clock::Stopwatch, latencies::Latencies};

const BLOCK_BYTES: usize = 4 << 10;
const BLOCKS: u64 = 512;
const TIME_MAX: Duration = Duration::from_millis(250);
const FILE: &str = "device-probe";

/// Median latencies of sequential 4 KiB writes, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DeviceReport {
    /// `write` followed by `fdatasync`.
    pub write_and_sync_p50_us: f64,
    /// Write with `O_DIRECT` and `O_DSYNC`, or `None` if the file system does not support it.
    pub direct_p50_us: Option<f64>,
}

/// Measures the device of a directory with a temporary file.
pub fn probe(directory: &Path) -> Result<DeviceReport> {
    let path = directory.join(FILE);
    let probed = probe_file(&path).with_context(|| format!("cannot probe {}", path.display()));
    fs::remove_file(&path).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    probed
}

fn probe_file(path: &Path) -> io::Result<DeviceReport> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    for block in 0..BLOCKS {
        file.write_all_at(&[0; BLOCK_BYTES], block * BLOCK_BYTES as u64)?;
    }
    file.sync_all()?;
    let mut buffer = vec![7; 2 * BLOCK_BYTES];
    let aligned = buffer.as_ptr().align_offset(BLOCK_BYTES);
    let block = buffer.get_mut(aligned..aligned + BLOCK_BYTES).unwrap_or_default();
    let buffered = median_us(&file, block, File::sync_data)?;
    Ok(DeviceReport { write_and_sync_p50_us: buffered, direct_p50_us: direct(path, block).ok() })
}

fn direct(path: &Path, block: &[u8]) -> io::Result<f64> {
    let flags = (OFlags::DIRECT | OFlags::DSYNC).bits();
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(i32::try_from(flags).map_err(io::Error::other)?)
        .open(path)?;
    median_us(&file, block, |_| Ok(()))
}

fn median_us(file: &File, block: &[u8], sync: fn(&File) -> io::Result<()>) -> io::Result<f64> {
    let mut latencies = Latencies::default();
    let all = Stopwatch::start();
    for nth in 0..BLOCKS {
        let stopwatch = Stopwatch::start();
        file.write_all_at(block, nth * BLOCK_BYTES as u64)?;
        sync(file)?;
        latencies.add(stopwatch.nanos());
        if all.elapsed() > TIME_MAX {
            break;
        }
    }
    Ok(latencies.quantiles().p50_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_takes_some_time_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let report = probe(directory.path()).unwrap();
        assert!(report.write_and_sync_p50_us > 0.0);
        assert!(report.direct_p50_us.is_none_or(|direct| direct > 0.0));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_not_there_is_told() {
        let directory = tempfile::tempdir().unwrap();
        assert!(probe(&directory.path().join("missing")).is_err());
    }
}
