//! The messages of `Read`.
//!
//! Owns: their fields, with the settings that all reads have: no link is resolved, and ids are
//! halves.

use gesta_store::{Direction, Filter, Position, ReadFrom, Revision, StreamName};

use super::filter::filter_options;
use crate::{
    proto::{
        shared::Empty,
        streams::{
            ReadReq,
            read_req::{
                Options,
                options::{
                    AllOptions, ControlOption, CountOption, FilterOption, Position as At,
                    ReadDirection, StreamOption, StreamOptions, SubscriptionOptions, UuidOption,
                    all_options::AllOption, stream_options::RevisionOption, uuid_option,
                },
            },
        },
    },
    wire::{NUMBER_MAX, identifier},
};

/// The target of a read.
#[derive(Clone, Debug)]
pub(crate) enum ReadTarget {
    Stream(StreamName),
    All(Filter),
}

/// A revision or a position, or one of the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Start,
    End,
    At(u64),
}

impl Place {
    pub(crate) fn of_revision(from: ReadFrom<Revision>, direction: Direction) -> Self {
        match from {
            ReadFrom::At(revision) => Self::at(revision.number()),
            other => Self::of_end(other, direction),
        }
    }

    pub(crate) fn of_position(from: ReadFrom<Position>, direction: Direction) -> Self {
        match from {
            ReadFrom::At(position) => Self::at(position.number()),
            other => Self::of_end(other, direction),
        }
    }

    fn of_end<Number>(from: ReadFrom<Number>, direction: Direction) -> Self {
        match (from, direction) {
            (ReadFrom::Start, _) => Self::Start,
            (ReadFrom::End, _) => Self::End,
            // The store refuses starts at a time.
            (_, Direction::Forwards) => Self::Start,
            (_, Direction::Backwards) => Self::End,
        }
    }

    /// A number that the protocol cannot have is beyond the end.
    pub(crate) fn at(number: u64) -> Self {
        if number > NUMBER_MAX { Self::End } else { Self::At(number) }
    }
}

/// Makes the request of a read.
pub(super) fn finite(
    target: &ReadTarget,
    direction: Direction,
    start: Place,
    count: u64,
) -> ReadReq {
    let direction = match direction {
        Direction::Forwards => ReadDirection::Forwards,
        Direction::Backwards => ReadDirection::Backwards,
    };
    request(target, start, CountOption::Count(count), direction)
}

/// Makes the request of a subscription, which begins after its start.
pub(crate) fn subscription(target: &ReadTarget, start: Place) -> ReadReq {
    let endless = CountOption::Subscription(SubscriptionOptions {});
    request(target, start, endless, ReadDirection::Forwards)
}

fn request(
    target: &ReadTarget,
    start: Place,
    count: CountOption,
    direction: ReadDirection,
) -> ReadReq {
    let (stream_option, filter) = match target {
        ReadTarget::Stream(stream) => (of_stream(stream, start), None),
        ReadTarget::All(filter) => (of_all(start), filter_options(filter)),
    };
    let filter = filter.map_or(FilterOption::NoFilter(Empty {}), FilterOption::Filter);
    let options = Options {
        stream_option: Some(stream_option),
        read_direction: direction.into(),
        resolve_links: false,
        count_option: Some(count),
        filter_option: Some(filter),
        uuid_option: Some(UuidOption { content: Some(uuid_option::Content::Structured(Empty {})) }),
        // The server tells the last revision.
        control_option: Some(ControlOption { compatibility: 1 }),
    };
    ReadReq { options: Some(options) }
}

fn of_stream(stream: &StreamName, start: Place) -> StreamOption {
    let revision = match start {
        Place::Start => RevisionOption::Start(Empty {}),
        Place::End => RevisionOption::End(Empty {}),
        Place::At(revision) => RevisionOption::Revision(revision),
    };
    StreamOption::Stream(StreamOptions {
        stream_identifier: Some(identifier(stream)),
        revision_option: Some(revision),
    })
}

fn of_all(start: Place) -> StreamOption {
    let all_option = match start {
        Place::Start => AllOption::Start(Empty {}),
        Place::End => AllOption::End(Empty {}),
        Place::At(position) => {
            AllOption::Position(At { commit_position: position, prepare_position: position })
        }
    };
    StreamOption::All(AllOptions { all_option: Some(all_option) })
}
