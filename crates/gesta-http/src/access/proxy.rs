//! Principals by the headers of a trusted proxy.
//!
//! Invariant: a header counts only if the peer of the connection has one of the proxy's addresses.
//! From others it refuses the request, because they could write any name.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::SystemTime,
};

use axum::{
    extract::ConnectInfo,
    http::{HeaderName, request::Parts},
};
use gesta::ParseTenantIdError;

use crate::{Authenticate, Principal, Problem};

/// Finds the principal in headers that a proxy sets after it has authenticated the client. The
/// proxy must remove them from requests of clients.
///
/// The address of the peer is the request extension `ConnectInfo<SocketAddr>`, which
/// [`serve`](fn@crate::serve) sets.
///
/// ```
/// use gesta_http::{Access, AccessRules, TrustedProxy};
///
/// let proxy = TrustedProxy::new("X-Forwarded-User", ["10.1.0.0/16".parse()?])?;
/// let proxy = proxy.roles_in("X-Forwarded-Groups")?;
/// let access = Access::new(AccessRules::default()).by(proxy);
/// # drop(access);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrustedProxy {
    actor: HeaderName,
    roles: Option<HeaderName>,
    tenant: Option<HeaderName>,
    peers: Vec<AddressRange>,
}

/// Addresses with the same first bits, such as `10.1.0.0/16`.
///
/// ```
/// use gesta_http::AddressRange;
///
/// let range: AddressRange = "10.1.0.0/16".parse()?;
/// assert!(range.has("10.1.2.3".parse()?) && !range.has("10.2.0.1".parse()?));
/// assert_eq!("::1".parse::<AddressRange>()?.to_string(), "::1/128");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    bits: u8,
}

/// The error for a text that is not a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("`{0}` is not an address, or an address with a number of bits, such as 10.1.0.0/16")]
pub struct ParseAddressRangeError(String);

/// The error for a text that is not the name of a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("`{0}` is not the name of a header")]
pub struct InvalidProxyHeader(String);

impl TrustedProxy {
    /// Takes the actor from a header of requests whose peer is in one of these ranges.
    ///
    /// # Errors
    /// [`InvalidProxyHeader`] for a text that is not the name of a header.
    pub fn new(
        actor: &str,
        peers: impl IntoIterator<Item = AddressRange>,
    ) -> Result<Self, InvalidProxyHeader> {
        let peers = peers.into_iter().collect();
        Ok(Self { actor: header(actor)?, roles: None, tenant: None, peers })
    }

    /// Takes the roles from a header, with commas between them.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn roles_in(self, roles: &str) -> Result<Self, InvalidProxyHeader> {
        Ok(Self { roles: Some(header(roles)?), ..self })
    }

    /// Takes the tenant from a header.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn tenant_in(self, tenant: &str) -> Result<Self, InvalidProxyHeader> {
        Ok(Self { tenant: Some(header(tenant)?), ..self })
    }

    fn trusts(&self, request: &Parts) -> bool {
        let peer = request.extensions.get::<ConnectInfo<SocketAddr>>();
        peer.is_some_and(|ConnectInfo(peer)| self.peers.iter().any(|range| range.has(peer.ip())))
    }

    /// Returns the only value of a header, or `None` if it is absent.
    fn only<'r>(request: &'r Parts, name: &HeaderName) -> Result<Option<&'r str>, Problem> {
        let mut values = request.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        match (value.to_str(), values.next()) {
            (Ok(text), None) => Ok(Some(text.trim())),
            _ => Err(Problem::unauthenticated(format!("`{name}` must be given once, in ASCII"))),
        }
    }
}

fn header(name: &str) -> Result<HeaderName, InvalidProxyHeader> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| InvalidProxyHeader(name.to_owned()))
}

impl Authenticate for TrustedProxy {
    async fn authenticate(
        &self,
        request: &Parts,
        _: SystemTime,
    ) -> Result<Option<Principal>, Problem> {
        let Some(actor) = Self::only(request, &self.actor)? else { return Ok(None) };
        if !self.trusts(request) {
            let detail = format!("`{}` counts only in requests of the trusted proxy", self.actor);
            return Err(Problem::unauthenticated(detail));
        }
        let roles = match &self.roles {
            Some(name) => Self::only(request, name)?.unwrap_or_default(),
            None => "",
        };
        let roles = roles.split(',').map(str::trim).filter(|role| !role.is_empty());
        let principal = Principal::new(actor, roles);
        let principal =
            principal.map_err(|invalid| Problem::unauthenticated(invalid.to_string()))?;
        let tenant = self.tenant.as_ref().map(|name| Self::only(request, name)).transpose()?;
        let Some(tenant) = tenant.flatten() else { return Ok(Some(principal)) };
        let tenant = tenant.parse().map_err(|invalid: ParseTenantIdError| {
            Problem::unauthenticated(format!("the tenant is refused: {invalid}"))
        })?;
        Ok(Some(principal.of_tenant(tenant)))
    }
}

impl AddressRange {
    /// Returns whether an address is in the range.
    #[must_use]
    pub fn has(self, address: IpAddr) -> bool {
        // A listener for both families sees IPv4 peers as addresses of IPv6.
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let difference = first.to_bits() ^ address.to_bits();
                difference.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let difference = first.to_bits() ^ address.to_bits();
                difference.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

impl FromStr for AddressRange {
    type Err = ParseAddressRangeError;

    fn from_str(text: &str) -> Result<Self, ParseAddressRangeError> {
        let invalid = || ParseAddressRangeError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| invalid())?;
        let max = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(max);
        if bits > max { Err(invalid()) } else { Ok(Self { first, bits }) }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}
