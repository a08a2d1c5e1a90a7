//! E-mail addresses. They are compared without regard to case.

use std::{fmt, str::FromStr, sync::Arc};

use gesta::prelude::*;

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
        // Lower case may be longer in bytes than the text was, so the length is checked after it.
        let lower = text.to_lowercase();
        if lower.len() > Self::BYTES_MAX {
            return Err(InvalidEmail);
        }
        Ok(Self(lower.into()))
    }
}

impl FromStr for Email {
    type Err = InvalidEmail;

    fn from_str(text: &str) -> Result<Self, InvalidEmail> {
        Self::new(text)
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
