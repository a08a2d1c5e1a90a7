//! Names and starts in requests, which each call has in types of its own.

use tonic::Status;

use super::super::{
    name::{GroupId, GroupSource},
    settings::StartFrom,
};
use crate::{
    proto::{
        persistent_subscriptions::{
            create_req, delete_req, get_info_req, read_req, replay_parked_req, truncate_parked_req,
            update_req,
        },
        shared::StreamIdentifier,
    },
    wire::refused,
};

/// A request's choice of a stream or the whole store.
pub(super) trait SourceOption {
    /// Returns the name of the stream; `None` is the whole store.
    fn stream(&self) -> Option<&StreamIdentifier>;
}

macro_rules! source_option {
    ($($request:ident),* $(,)?) => { $(
        impl SourceOption for $request::options::StreamOption {
            fn stream(&self) -> Option<&StreamIdentifier> {
                match self {
                    Self::StreamIdentifier(identifier) => Some(identifier),
                    Self::All(_) => None,
                }
            }
        }
    )* };
}

source_option!(delete_req, get_info_req, read_req, replay_parked_req, truncate_parked_req);

/// Reads the identity of a group.
pub(super) fn group_id<Choice: SourceOption>(
    source: Option<&Choice>,
    group: &str,
) -> Result<GroupId, Status> {
    let source = source.ok_or_else(no_source)?;
    GroupId::new(GroupSource::of(source.stream())?, group)
}

/// Reads the revision of the parked events before which a call stops.
pub(super) fn parked_end(stop_at: i64) -> Result<u64, Status> {
    let text = || format!("the end of the parked events must not be negative; got {stop_at}");
    u64::try_from(stop_at).map_err(|_| refused(text()))
}

pub(super) fn no_source() -> Status {
    refused("the request names neither a stream nor `$all`")
}

/// The source and the start of a new or changed group.
pub(super) struct SourceStart {
    pub(super) source: GroupSource,
    pub(super) start: StartFrom,
}

/// Reads source and start. Both requests have the same messages in types of their own.
macro_rules! source_start {
    ($name:ident, $request:ident) => {
        pub(super) fn $name(
            choice: Option<&$request::options::StreamOption>,
            earlier: Option<&StreamIdentifier>,
            earlier_revision: u64,
        ) -> Result<SourceStart, Status> {
            use $request::{
                all_options::AllOption, options::StreamOption, stream_options::RevisionOption,
            };
            match choice {
                Some(StreamOption::Stream(stream)) => {
                    let start = match &stream.revision_option {
                        Some(RevisionOption::Revision(revision)) => place(*revision),
                        Some(RevisionOption::End(_)) => StartFrom::End,
                        Some(RevisionOption::Start(_)) | None => StartFrom::Start,
                    };
                    let source = of_stream(stream.stream_identifier.as_ref())?;
                    Ok(SourceStart { source, start })
                }
                Some(StreamOption::All(all)) => {
                    let start = match &all.all_option {
                        Some(AllOption::Position(at)) => {
                            position(at.commit_position, at.prepare_position)?
                        }
                        Some(AllOption::End(_)) => StartFrom::End,
                        Some(AllOption::Start(_)) | None => StartFrom::Start,
                    };
                    Ok(SourceStart { source: GroupSource::All, start })
                }
                None => {
                    let source = of_stream(earlier)?;
                    Ok(SourceStart { source, start: place(earlier_revision) })
                }
            }
        }
    };
}

source_start!(start_of_create, create_req);
source_start!(start_of_update, update_req);

fn of_stream(identifier: Option<&StreamIdentifier>) -> Result<GroupSource, Status> {
    GroupSource::of(Some(identifier.ok_or_else(no_source)?))
}

/// Clients write the end as the largest number.
const fn place(number: u64) -> StartFrom {
    match number {
        0 => StartFrom::Start,
        u64::MAX => StartFrom::End,
        number => StartFrom::At(number),
    }
}

fn position(commit: u64, prepare: u64) -> Result<StartFrom, Status> {
    if commit < prepare {
        return Err(refused(format!(
            "the commit position {commit} is before the prepare position {prepare}"
        )));
    }
    Ok(place(commit))
}
