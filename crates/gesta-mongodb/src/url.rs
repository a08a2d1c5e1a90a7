//! URLs of stores: `mongodb://USER:PASSWORD@HOST:PORT/DATABASE?…`.
//!
//! Owns: what this crate needs beyond the client's own checks, and the text for messages, which has
//! no password. Not here: the parameters, which are the client's.

use std::{fmt, str::FromStr};

use mongodb::options::{ConnectionString, HostInfo};

/// The reason why a text is not the URL of a store.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// The text does not begin with `mongodb://`.
    #[error("the URL must begin with mongodb://, as in mongodb://127.0.0.1:27017/shop")]
    Scheme,
    /// The URL asks for servers from DNS records, which this build does not look up.
    #[error(
        "mongodb+srv:// is not supported; list the hosts, as in \
         mongodb://HOST1:27017,HOST2:27017/shop?replicaSet=NAME&tls=true"
    )]
    Srv,
    /// The database is missing.
    #[error("the URL must name the database, as in mongodb://127.0.0.1:27017/shop")]
    Database,
    /// The part before `@` cannot be read. It is not repeated here.
    #[error("the part before `@` must be USER:PASSWORD, with other characters as %40 for `@`")]
    User,
    /// Another part cannot be read.
    #[error("{reason}")]
    Part {
        /// Description of the part.
        reason: String,
    },
}

/// The URL of a store, `mongodb://USER:PASSWORD@HOST:PORT/DATABASE?…`, with the parameters of
/// MongoDB's clients. It is printed without user, password and parameters.
///
/// ```
/// use gesta_mongodb::MongoUrl;
///
/// let url: MongoUrl = "mongodb://ann:secret@db-1/shop?replicaSet=rs0".parse()?;
/// assert_eq!(url.to_string(), "mongodb://db-1:27017/shop");
/// # Ok::<(), gesta_mongodb::InvalidUrl>(())
/// ```
#[derive(Clone)]
pub struct MongoUrl {
    pub(crate) parsed: ConnectionString,
    pub(crate) database: String,
    /// The URL without user, password and parameters.
    pub(crate) server: String,
}

impl FromStr for MongoUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        if text.starts_with("mongodb+srv://") {
            return Err(InvalidUrl::Srv);
        }
        let rest = text.strip_prefix("mongodb://").ok_or(InvalidUrl::Scheme)?;
        let parsed =
            ConnectionString::parse(text).map_err(|error| match rest.rsplit_once('@') {
                None => InvalidUrl::Part { reason: error.kind.to_string() },
                // The client's text may repeat a part of the password.
                Some((_, after)) => match ConnectionString::parse(format!("mongodb://{after}")) {
                    Ok(_) => InvalidUrl::User,
                    Err(error) => InvalidUrl::Part { reason: error.kind.to_string() },
                },
            })?;
        let database = parsed.default_database.clone().ok_or(InvalidUrl::Database)?;
        let HostInfo::HostIdentifiers(hosts) = &parsed.host_info else {
            return Err(InvalidUrl::Srv);
        };
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let server = format!("mongodb://{}/{database}", hosts.join(","));
        Ok(Self { parsed, database, server })
    }
}

impl fmt::Display for MongoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server)
    }
}

impl fmt::Debug for MongoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MongoUrl").field(&self.server).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_without_user_and_password() {
        let url = "mongodb://ann:se%40cret@db-1:27018,db-2/shop?replicaSet=rs";
        let url: MongoUrl = url.parse().unwrap();
        assert_eq!(url.to_string(), "mongodb://db-1:27018,db-2:27017/shop");
        assert!(!format!("{url:?}").contains("cret"));
        assert_eq!(url.database, "shop");
    }

    #[test]
    fn a_wrong_part_is_named_and_the_password_is_not_repeated() {
        for (text, expected) in [
            ("postgres://db/shop", InvalidUrl::Scheme),
            ("mongodb+srv://db/shop", InvalidUrl::Srv),
            ("mongodb://db:27017", InvalidUrl::Database),
            ("mongodb://db:27017/?tls=true", InvalidUrl::Database),
            ("mongodb://ann:se@cret@db/shop", InvalidUrl::User),
        ] {
            let error = text.parse::<MongoUrl>().unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("cret"));
        }
        for text in ["mongodb://db:port/shop", "mongodb://ann:secret@db:port/shop"] {
            let error = text.parse::<MongoUrl>().unwrap_err();
            assert!(matches!(error, InvalidUrl::Part { .. }), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
