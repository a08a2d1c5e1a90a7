//! Copies of a store that can be restored, made while the store is in use.
//!
//! Owns: what a backup's directory holds. Always holds: only what is durable goes in, and all that
//! was acknowledged before; what was copied is read back from the device and compared; the
//! manifest, which makes it a backup, is written last, and until it is durable the backup before
//! it can be restored. Index files are derived and not copied. A segment that was rewritten has
//! another salt, and so another file here: it is copied again.
//! Not here: how a restored store gets its incarnation ([`restored`](crate::recovery::restored)).

mod manifest;
mod restore;
pub(crate) mod source;
mod target;

use std::{io, ops::RangeInclusive, path::Path, path::PathBuf};

use gesta_store::{Damage, Incarnation, Position};
use uuid::Uuid;

use self::{
    manifest::{Copied, Manifest},
    source::{Part, Snapshot, Source},
    target::Target,
};
use crate::{
    disk::LockError,
    format::Chain,
    options::OpenError,
    recovery::{OnProgress, Progress},
};

pub(crate) use target::first_file;

pub use restore::{RestoreReport, restore};

/// Why a store was not backed up or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// One of the directories is not to be had.
    #[error(transparent)]
    Directory(#[from] LockError),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The system said no.
    #[error("cannot {doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The store is damaged. What the backup held before, it still holds.
    #[error("the store is damaged: {0}")]
    Damaged(Damage),
    /// The backup is damaged. Take another one.
    #[error("the backup is damaged: {0}")]
    DamagedBackup(Damage),
    /// There is no backup in the directory, or none that was finished.
    #[error("there is no finished backup in {}", .directory.display())]
    NoBackup {
        /// The directory.
        directory: PathBuf,
    },
    /// A file is in the way.
    #[error("{} is not for this: {file} is in it; take an empty directory", .directory.display())]
    Occupied {
        /// The directory.
        directory: PathBuf,
        /// One of the files in it.
        file: String,
    },
    /// The directory holds a backup of another store.
    #[error("the backup there is of another store; take an empty directory")]
    AnotherStore,
    /// The backup has events that this store does not have: it was restored from an older one, or
    /// lost some. Keep that backup, take another directory.
    #[error(
        "the backup there has events up to position {backup}, of which this store has only those \
         up to {shared}; keep it, and take an empty directory"
    )]
    Ahead {
        /// Where the backup ends.
        backup: Position,
        /// Up to where the store has the same events.
        shared: Position,
    },
}

/// What a backup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// The last event's position.
    pub end: Position,
    /// How many segments the backup has.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them were copied; the others were there and whole.
    pub copied_segments: usize,
    /// The bytes of those.
    pub copied_bytes: u64,
    /// Events that are not in the backup, though somebody was writing them when it began: the
    /// writer stopped without saying whether they are durable.
    pub unconfirmed: Option<RangeInclusive<Position>>,
}

/// Copies a store into a directory, which is made if need be; tells of progress after each segment.
/// The store may be in use. What an earlier backup there has already is checked and not copied
/// again.
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
/// [`BackupError`]; what was backed up before can still be restored.
pub fn backup(
    directory: &Path,
    target: &Path,
    progress: OnProgress<'_>,
) -> Result<BackupReport, BackupError> {
    let source = Source::open(directory)?;
    let snapshot = source.snapshot()?;
    let target = Target::open(target)?;
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
        progress(Progress { bytes_done, bytes_total: bytes });
        segments.push(match target.whole(part)? {
            Some(there) => there,
            None => {
                let (part, bytes) = source.read(part)?;
                report.copied_segments += 1;
                report.copied_bytes += part.bytes;
                target.copy(&part, bytes)?
            }
        });
        bytes_done += part.bytes;
    }
    progress(Progress { bytes_done, bytes_total: bytes });
    target.publish(&manifest(&snapshot, segments))?;
    Ok(report)
}

fn manifest(snapshot: &Snapshot, segments: Vec<Copied>) -> Manifest {
    // A store that never had an event has nothing that could be its own.
    let store = snapshot.store.unwrap_or_default();
    let chain = snapshot.parts.last().map_or(Chain::genesis(store), |part| part.after);
    let incarnation =
        snapshot.lives.last().map_or(Incarnation::new(Uuid::nil()), |(life, _)| *life);
    Manifest { store, incarnation, end: snapshot.end(), chain, segments }
}
