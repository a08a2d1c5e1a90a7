//! The form in which a store is moved: lines of JSON.
//!
//! Owns: the format, version 2. The first line says which store it is of and how far it goes, the
//! last one how much there is and its checksum; each line between is one append, an event or several,
//! with what was scavenged of it. Always holds: no line is needed to understand another one; an
//! export without its last line was cut. A file of before has a line for each event and nothing else
//! (version 1); it is still read.

mod read;
mod write;

use gesta_log::StoredAppend;
use gesta_store::{Incarnation, Position, RecordedAt};

pub(crate) use self::{
    read::{Line, Lines, WrongLine},
    write::LineWriter,
};

/// The version of the format that is written.
pub(crate) const VERSION: u64 = 2;
/// The kind of store whose exports can be imported exactly.
pub(crate) const LOG: &str = "gesta-log";

/// What the first line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The kind of store.
    pub(crate) store: String,
    /// Each incarnation with the position of its first event, in order.
    pub(crate) incarnations: Vec<(Incarnation, Position)>,
    /// The last event's position.
    pub(crate) head: Position,
    /// When it was recorded, whether it is there or was scavenged.
    pub(crate) last_recorded_at: Option<RecordedAt>,
    /// Whether all of the store is in it.
    pub(crate) whole: bool,
}

/// How much there is between the first and the last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) appends: u64,
    pub(crate) events: u64,
    pub(crate) scavenged: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, append: &StoredAppend) {
        self.appends += 1;
        self.events += append.events.len() as u64;
        self.scavenged += append.scavenged.as_ref().map_or(0, |of| of.gone.len() as u64);
    }
}

/// What the last line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) counts: Counts,
    /// BLAKE3 of all lines before, in hexadecimal.
    pub(crate) blake3: String,
    /// BLAKE3 of the lines of appends alone: an exact copy of the store has the same.
    pub(crate) appends_blake3: String,
}
