//! Export and import: copies a store append by append.
//!
//! Owns [`StoredAppend`], which holds everything that a log records of an append, its reader
//! ([`StoreExport`]) and its writer ([`ImportWriter`]).
//!
//! Invariant: an imported store has the same positions, revisions, recorded times, append
//! boundaries and scavenged events as the exported one.
//!
//! Elsewhere: the text format between the two stores, which is the command line's.

mod export;
mod import;
mod segment;

use std::{io, path::PathBuf};

use gesta_store::{
    CorrelationId, Damage, EventId, EventType, Position, RecordedEvent, Revision, StreamName,
};

pub use self::{
    export::StoreExport,
    import::{ImportReport, ImportWriter},
};
use crate::{
    disk::LockError,
    format::{Frame, Gap},
    maintenance::backup::BackupError,
};

/// An append as a store records it.
///
/// ```
/// use gesta_log::StoredAppend;
/// use gesta_store::Position;
///
/// let empty = StoredAppend::new(Position::new(7), vec![]);
/// assert_eq!(empty.count(), 0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredAppend {
    /// The position of its first event.
    pub first: Position,
    /// The events that were not scavenged, ordered by position.
    pub events: Vec<RecordedEvent>,
    /// Present if events of the append were scavenged.
    pub scavenged: Option<Scavenged>,
}

impl StoredAppend {
    /// Creates an append of which no event was scavenged.
    #[must_use]
    pub const fn new(first: Position, events: Vec<RecordedEvent>) -> Self {
        Self { first, events, scavenged: None }
    }

    /// Sets the remains of its scavenged events.
    #[must_use]
    pub fn scavenged(self, scavenged: impl Into<Option<Scavenged>>) -> Self {
        Self { scavenged: scavenged.into(), ..self }
    }

    /// Returns the number of events at the time of the append.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.scavenged.as_ref().map_or(self.events.len() as u64, |of| u64::from(of.events))
    }

    /// Returns the position after its last event.
    #[must_use]
    pub fn next(&self) -> Position {
        Position::new(self.first.number().saturating_add(self.count()))
    }
}

/// The remains of an append whose events were scavenged: enough to recognize a repeat, and to
/// continue the revisions of its streams.
///
/// ```
/// use gesta_log::Scavenged;
/// use gesta_store::EventId;
///
/// let first_event = EventId::derived_from("request-42", 0);
/// let of = Scavenged { events: 2, first_event, ids_digest: 17, scavenged: vec![] };
/// assert_eq!(of.events, 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scavenged {
    /// Number of events at the time of the append.
    pub events: u32,
    /// The id of the first event.
    pub first_event: EventId,
    /// The first 8 bytes, little-endian, of the BLAKE3 hash of all event ids.
    pub ids_digest: u64,
    /// The scavenged events, ordered by position.
    pub scavenged: Vec<ScavengedEvent>,
}

/// The remains of a scavenged event: its place, and the terms that have ordinals.
///
/// ```
/// use gesta_log::ScavengedEvent;
/// use gesta_store::{Position, Revision, StreamName};
///
/// let stream = StreamName::new("session-1")?;
/// let scavenged = ScavengedEvent::new(Position::new(7), stream, Revision::FIRST);
/// assert_eq!(scavenged.position.number(), 7);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScavengedEvent {
    /// The event's position in the store.
    pub position: Position,
    /// The event's stream.
    pub stream: StreamName,
    /// The event's revision in the stream.
    pub revision: Revision,
    /// The event's type, unless an earlier version scavenged it.
    pub event_type: Option<EventType>,
    /// The event's correlation id, unless an earlier version scavenged it.
    pub correlation_id: Option<CorrelationId>,
}

impl ScavengedEvent {
    /// Creates the remains of an event whose type and correlation id are not known.
    #[must_use]
    pub const fn new(position: Position, stream: StreamName, revision: Revision) -> Self {
        Self { position, stream, revision, event_type: None, correlation_id: None }
    }
}

/// An error of an import. Segments written so far are kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The directory is missing, locked or not accessible.
    #[error(transparent)]
    Directory(#[from] LockError),
    /// The directory contains other files. Use an empty one.
    #[error(
        "{} contains other files, such as {file}; use an empty directory",
        .directory.display()
    )]
    Occupied {
        /// The directory.
        directory: PathBuf,
        /// The first such file.
        file: String,
    },
    /// An operation of the operating system failed, for example for lack of space. Fix the cause
    /// and import again: the import continues.
    #[error("cannot {doing}")]
    Io {
        /// The operation, as a verb phrase.
        doing: String,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The segments of an earlier attempt cannot be read. Empty the directory and import again.
    #[error(transparent)]
    Unreadable(#[from] BackupError),
    /// An append that no store can contain. Check the source of the import.
    #[error("the append at position {position} is invalid: {what}")]
    Impossible {
        /// Its first position.
        position: Position,
        /// The violated rule.
        what: String,
    },
    /// The directory holds an unfinished import of other events. Use another directory, or empty
    /// it.
    #[error(
        "the directory holds an unfinished import whose events differ, starting at position \
         {position}; use another directory, or empty this one"
    )]
    AnotherImport {
        /// The first position that differs.
        position: Position,
    },
    /// The data read back from a file differ from the data written. Check the disk.
    #[error("{0}")]
    Damaged(Damage),
}

/// Returns the appends of a frame, in order.
fn appends_of(frame: &Frame) -> Vec<StoredAppend> {
    let whole = frame.appends().filter_map(|events| {
        let (_, first) = events.first()?;
        let first = first.position;
        let events = events.iter().map(|(_, event)| event.clone()).collect();
        Some(StoredAppend { first, events, scavenged: None })
    });
    let mut appends: Vec<_> = whole.collect();
    if let Some(gap) = &frame.gap {
        appends.extend(reduced_appends(frame, gap));
        // Whole and reduced appends alternate in the frame.
        appends.sort_unstable_by_key(|append| append.first);
    }
    appends
}

/// Returns the appends of a gap frame that have scavenged events.
fn reduced_appends<'a>(frame: &'a Frame, gap: &'a Gap) -> impl Iterator<Item = StoredAppend> + 'a {
    let mut events = frame.events.iter().map(|(_, event)| event).peekable();
    let mut scavenged = gap.scavenged.iter().peekable();
    gap.appends.iter().map(move |append| {
        // Events in between belong to appends that are still whole.
        while events.next_if(|event| event.position < append.position).is_some() {}
        let mut kept = Vec::new();
        while let Some(event) = events.next_if(|event| event.position < append.end()) {
            kept.push(event.clone());
        }
        let mut lost = Vec::new();
        while let Some(scavenged) = scavenged.next_if(|scavenged| scavenged.position < append.end())
        {
            lost.push(ScavengedEvent {
                position: scavenged.position,
                stream: scavenged.stream.clone(),
                revision: scavenged.revision,
                event_type: scavenged.event_type.clone(),
                correlation_id: scavenged.correlation_id.clone(),
            });
        }
        let scavenged = Scavenged {
            events: append.events,
            first_event: append.first_event,
            ids_digest: append.ids.number(),
            scavenged: lost,
        };
        StoredAppend { first: append.position, events: kept, scavenged: Some(scavenged) }
    })
}
