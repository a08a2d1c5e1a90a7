//! The connections of a group's consumers.
//!
//! Invariant: a consumer that reads slowly holds up no other one. Events that it could not be sent
//! go back to the group.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::{
    super::machine::ConsumerId,
    command::{ConnectedConsumer, ConsumerPeer, GroupDelivery},
};
use crate::{node::Node, streams::Found};

/// The connections by consumer.
pub(super) struct ConsumerLinks {
    node: Node,
    links: BTreeMap<ConsumerId, ConsumerLink>,
    last: u64,
}

/// A connection. Dropping it ends it.
struct ConsumerLink {
    node: Node,
    peer: ConsumerPeer,
    deliveries: mpsc::Sender<GroupDelivery>,
    end: Option<oneshot::Sender<Status>>,
    is_stalled: bool,
}

impl Drop for ConsumerLink {
    fn drop(&mut self) {
        self.node.counters().consumers_ended.add(1);
    }
}

/// The result of a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Taken,
    /// The consumer has not read what it was sent before.
    Full,
    /// The consumer is gone.
    Gone,
}

impl ConsumerLinks {
    pub(super) const fn new(node: Node) -> Self {
        Self { node, links: BTreeMap::new(), last: 0 }
    }

    pub(super) const fn next_id(&self) -> ConsumerId {
        ConsumerId(self.last + 1)
    }

    /// Adds the connection of the next consumer.
    pub(super) fn add(&mut self, slots: usize, peer: ConsumerPeer) -> ConnectedConsumer {
        let consumer = self.next_id();
        self.last += 1;
        let (deliveries, received) = mpsc::channel(slots);
        let (end, ended) = oneshot::channel();
        self.node.counters().consumers.add(1);
        let node = self.node.clone();
        let link = ConsumerLink { node, peer, deliveries, end: Some(end), is_stalled: false };
        self.links.insert(consumer, link);
        ConnectedConsumer { consumer, deliveries: received, ended }
    }

    pub(super) fn send(&mut self, consumer: ConsumerId, found: Arc<Found>, retries: u32) -> Sent {
        let Some(link) = self.links.get_mut(&consumer) else { return Sent::Gone };
        match link.deliveries.try_send(GroupDelivery { found, retries }) {
            Ok(()) => {
                self.node.counters().events_read.add(1);
                Sent::Taken
            }
            Err(mpsc::error::TrySendError::Full(_)) => {
                link.is_stalled = true;
                Sent::Full
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Sent::Gone,
        }
    }

    /// Ends a connection, with a reason unless the client ended it.
    pub(super) fn remove(&mut self, consumer: ConsumerId, reason: Option<Status>) {
        if let Some(mut link) = self.links.remove(&consumer)
            && let (Some(end), Some(reason)) = (link.end.take(), reason)
        {
            // The client may be gone, too.
            let _ = end.send(reason);
        }
    }

    pub(super) fn remove_all(&mut self, reason: &Status) -> Vec<ConsumerId> {
        let consumers: Vec<_> = self.links.keys().copied().collect();
        consumers.iter().for_each(|consumer| self.remove(*consumer, Some(reason.clone())));
        consumers
    }

    pub(super) fn has_stalled(&self) -> bool {
        self.links.values().any(|link| link.is_stalled)
    }

    /// Returns the consumers that have read again.
    pub(super) fn take_recovered(&mut self) -> Vec<ConsumerId> {
        let recovered = self.links.iter_mut().filter(|(_, link)| {
            link.is_stalled && (link.deliveries.capacity() > 0 || link.deliveries.is_closed())
        });
        let recovered = recovered.map(|(consumer, link)| {
            link.is_stalled = false;
            *consumer
        });
        recovered.collect()
    }

    pub(super) fn peers(&self) -> Vec<ConsumerPeer> {
        self.links.values().map(|link| link.peer.clone()).collect()
    }
}
