//! URLs of stores: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME`.
//!
//! Owns: the parameters of this crate, and the form that is printed, which has no password. Not
//! here: the parameters of the connection itself, which the driver reads.

use std::{fmt, str::FromStr};

use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

/// Default name of the schema.
const SCHEMA_DEFAULT: &str = "gesta";
/// Maximum length of the name of a schema, in bytes: the server cuts longer names.
const SCHEMA_BYTES_MAX: usize = 63;
/// Default and maximum number of connections for reads.
const READERS_DEFAULT: usize = 4;
const READERS_MAX: usize = 64;

/// The URL of a store in PostgreSQL.
///
/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with these parameters after `?`, joined by `&`:
///
/// | parameter | meaning | default |
/// | --- | --- | --- |
/// | `schema=NAME` | the schema that holds the store; created if it does not exist | `gesta` |
/// | `readers=NUMBER` | connections for reads, 1 to 64; one more appends, one more listens | 4 |
///
/// Parameters of the connection, such as `connect_timeout` and `sslmode`, are those of libpq, as
/// far as the driver has them. `Display` and `Debug` leave the password out.
///
/// ```
/// use gesta_postgres::PostgresUrl;
///
/// let url: PostgresUrl = "postgres://ann:secret@db.example/shop?schema=orders".parse()?;
/// assert_eq!(url.to_string(), "postgres://ann@db.example:5432/shop?schema=orders");
/// # Ok::<(), gesta_postgres::InvalidUrl>(())
/// ```
#[derive(Clone)]
pub struct PostgresUrl {
    pub(crate) config: Config,
    pub(crate) schema: String,
    pub(crate) readers: usize,
}

/// The reason why a text is not the URL of a store. No text of the URL is repeated, because it may
/// have a password.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// The text does not begin with `postgres://`.
    #[error("the URL must begin with postgres:// or postgresql://")]
    Scheme,
    /// The part for the driver cannot be read.
    #[error(
        "the URL cannot be read: {reason}; \
         expected postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME, with %-escapes for \
         special characters"
    )]
    Connection {
        /// The driver's description, which repeats no value.
        reason: &'static str,
    },
    /// The name of the schema is empty, too long, or reserved by the server.
    #[error(
        "`schema` must have 1 to 63 bytes, no zero byte, and must not begin with pg_; got {bytes} bytes"
    )]
    Schema {
        /// Length of the given name, in bytes.
        bytes: usize,
    },
    /// The number of readers is out of range.
    #[error("`readers` must be a number from 1 to 64")]
    Readers,
    /// The connection asks for TLS.
    #[error(
        "this build of gesta-postgres has no TLS; use sslmode=disable or sslmode=prefer on a \
         trusted network, or a local TLS proxy"
    )]
    NoTls,
}

impl FromStr for PostgresUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(InvalidUrl::Scheme);
        }
        let (connection, parameters) = text.split_once('?').unwrap_or((text, ""));
        let mut schema = SCHEMA_DEFAULT.to_owned();
        let mut readers = READERS_DEFAULT;
        let mut others = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(parameters.as_bytes()) {
            match &*name {
                "schema" => schema = value.into_owned(),
                "readers" => readers = value.parse().map_err(|_| InvalidUrl::Readers)?,
                _ => drop(others.append_pair(&name, &value)),
            }
        }
        if schema.is_empty()
            || schema.len() > SCHEMA_BYTES_MAX
            || schema.contains('\0')
            || schema.starts_with("pg_")
        {
            return Err(InvalidUrl::Schema { bytes: schema.len() });
        }
        if !(1..=READERS_MAX).contains(&readers) {
            return Err(InvalidUrl::Readers);
        }
        let unread = |_| InvalidUrl::Connection { reason: "a part or parameter is not known" };
        // The driver decodes percent signs only, not `+`.
        let others = others.finish().replace('+', "%20");
        let config: Config = format!("{connection}?{others}").parse().map_err(unread)?;
        if config.get_hosts().is_empty() {
            return Err(InvalidUrl::Connection { reason: "the host is missing" });
        }
        match config.get_ssl_mode() {
            SslMode::Disable | SslMode::Prefer => {}
            _ => return Err(InvalidUrl::NoTls),
        }
        Ok(Self { config, schema, readers })
    }
}

impl PostgresUrl {
    /// Returns the name of the schema that holds the store.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.config.get_user() {
            write!(f, "{user}@")?;
        }
        let ports = self.config.get_ports();
        for (nth, host) in self.config.get_hosts().iter().enumerate() {
            if nth > 0 {
                f.write_str(",")?;
            }
            match host {
                Host::Tcp(name) => f.write_str(name)?,
                #[cfg(unix)]
                Host::Unix(path) => write!(f, "{}", path.display())?,
            }
            // One port holds for all hosts.
            write!(f, ":{}", ports.get(nth).or(ports.first()).unwrap_or(&5_432))?;
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())?;
        write!(f, "?schema={}", self.schema)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_url_has_no_password() {
        for text in [
            "postgres://ann:s%20ecret@db:6543/shop?schema=orders&readers=2",
            "postgresql://ann@db:6543/shop?password=s%20ecret&schema=orders",
        ] {
            let url: PostgresUrl = text.parse().unwrap();
            assert_eq!(url.config.get_password(), Some(&b"s ecret"[..]));
            for printed in [url.to_string(), format!("{url:?}")] {
                assert!(printed.contains("postgres://ann@db:6543/shop?schema=orders"), "{printed}");
                assert!(!printed.contains("ecret"), "{printed}");
            }
        }
    }

    #[test]
    fn a_url_that_cannot_be_read_says_why_without_its_text() {
        for (text, reason) in [
            ("mysql://ann:secret@db/shop", "must begin with postgres://"),
            ("postgres://ann:secret@db:port/shop", "cannot be read"),
            ("postgres://ann:secret@db/shop?scheme=a", "a part or parameter is not known"),
            ("postgres://ann:secret@db/shop?schema=", "`schema` must have 1 to 63 bytes"),
            ("postgres://ann:secret@db/shop?schema=pg_secret", "must not begin with pg_"),
            ("postgres://ann:secret@db/shop?readers=0", "`readers` must be a number"),
            ("postgres:///shop", "the host is missing"),
            ("postgres://ann:secret@db/shop?sslmode=require", "no TLS"),
        ] {
            let error = text.parse::<PostgresUrl>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
