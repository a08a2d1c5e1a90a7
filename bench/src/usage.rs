//! Resources that a run used: processor time, memory, disk.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Resources that this process has used so far.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Usage {
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    /// Peak resident memory.
    pub(crate) memory_bytes: u64,
    /// Allocated size of the engine's files.
    pub(crate) disk_bytes: u64,
}

/// Unit of processor time in `/proc`, the same on every machine.
const TICKS_A_SECOND: f64 = 100.0;
const KIB: u64 = 1_024;
/// Unit of `st_blocks`, independent of the file system.
const BLOCK_BYTES: u64 = 512;

impl Usage {
    pub(crate) fn now(directory: &Path) -> Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
        // The program's name is in parentheses and may contain spaces.
        let (_, fields) = stat.rsplit_once(") ").context("/proc/self/stat has no name")?;
        let mut fields = fields.split(' ').skip(11).map(str::parse::<f64>);
        let mut ticks = || fields.next().context("/proc/self/stat ends early");
        let (user, system) = (ticks()??, ticks()??);
        Ok(Self {
            user_seconds: user / TICKS_A_SECOND,
            system_seconds: system / TICKS_A_SECOND,
            memory_bytes: memory_bytes()?,
            disk_bytes: disk_bytes(directory)?,
        })
    }

    /// Returns the processor time used since then, with present memory and disk.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            user_seconds: self.user_seconds - before.user_seconds,
            system_seconds: self.system_seconds - before.system_seconds,
            ..self
        }
    }
}

fn memory_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB")).context("no peak memory")?;
    Ok(kib.parse::<u64>()? * KIB)
}

fn disk_bytes(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => disk_bytes(&entry.path())?,
            false => metadata.blocks() * BLOCK_BYTES,
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_memory_and_files_are_counted() {
        let directory = tempfile::tempdir().expect("a directory");
        let before = Usage::now(directory.path()).expect("is on Linux");
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).expect("is new");
        fs::write(inner.join("file"), vec![1; 100_000]).expect("is new");
        let mut sum = 0_u64;
        while Usage::now(&inner).expect("is there").since(before).user_seconds < 0.03 {
            sum = (0..1_000_000_u64).fold(sum, |sum, each| std::hint::black_box(sum ^ each));
        }
        let used = Usage::now(directory.path()).expect("is on Linux").since(before);
        assert!(used.user_seconds >= 0.03 && used.memory_bytes > 1 << 20, "{used:?}");
        assert!((100_000..1 << 20).contains(&used.disk_bytes), "{used:?}");
    }
}
