//! Restores a store from a backup.
//!
//! Invariants:
//! - Nothing is written before the whole backup was verified against its manifest.
//! - A directory with an unfinished restore is not opened as a store.
//! - The restored store has a new incarnation, so that a consumer that has seen later events is
//!   rejected.

use std::path::Path;

use bytes::Bytes;
use gesta_store::{Damage, Incarnation, Position};
use uuid::Uuid;

use super::{
    error::BackupError,
    manifest::{CopiedSegment, Manifest},
    source::read,
    target::{first_file, manifest},
};
use crate::{
    clock::{Rng, SystemRng},
    disk::{Access, Cache, Disk, FileDisk, Operation},
    format::{FrameKind, GroupLocation, Seed, encode_bare, mark_offset, write_frame_headers},
    recovery::incarnation_file::{self, StoreCreation},
    recovery::{OnProgress, Progress},
    segment::scan::{self, ScanStart},
    segment::segment_file,
};

/// The result of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The last event's position.
    pub end: Position,
    /// Number of restored segments.
    pub segments: usize,
    /// Size of the log, in bytes.
    pub bytes: u64,
    /// The store's new incarnation.
    pub incarnation: Incarnation,
}

/// Restores a backup into a directory, which must be empty or missing.
///
/// Verifies the whole backup first. Calls `progress` after each segment of both passes.
///
/// The restored store has a new incarnation: a consumer that has seen events which the backup does
/// not hold gets [`OtherIncarnation`](gesta_store::Invalid::OtherIncarnation).
///
/// # Errors
/// Returns [`BackupError`]. A damaged backup is not restored in part.
pub fn restore(
    backup: &Path,
    directory: &Path,
    progress: OnProgress<'_>,
) -> Result<RestoreReport, BackupError> {
    super::check_outside(directory, backup)?;
    let from = FileDisk::open(backup, Access::ReadOnly)?;
    let no_backup = || BackupError::NoBackup { directory: backup.to_owned() };
    let manifest = manifest(&from)?.ok_or_else(no_backup)?;
    if let Some(file) = first_file(directory, |_| true)? {
        return Err(BackupError::Occupied { directory: directory.to_owned(), file });
    }
    let bytes = manifest.segments.iter().map(|copied| copied.bytes).sum();
    // Two passes: verify everything, then copy.
    let bytes_total = bytes * 2;
    let mut bytes_done = 0;
    let mut done = |bytes| {
        bytes_done += bytes;
        progress(Progress { bytes_done, bytes_total });
    };
    for copied in &manifest.segments {
        read_verified(&from, copied)?;
        done(copied.bytes);
    }
    // The incarnation comes first and durably: a crash from here on leaves a directory that is
    // recognized as an unfinished restore.
    let incarnation = Incarnation::new(Uuid::from_bytes(SystemRng.bytes()));
    let to = FileDisk::open(directory, Access::ReadWrite)?;
    let cannot = |source| failed("write the new incarnation", source);
    incarnation_file::begin(&to, StoreCreation::Restore, incarnation).map_err(cannot)?;
    for (at, copied) in manifest.segments.iter().enumerate() {
        let bytes = read_verified(&from, copied)?;
        let last = at + 1 == manifest.segments.len();
        let seal = if last { seal(&manifest, copied, &bytes) } else { None };
        write(&to, copied, bytes, seal)?;
        done(copied.bytes);
    }
    // All names must be durable before the restore is marked as finished.
    to.run(Operation::SyncDirectory).map_err(|source| failed("sync the directory", source))?;
    incarnation_file::end(&to, StoreCreation::Restore).map_err(cannot)?;
    let (end, segments) = (manifest.end, manifest.segments.len());
    Ok(RestoreReport { end, segments, bytes, incarnation })
}

/// Reads a segment's copy and compares it with the manifest.
fn read_verified(backup: &FileDisk, copied: &CopiedSegment) -> Result<Bytes, BackupError> {
    let file = copied.file();
    let bytes = read(backup, &file, copied.bytes, Cache::Bypass)?;
    let short = (bytes.len() as u64) < copied.bytes;
    if short || blake3::hash(&bytes) != copied.hash {
        let (offset, what) = match short {
            true => (bytes.len() as u64, "the file is truncated".to_owned()),
            false => (0, "its checksum differs from the manifest's".to_owned()),
        };
        return Err(BackupError::DamagedBackup(Damage::new(file, offset, what)));
    }
    Ok(bytes)
}

/// Returns a seal frame to append to the log, with its offset, or `None` if the log already ends
/// with a seal.
///
/// A seal states that everything before it is durable, which is true after a restore. Without it,
/// the last events could later be mistaken for a torn tail.
fn seal(manifest: &Manifest, last: &CopiedSegment, bytes: &Bytes) -> Option<(u64, Bytes)> {
    let seed = Seed::new(last.salt, last.number);
    let opening = scan::opening_frame(bytes, seed).ok()?.header;
    let (chain, next) = (Some(opening.chain), opening.first_position);
    let scanned =
        scan::walk(bytes, ScanStart { seed, chain, next, adopted_length: None }, |_, _| {});
    if scanned.sealed {
        return None;
    }
    let offset = mark_offset(scanned.end);
    let mut frame = Vec::new();
    let unfinished = encode_bare(&mut frame, manifest.chain, manifest.end.next(), FrameKind::Seal);
    write_frame_headers(
        &mut frame,
        &GroupLocation { group_offset: offset, seed },
        scanned.end,
        &[unfinished],
    );
    Some((offset, Bytes::from(frame)))
}

/// Writes a segment in its original length and compares what reads back.
fn write(
    to: &FileDisk,
    copied: &CopiedSegment,
    bytes: Bytes,
    seal: Option<(u64, Bytes)>,
) -> Result<(), BackupError> {
    let file = segment_file(copied.number);
    let write = |offset, bytes| Operation::Write { file: file.clone(), offset, bytes };
    let mut operations = vec![Operation::Create { file: file.clone() }, write(0, bytes.clone())];
    if let Some(last) = copied.length.checked_sub(1).filter(|last| *last >= copied.bytes) {
        // One byte at the end extends the file; the file system fills the rest with zeros.
        operations.push(write(last, Bytes::from_static(&[0])));
    }
    operations.extend(seal.clone().map(|(offset, frame)| write(offset, frame)));
    operations.push(Operation::Sync { file: file.clone() });
    for operation in operations {
        to.run(operation).map_err(|source| failed(&format!("write {file}"), source))?;
    }
    // Read past the page cache: only what the device returns proves that the copy is intact.
    let mut expected = bytes.to_vec();
    if let Some((offset, frame)) = seal {
        expected.resize(usize::try_from(offset).unwrap_or(usize::MAX), 0);
        expected.extend_from_slice(&frame);
    }
    let back = read(to, &file, expected.len() as u64, Cache::Bypass)?;
    if *back != *expected {
        let what = "the data read back differ from the data written".to_owned();
        return Err(BackupError::Damaged(Damage::new(file, 0, what)));
    }
    Ok(())
}

fn failed(doing: &str, source: std::io::Error) -> BackupError {
    BackupError::Io { doing: doing.to_owned(), source }
}
