//! The sender of a request, as far as it is known.

use std::{net::IpAddr, sync::Arc};

use axum::http::Extensions;
use gesta_store::RecordedAt;

/// Members may do everything.
pub(crate) const ADMINS: &str = "$admins";
/// Members operate the server and do not read its streams.
pub(crate) const OPS: &str = "$ops";
/// The name that stands for every user in a list of rights.
pub(super) const ALL: &str = "$all";

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// The common name of a verified client certificate.
    pub(crate) certificate_login: Option<Arc<str>>,
}

/// The user of a request, and where it came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sender {
    pub(crate) caller: Caller,
    pub(crate) peer: Option<Peer>,
}

impl Sender {
    pub(crate) fn of(extensions: &Extensions) -> Self {
        Self { caller: Caller::of(extensions), peer: extensions.get().cloned() }
    }
}

/// The user of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Caller {
    #[default]
    Anonymous,
    User(Arc<Identity>),
}

/// A user who has proved who they are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) login: String,
    pub(crate) groups: Vec<String>,
    pub(super) source: IdentitySource,
}

/// The place that says who a user is, and whether they still are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdentitySource {
    /// The user's record in the store.
    Store,
    /// A token, until it ends.
    Token { ends: RecordedAt },
}

impl Caller {
    /// Returns the user that the access check has found.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// A user of the store.
    pub(super) fn user(login: impl Into<String>, groups: Vec<String>) -> Self {
        let source = IdentitySource::Store;
        Self::User(Arc::new(Identity { login: login.into(), groups, source }))
    }

    /// A user that a token names.
    pub(super) fn by_token(
        login: impl Into<String>,
        groups: Vec<String>,
        ends: RecordedAt,
    ) -> Self {
        let source = IdentitySource::Token { ends };
        Self::User(Arc::new(Identity { login: login.into(), groups, source }))
    }

    pub(crate) fn login(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::User(identity) => Some(&identity.login),
        }
    }

    /// Returns `true` for a user with this login or in this group.
    pub(crate) fn is(&self, name: &str) -> bool {
        match self {
            Self::Anonymous => false,
            Self::User(identity) => {
                name == ALL
                    || identity.login == name
                    || identity.groups.iter().any(|group| group == name)
            }
        }
    }

    pub(crate) fn is_admin(&self) -> bool {
        self.is(ADMINS)
    }
}
