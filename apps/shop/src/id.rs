//! Ids of users, products, orders, customers, accounts and credit notes.
//!
//! Invariant: an id is a text of 1 to [`ID_BYTES_MAX`] bytes without control characters, and
//! without white space at its ends, so it fits into a stream name and a line of a report. Not here:
//! generation of ids; the edge generates them, and `From<Uuid>` converts them.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Maximum length of an id, in bytes of UTF-8.
pub const ID_BYTES_MAX: usize = 100;

/// The error for a text that is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The text is empty.
    #[error("{kind} must not be empty")]
    Empty {
        /// Kind of id.
        kind: &'static str,
    },
    /// The text is longer than [`ID_BYTES_MAX`].
    #[error("{kind} must have at most {ID_BYTES_MAX} bytes; has {bytes}")]
    TooLong {
        /// Kind of id.
        kind: &'static str,
        /// Length of the text.
        bytes: usize,
    },
    /// The text has a control character, or begins or ends with white space.
    #[error("{kind} must not contain control characters, or begin or end with white space")]
    NotPlain {
        /// Kind of id.
        kind: &'static str,
    },
}

fn check(kind: &'static str, text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty { kind });
    }
    if text.len() > ID_BYTES_MAX {
        return Err(InvalidId::TooLong { kind, bytes: text.len() });
    }
    // White space at an end is invisible in a table, and two such ids look the same.
    if text.chars().any(char::is_control) || text.trim() != text {
        return Err(InvalidId::NotPlain { kind });
    }
    Ok(())
}

/// Declares an id type. All ids have the same rules.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Creates an id.
            ///
            /// # Errors
            /// [`InvalidId`] for a text that is not an id.
            pub fn new(text: impl Into<Arc<str>>) -> Result<Self, InvalidId> {
                let text = text.into();
                check($kind, &text)?;
                Ok(Self(text))
            }

            /// Returns the text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                // Satisfies the rules of ids, so no check is needed.
                Self(id.to_string().into())
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
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
    /// Id of a user.
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
    /// Id of a product: its code in the catalogue.
    ProductId, "product id"
}
id! {
    /// Id of an order.
    OrderId, "order id"
}
id! {
    /// Id of a customer, who need not be a user of the shop.
    CustomerId, "customer id"
}
id! {
    /// Id of a credit note.
    CreditNoteId, "credit note id"
}
id! {
    /// Id of an account.
    AccountId, "account id"
}
