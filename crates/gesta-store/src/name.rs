//! Names: streams, categories, event types, tags.
//!
//! Owns: what a name may be, one rule for all of them. A name is made of UTF-8 of any script, with
//! spaces, slashes and signs, and is compared byte by byte: neither case nor Unicode's equivalences
//! make two names one. Refused when a name is made ([`StreamName::new`]): an empty text, one over the
//! limit, control characters and line separators, and a stream whose id is empty (`order-`) or that
//! has no room for the `$$` of its metadata stream.
//!
//! Always holds: a value of these types is not empty, within the limit of a record and without a
//! zero byte, so nobody checks again. Names that earlier versions made are read by
//! [`StreamName::stored`], whatever the rule is today. Cheap to clone (one shared allocation). Not
//! here: the names that a store has seen.

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
    /// The text has a character that breaks lines or controls terminals.
    #[error(
        "{what} has the control character U+{:04X} at byte {at}; a name has letters, digits, signs and spaces of any script",
        u32::from(*.character)
    )]
    ControlCharacter {
        /// Which kind of name was wanted.
        what: &'static str,
        /// The first one.
        character: char,
        /// Where it is, in bytes.
        at: usize,
    },
    /// A stream's name with nothing after the first `-`, where its id belongs.
    #[error("stream name {text} has no id after its `-`; an id has at least one character")]
    EmptyId {
        /// The text.
        text: String,
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

impl InvalidName {
    /// Checks a text by the rule for names that are made, for names that the store does not know of.
    ///
    /// ```
    /// use gesta_store::InvalidName;
    ///
    /// assert!(InvalidName::check("queue", "größen/2 é@x", 255).is_ok());
    /// let refused = InvalidName::check("queue", "a\nb", 255).expect_err("breaks lines");
    /// assert_eq!(
    ///     refused.to_string(),
    ///     "queue has the control character U+000A at byte 1; \
    ///      a name has letters, digits, signs and spaces of any script",
    /// );
    /// ```
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(what: &'static str, text: &str, bytes_max: usize) -> Result<(), Self> {
        check_stored(what, text, bytes_max)?;
        let mut breaking = text.char_indices().filter(|(_, character)| breaks_lines(*character));
        match breaking.next() {
            Some((at, character)) => Err(Self::ControlCharacter { what, character, at }),
            None => Ok(()),
        }
    }
}

/// Control characters, and Unicode's separators of lines and paragraphs.
fn breaks_lines(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// The rule of records: what earlier versions let pass is let pass.
pub(crate) fn check_stored(
    what: &'static str,
    text: &str,
    bytes_max: usize,
) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty { what });
    }
    if text.len() > bytes_max {
        return Err(InvalidName::TooLong { what, bytes: text.len(), max: bytes_max });
    }
    match text.bytes().position(|byte| byte == 0) {
        Some(at) => Err(InvalidName::ZeroByte { what, at }),
        None => Ok(()),
    }
}

/// Declares a checked, cheaply cloned text: one rule, one implementation for all of them.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:ident = $bytes:literal) => {
        text_type! {
            $(#[$doc])* $name, $what, $max = $bytes, of the system: $bytes, stored: $bytes
        }
    };
    (
        $(#[$doc:meta])* $name:ident, $what:literal, $max:ident = $bytes:literal,
        of the system: $made:literal, stored: $stored:literal
    ) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("The longest ", $what, ", in bytes of UTF-8.")]
            pub const $max: usize = $bytes;

            #[doc = concat!("Checks the text and makes it a ", $what, ".")]
            ///
            /// # Errors
            /// [`InvalidName`] when the text is empty or too long, or has control characters.
            pub fn new(text: impl Into<Arc<str>>) -> Result<Self, InvalidName> {
                let text = text.into();
                $crate::InvalidName::check($what, &text, $made)?;
                Self::checked(text)
            }

            #[doc = concat!("A ", $what, " that is stored already.")]
            ///
            /// For names read from events, files and operators, which earlier versions may have made
            /// by another rule.
            ///
            /// # Errors
            /// [`InvalidName`] when the text is empty, longer than any record has it, or has a zero
            /// byte.
            pub fn stored(text: impl Into<Arc<str>>) -> Result<Self, InvalidName> {
                let text = text.into();
                $crate::name::check_stored($what, &text, $stored)?;
                Ok(Self(text))
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
    /// Any UTF-8 without control characters, compared byte by byte. Names that begin with `$` are the
    /// system's; `$$name` holds the metadata of the stream `name`, and every name leaves room for
    /// that.
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
        let described = text.trim_start_matches(Self::METADATA_PREFIX);
        let (bytes, max) = (text.len(), Self::BYTES_MAX);
        if described.len() == bytes && bytes > max {
            return Err(InvalidName::TooLong { what: "stream name", bytes, max });
        }
        if described.split_once('-').is_some_and(|(_, id)| id.is_empty()) {
            return Err(InvalidName::EmptyId { text: text.as_ref().to_owned() });
        }
        Ok(Self(text))
    }

    /// Refuses a name that leaves no room for its metadata stream, as earlier versions made them:
    /// such a stream is read, deleted and tombstoned, and gets no more events.
    pub(crate) fn check_room(&self) -> Result<(), InvalidName> {
        let (bytes, max) = (self.0.len(), Self::BYTES_MAX);
        if bytes > max && !self.0.starts_with(Self::METADATA_PREFIX) {
            return Err(InvalidName::TooLong { what: "stream name", bytes, max });
        }
        Ok(())
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
    /// [`InvalidName::TooLong`] when the name is itself that of a metadata stream and has no room.
    pub fn metadata_stream(&self) -> Result<Self, InvalidName> {
        Self::stored(format!("{}{}", Self::METADATA_PREFIX, self.0))
    }

    /// The stream that this one holds the metadata of, if it is a metadata stream.
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

    /// The tag `key:value`.
    ///
    /// # Errors
    /// [`InvalidName`] when the key is empty or has a `:`, or the whole is not a tag.
    pub fn of(key: &str, value: &str) -> Result<Self, InvalidName> {
        InvalidName::check("tag key", key, Self::BYTES_MAX)?;
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
