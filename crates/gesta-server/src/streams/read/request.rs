//! The parameters of a `Read`, checked.
//!
//! Owns: [`ReadRequest`], and the combinations that the protocol refuses.

use gesta_store::{Direction, Position, ReadFrom, Revision, StreamName};
use tonic::Status;

use super::{filter::FilterRequest, messages::Rendering};
use crate::{
    proto::streams::{
        ReadReq,
        read_req::{
            Options,
            options::{
                AllOptions, CountOption, FilterOption, Position as At, ReadDirection, StreamOption,
                StreamOptions, all_options::AllOption, stream_options::RevisionOption,
                uuid_option::Content as UuidContent,
            },
        },
    },
    wire::{IdForm, name_to_read, refused},
};

pub(super) struct ReadRequest {
    pub(super) target: Target,
    pub(super) amount: Amount,
    pub(super) direction: Direction,
    pub(super) rendering: Rendering,
    /// The client understands messages about the first and last revision.
    pub(super) is_end_told: bool,
}

pub(super) enum Target {
    Stream { stream: StreamName, from: ReadFrom<Revision> },
    All { from: ReadFrom<Position>, filter: Option<FilterRequest> },
}

pub(super) enum Amount {
    /// At most this many events.
    Events(u64),
    /// A subscription.
    Endless,
}

impl ReadRequest {
    pub(super) fn of(request: ReadReq) -> Result<Self, Status> {
        let options =
            request.options.ok_or_else(|| refused("the options of the read are missing"))?;
        let direction = match ReadDirection::try_from(options.read_direction) {
            Ok(ReadDirection::Forwards) => Direction::Forwards,
            Ok(ReadDirection::Backwards) => Direction::Backwards,
            Err(_) => {
                return Err(refused(format!(
                    "`read_direction` must be 0 (forwards) or 1 (backwards); got {}",
                    options.read_direction
                )));
            }
        };
        let ids = match options.uuid_option.and_then(|option| option.content) {
            Some(UuidContent::String(_)) => IdForm::Text,
            Some(UuidContent::Structured(_)) => IdForm::Halves,
            None => return Err(refused("the form of UUIDs (`uuid_option`) is missing")),
        };
        let rendering = Rendering { ids, resolves_links: options.resolve_links };
        let compatibility = options.control_option.map_or(0, |control| control.compatibility);
        let amount = match &options.count_option {
            Some(CountOption::Count(events)) => Amount::Events(*events),
            Some(CountOption::Subscription(_)) if direction == Direction::Backwards => {
                return Err(refused("a subscription reads forwards only"));
            }
            Some(CountOption::Subscription(_)) => Amount::Endless,
            None => return Err(refused("the number of events (`count_option`) is missing")),
        };
        let target = target(options, direction)?;
        Ok(Self { target, amount, direction, rendering, is_end_told: compatibility >= 1 })
    }
}

fn target(options: Options, direction: Direction) -> Result<Target, Status> {
    let filter = match options.filter_option {
        Some(FilterOption::Filter(filter)) => Some(FilterRequest::of(filter)?),
        Some(FilterOption::NoFilter(_)) | None => None,
    };
    match options.stream_option {
        Some(StreamOption::Stream(_)) if filter.is_some() => {
            Err(refused("a read of one stream takes no filter"))
        }
        Some(StreamOption::Stream(StreamOptions { stream_identifier, revision_option })) => {
            let from = match revision_option {
                Some(RevisionOption::Revision(u64::MAX) | RevisionOption::End(_)) => ReadFrom::End,
                Some(RevisionOption::Revision(number)) => ReadFrom::At(Revision::new(number)),
                // The start of a stream is its first event, which a backward read returns, too.
                Some(RevisionOption::Start(_)) if direction == Direction::Backwards => {
                    ReadFrom::At(Revision::FIRST)
                }
                Some(RevisionOption::Start(_)) => ReadFrom::Start,
                None => return Err(refused("the start of the read is missing")),
            };
            Ok(Target::Stream { stream: name_to_read(stream_identifier.as_ref())?, from })
        }
        Some(StreamOption::All(AllOptions { all_option })) => {
            let from = match all_option {
                Some(AllOption::Position(at)) => position(at)?,
                Some(AllOption::Start(_)) => ReadFrom::Start,
                Some(AllOption::End(_)) => ReadFrom::End,
                None => return Err(refused("the start of the read is missing")),
            };
            Ok(Target::All { from, filter })
        }
        None => Err(refused("the read names neither a stream nor `$all`")),
    }
}

fn position(at: At) -> Result<ReadFrom<Position>, Status> {
    let At { commit_position, prepare_position } = at;
    if commit_position < prepare_position {
        return Err(refused(format!(
            "the commit position {commit_position} is before the prepare position \
             {prepare_position}"
        )));
    }
    // Clients write the end as the largest number.
    Ok(match commit_position {
        u64::MAX => ReadFrom::End,
        number => ReadFrom::At(Position::new(number)),
    })
}
