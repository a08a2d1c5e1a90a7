//! Export and import: copies a store append by append.
//!
//! Owns the reader of appends ([`StoreExport`]) and their writer ([`ImportWriter`]).
//!
//! Invariant: an imported store has the same positions, revisions, recorded times, append
//! boundaries and scavenged events as the exported one.
//!
//! Elsewhere: the values ([`StoredAppend`]), and the text format between the two stores, which is
//! the command line's.

mod export;
mod import;
mod segment;

use std::{io, path::PathBuf};

use gesta_store::{Damage, Position};

pub use gesta_store::{Scavenged, ScavengedEvent, StoredAppend};

pub use self::{
    export::StoreExport,
    import::{ImportReport, ImportWriter},
};
use crate::{
    disk::LockError,
    format::{Frame, Gap},
    maintenance::backup::BackupError,
};

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
    #[error("the append at position {position} is invalid: {what}; check the source of the import")]
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
        Some(StoredAppend::new(first, events))
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
            let (stream, revision) = (scavenged.stream.clone(), scavenged.revision);
            let mut event = ScavengedEvent::new(scavenged.position, stream, revision);
            event.event_type = scavenged.event_type.clone();
            event.correlation_id = scavenged.correlation_id.clone();
            lost.push(event);
        }
        let scavenged = Scavenged {
            events: append.events,
            first_event: append.first_event,
            ids_digest: append.ids.number(),
            scavenged: lost,
        };
        StoredAppend::new(append.position, kept).scavenged(scavenged)
    })
}
