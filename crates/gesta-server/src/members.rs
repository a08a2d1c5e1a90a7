//! The servers of one store.
//!
//! Owns: [`Members`], and the lease by which a server that has an address announces itself.
//! Invariants:
//! - A server is listed while its lease is in force: one that was killed is gone within
//!   [`TERM`].
//! - One member is the leader: the server that runs the consumer groups, or the one that answers if
//!   none does now. Every member appends and reads alike.
//!
//! Not here: the form of a list ([`discovery`](crate::discovery), [`http`](crate::http)).

use std::{sync::Arc, time::Duration};

use gesta_store::{AcquireLease, LeaseName, Leases};
use tokio::{
    select,
    task::JoinHandle,
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::{address::ServerAddress, node::Node};

/// First part of the name of a lease that announces a server. Its id follows.
const PREFIX: &str = "server:";
/// Time after which a server that is gone is listed no more.
const TERM: Duration = Duration::from_secs(5);
/// Time between two renewals.
const RENEW_AFTER: Duration = Duration::from_secs(1);

/// A server of the store.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: Uuid,
    pub(crate) address: ServerAddress,
    pub(crate) is_leader: bool,
}

/// The list of the servers of a store.
#[derive(Clone)]
pub(crate) struct Members {
    node: Node,
    leases: Option<Arc<dyn Leases>>,
    /// The lease of the server that is the leader.
    leading: &'static str,
}

impl Members {
    pub(crate) fn new(node: Node, leases: Option<Arc<dyn Leases>>, leading: &'static str) -> Self {
        Self { node, leases, leading }
    }

    /// Returns the servers that announce themselves, by address. A server without an address, or
    /// alone on its store, is the only member, at the address that its client used.
    pub(crate) async fn list(&self, used: ServerAddress) -> Vec<Member> {
        let id = self.node.id();
        let own = self.node.address();
        let alone = Member { id, address: own.cloned().unwrap_or(used), is_leader: true };
        let (Some(leases), Some(own)) = (&self.leases, own) else { return vec![alone] };
        let listed = match leases.list().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "the servers of the store are not known");
                return vec![alone];
            }
        };
        let leader = listed.iter().find(|lease| lease.name.as_str() == self.leading);
        let leader = leader.and_then(|lease| ServerAddress::of_holder(&lease.node));
        let leader = leader.map_or(id, |(leader, _)| leader);
        let announced = listed.iter().filter(|lease| lease.name.as_str().starts_with(PREFIX));
        let announced = announced.filter_map(|lease| ServerAddress::of_holder(&lease.node));
        let mut members: Vec<_> = announced
            .map(|(id, address)| Member { id, address, is_leader: id == leader })
            .collect();
        // This server answers, so it is there, whatever became of its lease.
        if members.iter().all(|member| member.id != id) {
            members.push(Member { id, address: own.clone(), is_leader: id == leader });
        }
        // A leader that does not announce itself cannot be reached by the list.
        if members.iter().all(|member| !member.is_leader) {
            members.iter_mut().filter(|member| member.id == id).for_each(|own| {
                own.is_leader = true;
            });
        }
        members.sort_by_key(|member| member.address.to_string());
        members
    }

    /// Announces this server until it stops, if it has an address.
    pub(crate) fn announce(&self) -> Option<JoinHandle<()>> {
        self.node.address()?;
        let leases = Arc::clone(self.leases.as_ref()?);
        Some(tokio::spawn(announce(self.node.clone(), leases)))
    }
}

/// Keeps the lease that announces a server, and gives it back at the end.
async fn announce(node: Node, leases: Arc<dyn Leases>) {
    let name = LeaseName::new(format!("{PREFIX}{}", node.id())).expect("the name is valid");
    let acquire = AcquireLease::new(name, node.lease_holder(), TERM);
    let mut held = None;
    while !node.is_stopped() {
        let renewed = match &held {
            Some(lease) => leases.renew(lease).await.is_ok(),
            None => false,
        };
        if !renewed {
            held = match leases.acquire(acquire.clone()).await {
                Ok(lease) => Some(lease),
                Err(error) => {
                    tracing::warn!(%error, "this server is not announced to others");
                    None
                }
            };
        }
        select! {
            () = sleep(RENEW_AFTER) => {}
            () = node.stopped() => {}
        }
    }
    if let Some(lease) = held {
        // It expires otherwise.
        drop(timeout(TERM, leases.release(&lease)).await);
    }
}
