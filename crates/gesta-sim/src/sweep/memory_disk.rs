//! An in-memory disk without faults.
//!
//! Invariants: an operation completes when it is submitted; reads do not copy, and unchanged files
//! are shared, so a store can be opened millions of times. Not here: durability.

use std::{
    io,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use gesta_log::{Cache, Disk, Done, Lane, Operation};

use super::files::{ChangedFiles, Files, is_segment};

/// Shared files with changes of their own.
#[derive(Debug, Default)]
pub(super) struct MemoryDisk {
    /// Initial files.
    files: Arc<Files>,
    changed: Mutex<ChangedFiles>,
    changed_segments: AtomicU64,
}

impl MemoryDisk {
    pub(super) fn holding(files: Arc<Files>, changed: ChangedFiles) -> Self {
        Self { files, changed: Mutex::new(changed), changed_segments: AtomicU64::default() }
    }

    /// Returns the current files.
    pub(super) fn snapshot(&self) -> Files {
        let mut files = (*self.files).clone();
        for (file, content) in &*self.changed() {
            match content {
                Some(content) => files.insert(file.clone(), content.clone()),
                None => files.remove(file),
            };
        }
        files
    }

    /// Number of operations that changed a segment.
    pub(super) fn changed_segments(&self) -> u64 {
        self.changed_segments.load(Ordering::Relaxed)
    }

    fn changed(&self) -> MutexGuard<'_, ChangedFiles> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies `read` to the current content of a file.
    fn with_file<T>(&self, file: &str, read: impl FnOnce(&Bytes) -> T) -> io::Result<T> {
        let changed = self.changed();
        let content = match changed.get(file) {
            Some(content) => content.as_ref(),
            None => self.files.get(file),
        };
        content.map(read).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn apply(&self, operation: Operation) -> io::Result<()> {
        if let Operation::Write { file, .. }
        | Operation::WriteThrough { file, .. }
        | Operation::Create { file }
        | Operation::Remove { file }
        | Operation::Rename { from: file, .. }
        | Operation::RenameNoReplace { from: file, .. } = &operation
            && is_segment(file)
        {
            // Opening a store must never change a damaged segment.
            self.changed_segments.fetch_add(1, Ordering::Relaxed);
        }
        match operation {
            Operation::Create { file } => self.put(file, Some(Bytes::new())),
            Operation::Write { file, offset, bytes }
            | Operation::WriteThrough { file, offset, bytes } => {
                // Copy on write: the initial files are shared by all openings.
                let mut changed = self.with_file(&file, |content| content.to_vec())?;
                let start = usize::try_from(offset).map_err(io::Error::other)?;
                changed.resize(changed.len().max(start + bytes.len()), 0);
                let place = changed.get_mut(start..start + bytes.len());
                place.expect("resized above").copy_from_slice(&bytes);
                self.put(file, Some(changed.into()));
            }
            Operation::Rename { from, to } | Operation::RenameNoReplace { from, to } => {
                let content = self.with_file(&from, Bytes::clone)?;
                self.put(from, None);
                self.put(to, Some(content));
            }
            Operation::Remove { file } => self.put(file, None),
            Operation::Sync { .. } | Operation::SyncDirectory => {}
        }
        Ok(())
    }

    fn put(&self, file: String, content: Option<Bytes>) {
        self.changed().insert(file, content);
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let changed = self.changed();
        let unchanged = self.files.keys().filter(|file| !changed.contains_key(*file));
        let there = changed.iter().filter(|(_, content)| content.is_some());
        Ok(unchanged.chain(there.map(|(file, _)| file)).cloned().collect())
    }

    fn length(&self, file: &str) -> io::Result<u64> {
        self.with_file(file, |content| content.len() as u64)
    }

    fn read(&self, file: &str, offset: u64, length: usize, _: Cache) -> io::Result<Bytes> {
        self.with_file(file, |content| content.slice(part(content, offset, length)))
    }

    fn read_into(&self, file: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.with_file(file, |content| {
            let bytes = content.get(part(content, offset, buffer.len())).unwrap_or_default();
            let place = buffer.get_mut(..bytes.len()).expect("at most the length of the buffer");
            place.copy_from_slice(bytes);
            bytes.len()
        })
    }

    fn never_waits(&self) -> bool {
        true
    }

    fn submit(&self, operation: Operation, _: Lane, done: Done) {
        done(self.apply(operation));
    }
}

/// Range of at most `length` bytes of the file at `offset`.
fn part(content: &Bytes, offset: u64, length: usize) -> Range<usize> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
    start..start.saturating_add(length).min(content.len())
}
