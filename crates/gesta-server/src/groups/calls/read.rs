//! `Read`: one consumer of a group, which gets events and answers them.
//!
//! Invariants: a consumer has the right to read the source of its group when it begins, and gets
//! targets of links only from streams that it may read; it leaves its group when either side of the
//! call ends. A message that breaks the protocol ends the call.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use tokio::{
    select,
    sync::{mpsc, oneshot},
};
use tonic::{Request, Status, Streaming};
use uuid::Uuid;

use super::{
    super::{
        machine::{ConsumerId, NackAction},
        name::GroupId,
        registry::Groups,
        runner::{ConnectedConsumer, ConsumerAnswer, ConsumerPeer, GroupCommand, GroupDelivery},
    },
    messages::{confirmation, delivery},
    request::group_id,
    rights::check_source,
};
use crate::{
    access::{Caller, Peer, Right},
    node::Node,
    proto::{
        persistent_subscriptions::{
            ReadReq, ReadResp,
            read_req::{
                Content, Options, nack::Action, options::uuid_option::Content as UuidContent,
            },
        },
        shared,
    },
    streams::Found,
    wire::{IdForm, refused, status, uuid_of},
};

/// Maximum number of events that a consumer may have in flight.
const SLOTS_MAX: usize = 10_000;

/// The messages to a consumer.
pub(in crate::groups) type GroupResponses =
    Pin<Box<dyn Stream<Item = Result<ReadResp, Status>> + Send>>;

/// The parameters of a consumer, checked.
struct ConsumerRequest {
    group: GroupId,
    slots: usize,
    ids: IdForm,
}

pub(in crate::groups) async fn read(
    groups: &Groups,
    request: Request<Streaming<ReadReq>>,
) -> Result<GroupResponses, Status> {
    let caller = Caller::of(request.extensions());
    let peer = peer(&request, &caller);
    let mut messages = request.into_inner();
    let first = messages.message().await?.and_then(|message| message.content);
    let Some(Content::Options(options)) = first else {
        return Err(refused("the first message of a consumer must be its options"));
    };
    let ConsumerRequest { group, slots, ids } = ConsumerRequest::of(options)?;
    let view = ConsumerView { node: groups.node().clone(), caller, ids };
    check_source(groups.node(), &view.caller, &group.source).await?;
    let commands = groups.find(&group).await?.commands;
    let (answer, answered) = oneshot::channel();
    let over = || Status::unavailable("the group has just ended; connect again");
    let connect = GroupCommand::Connect { slots, peer, answer };
    commands.send(connect).await.map_err(|_| over())?;
    let connected = answered.await.map_err(|_| over())??;
    let (held, left) = oneshot::channel();
    tokio::spawn(take_answers(messages, connected.consumer, commands, left));
    Ok(responses(connected, confirmation(&group), (view, held)))
}

/// The rights of a consumer, and the form in which it wants ids.
struct ConsumerView {
    node: Node,
    caller: Caller,
    ids: IdForm,
}

impl ConsumerView {
    async fn message(&self, mut next: GroupDelivery) -> Result<ReadResp, Status> {
        if let Found::Link { link, target: Some(event) } = next.found.as_ref() {
            let may_read = self.node.access().may(&self.caller, &event.stream, Right::Read).await;
            if !may_read.map_err(|error| status(&error))? {
                next.found = Arc::new(Found::Link { link: link.clone(), target: None });
            }
        }
        Ok(delivery(&next, self.ids))
    }
}

impl ConsumerRequest {
    fn of(options: Options) -> Result<Self, Status> {
        let group = group_id(options.stream_option.as_ref(), &options.group_name)?;
        let slots = usize::try_from(options.buffer_size).unwrap_or_default();
        if slots == 0 {
            return Err(refused(format!(
                "`buffer_size` of a consumer must be at least 1; got {}",
                options.buffer_size
            )));
        }
        let ids = match options.uuid_option.and_then(|option| option.content) {
            Some(UuidContent::String(_)) => IdForm::Text,
            Some(UuidContent::Structured(_)) | None => IdForm::Halves,
        };
        Ok(Self { group, slots: slots.min(SLOTS_MAX), ids })
    }
}

fn peer(request: &Request<Streaming<ReadReq>>, caller: &Caller) -> ConsumerPeer {
    let name = request.metadata().get("connection-name").and_then(|name| name.to_str().ok());
    let peer = request.extensions().get::<Peer>();
    ConsumerPeer {
        name: name.unwrap_or_default().to_owned(),
        address: peer.map(|peer| peer.address.to_string()).unwrap_or_default(),
        login: caller.login().unwrap_or("anonymous").to_owned(),
    }
}

/// Hands the answers of a consumer to its group, until either side of the call ends.
async fn take_answers(
    mut messages: Streaming<ReadReq>,
    consumer: ConsumerId,
    commands: mpsc::Sender<GroupCommand>,
    mut left: oneshot::Receiver<()>,
) {
    let broken = loop {
        let message = select! {
            message = messages.message() => message,
            _ = &mut left => break None,
        };
        let answer = match message {
            Ok(Some(message)) => answer(message),
            // The client is done, or gone.
            Ok(None) | Err(_) => break None,
        };
        match answer {
            Ok(answer) => {
                if commands.send(GroupCommand::Answer { consumer, answer }).await.is_err() {
                    return;
                }
            }
            Err(broken) => break Some(broken),
        }
    };
    // A group that has ended has no consumers.
    let _ = commands.send(GroupCommand::Disconnect { consumer, broken }).await;
}

fn answer(message: ReadReq) -> Result<ConsumerAnswer, Status> {
    match message.content {
        Some(Content::Ack(ack)) => Ok(ConsumerAnswer::Ack(event_ids(&ack.ids)?)),
        Some(Content::Nack(nack)) => {
            let action = match Action::try_from(nack.action) {
                Ok(Action::Park) => NackAction::Park,
                Ok(Action::Skip) => NackAction::Skip,
                Ok(Action::Stop) => NackAction::Stop,
                // A client that leaves the choice to the server gets the event again.
                Ok(Action::Retry | Action::Unknown) => NackAction::Retry,
                Err(_) => {
                    return Err(refused(format!(
                        "`action` of a nack must be between 0 and 4; got {}",
                        nack.action
                    )));
                }
            };
            Ok(ConsumerAnswer::Nack { ids: event_ids(&nack.ids)?, action, reason: nack.reason })
        }
        Some(Content::Options(_)) => {
            Err(refused("a consumer has options in its first message only"))
        }
        None => Err(refused("a message of a consumer is empty")),
    }
}

fn event_ids(ids: &[shared::Uuid]) -> Result<Vec<Uuid>, Status> {
    ids.iter().map(|id| uuid_of(Some(id), "event id")).collect()
}

/// The confirmation, then events, then the reason of the end if there is one. `held` tells the
/// other side of the call when it is dropped.
fn responses(
    connected: ConnectedConsumer,
    first: ReadResp,
    (view, held): (ConsumerView, oneshot::Sender<()>),
) -> GroupResponses {
    let ConnectedConsumer { deliveries, ended, .. } = connected;
    let state = (Some(first), deliveries, Some(ended), (view, held));
    Box::pin(stream::unfold(state, |(first, mut deliveries, mut ended, kept)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (None, deliveries, ended, kept)));
        }
        if let Some(next) = deliveries.recv().await {
            let message = kept.0.message(next).await;
            return Some((message, (None, deliveries, ended, kept)));
        }
        let reason = ended.take()?.await.ok()?;
        Some((Err(reason), (None, deliveries, None, kept)))
    }))
}
