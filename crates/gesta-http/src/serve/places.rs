//! The places of connections: their number in all, and for each peer.
//!
//! A peer is an address of IPv4, or the first 64 bits of one of IPv6: a network gives each of its
//! hosts as many of the others as the host likes.
//!
//! Invariants:
//! - A place is taken until it is dropped.
//! - A peer without connections is forgotten, so the memory is bounded by the connections.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Resource, getrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Limits;

/// The places of a listener.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    max: usize,
    max_of_peer: usize,
    permits: Arc<Semaphore>,
    peers: Arc<Mutex<HashMap<IpAddr, PeerCount>>>,
}

/// The connections of a peer.
#[derive(Debug, Default)]
struct PeerCount {
    open: usize,
    /// The peer had too many, which the log says once.
    was_refused: bool,
}

/// The place of an open connection.
#[derive(Debug)]
pub(crate) struct ConnectionPlace {
    peer: IpAddr,
    /// Number of connections that the peer had with this one.
    number: usize,
    peers: Arc<Mutex<HashMap<IpAddr, PeerCount>>>,
    _permit: OwnedSemaphorePermit,
}

/// The reason why a connection has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All places are taken.
    Full,
    /// The peer has as many as it may have.
    PeerFull,
}

impl Places {
    pub(crate) fn new(limits: Limits) -> Self {
        let wanted = limits.connections_max.max(1);
        let max = wanted.min(connections_possible());
        // With fewer descriptors than connections, a peer still leaves its share to others.
        let share = limits.connections_per_peer_max.saturating_mul(max) / wanted;
        let max_of_peer = share.clamp(1, max);
        let permits = Arc::new(Semaphore::new(max));
        Self { max, max_of_peer, permits, peers: Arc::default() }
    }

    /// Returns the maximum of all peers together.
    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    /// Returns the maximum of each peer.
    pub(crate) const fn max_of_peer(&self) -> usize {
        self.max_of_peer
    }

    /// Returns whether half of the places are free, or more.
    pub(crate) fn are_half_free(&self) -> bool {
        self.permits.available_permits() >= self.max / 2
    }

    /// Takes a place for a connection of this address.
    pub(crate) fn take(&self, address: IpAddr) -> Result<ConnectionPlace, NoPlace> {
        let peer = peer_of(address);
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = peers.entry(peer).or_default();
        if count.open >= self.max_of_peer {
            if !count.was_refused {
                let max = self.max_of_peer;
                tracing::warn!(%peer, max, "too many connections of a peer; refusing its new ones");
                count.was_refused = true;
            }
            return Err(NoPlace::PeerFull);
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            if count.open == 0 {
                peers.remove(&peer);
            }
            return Err(NoPlace::Full);
        };
        count.open += 1;
        let number = count.open;
        Ok(ConnectionPlace { peer, number, peers: Arc::clone(&self.peers), _permit: permit })
    }

    /// Waits until all places are free.
    pub(crate) async fn all_free(&self) {
        let max = u32::try_from(self.max).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        drop(self.permits.acquire_many(max).await);
    }
}

impl ConnectionPlace {
    /// Returns how many connections the peer had when it took this one, this one among them.
    pub(crate) const fn number(&self) -> usize {
        self.number
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = peers.get_mut(&self.peer) else { return };
        count.open -= 1;
        if count.open == 0 {
            peers.remove(&self.peer);
        }
    }
}

fn peer_of(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = !0 << 64;
    match address.to_canonical() {
        address @ IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
    }
}

/// Returns half of the process's limit of file descriptors.
fn connections_possible() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    // The other half is for the store, which refuses appends if it cannot open its next segment.
    let half = limit.map_or(usize::MAX, |limit| usize::try_from(limit / 2).unwrap_or(usize::MAX));
    // A semaphore gives at most this many permits at once.
    half.clamp(1, u32::MAX as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_peer_that_has_all_of_its_places_leaves_the_others_to_others() {
        let places = Places::new(Limits::DEFAULT.connections_max(3).connections_per_peer_max(2));
        let (greedy, other) = (address("10.0.0.1"), address("10.0.0.2"));
        let first = places.take(greedy).unwrap();
        let _second = places.take(greedy).unwrap();
        assert_eq!(places.take(greedy).unwrap_err(), NoPlace::PeerFull);
        let _third = places.take(other).unwrap();
        assert_eq!(places.take(address("10.0.0.3")).unwrap_err(), NoPlace::Full);
        drop(first);
        let _fourth = places.take(greedy).unwrap();
    }

    #[test]
    fn a_peer_without_connections_is_forgotten() {
        let places = Places::new(Limits::DEFAULT.connections_max(1));
        let place = places.take(address("10.0.0.1")).unwrap();
        assert_eq!(places.take(address("10.0.0.2")).unwrap_err(), NoPlace::Full);
        drop(place);
        assert!(places.peers.lock().unwrap().is_empty());
    }

    #[test]
    fn the_addresses_of_one_network_of_ipv6_are_one_peer() {
        let same = [address("2001:db8::1"), address("2001:db8::ffff:1")];
        assert_eq!(peer_of(same[0]), peer_of(same[1]));
        assert_ne!(peer_of(same[0]), peer_of(address("2001:db8:0:1::1")));
        let mapped = address("::ffff:10.0.0.1");
        assert_eq!(peer_of(mapped), address("10.0.0.1"), "as a listener for both families sees it");
        assert_ne!(peer_of(mapped), peer_of(address("::ffff:10.0.0.2")));
    }
}
