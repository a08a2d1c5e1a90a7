//! The address of `--listen`.
//!
//! Owns: [`ListenAddress`]. Invariant: a name other than localhost is refused: it may have several
//! addresses, and the choice decides who reaches the server.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
};

/// An IP address and a port; `localhost` is 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListenAddress(pub(super) SocketAddr);

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        let port = |text: &str| text.parse::<u16>().ok();
        match text.rsplit_once(':') {
            Some((name, number)) if name.eq_ignore_ascii_case("localhost") => {
                let port = port(number).ok_or_else(|| {
                    format!("the port must be a number from 0 to 65535; got {number}")
                })?;
                Ok(Self((Ipv4Addr::LOCALHOST, port).into()))
            }
            Some((name, number)) if !name.is_empty() && port(number).is_some() => Err(format!(
                "{name} is no IP address; write 127.0.0.1:{number} for this machine, 0.0.0.0:{number} \
                 for all addresses, [::]:{number} with IPv6, or an address of this machine"
            )),
            _ => Err("expected an IP address and a port, as in 127.0.0.1:2113".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_ip_address_or_localhost_with_a_port() {
        let read = |text: &str| text.parse::<ListenAddress>().map(|address| address.to_string());
        assert_eq!(read("0.0.0.0:2113").as_deref(), Ok("0.0.0.0:2113"));
        assert_eq!(read("[::1]:0").as_deref(), Ok("[::1]:0"));
        assert_eq!(read("localhost:2113").as_deref(), Ok("127.0.0.1:2113"));
        for (text, hint) in [
            ("localhost:x", "from 0 to 65535"),
            ("events.example:2113", "0.0.0.0:2113"),
            ("2113", "as in 127.0.0.1:2113"),
            (":2113", "as in 127.0.0.1:2113"),
            ("localhost", "as in 127.0.0.1:2113"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(hint), "{text}: {refused}");
        }
    }
}
