//! Ids: what users, products, orders, customers, accounts and credit notes are known by.
//!
//! Always holds: an id is a text of 1 to [`ID_BYTES_MAX`] bytes without control characters and
//! without white space at its ends, so that it makes a stream's name and a line of a report.
//! Not here: new ids; the edge makes them, and they come in by `From<Uuid>`.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest id, in bytes of UTF-8.
pub const ID_BYTES_MAX: usize = 100;

/// Why a text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// It has no bytes.
    #[error("{what} is empty")]
    Empty {
        /// Which kind of id was wanted.
        what: &'static str,
    },
    /// It is too long.
    #[error("{what} has {bytes} bytes, more than {ID_BYTES_MAX}")]
    TooLong {
        /// Which kind of id was wanted.
        what: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// It has a control character, or white space at an end.
    #[error("{what} has a control character, or white space at an end")]
    NotPlain {
        /// Which kind of id was wanted.
        what: &'static str,
    },
}

fn check(what: &'static str, text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty { what });
    }
    if text.len() > ID_BYTES_MAX {
        return Err(InvalidId::TooLong { what, bytes: text.len() });
    }
    if text.chars().any(char::is_control) || text.trim() != text {
        return Err(InvalidId::NotPlain { what });
    }
    Ok(())
}

/// Declares an id: one rule and one implementation for all of them.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text and makes it an id.
            ///
            /// # Errors
            /// [`InvalidId`] when it is none.
            pub fn new(text: impl Into<Arc<str>>) -> Result<Self, InvalidId> {
                let text = text.into();
                check($what, &text)?;
                Ok(Self(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id.to_string().into())
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

id! {
    /// Which user.
    ///
    /// ```
    /// use shop::id::UserId;
    ///
    /// assert_eq!(UserId::new("ann")?.as_str(), "ann");
    /// assert!(UserId::new(" ann").is_err());
    /// # Ok::<(), shop::id::InvalidId>(())
    /// ```
    UserId, "user id"
}
id! {
    /// Which product: the code that the catalogue has it by.
    ProductId, "product id"
}
id! {
    /// Which order.
    OrderId, "order id"
}
id! {
    /// Who buys. Need not be a user of the shop.
    CustomerId, "customer id"
}
id! {
    /// Which credit note.
    CreditNoteId, "credit note id"
}
id! {
    /// Which account.
    AccountId, "account id"
}
