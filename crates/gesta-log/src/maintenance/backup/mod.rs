//! Online backup and restore.
//!
//! Owns the layout of a backup's directory.
//!
//! Invariants:
//! - A backup holds durable events only, and all events acknowledged before it began.
//! - Each copy is read back from the device and compared.
//! - The manifest is written last. Until it is durable, the previous backup can be restored.
//!
//! Index files are derived and not copied. A rewritten segment has another salt and therefore
//! another file name, and is copied again.
//!
//! Elsewhere: the incarnation of a restored store
//! ([`incarnation_file`](crate::recovery::incarnation_file)).

mod error;
mod manifest;
mod restore;
pub(crate) mod source;
mod target;

use std::{
    ops::{ControlFlow, RangeInclusive},
    path::{self, Path},
};

use gesta_store::{Incarnation, Position};
use uuid::Uuid;

use self::{
    manifest::{CopiedSegment, Manifest},
    source::{Snapshot, Source},
    target::BackupDirectory,
};
use crate::{
    disk::{Access, FileDisk},
    format::Chain,
    recovery::{OnProgress, Progress},
};

pub(crate) use target::first_file;

pub use error::BackupError;
pub use restore::{RestoreReport, restore};

/// The result of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// The last event's position.
    pub end: Position,
    /// Number of segments in the backup.
    pub segments: usize,
    /// Total size of these segments, in bytes.
    pub bytes: u64,
    /// Number of segments that were copied. The others were present and intact.
    pub copied_segments: usize,
    /// Total size of the copied segments, in bytes.
    pub copied_bytes: u64,
    /// Events that were written when the backup began, but are not in it: the writer stopped
    /// without confirming that they are durable.
    pub unconfirmed: Option<RangeInclusive<Position>>,
}

/// Copies a store into a directory, which is created if it does not exist.
///
/// The store may be in use. Segments that an earlier backup has copied are verified, not copied
/// again. Calls `progress` before each segment and at the end.
///
/// ```
/// use gesta_log::{LogStore, Options, backup, restore};
/// # use gesta_store::{
/// #     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, StreamName,
/// #     conformance::block_on,
/// # };
///
/// # let directory = tempfile::tempdir()?;
/// # let at = |name: &str| directory.path().join(name);
/// let store = LogStore::open(at("things"), Options::default())?;
/// # let event = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
/// # let append = Append::to(StreamName::new("order-1")?, ExpectedRevision::NoStream, [event]);
/// let appended = block_on(store.append(append))?;
/// let report = backup(&at("things"), &at("copy"), &mut |_| {})?;
/// assert_eq!(report.end, appended.position);
///
/// restore(&at("copy"), &at("things-again"), &mut |_| {})?;
/// let again = LogStore::open(at("things-again"), Options::default())?;
/// assert_eq!(block_on(again.head())?.position, appended.position);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Returns [`BackupError`]; an earlier backup in the directory can still be restored.
pub fn backup(
    directory: &Path,
    target: &Path,
    progress: OnProgress<'_>,
) -> Result<BackupReport, BackupError> {
    let copied = backup_while(directory, target, &mut |done| {
        progress(done);
        ControlFlow::Continue(())
    })?;
    Ok(copied.expect("nothing has ended it early"))
}

/// Same as [`backup`], until `progress` returns a break before a segment. Returns `None` then: the
/// directory keeps its earlier backup, and the next one need not copy again what was copied.
///
/// # Errors
/// As [`backup`].
pub fn backup_while(
    directory: &Path,
    target: &Path,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Option<BackupReport>, BackupError> {
    check_outside(target, directory)?;
    let source = Source::open(directory)?;
    let snapshot = source.snapshot()?;
    let target = BackupDirectory::open(target)?;
    // Before anything is written: the directory may hold the only copy of events that the store
    // lost.
    target.check(&snapshot)?;
    let bytes = snapshot.parts.iter().map(|part| part.bytes).sum();
    let mut report = BackupReport {
        end: snapshot.end(),
        segments: snapshot.parts.len(),
        bytes,
        copied_segments: 0,
        copied_bytes: 0,
        unconfirmed: snapshot.unconfirmed.clone(),
    };
    let mut segments = Vec::new();
    let mut bytes_done = 0;
    for part in &snapshot.parts {
        if progress(Progress { bytes_done, bytes_total: bytes }).is_break() {
            return Ok(None);
        }
        segments.push(match target.intact(part)? {
            Some(there) => there,
            None => {
                // May be the rewritten form of the segment, if it was scavenged just now.
                let (part, bytes) = source.read(part)?;
                report.copied_segments += 1;
                report.copied_bytes += part.bytes;
                target.copy(&part, bytes)?
            }
        });
        bytes_done += part.bytes;
    }
    // All is copied: there is nothing left to break.
    let _ = progress(Progress { bytes_done, bytes_total: bytes });
    // An earlier backup in the directory counts until its manifest is replaced here.
    target.publish(&manifest(&snapshot, segments))?;
    Ok(Some(report))
}

/// The contents of a finished backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupSummary {
    /// The last event's position.
    pub end: Position,
    /// Number of segments.
    pub segments: usize,
    /// Total size of the segments, in bytes.
    pub bytes: u64,
}

/// Returns what the backup in a directory holds, or `None` if there is no finished one. Reads its
/// manifest alone.
///
/// # Errors
/// Returns [`BackupError`] if the manifest cannot be read, or is damaged.
pub fn backup_summary(directory: &Path) -> Result<Option<BackupSummary>, BackupError> {
    let disk = FileDisk::open(directory, Access::ReadOnly)?;
    let manifest = target::manifest(&disk)?;
    Ok(manifest.map(|Manifest { end, segments, .. }| BackupSummary {
        end,
        segments: segments.len(),
        bytes: segments.iter().map(|copied| copied.bytes).sum(),
    }))
}

/// Refuses a directory inside of the one that is read. It may not exist yet.
fn check_outside(directory: &Path, of: &Path) -> Result<(), BackupError> {
    // A missing store has an error of its own.
    let Ok(outer) = of.canonicalize() else { return Ok(()) };
    let Ok(inner) = path::absolute(directory) else { return Ok(()) };
    // A missing directory is created inside of its nearest ancestor that exists.
    let existing = inner.ancestors().find_map(|ancestor| {
        let real = ancestor.canonicalize().ok()?;
        Some((real, ancestor == inner))
    });
    match existing {
        // The directory itself has other errors: it is locked, or has other files.
        Some((real, true)) if real == outer => Ok(()),
        Some((real, _)) if real.starts_with(&outer) => {
            Err(BackupError::Inside { directory: directory.to_owned(), of: of.to_owned() })
        }
        Some(_) | None => Ok(()),
    }
}

fn manifest(snapshot: &Snapshot, segments: Vec<CopiedSegment>) -> Manifest {
    // A store without segments has no id yet.
    let store = snapshot.store.unwrap_or_default();
    let chain = snapshot.parts.last().map_or(Chain::genesis(store), |part| part.after);
    let incarnation = snapshot
        .incarnations
        .last()
        .map_or(Incarnation::new(Uuid::nil()), |(incarnation, _)| *incarnation);
    Manifest { store, incarnation, end: snapshot.end(), chain, segments }
}
