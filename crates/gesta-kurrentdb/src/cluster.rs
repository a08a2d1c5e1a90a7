//! The node that calls go to, and the connections to it.
//!
//! Owns: discovery, reconnecting, and the number of connections. Invariants: every wait is bounded
//! by attempts and time limits; calls that last, such as subscriptions, share no connection with
//! short calls. Not here: one connection ([`link`](crate::link)).

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use crate::{
    failure::Failure,
    link::{Dialer, Link},
    proto::{
        gossip::{MemberInfo, gossip_client::GossipClient, member_info::VNodeState},
        shared::Empty,
    },
    url::{Host, KurrentUrl, NodePreference},
};

/// Time for a connection with its handshakes.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Lasting calls of one connection: fewer than any server allows.
const LASTING_CALLS_MAX: usize = 64;

/// The kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// Answered at once.
    Short,
    /// A read or a subscription, whose reader may be slow.
    Lasting,
}

/// A connection for one call, and for as long as this lives.
pub(crate) struct Lease {
    pub(crate) link: Link,
    _user: Arc<()>,
}

/// A server, or a cluster of them.
pub(crate) struct Cluster {
    url: KurrentUrl,
    dialer: Dialer,
    state: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    /// The node that was found.
    node: Option<Host>,
    links: Vec<SharedLink>,
    /// The host that is asked next for the others.
    next_host: usize,
}

struct SharedLink {
    link: Link,
    kind: CallKind,
    users: Arc<()>,
}

impl Cluster {
    pub(crate) fn new(url: KurrentUrl, dialer: Dialer) -> Self {
        Self { url, dialer, state: Mutex::default() }
    }

    pub(crate) fn url(&self) -> &KurrentUrl {
        &self.url
    }

    /// Returns a connection, and makes one if there is none.
    pub(crate) async fn lease(&self, kind: CallKind) -> Result<Lease, Failure> {
        // Others wait meanwhile, and then share the connection.
        let mut state = self.state.lock().await;
        state.links.retain(|shared| !shared.link.is_closed());
        if let Some(shared) = state.links.iter().find(|shared| shared.has_room(kind)) {
            return Ok(shared.lease());
        }
        let mut attempt = 1;
        loop {
            match self.connect(&mut state).await {
                Ok(link) => {
                    let shared = SharedLink { link, kind, users: Arc::default() };
                    let lease = shared.lease();
                    state.links.push(shared);
                    return Ok(lease);
                }
                Err(failure) if attempt >= self.url.attempts_max => return Err(failure),
                Err(_) => {
                    attempt += 1;
                    sleep(self.url.attempt_interval).await;
                }
            }
        }
    }

    /// Sends later calls to another node, which this one named.
    pub(crate) async fn move_to(&self, node: Host) {
        let mut state = self.state.lock().await;
        state.links.clear();
        state.node = Some(node);
    }

    async fn connect(&self, state: &mut Connections) -> Result<Link, Failure> {
        let node = match &state.node {
            Some(node) => node.clone(),
            None => self.find_node(state).await?,
        };
        let connected = self.dial(&node).await;
        // A node that is gone is looked up anew.
        state.node = connected.is_ok().then_some(node);
        connected
    }

    async fn dial(&self, node: &Host) -> Result<Link, Failure> {
        match timeout(CONNECT_MAX, self.dialer.connect(node)).await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(error)) => {
                let reason = error.to_string();
                Err(Failure::NotReached { reason, source: Some(Arc::new(error)) })
            }
            Err(_) => {
                let seconds = CONNECT_MAX.as_secs();
                let reason = format!("no connection to {node} within {seconds} s");
                Err(Failure::NotReached { reason, source: None })
            }
        }
    }

    /// Asks the hosts of the URL for the node that is preferred.
    async fn find_node(&self, state: &mut Connections) -> Result<Host, Failure> {
        let hosts = &self.url.hosts;
        let host = hosts.get(state.next_host % hosts.len().max(1));
        let none = || Failure::NotReached { reason: "no server is named".to_owned(), source: None };
        let host = host.ok_or_else(none)?;
        if !self.url.is_cluster() {
            return Ok(host.clone());
        }
        state.next_host = state.next_host.wrapping_add(1);
        let link = self.dial(host).await?;
        let origin = link.origin();
        let mut client = GossipClient::with_origin(link, origin);
        let members = match timeout(self.url.gossip_timeout, client.read(Empty {})).await {
            Ok(Ok(answer)) => answer.into_inner().members,
            Ok(Err(status)) => return Err(Failure::of(status)),
            Err(_) => {
                let reason = format!("{host} does not name the nodes of its cluster in time");
                return Err(Failure::NotReached { reason, source: None });
            }
        };
        preferred(&members, self.url.preference).ok_or_else(|| {
            let reason = format!("{host} knows of no node of its cluster that is ready");
            Failure::NotReached { reason, source: None }
        })
    }

    /// Runs a call within the time that the URL allows.
    pub(crate) async fn call<Answer>(
        &self,
        call: impl FnOnce(Lease) -> BoxFuture<'static, Result<Answer, tonic::Status>>,
    ) -> Result<Answer, Failure> {
        let lease = self.lease(CallKind::Short).await?;
        let limit = self.url.deadline;
        match timeout(limit, call(lease)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(self.failed(status).await),
            Err(_) => Err(Failure::TimedOut(limit)),
        }
    }

    /// Takes a failure in: a node that is not the leader says who is.
    pub(crate) async fn failed(&self, status: tonic::Status) -> Failure {
        let failure = Failure::of(status);
        if let Some(leader) = failure.leader() {
            self.move_to(leader).await;
        }
        failure
    }
}

impl SharedLink {
    fn has_room(&self, kind: CallKind) -> bool {
        // One user is this entry itself.
        let calls = Arc::strong_count(&self.users) - 1;
        self.kind == kind && (kind == CallKind::Short || calls < LASTING_CALLS_MAX)
    }

    fn lease(&self) -> Lease {
        Lease { link: self.link.clone(), _user: Arc::clone(&self.users) }
    }
}

/// Chooses a node: one of the preferred kind, or any that is ready.
fn preferred(members: &[MemberInfo], preference: NodePreference) -> Option<Host> {
    let is_ready = |member: &&MemberInfo| {
        let is_over = matches!(
            member.state(),
            VNodeState::Manager | VNodeState::ShuttingDown | VNodeState::Shutdown
        );
        member.is_alive && !is_over
    };
    let is_preferred = |member: &&MemberInfo| match preference {
        NodePreference::Leader => member.state() == VNodeState::Leader,
        NodePreference::Follower => member.state() == VNodeState::Follower,
        NodePreference::ReadOnlyReplica => matches!(
            member.state(),
            VNodeState::ReadOnlyReplica
                | VNodeState::PreReadOnlyReplica
                | VNodeState::ReadOnlyLeaderless
        ),
        NodePreference::Random => true,
    };
    let ready: Vec<_> = members.iter().filter(is_ready).collect();
    let fitting: Vec<_> = ready.iter().copied().filter(is_preferred).collect();
    let among = if fitting.is_empty() { ready } else { fitting };
    // Several clients spread over the nodes that fit.
    let chance = usize::try_from(uuid::Uuid::new_v4().as_u128() % 1_009).unwrap_or_default();
    let chosen = among.get(chance % among.len().max(1))?;
    let end_point = chosen.http_end_point.as_ref()?;
    let port = u16::try_from(end_point.port).ok()?;
    Some(Host { name: end_point.address.clone(), port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::gossip::EndPoint;

    fn member(name: &str, state: VNodeState, is_alive: bool) -> MemberInfo {
        MemberInfo {
            state: state.into(),
            is_alive,
            http_end_point: Some(EndPoint { address: name.to_owned(), port: 2113 }),
            ..MemberInfo::default()
        }
    }

    #[test]
    fn a_node_of_the_preferred_kind_is_chosen_if_it_is_alive() {
        let members = [
            member("gone", VNodeState::Leader, false),
            member("one", VNodeState::Leader, true),
            member("two", VNodeState::Follower, true),
            member("boss", VNodeState::Manager, true),
        ];
        let name = |preference| preferred(&members, preference).map(|host| host.name);
        assert_eq!(name(NodePreference::Leader).as_deref(), Some("one"));
        assert_eq!(name(NodePreference::Follower).as_deref(), Some("two"));
        assert!(name(NodePreference::ReadOnlyReplica).is_some(), "any node that is ready");
        assert_eq!(preferred(&members[3..], NodePreference::Random), None);
    }
}
