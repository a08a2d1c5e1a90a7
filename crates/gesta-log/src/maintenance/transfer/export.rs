//! Reads the appends of a store, which another process may be writing.

use std::{ops::RangeInclusive, path::Path};

use gesta_store::{Incarnation, Position, RecordedAt};

use super::{StoredAppend, appends_of};
use crate::maintenance::backup::{
    BackupError,
    source::{SegmentPart, Snapshot, Source},
};

/// A snapshot of a store, append by append. Holds all events acknowledged before it was taken.
///
/// ```
/// use gesta_log::{LogStore, Options, StoreExport};
/// # use gesta_store::{
/// #     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, StreamName,
/// #     conformance::block_on,
/// # };
///
/// # let directory = tempfile::tempdir()?;
/// let store = LogStore::open(directory.path(), Options::default())?;
/// # let event = || Ok::<_, gesta_store::InvalidName>(
/// #     NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}"));
/// # let events = [event()?, event()?];
/// # let append = Append::to(StreamName::new("order-1")?, ExpectedRevision::NoStream, events);
/// block_on(store.append(append))?; // of two events
///
/// let export = StoreExport::of(directory.path())?;
/// let appends = export.appends().collect::<Result<Vec<_>, _>>()?;
/// assert_eq!((appends.len(), appends[0].events.len()), (1, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct StoreExport {
    source: Source,
    snapshot: Snapshot,
}

impl StoreExport {
    /// Takes a snapshot of the store in a directory, which may be in use. Like a backup, waits for
    /// the writer to confirm its last events.
    ///
    /// # Errors
    /// Returns [`BackupError`], as for a backup.
    pub fn of(directory: &Path) -> Result<Self, BackupError> {
        let source = Source::open(directory)?;
        let snapshot = source.snapshot()?;
        Ok(Self { source, snapshot })
    }

    /// Takes a snapshot of an unfinished import.
    pub(super) fn of_unfinished(directory: &Path) -> Result<Self, BackupError> {
        let source = Source::open(directory)?;
        let snapshot = source.unfinished()?;
        Ok(Self { source, snapshot })
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Returns the position of the last event.
    #[must_use]
    pub fn head(&self) -> Position {
        self.snapshot.end()
    }

    /// Returns each incarnation of the store with the position of its first event, in order.
    #[must_use]
    pub fn incarnations(&self) -> &[(Incarnation, Position)] {
        &self.snapshot.incarnations
    }

    /// Returns the positions that are left out because they were written, but not confirmed as
    /// durable.
    #[must_use]
    pub fn unconfirmed(&self) -> Option<&RangeInclusive<Position>> {
        self.snapshot.unconfirmed.as_ref()
    }

    /// Returns the recorded time of the last event, even if it was scavenged, or `None` for a store
    /// without events.
    ///
    /// # Errors
    /// Returns [`BackupError`] if a segment cannot be read.
    pub fn last_recorded_at(&self) -> Result<Option<RecordedAt>, BackupError> {
        for part in self.snapshot.parts.iter().rev() {
            let (part, bytes) = self.source.read(part)?;
            let frames = part.frames(&bytes);
            let last = frames.iter().rev().find_map(|frame| frame.last_recorded_at());
            // The last segments of a store may have no events.
            if last.is_some() {
                return Ok(last);
            }
        }
        Ok(None)
    }

    /// Iterates over the appends in order. Each segment is read and verified when it is reached.
    ///
    /// # Errors
    /// The iterator ends with a [`BackupError`] where a segment cannot be read.
    pub fn appends(&self) -> impl Iterator<Item = Result<StoredAppend, BackupError>> + '_ {
        self.snapshot.parts.iter().flat_map(|part| appends_in(&self.source, part))
    }

    pub(super) fn into_appends(self) -> impl Iterator<Item = Result<StoredAppend, BackupError>> {
        let Self { source, snapshot } = self;
        snapshot.parts.into_iter().flat_map(move |part| appends_in(&source, &part))
    }
}

/// Returns the appends of a segment, or the error if it cannot be read.
fn appends_in(
    source: &Source,
    part: &SegmentPart,
) -> impl Iterator<Item = Result<StoredAppend, BackupError>> + use<> {
    let (appends, failed) = match source.read(part) {
        Ok((part, bytes)) => (part.frames(&bytes).iter().flat_map(appends_of).collect(), None),
        Err(error) => (Vec::new(), Some(Err(error))),
    };
    appends.into_iter().map(Ok).chain(failed)
}
