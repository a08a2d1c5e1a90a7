//! Names of streams, categories, event types and tags.
//!
//! Owns: the syntax of names, one rule for all of them. A name is UTF-8 of any script, with spaces,
//! slashes and punctuation. Names are compared byte by byte: case and Unicode equivalence are
//! significant. `new` rejects an empty text, a text over the limit, control characters and line
//! separators; for streams also an empty id (`order-`), and a name that leaves no room for the `$$`
//! of its metadata stream.
//!
//! A value of these types is not empty, fits into a record, and has no zero byte. `stored` accepts
//! names of earlier versions, whose rule was weaker. Clones share one allocation. Not here: the
//! names that are in use in a store.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// The reason why a text is not a valid name. Nothing was sent to a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// The text is empty.
    #[error("{kind} is empty")]
    Empty {
        /// Kind of name.
        kind: &'static str,
    },
    /// The text is too long.
    #[error("{kind} has {bytes} bytes, more than the limit of {max}")]
    TooLong {
        /// Kind of name.
        kind: &'static str,
        /// Length of the text, in bytes.
        bytes: usize,
        /// Maximum length, in bytes.
        max: usize,
    },
    /// The text has a zero byte.
    #[error("{kind} has a zero byte at {at}")]
    ZeroByte {
        /// Kind of name.
        kind: &'static str,
        /// Offset of the first zero byte.
        at: usize,
    },
    /// The text has a control character or a line separator.
    #[error(
        "{kind} has the control character U+{:04X} at byte {at}; \
         a name may contain letters, digits, punctuation, symbols and spaces of any \
         script",
        u32::from(*.character)
    )]
    ControlCharacter {
        /// Kind of name.
        kind: &'static str,
        /// The first such character.
        character: char,
        /// Its offset, in bytes.
        at: usize,
    },
    /// The name of a stream has nothing after its first `-`.
    #[error("stream name {text} has no id after its `-`; an id has at least one character")]
    EmptyId {
        /// The rejected text.
        text: String,
    },
    /// The category has a `-`, which separates category and id in the name of a stream.
    #[error(
        "category {text} has a `-`; a category is the part of a stream name before its first `-`"
    )]
    CategoryHasDash {
        /// The rejected text.
        text: String,
    },
    /// The tag's key has a `:`, which separates key and value in a tag.
    #[error("tag key {text} has a `:`; a key is the part of a tag before its first `:`")]
    KeyHasColon {
        /// The rejected text.
        text: String,
    },
}

impl InvalidName {
    /// Applies the rule of new names to a text that is not the name of a stream, type or tag.
    ///
    /// ```
    /// use gesta_store::InvalidName;
    ///
    /// assert!(InvalidName::check("queue", "größen/2 é@x", 255).is_ok());
    /// let refused = InvalidName::check("queue", "a\nb", 255).expect_err("breaks lines");
    /// assert_eq!(
    ///     refused.to_string(),
    ///     "queue has the control character U+000A at byte 1; \
    ///      a name may contain letters, digits, punctuation, symbols and spaces of any script",
    /// );
    /// ```
    ///
    /// # Errors
    ///
    /// The first violation.
    pub fn check(kind: &'static str, text: &str, bytes_max: usize) -> Result<(), Self> {
        check_stored(kind, text, bytes_max)?;
        let mut breaking = text.char_indices().filter(|(_, character)| breaks_lines(*character));
        match breaking.next() {
            Some((at, character)) => Err(Self::ControlCharacter { kind, character, at }),
            None => Ok(()),
        }
    }
}

/// Control characters, and the line and paragraph separators of Unicode.
fn breaks_lines(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// Applies the rule of stored names, which includes those of earlier versions.
pub(crate) fn check_stored(
    kind: &'static str,
    text: &str,
    bytes_max: usize,
) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty { kind });
    }
    if text.len() > bytes_max {
        return Err(InvalidName::TooLong { kind, bytes: text.len(), max: bytes_max });
    }
    match text.bytes().position(|byte| byte == 0) {
        Some(at) => Err(InvalidName::ZeroByte { kind, at }),
        None => Ok(()),
    }
}

/// Declares a checked text type with a cheap `Clone`.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:ident = $bytes:literal) => {
        text_type! {
            $(#[$doc])* $name, $kind, $max = $bytes, of the system: $bytes, stored: $bytes
        }
    };
    (
        $(#[$doc:meta])* $name:ident, $kind:literal, $max:ident = $bytes:literal,
        of the system: $made:literal, stored: $stored:literal
    ) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("Maximum length of a ", $kind, ", in bytes of UTF-8.")]
            pub const $max: usize = $bytes;

            #[doc = concat!("Creates a ", $kind, " from text.")]
            ///
            /// # Errors
            ///
            /// [`InvalidName`] if the text is empty, too long, or has control characters.
            pub fn new(text: impl Into<Arc<str>>) -> Result<Self, InvalidName> {
                let text = text.into();
                $crate::InvalidName::check($kind, &text, $made)?;
                Self::checked(text)
            }

            #[doc = concat!("Creates a ", $kind, " from text that is already stored.")]
            ///
            /// For names from events, files and operators, which an earlier version may have
            /// accepted.
            ///
            /// # Errors
            ///
            /// [`InvalidName`] if the text is empty, longer than a record can hold, or has a zero
            /// byte.
            pub fn stored(text: impl Into<Arc<str>>) -> Result<Self, InvalidName> {
                let text = text.into();
                $crate::name::check_stored($kind, &text, $stored)?;
                Ok(Self(text))
            }

            /// Returns the text.
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
    /// The name of a stream, by convention `category-id`.
    ///
    /// Names that begin with `$` are reserved: `$$name` holds the metadata of the stream `name`.
    /// The limit leaves room for this prefix.
    ///
    /// ```
    /// use gesta_store::StreamName;
    ///
    /// let stream = StreamName::new("order-2024-17")?;
    /// assert_eq!(stream.category().expect("has a dash").as_str(), "order");
    /// assert_eq!(StreamName::new("settings")?.category(), None);
    /// assert!(StreamName::new("order-").is_err(), "the id is empty");
    /// # Ok::<(), gesta_store::InvalidName>(())
    /// ```
    StreamName, "stream name", BYTES_MAX = 1_022, of the system: 1_024, stored: 1_026
}

text_type! {
    /// The part of a stream's name before the first `-`.
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
    /// A label of an event that queries and append conditions match, by convention `key:value`.
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
        // The prefix may repeat: metadata streams have metadata.
        let described = text.trim_start_matches(Self::METADATA_PREFIX);
        let (bytes, max) = (text.len(), Self::BYTES_MAX);
        // A name of its own leaves room for the prefix; a metadata stream is as long as its stream
        // needs.
        if described.len() == bytes && bytes > max {
            return Err(InvalidName::TooLong { kind: "stream name", bytes, max });
        }
        if described.split_once('-').is_some_and(|(_, id)| id.is_empty()) {
            return Err(InvalidName::EmptyId { text: text.as_ref().to_owned() });
        }
        Ok(Self(text))
    }

    /// Rejects a name that leaves no room for its metadata stream, as earlier versions accepted
    /// them. Such a stream can be read, deleted and tombstoned, but accepts no more events.
    pub(crate) fn check_room(&self) -> Result<(), InvalidName> {
        let (bytes, max) = (self.0.len(), Self::BYTES_MAX);
        if bytes > max && !self.0.starts_with(Self::METADATA_PREFIX) {
            return Err(InvalidName::TooLong { kind: "stream name", bytes, max });
        }
        Ok(())
    }

    /// Returns the part before the first `-`, or `None` for a name without `-`, with nothing before
    /// it, or that is reserved.
    #[must_use]
    pub fn category(&self) -> Option<Category> {
        if self.is_system() {
            return None;
        }
        // `-1` has a dash and no category.
        match self.0.split_once('-') {
            Some((category, _)) if !category.is_empty() => Some(Category(category.into())),
            Some(_) | None => None,
        }
    }

    /// Returns `true` if the name begins with `$`.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }

    /// Returns the name of the stream that holds the metadata of this one: `$$` and this name.
    ///
    /// # Errors
    ///
    /// [`InvalidName::TooLong`] if this is already a metadata stream and leaves no room for the
    /// prefix.
    pub fn metadata_stream(&self) -> Result<Self, InvalidName> {
        Self::stored(format!("{}{}", Self::METADATA_PREFIX, self.0))
    }

    /// Returns the stream whose metadata this stream holds, or `None` if it is not a metadata
    /// stream.
    #[must_use]
    pub fn described_stream(&self) -> Option<Self> {
        let described = self.0.strip_prefix(Self::METADATA_PREFIX)?;
        Self::stored(described).ok()
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

    /// Creates the tag `key:value`.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] if the key is empty or has a `:`, or if the whole is not a valid tag.
    pub fn of(key: &str, value: &str) -> Result<Self, InvalidName> {
        InvalidName::check("tag key", key, Self::BYTES_MAX)?;
        if key.contains(':') {
            return Err(InvalidName::KeyHasColon { text: key.to_owned() });
        }
        // The value may have a `:`; the first one ends the key.
        Self::new(format!("{key}:{value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_refused_with_the_reason() {
        assert_eq!(StreamName::new(""), Err(InvalidName::Empty { kind: "stream name" }));
        assert_eq!(
            StreamName::new("a\0b"),
            Err(InvalidName::ZeroByte { kind: "stream name", at: 1 })
        );
        assert_eq!(
            Tag::new("x".repeat(256)),
            Err(InvalidName::TooLong { kind: "tag", bytes: 256, max: 255 })
        );
        assert!(StreamName::new("é".repeat(511)).is_ok(), "1,022 bytes of two-byte letters fit");
        let error = StreamName::new("order-\n1").unwrap_err().to_string();
        assert!(error.contains("U+000A at byte 6"), "{error}");
        let error = StreamName::new("order-").unwrap_err().to_string();
        assert!(error.contains("order- has no id after its `-`"), "{error}");
    }

    #[test]
    fn system_streams_and_dashless_names_have_no_category() {
        for name in ["$$order-1", "settings", "-1"] {
            assert_eq!(StreamName::new(name).unwrap().category(), None, "{name}");
        }
    }

    #[test]
    fn every_name_that_is_made_has_a_metadata_stream() {
        for (bytes, made) in [(1_022, true), (1_023, false), (1_024, false)] {
            let text = "n".repeat(bytes);
            assert_eq!(StreamName::new(text.clone()).is_ok(), made, "{bytes}");
            let stored = StreamName::stored(text.clone()).unwrap();
            let metadata = stored.metadata_stream().unwrap();
            assert_eq!(metadata.described_stream(), Some(stored));
            assert_eq!(StreamName::new(format!("$${text}")).is_ok(), made, "{bytes}");
        }
    }

    #[test]
    fn a_control_character_is_refused_in_every_kind_of_name_and_stays_readable() {
        for text in ["a\nb", "a\r", "a\tb", "\u{7f}", "a\u{85}b", "a\u{2028}b", "\u{1b}[0m"] {
            assert!(StreamName::new(text).is_err(), "{text:?}");
            assert!(EventType::new(text).is_err(), "{text:?}");
            assert!(Category::new(text).is_err(), "{text:?}");
            assert!(Tag::new(text).is_err(), "{text:?}");
            assert!(Tag::of("key", text).is_err(), "{text:?}");
            assert_eq!(StreamName::stored(text).unwrap().as_str(), text);
            assert_eq!(EventType::stored(text).unwrap().as_str(), text);
            assert_eq!(Category::stored(text).unwrap().as_str(), text);
            assert_eq!(Tag::stored(text).unwrap().as_str(), text);
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
