//! `Read`: reads and subscriptions of a stream, of the whole store, and of streams that the index
//! answers.
//!
//! Owns: the choice among them. Invariant: a client that reads slowly holds up its own call only,
//! which holds one page; pages of reads share a bounded memory.

mod answers;
mod filter;
mod links;
mod messages;
mod read_all;
mod read_stream;
mod read_system;
mod request;
mod subscribe_all;
mod subscribe_stream;
mod subscribe_system;
mod system_stream;
mod tombstones;

use gesta_store::{ReadFrom, Revision, StreamName};
use tonic::{Response, Status};

use self::{
    answers::{Answers, Reader, Responses},
    request::{Amount, ReadRequest, Target},
};
pub(crate) use self::{
    filter::requested_filter,
    links::{LINK_TYPE, linked_place, resolve, visible_event},
    messages::Found,
    read_system::last_ordinal,
    system_stream::SystemStream,
};
use crate::{
    access::{Caller, Right},
    node::Node,
    outgoing::PageRoom,
    proto::streams::ReadReq,
};

/// Returns `true` if the events of a stream with this name come from the index.
pub(crate) fn is_of_index(name: &StreamName) -> bool {
    SystemStream::named(name).is_some()
}

/// Answers a read or a subscription. The answer of a read has its memory with it, for the
/// connection; a subscription waits for its client as long as it likes.
pub(super) async fn read(
    node: &Node,
    (caller, room): (Caller, PageRoom),
    request: ReadReq,
) -> Result<Response<Responses>, Status> {
    let ReadRequest { target, amount, direction, rendering, is_end_told } =
        ReadRequest::of(request)?;
    match &target {
        Target::Stream { stream, .. } => {
            node.access().check_stream(&caller, stream, Right::Read).await?;
        }
        Target::All { .. } => node.access().check_all(&caller).await?,
    }
    let memory = room.memory().clone();
    let is_read = matches!(amount, Amount::Events(_));
    if is_read {
        node.counters().reads.add(1);
    }
    let reader = Reader { node: node.clone(), caller, rendering, room };
    let messages = match (target, amount) {
        (Target::Stream { stream, from }, Amount::Events(limit)) => {
            let read = read_stream::ReadOne { stream, from, direction, limit, is_end_told };
            read_one(reader, read).await?
        }
        (Target::Stream { stream, from }, Amount::Endless) => {
            subscribe_one(reader, stream, from).await?
        }
        (Target::All { from, filter }, Amount::Events(limit)) => {
            let read = read_all::ReadWhole { from, filter, direction, limit };
            Answers::begin(reader, async move |answers| read_all::answer(answers, read).await)
                .await?
        }
        (Target::All { from, filter }, Amount::Endless) => {
            Answers::begin(reader, async move |answers| {
                subscribe_all::answer(answers, from, filter).await
            })
            .await?
        }
    };
    let mut answer = Response::new(messages);
    if is_read {
        answer.extensions_mut().insert(memory);
    }
    Ok(answer)
}

async fn read_one(reader: Reader, read: read_stream::ReadOne) -> Result<Responses, Status> {
    let Some(system) = SystemStream::named(&read.stream) else {
        return Answers::begin(reader, async move |answers| {
            read_stream::answer(answers, read).await
        })
        .await;
    };
    Answers::begin(reader, async move |answers| read_system::answer(answers, read, system).await)
        .await
}

async fn subscribe_one(
    reader: Reader,
    stream: StreamName,
    from: ReadFrom<Revision>,
) -> Result<Responses, Status> {
    let Some(system) = SystemStream::named(&stream) else {
        return Answers::begin(reader, async move |answers| {
            subscribe_stream::answer(answers, stream, from).await
        })
        .await;
    };
    Answers::begin(reader, async move |answers| {
        subscribe_system::answer(answers, system, from).await
    })
    .await
}
