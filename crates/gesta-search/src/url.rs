//! URLs of search engines.
//!
//! Invariant: a URL is shown without its password.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use gesta_store::percent_decoded;

/// Port of OpenSearch and Elasticsearch without one in the URL.
const PORT_DEFAULT: u16 = 9200;

/// Prefix of the names of indexes without one in the URL.
const PREFIX_DEFAULT: &str = "gesta";

/// The schemes of servers, and whether connections are encrypted.
const SCHEMES: [(&str, bool); 4] = [
    ("opensearch", false),
    ("elasticsearch", false),
    ("opensearch+https", true),
    ("elasticsearch+https", true),
];

const NO_SCHEME: &str = "has no known scheme; expected `tantivy:DIRECTORY`, \
                         `opensearch://HOST:PORT` or `elasticsearch://HOST:PORT`";
const WRONG_ESCAPE: &str = "has a `%` without two digits in it";

/// Maximum length of the prefix of the names of indexes, in bytes.
const PREFIX_BYTES_MAX: usize = 64;

/// The URL of a search engine.
///
/// - `tantivy:DIRECTORY`: files of a directory, in the process.
/// - `opensearch://USER:PASSWORD@HOST:PORT/PREFIX`, or `elasticsearch://…`: a server. User and
///   password may be left out, the port is 9200 by default. `PREFIX` begins the names of all
///   indexes, `gesta` by default: several applications share a server by different ones.
/// - `opensearch+https://…` and `elasticsearch+https://…`: the same over TLS, with the feature
///   `tls`. The server's certificate is checked with the authorities of the system, or with those
///   of a PEM file, `?ca=FILE`.
///
/// Characters of user and password other than letters and digits are written as `%HH`.
///
/// ```
/// use gesta_search::SearchUrl;
///
/// let url: SearchUrl = "opensearch://ann:secret@search/shop".parse()?;
/// assert_eq!(url.to_string(), "opensearch://ann@search:9200/shop");
/// # Ok::<(), gesta_search::InvalidSearchUrl>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SearchUrl(Location);

#[derive(Clone, PartialEq, Eq)]
enum Location {
    Directory(PathBuf),
    Server(ServerUrl),
}

/// The URL of a server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    scheme: &'static str,
    pub(crate) protection: Protection,
    /// Host and port, for connections and for people.
    pub(crate) authority: String,
    pub(crate) prefix: String,
    pub(crate) user: Option<(String, String)>,
}

/// The protection of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    None,
    Tls {
        /// File with the certificates of authorities. `None` for those of the system.
        authorities: Option<PathBuf>,
    },
}

/// The error for a URL that cannot be read, or whose file cannot be. It does not repeat the URL,
/// which may have a password.
///
/// ```
/// use gesta_search::SearchUrl;
///
/// let error = "opensearch://".parse::<SearchUrl>().unwrap_err();
/// assert!(error.to_string().contains("has no host"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the URL of the search engine {reason}")]
pub struct InvalidSearchUrl {
    reason: String,
}

impl SearchUrl {
    /// The URL of a directory.
    #[must_use]
    pub fn directory(directory: impl Into<PathBuf>) -> Self {
        Self(Location::Directory(directory.into()))
    }

    /// Returns the directory, or `None` for a server.
    #[must_use]
    pub fn as_directory(&self) -> Option<&Path> {
        match &self.0 {
            Location::Directory(directory) => Some(directory),
            Location::Server(_) => None,
        }
    }

    pub(crate) const fn as_server(&self) -> Option<&ServerUrl> {
        match &self.0 {
            Location::Directory(_) => None,
            Location::Server(server) => Some(server),
        }
    }
}

impl FromStr for SearchUrl {
    type Err = InvalidSearchUrl;

    fn from_str(text: &str) -> Result<Self, InvalidSearchUrl> {
        let location = match text.split_once(':') {
            // It would become a directory with the password in its name.
            Some(("tantivy", rest)) if rest.contains("://") => {
                return Err(invalid("is `tantivy:` followed by another URL; expected a directory"));
            }
            Some(("tantivy", "")) => {
                return Err(invalid("needs a directory, as in `tantivy:./search`"));
            }
            Some(("tantivy", directory)) => Location::Directory(directory.into()),
            Some(("http" | "https", _)) => {
                return Err(invalid(
                    "begins with `opensearch://` or `elasticsearch://`, or with \
                     `opensearch+https://` or `elasticsearch+https://` for TLS",
                ));
            }
            Some((scheme, rest)) => match SCHEMES.iter().find(|known| known.0 == scheme) {
                Some((scheme, is_encrypted)) => {
                    Location::Server(ServerUrl::of(scheme, *is_encrypted, rest)?)
                }
                None => return Err(invalid(NO_SCHEME)),
            },
            None => return Err(invalid(NO_SCHEME)),
        };
        Ok(Self(location))
    }
}

impl ServerUrl {
    fn of(scheme: &'static str, is_encrypted: bool, rest: &str) -> Result<Self, InvalidSearchUrl> {
        let rest = rest.strip_prefix("//").ok_or_else(|| invalid("has no `//` and host"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let protection = Protection::of(is_encrypted, query)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user_of(user)?), host),
            None => (None, authority),
        };
        let prefix = path.trim_end_matches('/');
        let prefix = if prefix.is_empty() { PREFIX_DEFAULT } else { prefix };
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = prefix.bytes().all(|byte| is_plain(byte) || byte == b'-' || byte == b'_');
        let starts = prefix.starts_with(|c: char| c.is_ascii_lowercase());
        if !is_name || !starts || prefix.len() > PREFIX_BYTES_MAX {
            return Err(invalid(&format!(
                "has a prefix of index names that does not start with a lower-case letter, has \
                 other characters than lower-case letters, digits, `-` and `_`, or is longer than \
                 {PREFIX_BYTES_MAX} bytes"
            )));
        }
        let (authority, prefix) = (authority_of(host)?, prefix.to_owned());
        Ok(Self { scheme, protection, authority, prefix, user })
    }
}

impl Protection {
    /// Reads the parameters of a URL. Their texts may be parts of a password with a `?`.
    fn of(is_encrypted: bool, query: &str) -> Result<Self, InvalidSearchUrl> {
        if is_encrypted && !cfg!(feature = "tls") {
            return Err(invalid(
                "wants TLS, which is not built in; enable the feature `tls` of `gesta-search`, or \
                 `search-tls` of `gesta`",
            ));
        }
        match (is_encrypted, query.split_once('=')) {
            (true, Some(("ca", file))) if !file.is_empty() => {
                let file = percent_decoded(file).ok_or_else(|| invalid(WRONG_ESCAPE))?;
                Ok(Self::Tls { authorities: Some(file.into()) })
            }
            (true, None) if query.is_empty() => Ok(Self::Tls { authorities: None }),
            (false, None) if query.is_empty() => Ok(Self::None),
            _ => Err(invalid(
                "has an unknown parameter; expected `?ca=FILE`, for `opensearch+https://` and \
                 `elasticsearch+https://` only",
            )),
        }
    }
}

fn authority_of(host: &str) -> Result<String, InvalidSearchUrl> {
    // Colons of an IPv6 address are in brackets.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        Some(_) | None => (host, None),
    };
    let port = port.map_or(Ok(PORT_DEFAULT), str::parse);
    let port = port.map_err(|_| invalid("has a port that is no number from 0 to 65535"))?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    if name.is_empty() || !name.chars().all(is_host) {
        return Err(invalid("has no host; expected `opensearch://HOST:PORT`"));
    }
    Ok(format!("{name}:{port}"))
}

fn user_of(text: &str) -> Result<(String, String), InvalidSearchUrl> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let decode = |text| percent_decoded(text).ok_or_else(|| invalid(WRONG_ESCAPE));
    Ok((decode(user)?, decode(password)?))
}

pub(crate) fn invalid(reason: &str) -> InvalidSearchUrl {
    InvalidSearchUrl { reason: reason.to_owned() }
}

impl fmt::Display for SearchUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Location::Directory(directory) => write!(f, "tantivy:{}", directory.display()),
            Location::Server(server) => server.fmt(f),
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, authority, prefix, user, .. } = self;
        match user {
            Some((user, _)) => write!(f, "{scheme}://{user}@{authority}/{prefix}"),
            None => write!(f, "{scheme}://{authority}/{prefix}"),
        }
    }
}

impl fmt::Debug for SearchUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SearchUrl({self})")
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_complete_and_without_its_password() {
        for (text, shown) in [
            ("tantivy:./search", "tantivy:./search"),
            ("opensearch://localhost", "opensearch://localhost:9200/gesta"),
            ("elasticsearch://[::1]:9201/shop-2/", "elasticsearch://[::1]:9201/shop-2"),
            ("opensearch://ann:se%40cret@db:1/a", "opensearch://ann@db:1/a"),
        ] {
            let url: SearchUrl = text.parse().expect(text);
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("cret"));
        }
        let url: SearchUrl = "opensearch://ann:se%40cret@db".parse().expect("a URL");
        let user = url.as_server().and_then(|server| server.user.clone());
        assert_eq!(user, Some(("ann".to_owned(), "se@cret".to_owned())));
    }

    #[test]
    fn a_url_that_cannot_be_read_is_refused_without_its_text() {
        for (text, reason) in [
            ("ann:secret@db", "has no known scheme"),
            ("https://ann:secret@db", "begins with `opensearch://`"),
            ("opensearch://ann:secret@db?ca=x", "has an unknown parameter"),
            ("opensearch://ann:x?secret=y@db", "has an unknown parameter"),
            ("tantivy:", "needs a directory"),
            ("tantivy:opensearch://ann:secret@db", "followed by another URL"),
            ("opensearch:ann:secret@db", "has no `//`"),
            ("opensearch://ann:secret@", "has no host"),
            ("opensearch://ann:secret@db:port", "has a port"),
            ("opensearch://ann:secret%2@db", "has a `%`"),
            ("opensearch://ann:secret@db/Shop", "has a prefix"),
        ] {
            let error = text.parse::<SearchUrl>().expect_err(text).to_string();
            assert!(error.contains(reason) && !error.contains("secret"), "{error}");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn an_encrypted_connection_is_refused_with_the_feature_that_it_needs() {
        let error = "opensearch+https://ann:secret@db".parse::<SearchUrl>().expect_err("no TLS");
        assert!(error.to_string().contains("feature `tls`"), "{error}");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn the_url_of_an_encrypted_connection_may_name_a_file_of_authorities() {
        let url: SearchUrl =
            "opensearch+https://ann:secret@db/shop?ca=/etc/my%20ca.pem".parse().expect("a URL");
        assert_eq!(url.to_string(), "opensearch+https://ann@db:9200/shop");
        let authorities = Some("/etc/my ca.pem".into());
        let protection = url.as_server().map(|server| server.protection.clone());
        assert_eq!(protection, Some(Protection::Tls { authorities }));
        let error = "elasticsearch+https://db?secret=1".parse::<SearchUrl>().expect_err("no ca");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
