//! Names: streams, categories, event types, tags.
//!
//! Owns: what a name may be. Always holds: a value of these types is within its limit, not empty
//! and without a zero byte, so nobody checks again. Cheap to clone (one shared allocation).
//! Not here: which names a store has seen.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// Why a text is not a name.
///
/// React by fixing the text; nothing was sent to a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The text has no bytes.
    #[error("{what} is empty")]
    Empty {
        /// Which kind of name was wanted.
        what: &'static str,
    },
    /// The text is longer than the limit.
    #[error("{what} has {bytes} bytes, more than the limit of {max}")]
    TooLong {
        /// Which kind of name was wanted.
        what: &'static str,
        /// Length of the text.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The text has a zero byte.
    #[error("{what} has a zero byte at {at}")]
    ZeroByte {
        /// Which kind of name was wanted.
        what: &'static str,
        /// Where the first one is, in bytes.
        at: usize,
    },
    /// A category with a `-`, which ends the category in a stream's name.
    #[error("category {text} has a `-`; a category is what stands before the first one")]
    CategoryHasDash {
        /// The text.
        text: String,
    },
    /// A tag's key with a `:`, which ends the key in a tag.
    #[error("tag key {text} has a `:`; a key is what stands before the first one")]
    KeyHasColon {
        /// The text.
        text: String,
    },
}

pub(crate) fn check(what: &'static str, text: &str, max: usize) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty { what });
    }
    if text.len() > max {
        return Err(InvalidName::TooLong { what, bytes: text.len(), max });
    }
    match text.bytes().position(|byte| byte == 0) {
        Some(at) => Err(InvalidName::ZeroByte { what, at }),
        None => Ok(()),
    }
}

/// Declares a checked, cheaply cloned text: one rule, one implementation for all of them.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:ident = $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("The longest ", $what, ", in bytes of UTF-8.")]
            pub const $max: usize = $bytes;

            #[doc = concat!("Checks the text and makes it a ", $what, ".")]
            ///
            /// # Errors
            /// [`InvalidName`] when the text is empty, too long or has a zero byte.
            pub fn new(text: impl Into<Arc<str>>) -> Result<Self, InvalidName> {
                let text = text.into();
                $crate::name::check($what, &text, $bytes)?;
                Self::checked(text)
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
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

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidName;

            fn try_from(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
    };
}
pub(crate) use text_type;

text_type! {
    /// The name of a stream: the ordered events of one thing, `category-id` by convention.
    ///
    /// Any UTF-8 without a zero byte, compared byte by byte. Names that begin with `$` are the
    /// system's; `$$name` holds the metadata of the stream `name`.
    ///
    /// ```
    /// use gesta_store::StreamName;
    ///
    /// let stream = StreamName::new("order-2024-17")?;
    /// assert_eq!(stream.category().expect("has a dash").as_str(), "order");
    /// assert_eq!(StreamName::new("settings")?.category(), None);
    /// # Ok::<(), gesta_store::InvalidName>(())
    /// ```
    StreamName, "stream name", BYTES_MAX = 1_024
}

text_type! {
    /// What stands before the first `-` of a stream's name.
    ///
    /// ```
    /// use gesta_store::Category;
    ///
    /// assert_eq!(Category::new("order")?.as_str(), "order");
    /// assert!(Category::new("order-1").is_err());
    /// # Ok::<(), gesta_store::InvalidName>(())
    /// ```
    Category, "category", BYTES_MAX = 1_024
}

text_type! {
    /// The stable name of a kind of event, such as `order-placed`.
    ///
    /// ```
    /// use gesta_store::EventType;
    ///
    /// assert_eq!(EventType::new("order-placed")?.as_str(), "order-placed");
    /// # Ok::<(), gesta_store::InvalidName>(())
    /// ```
    EventType, "event type", BYTES_MAX = 255
}

text_type! {
    /// A mark on an event that queries and append conditions can ask for, `key:value` by
    /// convention.
    ///
    /// ```
    /// use gesta_store::Tag;
    ///
    /// let tag = Tag::of("customer", "17850")?;
    /// assert_eq!(tag.as_str(), "customer:17850");
    /// # Ok::<(), gesta_store::InvalidName>(())
    /// ```
    Tag, "tag", BYTES_MAX = 255
}

impl StreamName {
    const METADATA_PREFIX: &str = "$$";

    fn checked(text: Arc<str>) -> Result<Self, InvalidName> {
        Ok(Self(text))
    }

    /// The part before the first `-`; none when there is no `-`, nothing before it, or the name
    /// is the system's.
    #[must_use]
    pub fn category(&self) -> Option<Category> {
        if self.is_system() {
            return None;
        }
        match self.0.split_once('-') {
            Some((category, _)) if !category.is_empty() => Some(Category(category.into())),
            Some(_) | None => None,
        }
    }

    /// Whether the name begins with `$`.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }

    /// Where this stream's metadata are: `$$` and its name.
    ///
    /// # Errors
    /// [`InvalidName::TooLong`] when the name is within two bytes of the limit.
    pub fn metadata_stream(&self) -> Result<Self, InvalidName> {
        Self::new(format!("{}{}", Self::METADATA_PREFIX, self.0))
    }

    /// The stream that this one holds the metadata of, if it is a metadata stream.
    #[must_use]
    pub fn described_stream(&self) -> Option<Self> {
        let described = self.0.strip_prefix(Self::METADATA_PREFIX)?;
        Self::new(described).ok()
    }
}

impl Category {
    fn checked(text: Arc<str>) -> Result<Self, InvalidName> {
        if text.contains('-') {
            return Err(InvalidName::CategoryHasDash { text: text.as_ref().to_owned() });
        }
        Ok(Self(text))
    }
}

impl EventType {
    fn checked(text: Arc<str>) -> Result<Self, InvalidName> {
        Ok(Self(text))
    }
}

impl Tag {
    fn checked(text: Arc<str>) -> Result<Self, InvalidName> {
        Ok(Self(text))
    }

    /// The tag `key:value`.
    ///
    /// # Errors
    /// [`InvalidName`] when the key is empty or has a `:`, or the whole is not a tag.
    pub fn of(key: &str, value: &str) -> Result<Self, InvalidName> {
        check("tag key", key, Self::BYTES_MAX)?;
        if key.contains(':') {
            return Err(InvalidName::KeyHasColon { text: key.to_owned() });
        }
        Self::new(format!("{key}:{value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_refused_with_the_reason() {
        assert_eq!(StreamName::new(""), Err(InvalidName::Empty { what: "stream name" }));
        assert_eq!(
            StreamName::new("a\0b"),
            Err(InvalidName::ZeroByte { what: "stream name", at: 1 })
        );
        assert_eq!(
            Tag::new("x".repeat(256)),
            Err(InvalidName::TooLong { what: "tag", bytes: 256, max: 255 })
        );
        assert!(StreamName::new("é".repeat(512)).is_ok(), "1,024 bytes of two-byte letters fit");
    }

    #[test]
    fn system_streams_and_dashless_names_have_no_category() {
        for name in ["$$order-1", "settings", "-1"] {
            assert_eq!(StreamName::new(name).unwrap().category(), None, "{name}");
        }
    }

    #[test]
    fn a_metadata_stream_names_what_it_describes() {
        let order = StreamName::new("order-1").unwrap();
        let metadata = order.metadata_stream().unwrap();
        assert_eq!(metadata.as_str(), "$$order-1");
        assert_eq!(metadata.described_stream(), Some(order));
    }
}
