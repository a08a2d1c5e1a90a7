//! URLs of stores: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME`.
//!
//! Owns: the parameters of this crate, and the form that is printed, which has no password. Not
//! here: the parameters of the connection itself, which the driver reads.

use std::{fmt, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};

use crate::schema_name::{InvalidSchemaName, check_schema_name};

/// Default name of the schema.
const SCHEMA_DEFAULT: &str = "gesta";
/// Default and maximum number of connections for reads.
const READERS_DEFAULT: usize = 4;
const READERS_MAX: usize = 64;
/// Default and range of the time that a statement may take, in seconds.
const STATEMENT_SECONDS_DEFAULT: u64 = 30;
const STATEMENT_SECONDS: RangeInclusive<u64> = 1..=600;

/// The URL of a store in PostgreSQL.
///
/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with these parameters after `?`, joined by `&`:
///
/// | parameter | meaning | default |
/// | --- | --- | --- |
/// | `schema=NAME` | the schema that holds the store; created if it does not exist | `gesta` |
/// | `readers=NUMBER` | connections for reads, 1 to 64; one more appends, one more listens | 4 |
/// | `statement_timeout=SECONDS` | longest time of a statement on the server, 1 to 600 | 30 |
/// | `replica=HOST:PORT` | a streaming replica for reads of events and for queries | |
/// | `sslmode=MODE` | `disable`, `prefer`, `require`, `verify-ca`, `verify-full` | `prefer` |
/// | `sslrootcert=FILE` | PEM file with the authorities of the server's certificate | |
///
/// The modes of TLS are those of libpq: `require` encrypts, and only `verify-full` also makes sure
/// of the server at the other end. They need the feature `tls`; without it `prefer` does not
/// encrypt, and the others are refused. Other parameters of the connection, such as
/// `connect_timeout`, are those of libpq, as far as the driver has them. `Display` and `Debug`
/// leave the password out.
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
    pub(crate) statement_timeout: Duration,
    replica: Option<Box<Config>>,
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "nothing is encrypted"))]
    pub(crate) verification: Verification,
}

/// The part of the server's certificate that is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verification {
    None,
    Authority { file: PathBuf },
    AuthorityAndName { file: PathBuf },
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
    /// The name of the schema is empty, too long, reserved by the server, or not fit for
    /// statements.
    #[error(transparent)]
    Schema(#[from] InvalidSchemaName),
    /// The number of readers is out of range.
    #[error("`readers` must be a number from 1 to 64")]
    Readers,
    /// The address of the replica is none.
    #[error("`replica` must be HOST:PORT; user, password and database are those of the URL")]
    Replica,
    /// The longest time of a statement is out of range.
    #[error("`statement_timeout` must be a number of seconds from 1 to 600")]
    StatementTimeout,
    /// The connection asks for TLS, and the crate was built without it.
    #[error(
        "this build of gesta-postgres has no TLS; enable its feature `tls`, or use sslmode=disable \
         on a trusted network"
    )]
    NoTls,
    /// The mode of TLS is not known.
    #[error("`sslmode` must be disable, prefer, require, verify-ca or verify-full")]
    SslMode,
    /// The authorities that the server's certificate is checked by are missing or cannot be read.
    #[error("`sslrootcert` must be a PEM file with certificates of authorities; {reason}")]
    RootCertificates {
        /// The file, and the failure.
        reason: String,
    },
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
        let mut seconds = STATEMENT_SECONDS_DEFAULT;
        let mut replica = None;
        let (mut ssl_mode, mut authorities) = (None, None);
        let mut others = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(parameters.as_bytes()) {
            match &*name {
                "schema" => schema = value.into_owned(),
                "readers" => readers = value.parse().map_err(|_| InvalidUrl::Readers)?,
                "statement_timeout" => {
                    seconds = value.parse().map_err(|_| InvalidUrl::StatementTimeout)?;
                }
                "replica" => replica = Some(value.into_owned()),
                "sslmode" => ssl_mode = Some(value.into_owned()),
                "sslrootcert" => authorities = Some(PathBuf::from(value.into_owned())),
                _ => drop(others.append_pair(&name, &value)),
            }
        }
        check_schema_name(&schema)?;
        if !(1..=READERS_MAX).contains(&readers) {
            return Err(InvalidUrl::Readers);
        }
        if !STATEMENT_SECONDS.contains(&seconds) {
            return Err(InvalidUrl::StatementTimeout);
        }
        let unread = |_| InvalidUrl::Connection { reason: "a part or parameter is not known" };
        // The driver decodes percent signs only, not `+`.
        let others = others.finish().replace('+', "%20");
        let mut config: Config = format!("{connection}?{others}").parse().map_err(unread)?;
        if config.get_hosts().is_empty() {
            return Err(InvalidUrl::Connection { reason: "the host is missing" });
        }
        // The driver takes the first `@` for the end of the password.
        let is_part_of_it = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
        if config.get_hosts().iter().any(is_part_of_it) {
            let reason = "an `@` in the user or the password is written as %40";
            return Err(InvalidUrl::Connection { reason });
        }
        let (mode, verification) = tls_of(ssl_mode.as_deref(), authorities)?;
        if mode == SslMode::Require && cfg!(not(feature = "tls")) {
            return Err(InvalidUrl::NoTls);
        }
        config.ssl_mode(mode);
        let replica = match replica {
            Some(address) => {
                let text = format!("{}?{others}", with_address(connection, &address)?);
                let mut replica: Config = text.parse().map_err(unread)?;
                replica.ssl_mode(mode).target_session_attrs(TargetSessionAttrs::Any);
                Some(Box::new(replica))
            }
            None => None,
        };
        let statement_timeout = Duration::from_secs(seconds);
        Ok(Self { config, schema, readers, statement_timeout, replica, verification })
    }
}

/// Replaces the servers of a URL without parameters by another one.
fn with_address(url: &str, address: &str) -> Result<String, InvalidUrl> {
    let is_address = |address: &str| {
        let (host, port) = address.rsplit_once(':')?;
        (!host.is_empty() && !host.contains(['/', '@', '?', ','])).then_some(())?;
        port.parse::<u16>().ok()
    };
    is_address(address).ok_or(InvalidUrl::Replica)?;
    let (scheme, rest) = url.split_once("://").ok_or(InvalidUrl::Scheme)?;
    let (user, servers) =
        rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let database = servers.split_once('/').map_or("", |(_, database)| database);
    Ok(format!("{scheme}://{user}{address}/{database}"))
}

/// Returns the driver's mode, and what is checked beyond it.
fn tls_of(
    mode: Option<&str>,
    authorities: Option<PathBuf>,
) -> Result<(SslMode, Verification), InvalidUrl> {
    let missing = || InvalidUrl::RootCertificates { reason: "none is given".to_owned() };
    Ok(match mode {
        Some("disable") => (SslMode::Disable, Verification::None),
        None | Some("prefer") => (SslMode::Prefer, Verification::None),
        // As libpq: authorities that are given are used.
        Some("require") => match authorities {
            None => (SslMode::Require, Verification::None),
            Some(file) => (SslMode::Require, Verification::Authority { file }),
        },
        Some("verify-ca") => {
            let file = authorities.ok_or_else(missing)?;
            (SslMode::Require, Verification::Authority { file })
        }
        Some("verify-full") => {
            let file = authorities.ok_or_else(missing)?;
            (SslMode::Require, Verification::AuthorityAndName { file })
        }
        Some(_) => return Err(InvalidUrl::SslMode),
    })
}

impl PostgresUrl {
    /// Returns the URL of the replica for reads, if there is one.
    pub(crate) fn of_replica(&self) -> Option<Self> {
        let config = self.replica.as_deref()?.clone();
        Some(Self { config, replica: None, ..self.clone() })
    }

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
        f.write_str(&addresses(&self.config))?;
        // Without one, the server takes the database with the name of the user.
        if let Some(database) = self.config.get_dbname() {
            write!(f, "/{database}")?;
        }
        write!(f, "?schema={}", self.schema)
    }
}

/// Returns `HOST:PORT` of each host, joined by commas.
pub(crate) fn addresses(config: &Config) -> String {
    let ports = config.get_ports();
    let address = |(nth, host): (usize, &Host)| {
        let name = match host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
            Host::Tcp(name) => name.clone(),
            // As a URL has it: a slash would begin the database.
            #[cfg(unix)]
            Host::Unix(path) => path.to_string_lossy().replace('/', "%2F"),
        };
        // One port holds for all hosts.
        format!("{name}:{}", ports.get(nth).or(ports.first()).unwrap_or(&5_432))
    };
    config.get_hosts().iter().enumerate().map(address).collect::<Vec<_>>().join(",")
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
    fn a_printed_url_leads_to_the_same_place() {
        for (text, shown) in [
            ("postgres://ann@[::1]:55432/shop", "postgres://ann@[::1]:55432/shop?schema=gesta"),
            ("postgres://ann@[::1]/shop", "postgres://ann@[::1]:5432/shop?schema=gesta"),
            ("postgres://ann@db", "postgres://ann@db:5432?schema=gesta"),
            ("postgres://ann@one:1,two:2/shop", "postgres://ann@one:1,two:2/shop?schema=gesta"),
            #[cfg(unix)]
            (
                "postgres://ann@%2Frun%2Fpg/shop",
                "postgres://ann@%2Frun%2Fpg:5432/shop?schema=gesta",
            ),
        ] {
            let url: PostgresUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            let again: PostgresUrl = shown.parse().unwrap();
            assert_eq!(again.config.get_hosts(), url.config.get_hosts());
            assert_eq!(again.config.get_dbname(), url.config.get_dbname());
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
            ("postgres://ann:secret@db/shop?schema=secret'", "must not contain '"),
            ("postgres://ann:secret@db/shop?schema=a{secret}b", "must not contain ', {, }"),
            ("postgres://ann:secret@db/shop?readers=0", "`readers` must be a number"),
            ("postgres://ann:secret@db/shop?statement_timeout=0", "a number of seconds"),
            ("postgres://ann:secret@db/shop?replica=other", "`replica` must be HOST:PORT"),
            ("postgres:///shop", "the host is missing"),
            ("postgres://ann:se@secret@db/shop", "is written as %40"),
            ("postgres://ann:secret@db/shop?sslmode=always", "`sslmode` must be"),
            ("postgres://ann:secret@db/shop?sslmode=verify-full", "`sslrootcert` must be"),
            #[cfg(not(feature = "tls"))]
            ("postgres://ann:secret@db/shop?sslmode=require", "feature `tls`"),
        ] {
            let error = text.parse::<PostgresUrl>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
