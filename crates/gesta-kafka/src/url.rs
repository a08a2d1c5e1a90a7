//! URLs of Kafka clusters: brokers, the name of a relay, options.
//!
//! Invariant: a URL is shown without its password. Not here: the meaning of options, which is with
//! what they configure, and that of users (`security`).

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::{
    invalid_url::InvalidUrl,
    security::{self, Security},
};

/// The longest name of a relay, in bytes. Names of topics are made from it.
pub(crate) const NAME_BYTES_MAX: usize = 200;

/// The URL of a cluster: `kafka://HOST:PORT[,HOST:PORT…][/RELAY][?OPTION=VALUE&…]`.
///
/// `kafka+ssl://[USER[:PASSWORD]@]HOST:PORT…` has encrypted connections, with the feature `tls`.
/// Its options are, for every use of the URL:
/// - `ca=FILE`: the authorities of the brokers' certificates, in PEM; otherwise those of the
///   system;
/// - `sasl`: the mechanism of the login, `scram-sha-512` (the default), `scram-sha-256` or `plain`;
/// - `password-file=FILE`: a file with the password, in place of `:PASSWORD`.
///
/// Characters of user, password and these options other than letters and digits may be written as
/// `%HH`.
///
/// ```
/// use gesta_kafka::KafkaUrl;
///
/// let url: KafkaUrl = "kafka://a:9092,b:9092/shop?delivery=exactly-once".parse()?;
/// assert_eq!(url.brokers(), "a:9092,b:9092");
/// assert_eq!(url.relay(), Some("shop"));
/// assert_eq!(url.option("delivery"), Some("exactly-once"));
/// # Ok::<(), gesta_kafka::InvalidUrl>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaUrl {
    security: Security,
    /// The user as the URL has it.
    user: Option<String>,
    brokers: String,
    relay: Option<String>,
    options: BTreeMap<String, String>,
}

impl KafkaUrl {
    /// Returns the brokers to ask first, separated by commas.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Returns the name of the relay, if the URL has one.
    #[must_use]
    pub fn relay(&self) -> Option<&str> {
        self.relay.as_deref()
    }

    /// Returns the value of an option, if the URL has it.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    pub(crate) const fn security(&self) -> &Security {
        &self.security
    }

    /// Refuses options that are not among the known ones, or those of encrypted connections.
    pub(crate) fn check_options(&self, known: &[&str]) -> Result<(), InvalidUrl> {
        let is_known = |name: &&str| known.contains(name) || security::OPTIONS.contains(name);
        let unknown = self.options.keys().find(|name| !is_known(&name.as_str()));
        unknown.map_or(Ok(()), |name| {
            let known = match known {
                [] => "there are no options here".to_owned(),
                known => format!("the options are {}", known.join(", ")),
            };
            Err(InvalidUrl::because(format!("there is no option `{name}`; {known}")))
        })
    }
}

impl FromStr for KafkaUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let expected = "expected kafka://HOST:PORT/RELAY";
        let (scheme, rest) = text.split_once("://").ok_or_else(|| InvalidUrl::because(expected))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if query.contains('@') {
            // A password with a `?` would become a part of brokers and options, which are shown.
            return Err(InvalidUrl::because(
                "a `?` of the user or password is written as %3F, an `@` of an option as %40",
            ));
        }
        // A password may have a `/` by mistake, which must not become a part of a shown URL.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        let (brokers, relay) = rest.split_once('/').unwrap_or((rest, ""));
        let options = options_of(query)?;
        let security = match scheme {
            "kafka" => Security::none(login, &options)?,
            "kafka+ssl" => Security::encrypted(login, &options)?,
            _ => return Err(InvalidUrl::because(expected)),
        };
        for broker in brokers.split(',') {
            let port = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            if !port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)) {
                let broker = broker.escape_debug();
                let reason = format!("`{broker}` is not HOST:PORT; {expected}");
                return Err(InvalidUrl::because(reason));
            }
        }
        if !relay.is_empty() {
            check_name(relay)?;
        }
        let user = login.map(|login| login.split_once(':').map_or(login, |(user, _)| user));
        Ok(Self {
            security,
            user: user.map(str::to_owned),
            brokers: brokers.to_owned(),
            relay: (!relay.is_empty()).then(|| relay.to_owned()),
            options,
        })
    }
}

fn options_of(query: &str) -> Result<BTreeMap<String, String>, InvalidUrl> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let pair = pair.split_once('=').map(|(name, value)| (name.into(), value.into()));
        pair.ok_or_else(|| InvalidUrl::because("options have the form NAME=VALUE"))
    });
    pairs.collect()
}

impl fmt::Debug for KafkaUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaUrl({self})")
    }
}

impl fmt::Display for KafkaUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.security.scheme())?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.brokers)?;
        if let Some(relay) = &self.relay {
            write!(f, "/{relay}")?;
        }
        for (nth, (name, value)) in self.options.iter().enumerate() {
            write!(f, "{}{name}={value}", if nth == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

/// Refuses names that cannot be part of the name of a topic.
pub(crate) fn check_name(name: &str) -> Result<(), InvalidUrl> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed) {
        return Ok(());
    }
    let name = name.escape_debug();
    Err(InvalidUrl::because(format!(
        "`{name}` must have 1 to {NAME_BYTES_MAX} letters, digits, `.`, `_` or `-`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_comes_back_as_it_was_written() {
        for text in [
            "kafka://127.0.0.1:9092",
            "kafka://a:1,b:2/shop",
            "kafka://[::1]:9092/shop?delivery=exactly-once&partitions=4",
        ] {
            assert_eq!(text.parse::<KafkaUrl>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_url_is_refused_with_the_reason() {
        for (text, reason) in [
            ("http://a:1", "expected kafka://HOST:PORT"),
            ("kafka://a", "`a` is not HOST:PORT"),
            ("kafka://a:1,", "`` is not HOST:PORT"),
            ("kafka://a:0", "`a:0` is not HOST:PORT"),
            ("kafka://ann:secret@a:1", "write kafka+ssl://"),
            ("kafka://a:1?password-file=secret", "`password-file` is for encrypted"),
            ("kafka://a:1/my shop", "`my shop` must have 1 to 200"),
            ("kafka://a:1/shop?fast", "NAME=VALUE"),
        ] {
            let error = text.parse::<KafkaUrl>().unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains("secret"), "{error}");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn an_encrypted_connection_is_refused_with_the_feature_that_it_needs() {
        let error = "kafka+ssl://ann:secret@a:1".parse::<KafkaUrl>().unwrap_err().to_string();
        assert!(error.contains("feature `tls`") && !error.contains("secret"), "{error}");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_url_with_a_user_is_shown_without_the_password() {
        for (text, shown) in [
            ("kafka+ssl://a:1,b:2/shop", "kafka+ssl://a:1,b:2/shop"),
            ("kafka+ssl://ann:se%2Fcret@a:1/shop", "kafka+ssl://ann@a:1/shop"),
            ("kafka+ssl://ann:se@c/ret@a:1?ca=x.pem", "kafka+ssl://ann@a:1?ca=x.pem"),
            (
                "kafka+ssl://ann@a:1?password-file=file&sasl=plain",
                "kafka+ssl://ann@a:1?password-file=file&sasl=plain",
            ),
        ] {
            let url: KafkaUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}{:?}", url.security()).contains("ret"), "{url:?}");
            url.check_options(&[]).unwrap();
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_wrong_login_is_refused_with_the_reason() {
        for (text, reason) in [
            ("kafka+ssl://ann@a:1", "the user has no password"),
            ("kafka+ssl://:secret@a:1", "has no name"),
            ("kafka+ssl://ann:@a:1", "the password is empty"),
            ("kafka+ssl://ann:secret%0A@a:1", "control character"),
            ("kafka+ssl://ann:secret%2@a:1", "without two digits"),
            ("kafka+ssl://ann:secret?secret=secret@a:1", "written as %3F"),
            ("kafka+ssl://ann:secret@a:1?password-file=f", "given twice"),
            ("kafka+ssl://ann:secret@a:1?sasl=md5", "plain, scram-sha-256 or scram-sha-512"),
            ("kafka+ssl://a:1?sasl=plain", "needs a user"),
            ("kafka+ssl://ann:secret@a", "`a` is not HOST:PORT"),
        ] {
            let error = text.parse::<KafkaUrl>().unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_option_that_nothing_reads_is_refused() {
        let url: KafkaUrl = "kafka://a:1/shop?parts=4".parse().unwrap();
        let error = url.check_options(&["partitions"]).unwrap_err().to_string();
        assert!(error.contains("no option `parts`; the options are partitions"), "{error}");
    }
}
