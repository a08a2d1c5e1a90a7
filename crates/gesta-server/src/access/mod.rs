//! Users, and what each of them may do.
//!
//! Owns: who a caller is (passwords, tokens, client certificates), the table of who may use a path,
//! the rights to streams, and the audit stream.
//!
//! Invariants:
//! - A path without a row in the table is refused.
//! - No password, hash or token is in a log, an error or an event of the audit stream.
//! - Wrong credentials are `UNAUTHENTICATED`, missing rights `PERMISSION_DENIED`, and the text says
//!   nothing about which users exist.
//! - A read, a subscription and an append are checked once, when they begin.
//!
//! Not here: the layer that asks ([`serve`](crate::serve)), the service of users
//! ([`users`](crate::users)), TLS.

mod audit;
mod caller;
mod credentials;
mod der;
mod failed_logins;
mod first_users;
mod guard;
mod passwords;
mod stream_rights;
mod table;
mod tokens;
mod user;
mod verified;

#[cfg(test)]
pub(crate) use self::table::ROWS;
pub(crate) use self::{
    audit::AuditRecord,
    caller::{ADMINS, Caller, Peer},
    guard::{Access, Guard},
    passwords::refusal_of_password,
    stream_rights::Right,
    table::{Decision, Recorded, Row, has_row, row_of},
    user::{StoredUser, UserRecord, refusal_of_user},
};
pub use self::{
    first_users::FirstPasswords,
    tokens::{InvalidTokenKey, TokenRule},
};

/// Returns the login of a client certificate, which rustls has verified.
pub(crate) fn login_of_certificate(certificate: &[u8]) -> Option<String> {
    der::common_name(certificate)
}
