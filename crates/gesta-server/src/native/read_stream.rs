//! `GET /v1/streams/{stream}`: a page of one stream, or of a stream that the index answers.
//!
//! Invariants: a page ends exactly at the end of the stream if it says so; its size is bounded in
//! events and in bytes. Events that the reader may not read are left out of streams of the index.

use std::collections::HashMap;

use axum::response::Response;
use gesta_store::{
    Direction, Ordinal, ReadFrom, ReadOrdinals, ReadStream, RecordedEvent, Revision, StreamName,
    StreamState,
};
use serde::Serialize;

use super::{
    event_json::EventJson,
    native_call::NativeCall,
    page::{Cut, collect, event_bytes, payload_bytes},
    parameters::{FROM, FROM_TIME},
    problem::{Problem, ProblemCode},
    rights::check_right,
};
use crate::{
    access::Right,
    streams::{Found, SystemStream},
};

#[derive(Debug, Serialize)]
struct StreamPage<'a> {
    stream: &'a str,
    events: Vec<EventJson<'a>>,
    next: Option<u64>,
    end: bool,
}

/// The place and the size of a page.
#[derive(Clone, Copy)]
struct PageRequest {
    direction: Direction,
    from: ReadFrom<Revision>,
    limit: u64,
}

pub(super) async fn read_stream(call: NativeCall) -> Result<Response, Problem> {
    let stream = call.arguments.stream()?;
    let request = PageRequest::of(&call)?;
    check_right(&call.node, &call.caller, &stream, Right::Read).await?;
    call.node.counters().reads.add(1);
    match SystemStream::named(&stream) {
        Some(system) => of_index(&call, system, request).await,
        None => of_stream(&call, stream, request).await,
    }
}

impl PageRequest {
    fn of(call: &NativeCall) -> Result<Self, Problem> {
        let arguments = &call.arguments;
        let direction = match arguments.is_backward()? {
            false => Direction::Forwards,
            true => Direction::Backwards,
        };
        let from = match (arguments.number(&FROM)?, arguments.time(&FROM_TIME)?) {
            (None, None) if direction == Direction::Forwards => ReadFrom::Start,
            (None, None) => ReadFrom::End,
            (Some(revision), None) => ReadFrom::At(Revision::new(revision)),
            (None, Some(time)) => ReadFrom::Time(time),
            (Some(_), Some(_)) => {
                return Err(Problem::invalid(FROM_TIME.name, "and `from` exclude each other"));
            }
        };
        Ok(Self { direction, from, limit: arguments.limit()? })
    }
}

async fn of_stream(
    call: &NativeCall,
    stream: StreamName,
    request: PageRequest,
) -> Result<Response, Problem> {
    let PageRequest { direction, from, limit } = request;
    // One more than asked tells whether the page is the last one.
    let read = ReadStream::towards(direction, stream.clone()).starting(from).limit(limit + 1);
    let turn = call.turn().await?;
    let pages = call.node.store().read_stream(read);
    let Cut { events, end } = collect(pages, limit, event_bytes).await?;
    if events.is_empty() {
        check_exists(call, &stream).await?;
    }
    call.node.counters().events_read.add(events.len() as u64);
    let last = events.last().map(|event| event.revision);
    let next = match (direction, last) {
        (Direction::Forwards, Some(last)) => Some(last.next().number()),
        // A reader that was at the end continues where it was.
        (Direction::Forwards, None) => match from {
            ReadFrom::At(revision) => Some(revision.number()),
            _ => None,
        },
        (Direction::Backwards, last) => {
            last.and_then(Revision::previous).filter(|_| !end).map(Revision::number)
        }
    };
    call.payload_answer(turn, payload_bytes(&events), move || {
        let events = events.iter().map(EventJson::of).collect();
        serde_json::to_vec(&StreamPage { stream: stream.as_str(), events, next, end })
    })
    .await
}

/// Tells a stream without events in this range from one that does not exist.
async fn check_exists(call: &NativeCall, stream: &StreamName) -> Result<(), Problem> {
    let described = call.node.store().describe_stream(stream).await;
    let described = described.map_err(|error| Problem::of_read(&error))?;
    let what = match described.state {
        StreamState::Missing => "has no events",
        StreamState::Deleted => "is deleted",
        StreamState::Live | StreamState::Tombstoned => return Ok(()),
    };
    let detail = format!("the stream `{stream}` {what}");
    Err(Problem::new(ProblemCode::StreamNotFound, detail).with("stream", stream.as_str()))
}

/// Reads by ordinals, which take the place of revisions.
async fn of_index(
    call: &NativeCall,
    system: SystemStream,
    request: PageRequest,
) -> Result<Response, Problem> {
    let PageRequest { direction, from, limit } = request;
    let mut read = match direction {
        Direction::Forwards => ReadOrdinals::forwards(system.index.clone()),
        Direction::Backwards => ReadOrdinals::backwards(system.index.clone()),
    };
    read.from = match from {
        ReadFrom::At(revision) => ReadFrom::At(Ordinal::new(revision.number())),
        ReadFrom::Time(time) => ReadFrom::Time(time),
        ReadFrom::Start => ReadFrom::Start,
        _ => ReadFrom::End,
    };
    let turn = call.turn().await?;
    let pages = call.node.store().read_ordinals(read.limit(limit + 1));
    let Cut { events, end } = collect(pages, limit, |one| event_bytes(&one.event)).await?;
    let last = events.last().map(|event| event.ordinal.number());
    let links = system.links(call.node.store(), events, true).await;
    let shown = shown(call, links.map_err(|error| Problem::of_read(&error))?).await?;
    call.node.counters().events_read.add(shown.len() as u64);
    let next = match direction {
        Direction::Forwards => last.map(|last| last.saturating_add(1)),
        Direction::Backwards => last.and_then(|last| last.checked_sub(1)).filter(|_| !end),
    };
    call.payload_answer(turn, payload_bytes(shown.iter().map(|(_, event)| event)), move || {
        let events = shown.iter().map(|(ordinal, event)| EventJson::of(event).at_ordinal(*ordinal));
        let (stream, events) = (system.name.as_str(), events.collect());
        serde_json::to_vec(&StreamPage { stream, events, next, end })
    })
    .await
}

/// Returns the events that links stand for, as far as they are visible and the caller may read
/// their streams, with their ordinals.
async fn shown(call: &NativeCall, links: Vec<Found>) -> Result<Vec<(u64, RecordedEvent)>, Problem> {
    let mut rights = HashMap::new();
    let mut shown = Vec::with_capacity(links.len());
    for found in links {
        let (ordinal, event) = match found {
            Found::Link { link, target: Some(event) } => (link.revision.number(), *event),
            Found::Link { target: None, .. } => continue,
            // A name of a stream, which is data of its own.
            Found::Event(reference) => {
                shown.push((reference.revision.number(), reference));
                continue;
            }
        };
        let may_read = match rights.get(&event.stream) {
            Some(may_read) => *may_read,
            None => {
                let may = call.node.access().may(&call.caller, &event.stream, Right::Read).await;
                let may = may.map_err(|error| Problem::of_read(&error))?;
                rights.insert(event.stream.clone(), may);
                may
            }
        };
        if may_read {
            shown.push((ordinal, event));
        }
    }
    Ok(shown)
}
