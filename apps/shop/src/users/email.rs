//! E-mail addresses, and whose they are.
//!
//! Owns: [`Email`], and [`EmailOwners`], the consistency boundary of one address: it reads every
//! event that carries the address, in whichever user's stream. Always holds: addresses that differ
//! only in upper and lower case are the same.

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
/// # Ok::<(), shop::users::NotAnEmail>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(Arc<str>);

/// A text that is no e-mail address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not an e-mail address, such as ann@example.org, of at most {} bytes",
    Email::BYTES_MAX
)]
pub struct NotAnEmail;

impl Email {
    /// The longest address, in bytes: what a tag has room for.
    pub const BYTES_MAX: usize = 200;

    /// Checks the text and makes it an address. Whether mail arrives there only mail can tell, so
    /// little is asked of it.
    ///
    /// # Errors
    /// [`NotAnEmail`] when it cannot be one.
    pub fn new(text: &str) -> Result<Self, NotAnEmail> {
        let (local, domain) = text.split_once('@').ok_or(NotAnEmail)?;
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '@';
        if local.is_empty() || domain.is_empty() || domain.contains(odd) || local.contains(odd) {
            return Err(NotAnEmail);
        }
        let lower = text.to_lowercase();
        if lower.len() > Self::BYTES_MAX {
            return Err(NotAnEmail);
        }
        Ok(Self(lower.into()))
    }
}

impl TryFrom<String> for Email {
    type Error = NotAnEmail;

    fn try_from(text: String) -> Result<Self, NotAnEmail> {
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

/// The events by which addresses change hands.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum EmailEvent {
    /// A user came with an address.
    Created(UserCreated),
    /// A user changed theirs.
    Updated(UserUpdated),
    /// A user went.
    Deleted(UserDeleted),
}

/// Whose an address is. Its events also name other addresses, which are kept beside it.
#[derive(Debug, Default)]
pub struct EmailOwners(BTreeMap<Email, UserId>);

impl EmailOwners {
    /// Whether somebody else has the address.
    pub(super) fn is_of_another(&self, email: &Email, user: &UserId) -> bool {
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
