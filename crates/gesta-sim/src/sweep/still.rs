//! A disk in memory on which nothing goes wrong by itself.
//!
//! Always holds: an operation is done when it is submitted; reading copies nothing, so a store can
//! be opened many thousand times. Not here: durability, for nobody pulls the plug.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use gesta_log::{Cache, Disk, Done, Lane, Operation};

use super::original::is_segment;

/// Files by name.
pub(super) type Files = BTreeMap<String, Bytes>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct StillDisk {
    files: Mutex<Files>,
    changed_segments: AtomicU64,
}

impl StillDisk {
    pub(super) fn holding(files: Files) -> Self {
        Self { files: Mutex::new(files), changed_segments: AtomicU64::default() }
    }

    /// What there is now.
    pub(super) fn snapshot(&self) -> Files {
        self.files().clone()
    }

    /// How many operations changed a segment.
    pub(super) fn changed_segments(&self) -> u64 {
        self.changed_segments.load(Ordering::Relaxed)
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_effect(&self, operation: Operation) -> io::Result<()> {
        if let Operation::Write { file, .. }
        | Operation::WriteThrough { file, .. }
        | Operation::Create { file }
        | Operation::Remove { file }
        | Operation::Rename { from: file, .. } = &operation
            && is_segment(file)
        {
            self.changed_segments.fetch_add(1, Ordering::Relaxed);
        }
        let mut files = self.files();
        match operation {
            Operation::Create { file } => drop(files.insert(file, Bytes::new())),
            Operation::Write { file, offset, bytes }
            | Operation::WriteThrough { file, offset, bytes } => {
                let content = files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?;
                let mut changed = content.to_vec();
                let start = usize::try_from(offset).map_err(io::Error::other)?;
                changed.resize(changed.len().max(start + bytes.len()), 0);
                let place = changed.get_mut(start..start + bytes.len());
                place.expect("it was made long enough").copy_from_slice(&bytes);
                *content = changed.into();
            }
            Operation::Rename { from, to } => {
                let content = files.remove(&from).ok_or(io::ErrorKind::NotFound)?;
                files.insert(to, content);
            }
            Operation::Remove { file } => drop(files.remove(&file)),
            Operation::Sync { .. } | Operation::SyncDirectory => {}
        }
        Ok(())
    }
}

impl Disk for StillDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    fn length(&self, file: &str) -> io::Result<u64> {
        Ok(self.files().get(file).ok_or(io::ErrorKind::NotFound)?.len() as u64)
    }

    fn read(&self, file: &str, offset: u64, length: usize, _: Cache) -> io::Result<Bytes> {
        let files = self.files();
        let content = files.get(file).ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?.min(content.len());
        Ok(content.slice(start..start.saturating_add(length).min(content.len())))
    }

    fn submit(&self, operation: Operation, _: Lane, done: Done) {
        done(self.take_effect(operation));
    }
}
