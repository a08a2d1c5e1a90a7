//! A store's appends one by one, as another store takes them over exactly.
//!
//! Owns: [`StoredAppend`], which has everything that a log says of an append; reading them
//! ([`StoreExport`]) and writing them into an empty directory ([`ImportWriter`]). Always holds: what
//! is written reads back as it was read, positions, revisions, recorded times, boundaries of appends
//! and what was scavenged among it.
//! Not here: how appends are written down between the two stores.

mod export;
mod import;
mod segment;

use std::{io, path::PathBuf};

use gesta_store::{Damage, EventId, Position, RecordedEvent, Revision, StreamName};

pub use self::{
    export::StoreExport,
    import::{ImportReport, ImportWriter},
};
use crate::{
    disk::LockError,
    format::{Frame, Gap},
    maintenance::backup::BackupError,
};

/// One append as a store has it.
///
/// ```
/// use gesta_log::StoredAppend;
/// use gesta_store::Position;
///
/// let empty = StoredAppend { first: Position::new(7), events: vec![], scavenged: None };
/// assert_eq!(empty.count(), 0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAppend {
    /// The position of its first event.
    pub first: Position,
    /// The events that are there, in the order of positions.
    pub events: Vec<RecordedEvent>,
    /// Of an append of which events were scavenged.
    pub scavenged: Option<Scavenged>,
}

impl StoredAppend {
    /// Returns how many events it had when it was appended.
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

/// What is left of an append of which events were scavenged: enough to recognize it when it is
/// offered again, and to go on counting the revisions of its streams.
///
/// ```
/// use gesta_log::Scavenged;
/// use gesta_store::EventId;
///
/// let first_event = EventId::derived_from("request-42", 0);
/// let of = Scavenged { events: 2, first_event, ids_digest: 17, gone: vec![] };
/// assert_eq!(of.events, 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scavenged {
    /// How many events the append had.
    pub events: u32,
    /// The id of its first one.
    pub first_event: EventId,
    /// The first 8 bytes, little-endian, of BLAKE3 of the ids of all of them.
    pub ids_digest: u64,
    /// Those that are gone, in the order of positions.
    pub gone: Vec<ScavengedEvent>,
}

/// An event that was scavenged: where it was.
///
/// ```
/// use gesta_log::ScavengedEvent;
/// use gesta_store::{Position, Revision, StreamName};
///
/// let gone = ScavengedEvent {
///     position: Position::new(7),
///     stream: StreamName::new("session-1")?,
///     revision: Revision::FIRST,
/// };
/// assert_eq!(gone.position.number(), 7);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScavengedEvent {
    /// Its place in the store.
    pub position: Position,
    /// The stream that it belonged to.
    pub stream: StreamName,
    /// Its place in the stream.
    pub revision: Revision,
}

/// Why an import did not go on. What was kept until then is kept; see each reason for how to go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The directory is not to be had.
    #[error(transparent)]
    Directory(#[from] LockError),
    /// A file is in the way. Take an empty directory.
    #[error("{} is not for this: {file} is in it; take an empty directory", .directory.display())]
    Occupied {
        /// The directory.
        directory: PathBuf,
        /// One of the files in it.
        file: String,
    },
    /// The system said no, for want of space perhaps. Mend that and import again: it goes on.
    #[error("cannot {doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What was imported before cannot be read again. Empty the directory and import again.
    #[error(transparent)]
    Unreadable(#[from] BackupError),
    /// An append that no store can have. RecoveryOptions at where it comes from.
    #[error("what is at position {position} cannot be: {what}")]
    Impossible {
        /// Its first position.
        position: Position,
        /// What is wrong with it.
        what: String,
    },
    /// The directory holds an import of something else. Take another directory, or empty it.
    #[error(
        "an import of something else was begun in the directory: it differs from position {position} \
         on; take another directory, or empty this one"
    )]
    AnotherImport {
        /// From where on.
        position: Position,
    },
    /// What was written reads back otherwise. RecoveryOptions at the disk.
    #[error("{0}")]
    Damaged(Damage),
}

/// The appends of a frame, in order.
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
        appends.sort_unstable_by_key(|append| append.first);
    }
    appends
}

/// The appends of a gap frame of which events are gone.
fn reduced_appends<'a>(frame: &'a Frame, gap: &'a Gap) -> impl Iterator<Item = StoredAppend> + 'a {
    let mut events = frame.events.iter().map(|(_, event)| event).peekable();
    let mut gone = gap.gone.iter().peekable();
    gap.appends.iter().map(move |append| {
        while events.next_if(|event| event.position < append.position).is_some() {}
        let mut kept = Vec::new();
        while let Some(event) = events.next_if(|event| event.position < append.end()) {
            kept.push(event.clone());
        }
        let mut lost = Vec::new();
        while let Some(gone) = gone.next_if(|gone| gone.position < append.end()) {
            let (position, revision) = (gone.position, gone.revision);
            lost.push(ScavengedEvent { position, stream: gone.stream.clone(), revision });
        }
        let scavenged = Scavenged {
            events: append.events,
            first_event: append.first_event,
            ids_digest: append.ids.number(),
            gone: lost,
        };
        StoredAppend { first: append.position, events: kept, scavenged: Some(scavenged) }
    })
}
