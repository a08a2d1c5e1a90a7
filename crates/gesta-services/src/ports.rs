//! Free loopback ports.
//!
//! Ports come from below the range that the system gives to outgoing connections, so no client
//! takes a server's port while the server restarts.

use std::{
    collections::BTreeSet,
    fs,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::{Ipv4Addr, TcpStream},
    sync::{Mutex, PoisonError},
};

use anyhow::{Result, bail};

const LOWEST: u16 = 10_000;
/// The first port of outgoing connections if the system does not tell.
const OUTGOING_DEFAULT: u16 = 32_768;
const ATTEMPTS_MAX: usize = 200;

/// Ports that were given out. Their servers may not listen yet.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Returns a port on which no server listens, another one at each call. Another program may take it
/// in the meantime; the server's start then fails.
///
/// # Errors
///
/// If no port is found.
pub fn free() -> Result<u16> {
    let below = first_outgoing().max(LOWEST + 1);
    for _ in 0..ATTEMPTS_MAX {
        // Each hasher has random keys, so its result is a random number.
        let random = RandomState::new().build_hasher().finish();
        let offset = random % u64::from(below - LOWEST);
        let port = LOWEST + u16::try_from(offset).unwrap_or(0);
        // A listener would tell too. But a program that another thread starts at this moment would
        // inherit it, and the port would stay open for a while.
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_open(port) && given.insert(port) {
            return Ok(port);
        }
    }
    bail!("no free port between {LOWEST} and {below} in {ATTEMPTS_MAX} attempts")
}

/// Returns whether a server accepts connections on this port.
pub(crate) fn is_open(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn first_outgoing() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|port| port.parse().ok()).unwrap_or(OUTGOING_DEFAULT)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let ports: BTreeSet<_> = (0..1_000).map(|_| free().unwrap()).collect();
        assert_eq!(ports.len(), 1_000);
    }

    #[test]
    fn a_free_port_is_closed_until_something_listens() {
        let port = free().unwrap();
        assert!(!is_open(port));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(is_open(port));
        drop(listener);
    }
}
