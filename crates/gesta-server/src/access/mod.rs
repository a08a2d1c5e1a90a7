//! Users, and what each of them may do.
//!
//! Owns: who a caller is (passwords, tokens, client certificates), the table of who may use a path,
//! the rights to streams, what a reader of the whole store sees, and the audit stream.
//!
//! Invariants:
//! - A path without a row in the table is refused.
//! - No password, hash or token is in a log, an error or an event of the audit stream.
//! - Wrong credentials are `UNAUTHENTICATED`, missing rights `PERMISSION_DENIED`, and the text says
//!   nothing about which users exist.
//! - A read, a subscription and an append are checked once, when they begin, against what the user
//!   may then, also within a call or on a socket that was opened before; what a reader of the whole
//!   store sees of the streams of the system is checked for each page.
//!
//! Not here: the layer that asks ([`serve`](crate::serve)), the service of users
//! ([`users`](crate::users)), TLS.

mod audit;
mod caller;
mod credentials;
mod current;
mod der;
mod failed_logins;
mod first_users;
mod guard;
mod passwords;
mod store_view;
mod stream_rights;
mod table;
mod tokens;
mod user;
mod verified;

pub(crate) use self::{
    audit::{AuditRecord, CallSubject},
    caller::{ADMINS, Caller, Peer, Sender},
    guard::{Access, Guard},
    passwords::refusal_of_password,
    store_view::StoreView,
    stream_rights::Right,
    table::{Decision, ROWS, Recorded, Row, has_row, row_of},
    user::{StoredUser, UserChange, UserRecord, refusal_of_user},
};
pub use self::{
    first_users::FirstPasswords,
    tokens::{InvalidTokenKey, TokenRule},
};

/// Returns the login of a client certificate, which rustls has verified.
pub(crate) fn login_of_certificate(certificate: &[u8]) -> Option<String> {
    der::common_name(certificate)
}
