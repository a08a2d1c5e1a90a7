//! URLs of servers: `kurrentdb://USER:PASSWORD@HOST:PORT?tls=true`, as the official clients read
//! them.
//!
//! Owns: [`KurrentUrl`], and the form that is printed, which has no password. Invariant: an error
//! repeats no value of the URL. Not here: files that the URL names ([`tls`](crate::tls)).

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use gesta_store::percent_decoded;

/// The port of a server whose URL names none.
const PORT_DEFAULT: u16 = 2113;
/// Default time for a call, as the official clients have it.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// Longest time that a parameter may set.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Most nodes of one URL.
const HOSTS_MAX: usize = 32;

/// The URL of a server of KurrentDB's protocol, or of a cluster of them.
///
/// `kurrentdb://USER:PASSWORD@HOST:PORT`, with several `HOST:PORT` joined by commas for a cluster,
/// or with `kurrentdb+discover://` for a name that leads to its nodes. `esdb://`, `kurrent://` and
/// `kdb://` mean the same. The parameters after `?`, joined by `&`, are those of the official
/// clients:
///
/// | parameter | meaning | default |
/// | --- | --- | --- |
/// | `tls` | `true` or `false` | `true` |
/// | `tlsVerifyCert` | `false` trusts any certificate: for tests only | `true` |
/// | `tlsCaFile` | PEM file with the authorities of the server's certificate | the system's |
/// | `userCertFile`, `userKeyFile` | PEM files with the certificate of a user | |
/// | `defaultDeadline` | longest time of a call, in milliseconds | 10,000 |
/// | `connectionName` | name of the application, for the server's log | |
/// | `nodePreference` | `leader`, `follower`, `random` or `readOnlyReplica` | `leader` |
/// | `maxDiscoverAttempts` | attempts to find a node before a call fails | 3 |
/// | `discoveryInterval` | pause between them, in milliseconds | 500 |
/// | `gossipTimeout` | longest time in which a node names the others, in seconds | 3 |
/// | `keepAliveInterval` | time until an idle connection is pinged, in milliseconds | 10,000 |
/// | `keepAliveTimeout` | longest wait for the answer, in milliseconds | 10,000 |
///
/// `Display` and `Debug` leave the password out.
///
/// ```
/// use gesta_kurrentdb::KurrentUrl;
///
/// let url: KurrentUrl = "esdb://ann:secret@db.example?tls=false".parse()?;
/// assert_eq!(url.to_string(), "kurrentdb://ann@db.example:2113?tls=false");
/// # Ok::<(), gesta_kurrentdb::InvalidUrl>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct KurrentUrl {
    pub(crate) hosts: Vec<Host>,
    pub(crate) discovers: bool,
    pub(crate) user: Option<Credentials>,
    pub(crate) tls: TlsRules,
    pub(crate) deadline: Duration,
    pub(crate) connection_name: Option<String>,
    pub(crate) preference: NodePreference,
    pub(crate) attempts_max: u32,
    pub(crate) attempt_interval: Duration,
    pub(crate) gossip_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// A login with its password. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) login: String,
    pub(crate) password: String,
}

/// The URL's rules of encryption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsRules {
    pub(crate) is_used: bool,
    pub(crate) verifies: bool,
    pub(crate) authorities: Option<PathBuf>,
    pub(crate) user_certificate: Option<PathBuf>,
    pub(crate) user_key: Option<PathBuf>,
}

/// The kind of node of a cluster that calls go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodePreference {
    Leader,
    Follower,
    Random,
    ReadOnlyReplica,
}

/// The reason why a text is not the URL of a server. No value of the URL is repeated, because it
/// may have a password.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// The text begins with none of the schemes.
    #[error("the URL must begin with kurrentdb://, kurrentdb+discover://, esdb:// or the like")]
    Scheme,
    /// No node is named, or one is not `HOST:PORT`.
    #[error("the URL must name a server as HOST:PORT, or several joined by commas; {reason}")]
    Host {
        /// The part that is wrong.
        reason: &'static str,
    },
    /// User and password cannot be read.
    #[error("user and password must be USER:PASSWORD, with %-escapes for special characters")]
    Credentials,
    /// A path after the servers.
    #[error("the URL must have nothing but parameters after its servers")]
    Path,
    /// No parameter has this name.
    #[error("the URL has a parameter that is not known: `{name}`")]
    UnknownParameter {
        /// The name.
        name: String,
    },
    /// The value of a parameter is none that it may have.
    #[error("`{name}` must be {expected}")]
    Parameter {
        /// Name of the parameter.
        name: &'static str,
        /// The values that it may have.
        expected: &'static str,
    },
}

/// Returns `true` if a text has one of the schemes of this crate.
///
/// ```
/// assert!(gesta_kurrentdb::is_kurrent_url("esdb+discover://db.example"));
/// assert!(!gesta_kurrentdb::is_kurrent_url("postgres://db.example"));
/// ```
#[must_use]
pub fn is_kurrent_url(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| discovers(scheme).is_some())
}

/// Returns whether a scheme asks for discovery, or `None` for another scheme.
fn discovers(scheme: &str) -> Option<bool> {
    let (name, discovers) = match scheme.split_once('+') {
        None => (scheme, false),
        Some((name, "discover")) => (name, true),
        Some(_) => return None,
    };
    matches!(name, "kurrentdb" | "kurrent" | "kdb" | "esdb").then_some(discovers)
}

impl FromStr for KurrentUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidUrl::Scheme)?;
        let discovers = discovers(scheme).ok_or(InvalidUrl::Scheme)?;
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let place = place.strip_suffix('/').unwrap_or(place);
        let (user, hosts) = match place.rsplit_once('@') {
            Some((user, hosts)) => (Some(credentials(user)?), hosts),
            None => (None, place),
        };
        if hosts.contains('/') {
            return Err(InvalidUrl::Path);
        }
        let hosts = hosts.split(',').map(host).collect::<Result<Vec<_>, _>>()?;
        if hosts.len() > HOSTS_MAX {
            return Err(InvalidUrl::Host { reason: "there are more than 32" });
        }
        let mut url = Self { hosts, discovers, user, ..Self::unread() };
        for (name, value) in form_urlencoded::parse(parameters.as_bytes()) {
            url.set(&name, &value)?;
        }
        if url.tls.user_certificate.is_some() != url.tls.user_key.is_some() {
            return Err(InvalidUrl::Parameter {
                name: "userCertFile",
                expected: "given together with `userKeyFile`",
            });
        }
        Ok(url)
    }
}

impl KurrentUrl {
    /// The defaults.
    fn unread() -> Self {
        Self {
            hosts: Vec::new(),
            discovers: false,
            user: None,
            tls: TlsRules {
                is_used: true,
                verifies: true,
                authorities: None,
                user_certificate: None,
                user_key: None,
            },
            deadline: DEADLINE_DEFAULT,
            connection_name: None,
            preference: NodePreference::Leader,
            attempts_max: 3,
            attempt_interval: Duration::from_millis(500),
            gossip_timeout: Duration::from_secs(3),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(10),
        }
    }

    /// Reads a parameter. The case of names does not matter, as for the official clients.
    fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidUrl> {
        match name.to_ascii_lowercase().as_str() {
            "tls" => self.tls.is_used = truth("tls", value)?,
            "tlsverifycert" => self.tls.verifies = truth("tlsVerifyCert", value)?,
            "tlscafile" => self.tls.authorities = Some(value.into()),
            "usercertfile" => self.tls.user_certificate = Some(value.into()),
            "userkeyfile" => self.tls.user_key = Some(value.into()),
            "defaultdeadline" => self.deadline = millis("defaultDeadline", value)?,
            "connectionname" => self.connection_name = Some(value.to_owned()),
            "nodepreference" => self.preference = preference(value)?,
            "maxdiscoverattempts" => self.attempts_max = attempts(value)?,
            "discoveryinterval" => self.attempt_interval = millis("discoveryInterval", value)?,
            "gossiptimeout" => self.gossip_timeout = seconds("gossipTimeout", value)?,
            "keepaliveinterval" => self.ping_interval = millis("keepAliveInterval", value)?,
            "keepalivetimeout" => self.ping_timeout = millis("keepAliveTimeout", value)?,
            // Other clients' settings that mean nothing here.
            "throwonappendfailure" | "dnsdiscover" => {}
            _ => return Err(InvalidUrl::UnknownParameter { name: name.to_owned() }),
        }
        Ok(())
    }

    /// Returns `true` if the URL has a login without a password, and no certificate that stands for
    /// it.
    #[must_use]
    pub fn lacks_password(&self) -> bool {
        let is_missing = |user: &Credentials| user.password.is_empty();
        self.tls.user_certificate.is_none() && self.user.as_ref().is_some_and(is_missing)
    }

    /// Sets the password of the login, so that it need not be in the text of the URL. Without a
    /// login it has no effect.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        if let Some(user) = &mut self.user {
            user.password = password.into();
        }
        self
    }

    /// Returns `true` if the node has to be looked up among several.
    pub(crate) fn is_cluster(&self) -> bool {
        self.discovers || self.hosts.len() > 1
    }
}

fn credentials(text: &str) -> Result<Credentials, InvalidUrl> {
    let (login, password) = text.split_once(':').unwrap_or((text, ""));
    let (login, password) = (percent_decoded(login), percent_decoded(password));
    match (login, password) {
        (Some(login), Some(password)) if !login.is_empty() && !login.contains(':') => {
            Ok(Credentials { login, password })
        }
        _ => Err(InvalidUrl::Credentials),
    }
}

fn host(text: &str) -> Result<Host, InvalidUrl> {
    let refused = |reason| InvalidUrl::Host { reason };
    // The address of IPv6 is in brackets, because it has colons.
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']').ok_or(refused("a `]` is missing"))?;
            match rest {
                "" => (name, None),
                _ => (name, Some(rest.strip_prefix(':').ok_or(refused("a `:` is missing"))?)),
            }
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(Ok(PORT_DEFAULT), |port| port.parse());
    let port = port.map_err(|_| refused("a port is a number from 1 to 65535"))?;
    if name.is_empty() || port == 0 {
        return Err(refused("one has no name or no port"));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if !name.chars().all(is_name) {
        return Err(refused("a name has letters, digits, `.`, `-` and `_`"));
    }
    Ok(Host { name: name.to_owned(), port })
}

fn truth(name: &'static str, value: &str) -> Result<bool, InvalidUrl> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(InvalidUrl::Parameter { name, expected: "`true` or `false`" }),
    }
}

fn millis(name: &'static str, value: &str) -> Result<Duration, InvalidUrl> {
    let expected = "a number of milliseconds from 1 to 86,400,000";
    duration(value, Duration::from_millis).ok_or(InvalidUrl::Parameter { name, expected })
}

fn seconds(name: &'static str, value: &str) -> Result<Duration, InvalidUrl> {
    let expected = "a number of seconds from 1 to 86,400";
    duration(value, Duration::from_secs).ok_or(InvalidUrl::Parameter { name, expected })
}

fn duration(value: &str, of: impl Fn(u64) -> Duration) -> Option<Duration> {
    let duration = of(value.parse().ok()?);
    (!duration.is_zero() && duration <= DURATION_MAX).then_some(duration)
}

fn attempts(value: &str) -> Result<u32, InvalidUrl> {
    let refused =
        InvalidUrl::Parameter { name: "maxDiscoverAttempts", expected: "a number from 1 to 1,000" };
    match value.parse() {
        Ok(attempts @ 1..=1_000) => Ok(attempts),
        _ => Err(refused),
    }
}

fn preference(value: &str) -> Result<NodePreference, InvalidUrl> {
    match value.to_ascii_lowercase().as_str() {
        "leader" => Ok(NodePreference::Leader),
        "follower" => Ok(NodePreference::Follower),
        "random" => Ok(NodePreference::Random),
        "readonlyreplica" => Ok(NodePreference::ReadOnlyReplica),
        _ => Err(InvalidUrl::Parameter {
            name: "nodePreference",
            expected: "`leader`, `follower`, `random` or `readOnlyReplica`",
        }),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

impl fmt::Display for KurrentUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.discovers { "kurrentdb+discover://" } else { "kurrentdb://" })?;
        if let Some(Credentials { login, .. }) = &self.user {
            write!(f, "{login}@")?;
        }
        for (nth, host) in self.hosts.iter().enumerate() {
            if nth > 0 {
                f.write_str(",")?;
            }
            host.fmt(f)?;
        }
        if !self.tls.is_used {
            f.write_str("?tls=false")?;
        }
        Ok(())
    }
}

impl fmt::Debug for KurrentUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KurrentUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_as_the_official_clients_read_it() {
        let url: KurrentUrl = "kurrentdb+discover://ann:s%40cret@one:1,[::1]/?TLS=false&\
                               defaultDeadline=250&nodePreference=Follower&gossipTimeout=2"
            .parse()
            .unwrap();
        assert_eq!(
            url.hosts,
            [("one", 1), ("::1", 2113)].map(|(name, port)| Host { name: name.to_owned(), port })
        );
        assert!(url.discovers && url.is_cluster() && !url.tls.is_used);
        assert_eq!(url.deadline, Duration::from_millis(250));
        assert_eq!(url.gossip_timeout, Duration::from_secs(2));
        assert_eq!(url.preference, NodePreference::Follower);
        let user = url.user.unwrap();
        assert_eq!((user.login.as_str(), user.password.as_str()), ("ann", "s@cret"));
    }

    #[test]
    fn a_password_may_come_from_elsewhere() {
        let url: KurrentUrl = "kurrentdb://ann@db".parse().unwrap();
        assert!(url.lacks_password());
        let url = url.password("s3cret");
        assert!(!url.lacks_password() && !format!("{url} {url:?}").contains("s3cret"));
        for text in [
            "kurrentdb://db",
            "kurrentdb://ann:x@db",
            "kurrentdb://ann@db?userCertFile=a&userKeyFile=b",
        ] {
            assert!(!text.parse::<KurrentUrl>().unwrap().lacks_password(), "{text}");
        }
    }

    #[test]
    fn a_printed_url_has_no_password_and_leads_to_the_same_place() {
        for (text, printed) in [
            ("esdb://ann:s3cret@db?tls=false", "kurrentdb://ann@db:2113?tls=false"),
            ("kdb+discover://db:7", "kurrentdb+discover://db:7"),
            ("kurrent://one,two:2", "kurrentdb://one:2113,two:2"),
        ] {
            let url: KurrentUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), printed);
            assert!(!format!("{url:?}").contains("s3cret"));
            let again: KurrentUrl = printed.parse().unwrap();
            assert_eq!((again.hosts, again.tls), (url.hosts, url.tls));
        }
    }

    #[test]
    fn a_url_that_cannot_be_read_says_why_without_its_values() {
        for (text, reason) in [
            ("postgres://ann:s3cret@db", "must begin with kurrentdb://"),
            ("kurrentdb://ann:s3cret@", "HOST:PORT"),
            ("kurrentdb://ann:s3cret@db:0", "HOST:PORT"),
            ("kurrentdb://ann:s3cret@db:s3cret", "a port is a number"),
            ("kurrentdb://ann:s3cret%4@db", "user and password must be"),
            ("kurrentdb://ann:s3cret@db/s3cret", "nothing but parameters"),
            ("kurrentdb://db?tls=s3cret", "`tls` must be `true` or `false`"),
            ("kurrentdb://db?defaultDeadline=0", "`defaultDeadline` must be a number"),
            ("kurrentdb://db?userKeyFile=s3cret", "`userKeyFile`"),
            ("kurrentdb://db?colour=s3cret", "`colour`"),
        ] {
            let error = text.parse::<KurrentUrl>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
