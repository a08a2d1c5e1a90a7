//! A disk in memory on which nothing goes wrong by itself.
//!
//! Always holds: an operation is done when it is submitted; reading copies nothing, and files that
//! were not changed are shared, so a store can be opened many million times. Not here: durability,
//! for nobody pulls the plug.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use gesta_log::{Cache, Disk, Done, Lane, Operation};

use super::written::is_segment;

/// Files by name.
pub(super) type Files = BTreeMap<String, Bytes>;

/// Files that are otherwise than before; none where they are gone.
pub(super) type Changed = BTreeMap<String, Option<Bytes>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct StillDisk {
    /// As they were in the beginning.
    files: Arc<Files>,
    changed: Mutex<Changed>,
    changed_segments: AtomicU64,
}

impl StillDisk {
    pub(super) fn holding(files: Arc<Files>, changed: Changed) -> Self {
        Self { files, changed: Mutex::new(changed), changed_segments: AtomicU64::default() }
    }

    /// What there is now.
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

    /// How many operations changed a segment.
    pub(super) fn changed_segments(&self) -> u64 {
        self.changed_segments.load(Ordering::Relaxed)
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a file as it is now.
    fn look<T>(&self, file: &str, look: impl FnOnce(&Bytes) -> T) -> io::Result<T> {
        let changed = self.changed();
        let content = match changed.get(file) {
            Some(content) => content.as_ref(),
            None => self.files.get(file),
        };
        content.map(look).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn take_effect(&self, operation: Operation) -> io::Result<()> {
        if let Operation::Write { file, .. }
        | Operation::WriteThrough { file, .. }
        | Operation::Create { file }
        | Operation::Remove { file }
        | Operation::Rename { from: file, .. }
        | Operation::RenameNoReplace { from: file, .. } = &operation
            && is_segment(file)
        {
            self.changed_segments.fetch_add(1, Ordering::Relaxed);
        }
        match operation {
            Operation::Create { file } => self.put(file, Some(Bytes::new())),
            Operation::Write { file, offset, bytes }
            | Operation::WriteThrough { file, offset, bytes } => {
                let mut changed = self.look(&file, |content| content.to_vec())?;
                let start = usize::try_from(offset).map_err(io::Error::other)?;
                changed.resize(changed.len().max(start + bytes.len()), 0);
                let place = changed.get_mut(start..start + bytes.len());
                place.expect("it was made long enough").copy_from_slice(&bytes);
                self.put(file, Some(changed.into()));
            }
            Operation::Rename { from, to } | Operation::RenameNoReplace { from, to } => {
                let content = self.look(&from, Bytes::clone)?;
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

impl Disk for StillDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let changed = self.changed();
        let unchanged = self.files.keys().filter(|file| !changed.contains_key(*file));
        let there = changed.iter().filter(|(_, content)| content.is_some());
        Ok(unchanged.chain(there.map(|(file, _)| file)).cloned().collect())
    }

    fn length(&self, file: &str) -> io::Result<u64> {
        self.look(file, |content| content.len() as u64)
    }

    fn read(&self, file: &str, offset: u64, length: usize, _: Cache) -> io::Result<Bytes> {
        self.look(file, |content| content.slice(part(content, offset, length)))
    }

    fn read_into(&self, file: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.look(file, |content| {
            let bytes = content.get(part(content, offset, buffer.len())).unwrap_or_default();
            let place = buffer.get_mut(..bytes.len()).expect("it is no longer than the buffer");
            place.copy_from_slice(bytes);
            bytes.len()
        })
    }

    fn submit(&self, operation: Operation, _: Lane, done: Done) {
        done(self.take_effect(operation));
    }
}

/// What a file has of so many bytes from an offset on.
fn part(content: &Bytes, offset: u64, length: usize) -> Range<usize> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
    start..start.saturating_add(length).min(content.len())
}
