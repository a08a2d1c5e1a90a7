//! Latency of the bare device, as the unit for other figures.

use std::{fs, fs::OpenOptions, os::unix::fs::FileExt, path::Path, time::Duration};

use anyhow::{Context, Result};

use crate::step::Stopwatch;

const BLOCK_BYTES: usize = 4 << 10;
const BLOCKS: usize = 2_000;

/// Returns the median time of writing 4 KiB into a file of zeros and syncing it.
pub(super) fn write_and_sync_p50(directory: &Path) -> Result<Duration> {
    fs::create_dir_all(directory)?;
    let path = directory.join("device-probe");
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
    // Overwriting allocated blocks avoids the cost of metadata, like a prepared segment.
    file.write_all_at(&vec![0; BLOCK_BYTES * BLOCKS], 0)?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(BLOCKS);
    for block in 0..BLOCKS {
        let stopwatch = Stopwatch::start();
        file.write_all_at(&[7; BLOCK_BYTES], (block * BLOCK_BYTES) as u64)?;
        file.sync_data()?;
        times.push(stopwatch.elapsed());
    }
    fs::remove_file(&path)?;
    times.sort_unstable();
    times.get(BLOCKS / 2).copied().context("the probe took no time at all")
}
