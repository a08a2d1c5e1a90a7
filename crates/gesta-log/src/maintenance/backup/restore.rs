//! From a backup to a store.
//!
//! Always holds: nothing is written before all of the backup was found to be what its manifest
//! says; a directory in which a restore did not end is not taken for a store; the restored store is
//! of a new incarnation, so that whoever has seen more than the backup holds is told so.

use std::path::Path;

use bytes::Bytes;
use gesta_store::{Damage, Incarnation, Position};
use uuid::Uuid;

use super::{BackupError, Copied, Manifest, first_file, source::read, target::manifest};
use crate::{
    clock::{Rng, SystemRng},
    disk::{Access, Cache, Disk, FileDisk, Operation},
    format::{FrameKind, GroupLocation, Seed, encode_bare, mark_offset, write_frame_headers},
    recovery::restored::{self, Making},
    recovery::{OnProgress, Progress},
    segment::scan::{self, ScanStart},
    segment::segment_file,
};

/// What a restore came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreReport {
    /// The last event's position.
    pub end: Position,
    /// How many segments there are.
    pub segments: usize,
    /// Bytes of the log.
    pub bytes: u64,
    /// The store's incarnation from now on.
    pub incarnation: Incarnation,
}

/// Makes a store of a backup, in a directory that is empty or not there; tells of progress after
/// each segment. Checks all of the backup first.
///
/// The restored store has a new incarnation: a consumer that has seen events which the backup does
/// not hold gets [`OtherIncarnation`](gesta_store::Invalid::OtherIncarnation) instead of silence.
///
/// # Errors
/// [`BackupError`]; of a damaged backup nothing is restored.
pub fn restore(
    backup: &Path,
    directory: &Path,
    progress: OnProgress<'_>,
) -> Result<RestoreReport, BackupError> {
    let from = FileDisk::open(backup, Access::ReadOnly)?;
    let no_backup = || BackupError::NoBackup { directory: backup.to_owned() };
    let manifest = manifest(&from)?.ok_or_else(no_backup)?;
    if let Some(file) = first_file(directory, |_| true)? {
        return Err(BackupError::Occupied { directory: directory.to_owned(), file });
    }
    let bytes = manifest.segments.iter().map(|copied| copied.bytes).sum();
    // Everything is looked at twice: first to check it, then to copy it.
    let bytes_total = bytes * 2;
    let mut bytes_done = 0;
    let mut done = |bytes| {
        bytes_done += bytes;
        progress(Progress { bytes_done, bytes_total });
    };
    for copied in &manifest.segments {
        checked(&from, copied)?;
        done(copied.bytes);
    }
    let incarnation = Incarnation::new(Uuid::from_bytes(SystemRng.bytes()));
    let to = FileDisk::open(directory, Access::ReadWrite)?;
    let cannot = |source| failed("write the new incarnation", source);
    restored::begin(&to, Making::Restore, incarnation).map_err(cannot)?;
    for (at, copied) in manifest.segments.iter().enumerate() {
        let bytes = checked(&from, copied)?;
        let last = at + 1 == manifest.segments.len();
        let seal = if last { seal(&manifest, copied, &bytes) } else { None };
        write(&to, copied, bytes, seal)?;
        done(copied.bytes);
    }
    to.run(Operation::SyncDirectory).map_err(|source| failed("sync the directory", source))?;
    restored::end(&to, Making::Restore).map_err(cannot)?;
    let (end, segments) = (manifest.end, manifest.segments.len());
    Ok(RestoreReport { end, segments, bytes, incarnation })
}

/// The bytes of a segment's copy, if they are what the manifest says.
fn checked(backup: &FileDisk, copied: &Copied) -> Result<Bytes, BackupError> {
    let file = copied.file();
    let bytes = read(backup, &file, copied.bytes, Cache::Bypass)?;
    let short = (bytes.len() as u64) < copied.bytes;
    if short || blake3::hash(&bytes) != copied.hash {
        let (offset, what) = match short {
            true => (bytes.len() as u64, "it is cut".to_owned()),
            false => (0, "its checksum is not the manifest's".to_owned()),
        };
        return Err(BackupError::DamagedBackup(Damage { file, offset, positions: None, what }));
    }
    Ok(bytes)
}

/// A seal for the end of the log, and where it goes: it says that everything before it is durable,
/// which is true of a restored store. None where there is one.
fn seal(manifest: &Manifest, last: &Copied, bytes: &Bytes) -> Option<(u64, Bytes)> {
    let seed = Seed::new(last.salt, last.number);
    let opening = scan::opening_frame(bytes, seed).ok()?.header;
    let (chain, next) = (Some(opening.chain), opening.first_position);
    let walked =
        scan::walk(bytes, ScanStart { seed, chain, next, adopted_length: None }, |_, _| {});
    if walked.sealed {
        return None;
    }
    let offset = mark_offset(walked.end);
    let mut frame = Vec::new();
    let unfinished = encode_bare(&mut frame, manifest.chain, manifest.end.next(), FrameKind::Seal);
    write_frame_headers(
        &mut frame,
        &GroupLocation { group_offset: offset, seed },
        walked.end,
        &[unfinished],
    );
    Some((offset, Bytes::from(frame)))
}

/// Writes a segment as it was made, zeros included, and reads back what matters.
fn write(
    to: &FileDisk,
    copied: &Copied,
    bytes: Bytes,
    seal: Option<(u64, Bytes)>,
) -> Result<(), BackupError> {
    let file = segment_file(copied.number);
    let write = |offset, bytes| Operation::Write { file: file.clone(), offset, bytes };
    let mut operations = vec![Operation::Create { file: file.clone() }, write(0, bytes.clone())];
    if let Some(last) = copied.length.checked_sub(1).filter(|last| *last >= copied.bytes) {
        // The file system gives zeros for what lies between.
        operations.push(write(last, Bytes::from_static(&[0])));
    }
    operations.extend(seal.clone().map(|(offset, frame)| write(offset, frame)));
    operations.push(Operation::Sync { file: file.clone() });
    for operation in operations {
        to.run(operation).map_err(|source| failed(&format!("write {file}"), source))?;
    }
    let mut expected = bytes.to_vec();
    if let Some((offset, frame)) = seal {
        expected.resize(usize::try_from(offset).unwrap_or(usize::MAX), 0);
        expected.extend_from_slice(&frame);
    }
    let back = read(to, &file, expected.len() as u64, Cache::Bypass)?;
    if *back != *expected {
        let what = "it does not read back as it was written".to_owned();
        return Err(BackupError::Damaged(Damage { file, offset: 0, positions: None, what }));
    }
    Ok(())
}

fn failed(doing: &str, source: std::io::Error) -> BackupError {
    BackupError::Io { doing: doing.to_owned(), source }
}
