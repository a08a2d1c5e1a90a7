//! The URL of a server, and the limits of its calls.

use std::{fmt, str::FromStr, time::Duration};

use redis::{Client, ConnectionAddr};

use crate::{encryption, invalid_url::InvalidRedisUrl};

/// Characters of a prefix besides letters and digits.
const OF_PREFIX: [char; 4] = ['-', '_', '.', ':'];
const PREFIX_BYTES_MAX: usize = 100;

/// A server, the prefix of its keys, and the limits of calls.
///
/// | URL | server |
/// | --- | --- |
/// | `redis://HOST:PORT` | without a password |
/// | `redis://:PASSWORD@HOST:PORT/DATABASE` | with a password, in a numbered database |
/// | `redis://USER:PASSWORD@HOST:PORT?prefix=shop` | a user, and keys that begin with `shop:` |
/// | `rediss://USER:PASSWORD@HOST:PORT` | the same, encrypted (feature `tls`) |
/// | `rediss://HOST:PORT?ca=FILE` | with a certificate of an authority in this file (PEM) |
///
/// Applications that share a server have different prefixes. The default is `gesta`. Without `ca`
/// the authorities of the system count.
///
/// ```
/// use std::time::Duration;
/// use gesta_redis::RedisOptions;
///
/// let options: RedisOptions = "redis://:secret@db:7000/2?prefix=shop".parse()?;
/// let options = options.answer_within(Duration::from_millis(50));
/// assert!(!format!("{options:?}").contains("secret"));
/// # Ok::<(), gesta_redis::InvalidRedisUrl>(())
/// ```
#[derive(Clone)]
pub struct RedisOptions {
    pub(crate) client: Client,
    /// The URL without user and password, for people.
    pub(crate) shown: String,
    pub(crate) prefix: String,
    pub(crate) answer_within: Duration,
    pub(crate) connect_within: Duration,
}

impl RedisOptions {
    /// Default time that a call waits for the server.
    pub const ANSWER_WITHIN: Duration = Duration::from_millis(250);
    /// Default time that an attempt to connect waits for the server.
    pub const CONNECT_WITHIN: Duration = Duration::from_secs(1);
    /// Default prefix of all keys.
    pub const PREFIX: &'static str = "gesta";

    /// Sets the time that a call waits for the server. After it, calls go on without the server
    /// until a probe was answered.
    #[must_use]
    pub fn answer_within(self, limit: Duration) -> Self {
        Self { answer_within: limit, ..self }
    }

    /// Sets the time that an attempt to connect waits for the server.
    #[must_use]
    pub fn connect_within(self, limit: Duration) -> Self {
        Self { connect_within: limit, ..self }
    }
}

impl FromStr for RedisOptions {
    type Err = InvalidRedisUrl;

    fn from_str(url: &str) -> Result<Self, InvalidRedisUrl> {
        let (address, parameters) = url.split_once('?').unwrap_or((url, ""));
        let is_encrypted = match address.split_once("://") {
            Some(("redis", _)) => false,
            Some(("rediss", _)) if cfg!(feature = "tls") => true,
            Some(("rediss", _)) => return Err(InvalidRedisUrl::Encrypted),
            Some(_) | None => return Err(InvalidRedisUrl::Scheme),
        };
        let (mut prefix, mut authorities) = (Self::PREFIX.to_owned(), None);
        // A password with a `?` would become a part of the parameters, which errors repeat.
        let of_login = parameters.contains('@');
        let refused = |error| if of_login { InvalidRedisUrl::Address } else { error };
        for parameter in parameters.split('&').filter(|it| !it.is_empty()) {
            match parameter.split_once('=') {
                Some(("prefix", value)) => prefix = checked_prefix(value).map_err(refused)?,
                Some(("ca", file)) if is_encrypted => authorities = Some(file),
                Some((name, _)) => {
                    return Err(refused(InvalidRedisUrl::Parameter { name: name.to_owned() }));
                }
                None => {
                    let name = parameter.to_owned();
                    return Err(refused(InvalidRedisUrl::Parameter { name }));
                }
            }
        }
        let client = match is_encrypted {
            true => encryption::client(address, authorities)?,
            // The library's error may repeat parts of the URL.
            false => Client::open(address).map_err(|_| InvalidRedisUrl::Address)?,
        };
        let info = client.get_connection_info();
        let (scheme, host, port) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => ("redis", host, port),
            // The library's `#insecure` accepts any certificate.
            ConnectionAddr::TcpTls { host, port, insecure: false, .. } => ("rediss", host, port),
            _ => return Err(InvalidRedisUrl::Address),
        };
        if host.is_empty() {
            return Err(InvalidRedisUrl::Address);
        }
        let shown = format!("{scheme}://{host}:{port}/{}", info.redis_settings().db());
        let (answer_within, connect_within) = (Self::ANSWER_WITHIN, Self::CONNECT_WITHIN);
        Ok(Self { client, shown, prefix, answer_within, connect_within })
    }
}

fn checked_prefix(prefix: &str) -> Result<String, InvalidRedisUrl> {
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || OF_PREFIX.contains(&letter);
    let has_length = (1..=PREFIX_BYTES_MAX).contains(&prefix.len());
    if !has_length || !prefix.chars().all(is_allowed) {
        return Err(InvalidRedisUrl::Prefix { prefix: prefix.to_owned() });
    }
    Ok(prefix.to_owned())
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shown, prefix, .. } = self;
        write!(f, "RedisOptions of {shown} with the prefix {prefix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_server_and_a_prefix() {
        let options: RedisOptions = "redis://ann:se%23cret@db:7000/2?prefix=a.b".parse().unwrap();
        assert_eq!((options.prefix.as_str(), options.shown.as_str()), ("a.b", "redis://db:7000/2"));
        let info = options.client.get_connection_info();
        assert_eq!(info.redis_settings().password(), Some("se#cret"));
        assert_eq!(info.redis_settings().db(), 2);
        let options: RedisOptions = "redis://db".parse().unwrap();
        assert_eq!(options.prefix, "gesta");
    }

    #[test]
    fn a_wrong_url_is_refused_without_its_password() {
        for (url, expected) in [
            ("db:6379", InvalidRedisUrl::Scheme),
            ("http://:secret@db", InvalidRedisUrl::Scheme),
            ("redis://:secret@db?ca=x", InvalidRedisUrl::Parameter { name: "ca".to_owned() }),
            ("redis://:secret@db:port", InvalidRedisUrl::Address),
            ("redis://:se?secret@db/0", InvalidRedisUrl::Address),
            ("redis://:se?secret=x&secret@db", InvalidRedisUrl::Address),
            ("redis://:se?prefix=secret@db", InvalidRedisUrl::Address),
            ("redis://:secret@db/first", InvalidRedisUrl::Address),
            ("redis://db?ttl=5", InvalidRedisUrl::Parameter { name: "ttl".to_owned() }),
            ("redis://db?prefix=a{b", InvalidRedisUrl::Prefix { prefix: "a{b".to_owned() }),
            ("redis://db?prefix=", InvalidRedisUrl::Prefix { prefix: String::new() }),
        ] {
            let error = url.parse::<RedisOptions>().unwrap_err();
            assert_eq!(error, expected, "{url}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn an_encrypted_connection_is_refused_with_the_feature_that_it_needs() {
        let error = "rediss://:secret@db".parse::<RedisOptions>().unwrap_err();
        assert_eq!(error, InvalidRedisUrl::Encrypted);
    }

    #[cfg(feature = "tls")]
    #[test]
    fn an_encrypted_connection_is_shown_as_one_and_always_checks_certificates() {
        let options: RedisOptions = "rediss://ann:secret@db:7000/2".parse().unwrap();
        assert_eq!(options.shown, "rediss://db:7000/2");
        let error = "rediss://ann:secret@db#insecure".parse::<RedisOptions>().unwrap_err();
        assert_eq!(error, InvalidRedisUrl::Address);
        let error = "rediss://db?ca=missing.pem".parse::<RedisOptions>().unwrap_err();
        assert!(error.to_string().contains("`missing.pem`: No such file"), "{error}");
        let no_certificate = concat!("rediss://db?ca=", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let error = no_certificate.parse::<RedisOptions>().unwrap_err();
        assert!(error.to_string().contains("has no certificate"), "{error}");
    }
}
