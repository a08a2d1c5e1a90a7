//! The directory of a backup.
//!
//! Invariants:
//! - A copy gets its final name only once it is complete and durable.
//! - A copy that the manifest names is replaced only by one that begins with the same bytes.
//! - It is removed only once a manifest that does not name it is durable.

use std::{fs, io, path::Path};

use bytes::Bytes;
use gesta_store::{Damage, Position};

use super::{
    error::BackupError,
    manifest::{CopiedSegment, MANIFEST, Manifest, SUFFIX, file_name},
    source::{self, SegmentPart, Snapshot},
};
use crate::disk::{Access, Cache, Disk, FileDisk, Operation};

const UNFINISHED: &str = ".new";
/// Upper bound of a manifest's size, in bytes.
const MANIFEST_BYTES_MAX: usize = 1 << 30;

/// A locked backup directory.
#[derive(Debug)]
pub(super) struct BackupDirectory {
    disk: FileDisk,
    /// The manifest of the previous backup.
    before: Option<Manifest>,
}

impl BackupDirectory {
    /// Locks the directory, and creates it if it does not exist.
    pub(super) fn open(directory: &Path) -> Result<Self, BackupError> {
        if let Some(file) = first_file(directory, |file| !belongs(file))? {
            return Err(BackupError::Occupied { directory: directory.to_owned(), file });
        }
        let disk = FileDisk::open(directory, Access::ReadWrite)?;
        let before = manifest(&disk)?;
        Ok(Self { disk, before })
    }

    /// Returns an error unless the store continues the previous backup.
    pub(super) fn check(&self, snapshot: &Snapshot) -> Result<(), BackupError> {
        let Some(before) = &self.before else { return Ok(()) };
        if before.end == Position::START {
            return Ok(());
        }
        if snapshot.store.is_some_and(|store| store != before.store) {
            return Err(BackupError::AnotherStore);
        }
        // The store may have lost events that the backup has: do not overwrite the only copy.
        let shared = snapshot.common_prefix_end(before.incarnation).unwrap_or(Position::START);
        if before.end > shared {
            return Err(BackupError::Ahead { backup: before.end, shared });
        }
        Ok(())
    }

    /// Returns the existing copy of a segment, if it is complete and intact.
    pub(super) fn intact(&self, part: &SegmentPart) -> Result<Option<CopiedSegment>, BackupError> {
        let file = file_name(part.number, part.salt);
        let length = match self.disk.length(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            length => length.map_err(|source| failed("read", &file, source))?,
        };
        // An earlier backup copied the active segment when it was shorter: copy it again.
        if length < part.bytes {
            return Ok(None);
        }
        let bytes = self.read(&file, part.bytes)?;
        if part.damage(&bytes).is_some() {
            return Ok(None);
        }
        let hash = blake3::hash(&bytes);
        // The log's checksums do not cover the bytes between frames, but the manifest's hash does.
        let known = self.before.iter().flat_map(|before| &before.segments);
        let mut known =
            known.filter(|known| (known.number, known.salt) == (part.number, part.salt));
        let differs = known.any(|known| known.bytes == part.bytes && known.hash != hash);
        Ok((!differs).then(|| CopiedSegment::new(part, hash)))
    }

    /// Copies a segment, and compares what reads back from the device.
    pub(super) fn copy(
        &self,
        part: &SegmentPart,
        bytes: Bytes,
    ) -> Result<CopiedSegment, BackupError> {
        let file = file_name(part.number, part.salt);
        let copied = CopiedSegment::new(part, blake3::hash(&bytes));
        self.write(&file, bytes)?;
        let back = self.read(&file, part.bytes)?;
        if blake3::hash(&back) != copied.hash {
            let what = "the data read back differ from the data written".to_owned();
            return Err(BackupError::DamagedBackup(Damage::new(file, 0, what)));
        }
        Ok(copied)
    }

    /// Writes the manifest, which completes the backup, and then removes obsolete copies.
    pub(super) fn publish(&self, manifest: &Manifest) -> Result<(), BackupError> {
        // The copies' names must be durable before a manifest names them, and the manifest before
        // any copy that only the old one names is removed.
        self.run(Operation::SyncDirectory, "the directory")?;
        self.write(MANIFEST, manifest.encode().into())?;
        self.run(Operation::SyncDirectory, "the directory")?;
        let files: Vec<_> = manifest.segments.iter().map(CopiedSegment::file).collect();
        let present = self.disk.list().map_err(|source| failed("list", "the directory", source))?;
        for file in present {
            if (file.ends_with(SUFFIX) && !files.contains(&file)) || file.ends_with(UNFINISHED) {
                self.run(Operation::Remove { file: file.clone() }, &file)?;
            }
        }
        Ok(())
    }

    /// Writes a file under a temporary name, and renames it once it is durable.
    fn write(&self, file: &str, bytes: Bytes) -> Result<(), BackupError> {
        // Several copies share one sync of the directory, which `publish` does before the manifest
        // names them.
        let unfinished = || format!("{file}{UNFINISHED}");
        self.run(Operation::Create { file: unfinished() }, file)?;
        self.run(Operation::Write { file: unfinished(), offset: 0, bytes }, file)?;
        self.run(Operation::Sync { file: unfinished() }, file)?;
        self.run(Operation::Rename { from: unfinished(), to: file.to_owned() }, file)
    }

    fn run(&self, operation: Operation, file: &str) -> Result<(), BackupError> {
        self.disk.run(operation).map_err(|source| failed("write", file, source))
    }

    fn read(&self, file: &str, bytes: u64) -> Result<Bytes, BackupError> {
        source::read(&self.disk, file, bytes, Cache::Bypass)
    }
}

/// Reads the manifest of a backup. Returns `None` if there is no finished backup.
pub(super) fn manifest(disk: &dyn Disk) -> Result<Option<Manifest>, BackupError> {
    let length = match disk.length(MANIFEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        length => length.map_err(|source| failed("read", MANIFEST, source))?,
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(MANIFEST_BYTES_MAX);
    let read = disk.read(MANIFEST, 0, length, Cache::Bypass);
    let bytes = read.map_err(|source| failed("read", MANIFEST, source))?;
    let damaged = || {
        let (file, what) = (MANIFEST.to_owned(), "its checksum does not match".to_owned());
        BackupError::DamagedBackup(Damage::new(file, 0, what))
    };
    Manifest::decode(&bytes).map(Some).ok_or_else(damaged)
}

/// Returns the first file of a directory, by name, that `asked` accepts. Returns `None` if the
/// directory does not exist.
pub(crate) fn first_file(
    directory: &Path,
    accept: impl Fn(&str) -> bool,
) -> Result<Option<String>, BackupError> {
    let cannot = |source| failed("list", &directory.display().to_string(), source);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(cannot)?,
    };
    let mut first: Option<String> = None;
    for entry in entries {
        let file = entry.map_err(cannot)?.file_name().to_string_lossy().into_owned();
        if accept(&file) && first.as_ref().is_none_or(|first| file < *first) {
            first = Some(file);
        }
    }
    Ok(first)
}

/// Returns whether a file may be in a backup's directory.
fn belongs(file: &str) -> bool {
    let name = file.strip_suffix(UNFINISHED).unwrap_or(file);
    name == MANIFEST || name.ends_with(SUFFIX) || file == "LOCK"
}

fn failed(doing: &str, file: &str, source: io::Error) -> BackupError {
    BackupError::Io { doing: format!("{doing} {file}"), source }
}
