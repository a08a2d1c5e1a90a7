//! The options, errors and report of opening a store.

mod indexed_ids;

use std::{fmt, io, ops::RangeInclusive, time::Duration};

use gesta_store::{Damage, Position};

pub use self::indexed_ids::{IndexedIds, InvalidIndexedIds};
use crate::disk::{Access, LockError};

/// Options for opening a store. The defaults are safe and fast. No option makes an append less
/// durable.
///
/// ```
/// use gesta_log::Options;
///
/// let small = Options::default().segment_bytes_max(1 << 20);
/// assert_eq!(small.segment_bytes_max, 1 << 20);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Read and write access, or read access only.
    pub access: Access,
    /// Size of the first segment after opening, in bytes. Each next one is four times as large, so
    /// a short-lived process allocates little.
    pub segment_bytes_first: u64,
    /// Maximum size of a segment, in bytes. A single large append may exceed it.
    pub segment_bytes_max: u64,
    /// Maximum size of queued appends, in bytes. Further appends are
    /// [`Overloaded`](gesta_store::StoreError::Overloaded).
    pub queue_bytes_max: usize,
    /// Maximum size of one commit group, in bytes. A single large append may exceed it.
    pub group_bytes_max: usize,
    /// Maximum size of a frame that several small appends share, in bytes. Larger frames save space
    /// and time, but damage to a frame destroys all of its appends. The default is one file system
    /// block.
    pub frame_bytes_max: usize,
    /// Size of the latest frames kept in memory for readers at the head, in bytes.
    pub tail_bytes_max: usize,
    /// Size of the block cache for index files, in bytes. Up to three quarters of it hold Bloom
    /// filters, which every append consults: twelve bits per event, tag and stream.
    pub index_cache_bytes_max: usize,
    /// The ids by which events are found, besides streams, categories, types and tags. `None`:
    /// those that the store's index has already, in a new store none.
    ///
    /// Each kind takes memory, disk space and processor time for each event that has such an id. A
    /// store that is opened with more ids than its index has reads all of its segments once and
    /// builds the index anew, which takes memory as if there were no index. Until a segment is
    /// flushed, a kill makes the next opening start over. Without a kind, its filters are refused
    /// as unsupported.
    pub index: Option<IndexedIds>,
    /// Size of the latest segments that are verified on opening although index files cover them, in
    /// bytes, so that fresh damage makes the store read-only. The last segment is always verified;
    /// older damage is found when it is read.
    pub checked_bytes_max: u64,
    /// Idle time after which a close frame records how far the log is durable.
    pub close_after: Duration,
    /// The start of the recorded time of new events.
    pub recorded_time: RecordedTime,
}

/// The start of the recorded time of new events.
///
/// ```
/// use gesta_log::{Options, RecordedTime};
///
/// assert_eq!(Options::default().recorded_time, RecordedTime::Continues);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordedTime {
    /// Continues from the last event: the time never falls, and stands still while the clock is
    /// behind.
    #[default]
    Continues,
    /// Restarts from the clock, even if that is before earlier events: the remedy after the clock
    /// was wrong. Takes effect with the first append; the store continues from there when it is
    /// opened again.
    Restarts,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            access: Access::ReadWrite,
            segment_bytes_first: 128 << 10,
            segment_bytes_max: 16 << 20,
            queue_bytes_max: 64 << 20,
            group_bytes_max: 4 << 20,
            frame_bytes_max: 4 << 10,
            tail_bytes_max: 16 << 20,
            index_cache_bytes_max: 104 << 20,
            index: None,
            checked_bytes_max: 8 << 20,
            close_after: Duration::from_millis(20),
            recorded_time: RecordedTime::Continues,
        }
    }
}

impl Options {
    /// Returns the defaults for read-only access, which takes no lock and changes nothing.
    #[must_use]
    pub fn read_only() -> Self {
        Self { access: Access::ReadOnly, ..Self::default() }
    }

    /// Sets read and write access, or read access only.
    #[must_use]
    pub fn access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Sets the size of the first segment after opening, in bytes.
    #[must_use]
    pub fn segment_bytes_first(self, bytes: u64) -> Self {
        Self { segment_bytes_first: bytes, ..self }
    }

    /// Sets the maximum size of a segment, in bytes.
    #[must_use]
    pub fn segment_bytes_max(self, bytes: u64) -> Self {
        Self { segment_bytes_max: bytes, ..self }
    }

    /// Sets the maximum size of queued appends, in bytes.
    #[must_use]
    pub fn queue_bytes_max(self, bytes: usize) -> Self {
        Self { queue_bytes_max: bytes, ..self }
    }

    /// Sets the maximum size of one commit group, in bytes.
    #[must_use]
    pub fn group_bytes_max(self, bytes: usize) -> Self {
        Self { group_bytes_max: bytes, ..self }
    }

    /// Sets the maximum size of a frame that several small appends share, in bytes.
    #[must_use]
    pub fn frame_bytes_max(self, bytes: usize) -> Self {
        Self { frame_bytes_max: bytes, ..self }
    }

    /// Sets the size of the latest frames kept in memory, in bytes.
    #[must_use]
    pub fn tail_bytes_max(self, bytes: usize) -> Self {
        Self { tail_bytes_max: bytes, ..self }
    }

    /// Sets the size of the block cache for index files, in bytes.
    #[must_use]
    pub fn index_cache_bytes_max(self, bytes: usize) -> Self {
        Self { index_cache_bytes_max: bytes, ..self }
    }

    /// Sets the ids by which events are found; see [`index`](Self::index).
    #[must_use]
    pub fn index(self, ids: impl Into<Option<IndexedIds>>) -> Self {
        Self { index: ids.into(), ..self }
    }

    /// Sets the size of the latest segments that are verified on opening, in bytes.
    #[must_use]
    pub fn checked_bytes_max(self, bytes: u64) -> Self {
        Self { checked_bytes_max: bytes, ..self }
    }

    /// Sets the idle time after which a close frame records how far the log is durable.
    #[must_use]
    pub fn close_after(self, idle: Duration) -> Self {
        Self { close_after: idle, ..self }
    }

    /// Sets the start of the recorded time of new events.
    #[must_use]
    pub fn recorded_time(self, start: RecordedTime) -> Self {
        Self { recorded_time: start, ..self }
    }
}

/// An error of opening a store. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory is missing, locked or not accessible.
    #[error(transparent)]
    Directory(#[from] LockError),
    /// An operation of the operating system failed.
    #[error("cannot {doing}")]
    Io {
        /// The operation, as a verb phrase.
        doing: String,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A version with another format wrote the store. Open it with that version, or move the events
    /// with its `gesta export` and this version's `gesta import`.
    #[error(
        "{file} was written by another version of Gesta; open the store with that version, or \
         export it with that version and import it with this one"
    )]
    OtherVersion {
        /// The file.
        file: String,
    },
    /// A restore into the directory is incomplete. Empty the directory and restore again.
    #[error("a restore into the directory is incomplete; empty the directory and restore again")]
    Restoring,
    /// An import or a copy into the directory is incomplete. Run the same command again to continue
    /// it, or empty the directory.
    #[error(
        "a copy or an import into the directory is incomplete; run the same `gesta copy` or \
         `gesta import` again to continue it, or empty the directory"
    )]
    Importing,
    /// The directory holds segments of several stores. Remove the foreign ones.
    #[error(
        "{file} and the segments before it belong to different stores; move the files of the \
         other store away"
    )]
    AnotherStore {
        /// The file.
        file: String,
    },
}

/// The findings of opening or verifying a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenReport {
    /// Number of events in the store.
    pub events: u64,
    /// Number of segments in the log.
    pub segments: usize,
    /// Damage of the log. With any, the store refuses writes.
    pub damage: Vec<Damage>,
    /// Damage of index files, as far as they were checked. No event is lost. Remove the file
    /// `INDEX`, and the index is rebuilt when the store is next opened.
    pub index_damage: Vec<String>,
    /// A torn write at the end of the log. It was never acknowledged, and stays in the file.
    pub torn: Option<Torn>,
    /// Recovered events that no durable mark covers, at most the last group before a crash. Damage
    /// to them could not be distinguished from a torn write.
    pub unmarked: Option<Unmarked>,
}

/// A torn write: bytes after the recovered part of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Torn {
    /// The segment's file.
    pub file: String,
    /// The end of the recovered part, in bytes.
    pub offset: u64,
    /// Number of bytes from there up to the last one that is not zero.
    pub bytes: u64,
}

/// Recovered events that no durable mark covers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unmarked {
    /// The segment's file.
    pub file: String,
    /// The offset up to which the highest durable mark reaches.
    pub offset: u64,
    /// The events after it.
    pub positions: RangeInclusive<Position>,
    /// Set if they are durable all the same: the file was synced, and no process was writing it.
    /// The next append to the store marks them.
    pub durable: bool,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes } = self;
        write!(f, "{file} at offset {offset}: {bytes} bytes of a write that a crash cut short")
    }
}

impl fmt::Display for Unmarked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, positions, .. } = self;
        let (first, last) = (positions.start(), positions.end());
        write!(f, "{file} at offset {offset}: positions {first} to {last}, ")?;
        f.write_str(match self.durable {
            true => "the last before a crash, are durable; the next append marks them as such",
            false => {
                "which no durable mark covers; the next append of the process that has the \
                      store open marks them"
            }
        })
    }
}
