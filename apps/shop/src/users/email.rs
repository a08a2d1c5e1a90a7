//! E-mail addresses and their owners.
//!
//! Owns: [`Email`], and [`EmailOwners`], the consistency boundary of one address. The boundary
//! reads every event that carries the address, from the streams of all users. Always holds:
//! addresses are compared without regard to case.

use std::{collections::BTreeMap, fmt, sync::Arc};

use gesta::prelude::*;

use super::{UserCreated, UserDeleted, UserUpdated};
use crate::id::UserId;

/// An e-mail address, in lower case.
///
/// ```
/// use shop::users::Email;
///
/// assert_eq!(Email::new("Ann@Example.org")?, Email::new("ann@example.org")?);
/// assert!(Email::new("ann").is_err());
/// # Ok::<(), shop::users::InvalidEmail>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(Arc<str>);

/// The error for a text that is not an e-mail address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an e-mail address of at most {} bytes, such as ann@example.org", Email::BYTES_MAX)]
pub struct InvalidEmail;

impl Email {
    /// Maximum length in bytes; a tag must have room for it.
    pub const BYTES_MAX: usize = 200;

    /// Creates an address in lower case from a text with one `@` between two non-empty parts.
    ///
    /// Nothing more is checked: only sending mail shows that an address exists.
    ///
    /// # Errors
    /// [`InvalidEmail`] for any other text, and one that is too long.
    pub fn new(text: &str) -> Result<Self, InvalidEmail> {
        let (local, domain) = text.split_once('@').ok_or(InvalidEmail)?;
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '@';
        if local.is_empty() || domain.is_empty() || domain.contains(odd) || local.contains(odd) {
            return Err(InvalidEmail);
        }
        let lower = text.to_lowercase();
        if lower.len() > Self::BYTES_MAX {
            return Err(InvalidEmail);
        }
        Ok(Self(lower.into()))
    }
}

impl TryFrom<String> for Email {
    type Error = InvalidEmail;

    fn try_from(text: String) -> Result<Self, InvalidEmail> {
        Self::new(&text)
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0.as_ref().to_owned()
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The events that take or free an e-mail address.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum EmailEvent {
    /// A user was created, maybe with an address.
    Created(UserCreated),
    /// A user's address may have changed.
    Updated(UserUpdated),
    /// A user was deleted.
    Deleted(UserDeleted),
}

/// The owner of an e-mail address.
///
/// An event that carries the address may also carry a second one, so owners are kept by address.
#[derive(Debug, Default)]
pub struct EmailOwners(BTreeMap<Email, UserId>);

impl EmailOwners {
    pub(super) fn is_owned_by_other(&self, email: &Email, user: &UserId) -> bool {
        self.0.get(email).is_some_and(|owner| owner != user)
    }
}

impl Aggregate for EmailOwners {
    const CATEGORY: &'static str = "email";
    type Id = Email;
    type Event = EmailEvent;

    fn evolve(&mut self, event: &EmailEvent) {
        let (taken, freed) = match event {
            EmailEvent::Created(created) => ((created.email.as_ref(), &created.user_id), None),
            EmailEvent::Updated(updated) => {
                ((updated.email.as_ref(), &updated.user_id), updated.freed_email.as_ref())
            }
            EmailEvent::Deleted(deleted) => {
                ((None, &deleted.user_id), deleted.freed_email.as_ref())
            }
        };
        if let Some(freed) = freed {
            self.0.remove(freed);
        }
        if let (Some(email), user) = taken {
            self.0.insert(email.clone(), user.clone());
        }
    }

    fn reads(email: &Email) -> Reads {
        Reads::tagged("email", email)
    }
}
