//! Addresses of servers, and the servers that have leases.
//!
//! Owns: [`ServerAddress`], the name of a server as the holder of a lease, and [`LeaseHolders`].
//! Invariant: what is read from a lease is checked like an option; a name of another form has no
//! address. Not here: taking leases ([`tenure`](crate::tenure)).

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use axum::http::uri::Authority;
use gesta_store::NodeName;
use uuid::Uuid;

/// Between the id of a server and its address in the name of a lease's holder.
const AT: &str = " at ";

/// The address by which clients reach a server: a host and a port.
///
/// ```
/// use gesta_server::ServerAddress;
///
/// let address: ServerAddress = "events-1.example:2113".parse()?;
/// assert_eq!((address.host(), address.port()), ("events-1.example", 2113));
/// # Ok::<(), gesta_server::InvalidServerAddress>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    host: String,
    port: u16,
}

/// An address that is not a host and a port.
#[derive(Debug, thiserror::Error)]
#[error("an address has a host and a port, such as events-1.example:2113 or [2001:db8::1]:2113")]
pub struct InvalidServerAddress(());

impl ServerAddress {
    /// The port that clients take when their connection string names none.
    pub(crate) const PORT_DEFAULT: u16 = 2113;

    /// Maximum size of a host, in bytes: a name of the domain name system.
    pub const HOST_BYTES_MAX: usize = 200;

    /// Returns the address of a server as its client named it, which is how the client reaches it.
    pub(crate) fn used_by(authority: Option<&Authority>) -> Self {
        let host = authority.map_or("localhost", Authority::host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.and_then(Authority::port_u16).unwrap_or(Self::PORT_DEFAULT);
        Self { host, port }
    }

    /// Returns the name or the IP address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the name of a server that holds a lease.
    pub(crate) fn holder_name(id: Uuid, address: Option<&Self>) -> NodeName {
        let name = match address {
            Some(address) => format!("{id}{AT}{address}"),
            None => id.to_string(),
        };
        NodeName::new(name).expect("an id and an address of limited size are a valid name")
    }

    /// Returns the id and the address of a holder, if its name has them.
    pub(crate) fn of_holder(name: &NodeName) -> Option<(Uuid, Self)> {
        let (id, address) = name.as_str().split_once(AT)?;
        Some((id.parse().ok()?, address.parse().ok()?))
    }
}

impl FromStr for ServerAddress {
    type Err = InvalidServerAddress;

    fn from_str(text: &str) -> Result<Self, InvalidServerAddress> {
        let authority = text.parse::<Authority>().map_err(|_| InvalidServerAddress(()))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_usable = !host.is_empty()
            && host.len() <= Self::HOST_BYTES_MAX
            && !authority.as_str().contains('@');
        match authority.port_u16() {
            Some(port) if is_usable && port > 0 => Ok(Self { host: host.to_owned(), port }),
            _ => Err(InvalidServerAddress(())),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The other servers that had leases when this one asked for them.
#[derive(Debug, Default)]
pub(crate) struct LeaseHolders(Mutex<BTreeMap<&'static str, NodeName>>);

impl LeaseHolders {
    /// Notes the holder of a lease, or that no other server has it. Returns `true` if that is new.
    pub(crate) fn note(&self, lease: &'static str, holder: Option<&NodeName>) -> bool {
        let mut holders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match holder {
            Some(holder) => holders.insert(lease, holder.clone()),
            None => holders.remove(lease),
        };
        before.as_ref() != holder
    }

    /// Returns the address of the other server that has a lease.
    pub(crate) fn address_of(&self, lease: &'static str) -> Option<ServerAddress> {
        let holders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ServerAddress::of_holder(holders.get(lease)?).map(|(_, address)| address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_from_the_name_of_a_holder() {
        for text in ["events-1.example:2113", "[2001:db8::1]:2113", "10.0.0.1:1"] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            let id = Uuid::new_v4();
            let name = ServerAddress::holder_name(id, Some(&address));
            assert_eq!(ServerAddress::of_holder(&name), Some((id, address)));
        }
        let unnamed = ServerAddress::holder_name(Uuid::new_v4(), None);
        assert_eq!(ServerAddress::of_holder(&unnamed), None);
    }

    #[test]
    fn what_is_not_a_host_and_a_port_is_refused() {
        for text in ["", "events", "events:", ":2113", "events:0", "a@events:1", "http://e:1"] {
            assert!(text.parse::<ServerAddress>().is_err(), "{text}");
        }
    }
}
