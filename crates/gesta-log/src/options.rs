//! What an opening can be told, and what it says.
//!
//! Owns: [`Options`], [`OpenError`] and [`OpenReport`]. Always holds: every limit has a name and
//! its unit.

use std::{fmt, io, ops::RangeInclusive, time::Duration};

use gesta_store::{Damage, Position};

use crate::disk::{Access, LockError};

/// How a store is opened. The defaults are safe and fast; nothing here makes an append less
/// durable.
///
/// ```
/// use gesta_log::Options;
///
/// assert_eq!(Options::default().segment_bytes_max, 16 << 20);
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether to append as well as to read.
    pub access: Access,
    /// Size of the first segment of an opening; each next one is four times as large: a process that
    /// appends little and ends leaves little behind.
    pub segment_bytes_first: u64,
    /// Size that segments do not grow beyond, a single large append aside.
    pub segment_bytes_max: u64,
    /// Bytes of appends that may wait; beyond it an append is
    /// [`Overloaded`](gesta_store::StoreError::Overloaded).
    pub queue_bytes_max: usize,
    /// Bytes that one write carries, a single large append aside.
    pub group_bytes_max: usize,
    /// Bytes up to which small appends that are written together share a frame. What surrounds an
    /// event costs less space and time in larger frames, and damage to a frame takes all of it; the
    /// default is a block of a file system.
    pub frame_bytes_max: usize,
    /// Bytes of the latest frames that are kept in memory for readers at the head.
    pub tail_bytes_max: usize,
    /// Bytes of blocks of the index's files that are kept in memory, up to three quarters of it their
    /// filters, which every append asks: twelve bits for each event, tag and stream of a file.
    pub index_cache_bytes_max: usize,
    /// Bytes of the latest segments that an opening checks although the index's files cover them, so
    /// that fresh damage refuses writes. The last segment is always checked; older damage is found
    /// when it is read.
    pub checked_bytes_max: u64,
    /// How long without anything in flight until a close frame says how far the log is durable.
    pub close_after: Duration,
    /// From where the recorded time of events goes on.
    pub recorded_time: RecordedTime,
}

/// From where the recorded time of a store's events goes on.
///
/// ```
/// use gesta_log::{Options, RecordedTime};
///
/// assert_eq!(Options::default().recorded_time, RecordedTime::GoesOn);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordedTime {
    /// From that of the last event: it never falls, and stands still while the clock is behind it.
    #[default]
    GoesOn,
    /// From the clock, though that may be before earlier events: an operator's way out after the clock
    /// was wrong. It holds from the first event on that is appended then, and later openings go on
    /// from there.
    BeginsAnew,
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
            checked_bytes_max: 8 << 20,
            close_after: Duration::from_millis(20),
            recorded_time: RecordedTime::GoesOn,
        }
    }
}

impl Options {
    /// The defaults, for reading only: takes no lock, changes nothing.
    #[must_use]
    pub fn read_only() -> Self {
        Self { access: Access::ReadOnly, ..Self::default() }
    }
}

/// Why a store could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is not to be had.
    #[error(transparent)]
    Directory(#[from] LockError),
    /// The system said no.
    #[error("cannot {doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Written by a version with another format. Open it with that one; `gesta export` there and
    /// `gesta import` here take the events along.
    #[error(
        "{file} was written by another version of Gesta; open the store with that one, or export it \
         there and import it here"
    )]
    OtherVersion {
        /// The file.
        file: String,
    },
    /// A restore into the directory did not end. Empty the directory and restore again.
    #[error("a restore into the directory did not end; empty the directory and restore again")]
    Restoring,
    /// An import into the directory did not end. Import the same file again, and it goes on; or empty
    /// the directory.
    #[error(
        "an import into the directory did not end; import the same file again, and it goes on, or \
         empty the directory"
    )]
    Importing,
    /// Segments of several stores are in one directory. Take the strange ones away.
    #[error("{file} belongs to another store than the segments before it")]
    AnotherStore {
        /// The file.
        file: String,
    },
}

/// What was found when a store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// How many events the store has.
    pub events: u64,
    /// How many segments belong to the log.
    pub segments: usize,
    /// What is damaged. Writes are refused while there is anything here.
    pub damage: Vec<Damage>,
    /// What is wrong with files of the index, as far as somebody looked. No event is lost by it;
    /// without the file `INDEX`, the next opening builds the index anew.
    pub index_damage: Vec<String>,
    /// A write that a crash cut short; never acknowledged, kept in the file as evidence.
    pub torn: Option<Torn>,
    /// Adopted events that no durable mark covers: damage to them could not be told from a torn
    /// write. At most the last group before a crash.
    pub unmarked: Option<Unmarked>,
}

/// Bytes after the adopted part of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment's file.
    pub file: String,
    /// Where the adopted part ends.
    pub offset: u64,
    /// How many bytes after it are not zero or lie before one that is not.
    pub bytes: u64,
}

/// Adopted events that no durable mark covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmarked {
    /// The segment's file.
    pub file: String,
    /// Where the highest mark is.
    pub offset: u64,
    /// The events after it.
    pub positions: RangeInclusive<Position>,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes } = self;
        write!(f, "{file} at offset {offset}: {bytes} bytes of a write that a crash cut short")
    }
}

impl fmt::Display for Unmarked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.positions.start(), self.positions.end());
        write!(
            f,
            "{} at offset {}: positions {first} to {last} were adopted, but nothing after them \
             says that they were durable",
            self.file, self.offset
        )
    }
}
