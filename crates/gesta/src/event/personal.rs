//! The fields of an event with personal data.
//!
//! Owns: their description. Not here: who may see them (`gesta-http`), and their erasure, which is
//! the application's: stored bytes never change.

/// A field of an event with personal data, marked with `#[event(personal)]`.
///
/// ```
/// use gesta::{Registry, prelude::*};
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "user-joined")]
/// #[serde(rename_all = "camelCase")]
/// struct UserJoined {
///     user: u32,
///     #[event(tag = "email", personal)]
///     mail_address: String,
/// }
///
/// let fields = UserJoined::personal_fields();
/// assert_eq!(fields.len(), 1);
/// assert_eq!((fields[0].name, fields[0].tag), ("mailAddress", Some("email")));
/// ```
///
/// A field that has no name of its own in JSON does not compile:
///
/// ```compile_fail
/// use gesta::prelude::*;
///
/// #[derive(Serialize, Deserialize, Clone)]
/// struct Name {
///     first: String,
/// }
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "user-joined")]
/// struct UserJoined {
///     #[event(personal)]
///     #[serde(flatten)]
///     name: Name,
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct PersonalField {
    /// Its name in JSON.
    pub name: &'static str,
    /// Key of the tags that have its values, if the field is a tag, too.
    pub tag: Option<&'static str>,
}

impl PersonalField {
    /// Creates the description of a field by its name in JSON and the key of its tag.
    #[must_use]
    pub const fn new(name: &'static str, tag: Option<&'static str>) -> Self {
        Self { name, tag }
    }
}
