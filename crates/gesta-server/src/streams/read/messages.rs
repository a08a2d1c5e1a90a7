//! Messages to a reader.
//!
//! Owns: [`Rendering`], the form that a reader asked for, and the messages next to events.

use gesta_store::{Position, RecordedAt, RecordedEvent, StreamName};
use uuid::Uuid;

use crate::{
    node::wall_now,
    proto::streams::{
        ReadResp,
        read_resp::{
            CaughtUp, Checkpoint, Content, Position as Place, ReadEvent, StreamNotFound,
            SubscriptionConfirmation, read_event::Position as EventPosition,
        },
    },
    wire::{IdForm, identifier, recorded_event},
};

/// The form in which events are sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rendering {
    pub(super) ids: IdForm,
    pub(super) resolves_links: bool,
}

/// An event as it was read, or a link and its target.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Event(RecordedEvent),
    Link {
        link: RecordedEvent,
        /// `None` if the event is hidden or does not exist.
        target: Option<Box<RecordedEvent>>,
    },
}

impl Rendering {
    pub(super) fn event(self, found: &Found) -> ReadResp {
        let (event, link, position) = match found {
            Found::Event(event) => (Some(event), None, event.position),
            Found::Link { link, target } => (target.as_deref(), Some(link), link.position),
        };
        message(Content::Event(ReadEvent {
            event: event.map(|event| recorded_event(event, self.ids)),
            link: link.map(|link| recorded_event(link, self.ids)),
            position: Some(EventPosition::CommitPosition(position.number())),
        }))
    }
}

pub(super) fn confirmation() -> ReadResp {
    let subscription_id = Uuid::new_v4().to_string();
    message(Content::Confirmation(SubscriptionConfirmation { subscription_id }))
}

pub(super) fn stream_not_found(stream: &StreamName) -> ReadResp {
    let stream_identifier = Some(identifier(stream));
    message(Content::StreamNotFound(StreamNotFound { stream_identifier }))
}

pub(super) fn first_stream_position(revision: u64) -> ReadResp {
    message(Content::FirstStreamPosition(revision))
}

pub(super) fn last_stream_position(revision: u64) -> ReadResp {
    message(Content::LastStreamPosition(revision))
}

pub(super) fn checkpoint(position: Position) -> ReadResp {
    message(Content::Checkpoint(Checkpoint {
        commit_position: position.number(),
        prepare_position: position.number(),
        timestamp: Some(timestamp(wall_now())),
    }))
}

/// A subscription to a stream is at its head; `None` before the first event.
pub(super) fn caught_up_with_stream(revision: Option<u64>) -> ReadResp {
    let revision = revision.map_or(-1, |revision| i64::try_from(revision).unwrap_or(i64::MAX));
    message(Content::CaughtUp(CaughtUp {
        timestamp: Some(timestamp(wall_now())),
        stream_revision: Some(revision),
        position: None,
    }))
}

/// A subscription to the whole store is at its head.
pub(super) fn caught_up_with_all(position: Position) -> ReadResp {
    let position = position.number();
    message(Content::CaughtUp(CaughtUp {
        timestamp: Some(timestamp(wall_now())),
        stream_revision: None,
        position: Some(Place { commit_position: position, prepare_position: position }),
    }))
}

fn message(content: Content) -> ReadResp {
    ReadResp { content: Some(content) }
}

fn timestamp(time: RecordedAt) -> prost_types::Timestamp {
    let micros = time.micros();
    prost_types::Timestamp {
        seconds: i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(micros % 1_000_000 * 1_000).unwrap_or_default(),
    }
}
