//! Copies of stores: the stores at both ends ([`source`], [`target`]), and the export format
//! between them, lines of JSON, version 2.
//!
//! The first line is the header: identity and extent of the store. The last line has counts and
//! checksums. Every other line is one append: its events, and the positions of its scavenged
//! events. Invariants: each line can be parsed on its own; an export without its last line is
//! truncated. Version 1 files have one event per line and nothing else; they can still be imported.

mod read;
mod source;
mod target;
mod write;

use gesta_store::{Incarnation, Position, RecordedAt, StoredAppend};

pub(crate) use self::{
    read::{InvalidLine, Line, Lines},
    source::Source,
    target::{FreePlace, TargetStore},
    write::LineWriter,
};

/// Version of written exports.
pub(crate) const VERSION: u64 = 2;
/// Store kinds whose exports can be imported exactly.
pub(crate) const LOG: &str = "gesta-log";
pub(crate) const POSTGRES: &str = "gesta-postgres";

/// First line of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Store kind.
    pub(crate) store: String,
    /// Incarnations in order, each with the position of its first event.
    pub(crate) incarnations: Vec<(Incarnation, Position)>,
    /// Last position of the store.
    pub(crate) head: Position,
    /// Recorded time of the event at `head`, even if that event was scavenged.
    pub(crate) last_recorded_at: Option<RecordedAt>,
    /// `true` if the whole store is exported.
    pub(crate) whole: bool,
}

/// Totals of the lines between the first and the last.
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
        self.scavenged += append.scavenged.as_ref().map_or(0, |of| of.scavenged.len() as u64);
    }
}

/// Last line of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) counts: Counts,
    /// BLAKE3 of all preceding lines, in hexadecimal.
    pub(crate) blake3: String,
    /// BLAKE3 of the append lines only, which is the same for an exact copy of the store.
    pub(crate) appends_blake3: String,
}
