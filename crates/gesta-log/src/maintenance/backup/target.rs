//! The directory of a backup.
//!
//! Always holds: a segment's copy has its name only once it is whole and durable; a copy that the
//! manifest names is replaced only by one that begins with the same bytes, and removed only once a
//! manifest that does not name it is durable.

use std::{fs, io, path::Path};

use bytes::Bytes;
use gesta_store::{Damage, Position};

use super::{
    BackupError, Copied, Manifest, Part, Snapshot,
    manifest::{MANIFEST, SUFFIX, file_name},
};
use crate::disk::{Access, Cache, Disk, FileDisk, Operation};

const UNFINISHED: &str = ".new";
/// Longer than any manifest.
const MANIFEST_BYTES_MAX: usize = 1 << 30;

/// See the module.
#[derive(Debug)]
pub(super) struct Target {
    disk: FileDisk,
    /// What was backed up before.
    before: Option<Manifest>,
}

impl Target {
    /// Locks the directory, which is made if need be.
    pub(super) fn open(directory: &Path) -> Result<Self, BackupError> {
        if let Some(file) = first_file(directory, |file| !belongs(file))? {
            return Err(BackupError::Occupied { directory: directory.to_owned(), file });
        }
        let disk = FileDisk::open(directory, Access::ReadWrite)?;
        let before = manifest(&disk)?;
        Ok(Self { disk, before })
    }

    /// Whether this store may go over what was backed up before.
    pub(super) fn check(&self, snapshot: &Snapshot) -> Result<(), BackupError> {
        let Some(before) = &self.before else { return Ok(()) };
        if before.end == Position::START {
            return Ok(());
        }
        if snapshot.store.is_some_and(|store| store != before.store) {
            return Err(BackupError::AnotherStore);
        }
        let shared = snapshot.common_prefix_end(before.incarnation).unwrap_or(Position::START);
        if before.end > shared {
            return Err(BackupError::Ahead { backup: before.end, shared });
        }
        Ok(())
    }

    /// What is there of a segment, if it is all there and whole.
    pub(super) fn whole(&self, part: &Part) -> Result<Option<Copied>, BackupError> {
        let file = file_name(part.number, part.salt);
        let length = match self.disk.length(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            length => length.map_err(|source| failed("read", &file, source))?,
        };
        if length < part.bytes {
            return Ok(None);
        }
        let bytes = self.read(&file, part.bytes)?;
        if part.damage(&bytes).is_some() {
            return Ok(None);
        }
        let hash = blake3::hash(&bytes);
        // Checksums of the log do not cover what lies between frames.
        let known = self.before.iter().flat_map(|before| &before.segments);
        let mut known =
            known.filter(|known| (known.number, known.salt) == (part.number, part.salt));
        let differs = known.any(|known| known.bytes == part.bytes && known.hash != hash);
        Ok((!differs).then(|| Copied::new(part, hash)))
    }

    /// Copies a segment and reads it back.
    pub(super) fn copy(&self, part: &Part, bytes: Bytes) -> Result<Copied, BackupError> {
        let file = file_name(part.number, part.salt);
        let copied = Copied::new(part, blake3::hash(&bytes));
        self.write(&file, bytes)?;
        let back = self.read(&file, part.bytes)?;
        if blake3::hash(&back) != copied.hash {
            let what = "it does not read back as it was written".to_owned();
            return Err(BackupError::DamagedBackup(Damage {
                file,
                offset: 0,
                positions: None,
                what,
            }));
        }
        Ok(copied)
    }

    /// Makes everything that was copied a backup, and removes what no longer belongs to it.
    pub(super) fn publish(&self, manifest: &Manifest) -> Result<(), BackupError> {
        self.run(Operation::SyncDirectory, "the directory")?;
        self.write(MANIFEST, manifest.encode().into())?;
        self.run(Operation::SyncDirectory, "the directory")?;
        let files: Vec<_> = manifest.segments.iter().map(Copied::file).collect();
        let there = self.disk.list().map_err(|source| failed("list", "the directory", source))?;
        for file in there {
            if (file.ends_with(SUFFIX) && !files.contains(&file)) || file.ends_with(UNFINISHED) {
                self.run(Operation::Remove { file: file.clone() }, &file)?;
            }
        }
        Ok(())
    }

    /// Writes a file that has its name once it is durable.
    fn write(&self, file: &str, bytes: Bytes) -> Result<(), BackupError> {
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
        super::source::read(&self.disk, file, bytes, Cache::Bypass)
    }
}

/// The manifest of a backup; none if there is no finished backup.
pub(super) fn manifest(disk: &dyn Disk) -> Result<Option<Manifest>, BackupError> {
    let length = match disk.length(MANIFEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        length => length.map_err(|source| failed("read", MANIFEST, source))?,
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(MANIFEST_BYTES_MAX);
    let read = disk.read(MANIFEST, 0, length, Cache::Bypass);
    let bytes = read.map_err(|source| failed("read", MANIFEST, source))?;
    let damaged = || {
        let (file, what) = (MANIFEST.to_owned(), "it is not what was written".to_owned());
        BackupError::DamagedBackup(Damage { file, offset: 0, positions: None, what })
    };
    Manifest::decode(&bytes).map(Some).ok_or_else(damaged)
}

/// The first file of a directory, by name, of those that are asked for; none where there is no
/// directory.
pub(crate) fn first_file(
    directory: &Path,
    asked: impl Fn(&str) -> bool,
) -> Result<Option<String>, BackupError> {
    let cannot = |source| failed("list", &directory.display().to_string(), source);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(cannot)?,
    };
    let mut first: Option<String> = None;
    for entry in entries {
        let file = entry.map_err(cannot)?.file_name().to_string_lossy().into_owned();
        if asked(&file) && first.as_ref().is_none_or(|first| file < *first) {
            first = Some(file);
        }
    }
    Ok(first)
}

/// Whether a file may be in a backup's directory.
fn belongs(file: &str) -> bool {
    let name = file.strip_suffix(UNFINISHED).unwrap_or(file);
    name == MANIFEST || name.ends_with(SUFFIX) || file == "LOCK"
}

fn failed(doing: &str, file: &str, source: io::Error) -> BackupError {
    BackupError::Io { doing: format!("{doing} {file}"), source }
}
