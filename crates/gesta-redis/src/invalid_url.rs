//! The error for URLs of servers.
//!
//! Invariant: no text has a password.

/// A URL that names no server. No variant has the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRedisUrl {
    /// The URL is not one of Redis. Correct it.
    #[error("expected a URL such as `redis://:PASSWORD@HOST:6379/0`")]
    Scheme,
    /// The URL asks for an encrypted connection, without the feature `tls`. Enable it.
    #[error(
        "encrypted connections (`rediss://`) are not built in; enable the feature `tls` of \
         `gesta-redis`, or `redis-tls` of `gesta`"
    )]
    Encrypted,
    /// The file of authorities (`ca`) cannot be used. Correct the file or its name.
    #[error("the authorities in `{file}`: {reason}")]
    Authorities {
        /// Name of the file.
        file: String,
        /// Description of the failure.
        reason: String,
    },
    /// User, host, port or database are missing or malformed. Correct them.
    #[error(
        "the address cannot be read; expected `redis://USER:PASSWORD@HOST:PORT/DATABASE`, with \
         special characters of the password as `%XX`"
    )]
    Address,
    /// The URL has an unknown parameter. Remove it.
    #[error("unknown parameter `{name}`; expected `prefix`, or `ca` with `rediss://`")]
    Parameter {
        /// Name of the parameter.
        name: String,
    },
    /// The prefix has another form. Correct it.
    #[error(
        "the prefix `{prefix}` must have 1 to 100 of these: letters, digits, `-`, `_`, `.` and `:`"
    )]
    Prefix {
        /// The prefix.
        prefix: String,
    },
}
