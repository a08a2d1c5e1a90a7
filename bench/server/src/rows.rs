//! The table of what is measured, and what is wanted of it.

use std::fmt;

use clap::ValueEnum;

use crate::servers::Running;

/// A load, the same for every server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Load {
    /// 64 appends of one event under way
    AppendW64,
    /// One append of one event after the other
    AppendW1,
    /// One long stream
    ReadStream,
    /// The whole store
    ReadAll,
    /// From an append to its delivery
    Deliver,
}

/// A client and the call that it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClientKind {
    /// UmaDB's own.
    Umadb,
    /// A generated client, which does nothing else.
    Raw,
    /// The same, with all appends in one `BatchAppend`.
    RawBatch,
    /// The official Rust client.
    Official,
    /// The same, with all appends in one `BatchAppend`.
    OfficialBatch,
}

/// A load through a client, with the ratio to UmaDB that is wanted of it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) load: Load,
    pub(crate) client: ClientKind,
    pub(crate) wanted: Wanted,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    Nothing,
    AtLeast(f64),
    AtMost(f64),
}

/// One run of a round.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) row: &'a Row,
    pub(crate) server: &'a Running,
}

/// All that is measured, UmaDB first in each load.
pub(crate) const ROWS: [Row; 18] = {
    use ClientKind::{Official, OfficialBatch, Raw, RawBatch, Umadb};
    use Load::{AppendW1, AppendW64, Deliver, ReadAll, ReadStream};
    use Wanted::{AtLeast, AtMost, Nothing};
    [
        row(AppendW64, Umadb, Nothing),
        row(AppendW64, Raw, AtLeast(0.9)),
        row(AppendW64, Official, AtLeast(0.9)),
        row(AppendW64, RawBatch, AtLeast(2.5)),
        row(AppendW64, OfficialBatch, AtLeast(2.5)),
        row(AppendW1, Umadb, Nothing),
        row(AppendW1, Raw, AtMost(0.7)),
        row(AppendW1, Official, AtMost(0.7)),
        row(AppendW1, RawBatch, AtMost(0.7)),
        row(ReadStream, Umadb, Nothing),
        row(ReadStream, Raw, AtLeast(0.3)),
        row(ReadStream, Official, AtLeast(0.3)),
        row(ReadAll, Umadb, Nothing),
        row(ReadAll, Raw, AtLeast(0.3)),
        row(ReadAll, Official, AtLeast(0.3)),
        row(Deliver, Umadb, Nothing),
        row(Deliver, Raw, AtMost(1.0)),
        row(Deliver, Official, AtMost(1.0)),
    ]
};

const fn row(load: Load, client: ClientKind, wanted: Wanted) -> Row {
    Row { load, client, wanted }
}

impl Load {
    /// Returns `true` if the figure that counts is a latency.
    pub(crate) const fn is_of_time(self) -> bool {
        matches!(self, Self::AppendW1 | Self::Deliver)
    }
}

impl ClientKind {
    pub(crate) const fn is_of_gesta(self) -> bool {
        !matches!(self, Self::Umadb)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = match self.load {
            Load::AppendW64 => "append w64 b1",
            Load::AppendW1 => "append w1 b1",
            Load::ReadStream => "read a stream",
            Load::ReadAll => "read all",
            Load::Deliver => "append to delivery",
        };
        let client = match self.client {
            ClientKind::Umadb => "UmaDB's client",
            ClientKind::Raw => "raw client",
            ClientKind::RawBatch => "raw client, `BatchAppend`",
            ClientKind::Official => "`kurrentdb`",
            ClientKind::OfficialBatch => "`kurrentdb`, `BatchAppend`",
        };
        write!(f, "{load} | {client}")
    }
}
