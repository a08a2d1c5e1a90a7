//! Keys of tags, shared by the events that have a tag and the decisions that read by it.
//!
//! Invariant: a key is checked when it is compiled. Not here: tags (`gesta_store::Tag`).

use std::{
    fmt::{self, Display},
    marker::PhantomData,
};

use gesta_store::{InvalidName, Tag};

/// The key of a tag, with the type of its values.
///
/// A constant that events and decisions share, so that neither can mistype the key nor give a value
/// of another type:
///
/// ```
/// use gesta::{Reads, Selection, TagKey, prelude::*};
///
/// const EMAIL: TagKey<String> = TagKey::new("email");
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "user-created")]
/// struct UserCreated {
///     #[event(tag = EMAIL)]
///     email: Option<String>,
/// }
///
/// #[derive(EventSet, Clone)]
/// enum EmailEvent {
///     Created(UserCreated),
/// }
///
/// #[derive(Default)]
/// struct EmailOwners(u32);
///
/// impl Aggregate for EmailOwners {
///     const CATEGORY: &'static str = "email";
///     type Id = String;
///     type Event = EmailEvent;
///
///     fn evolve(&mut self, _: &EmailEvent) {
///         self.0 += 1;
///     }
///
///     fn reads(email: &String) -> Reads<EmailEvent> {
///         Selection::tagged(EMAIL, email).into()
///     }
/// }
///
/// let created = UserCreated { email: Some("ann@example.org".to_owned()) };
/// assert_eq!(created.tags()?, [EMAIL.tag(&"ann@example.org".to_owned())?]);
/// # Ok::<(), gesta::InvalidName>(())
/// ```
///
/// A key that cannot be one does not compile:
///
/// ```compile_fail
/// const EMAIL: gesta::TagKey<String> = gesta::TagKey::new("user:email");
/// ```
pub struct TagKey<V: ?Sized> {
    key: &'static str,
    values: PhantomData<fn(&V)>,
}

impl<V: ?Sized> TagKey<V> {
    /// Creates a key. Stable: recorded events keep it.
    ///
    /// # Panics
    /// If the key is empty or has a `:` or a control character. In a constant, this is an error of
    /// the compiler.
    #[must_use]
    pub const fn new(key: &'static str) -> Self {
        assert!(!key.is_empty(), "a tag's key must not be empty");
        let mut rest = key.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            assert!(
                byte != b':',
                "a tag's key must not contain `:`, which separates key and value"
            );
            assert!(
                byte >= b' ' && byte != 0x7f,
                "a tag's key must not contain control characters"
            );
            rest = after;
        }
        Self { key, values: PhantomData }
    }

    /// Returns the key as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.key
    }
}

impl<V: Display + ?Sized> TagKey<V> {
    /// Returns the tag with this key and a value.
    ///
    /// # Errors
    /// [`InvalidName`] if the value does not fit into a tag: it may be the caller's error.
    pub fn tag(self, value: &V) -> Result<Tag, InvalidName> {
        Tag::of(self.key, &value.to_string())
    }
}

impl<V: ?Sized> Clone for TagKey<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: ?Sized> Copy for TagKey<V> {}

impl<V: ?Sized> fmt::Debug for TagKey<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TagKey").field(&self.key).finish()
    }
}
