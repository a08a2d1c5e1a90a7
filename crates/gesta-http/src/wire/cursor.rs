//! Cursors of paged lists.
//!
//! Invariant: a cursor carries the name of its list, so that a cursor of another list is refused.
//! Its contents are opaque to clients.

use gesta::store::InvalidName;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Value, json};

use crate::{Problem, Schema, Schemas};

/// The start of the next page of a list, opaque to clients.
///
/// ```
/// use gesta_http::Cursor;
///
/// let cursor = Cursor::new("users", "ann");
/// let carried: Cursor = serde_json::from_value(serde_json::to_value(&cursor)?)?;
/// assert_eq!(carried.place("users").ok().as_deref(), Some("ann"));
/// assert!(carried.place("products").is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Cursor(String);

/// Maximum length of a cursor, in characters.
const CHARS_MAX: usize = 600;

impl Cursor {
    /// Creates a cursor of a list. `place` is the list's own description of the last entry.
    #[must_use]
    pub fn new(list: &str, place: &str) -> Self {
        // Hexadecimal needs no escapes in a URL. A zero byte ends the name of the list.
        let bytes = list.bytes().chain([0]).chain(place.bytes());
        Self(bytes.map(|byte| format!("{byte:02x}")).collect())
    }

    /// Returns the place.
    ///
    /// # Errors
    /// A 422 (`unknown-cursor`) if the cursor belongs to another list.
    pub fn place(&self, list: &str) -> Result<String, Problem> {
        self.read(list).ok_or_else(Self::unknown)
    }

    /// Returns the place as parsed by the list.
    ///
    /// # Errors
    /// A 422 (`unknown-cursor`) if the cursor belongs to another list or `parse` returns `None`.
    pub fn at<T>(&self, list: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Problem> {
        self.read(list).and_then(|place| parse(&place)).ok_or_else(Self::unknown)
    }

    fn unknown() -> Problem {
        let detail = "`cursor` must be the `next` of a page of this list; leave it out to start at the \
                      first page";
        Problem::unprocessable("unknown-cursor", detail)
    }

    fn read(&self, list: &str) -> Option<String> {
        let digits = self.0.as_bytes().chunks(2);
        let bytes = digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
        let text = String::from_utf8(bytes.collect::<Option<Vec<_>>>()?).ok()?;
        let (name, place) = text.split_once('\0')?;
        (name == list).then(|| place.to_owned())
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.is_empty() || text.len() > CHARS_MAX || text.len() % 2 == 1 || !is_hex {
            // A malformed cursor is a 400 here. One of another list is a 422, which only its list
            // can detect.
            return Err(D::Error::custom("must be the `next` of an earlier page, unchanged"));
        }
        Ok(Self(text))
    }
}

impl Schema for Cursor {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "pattern": "^([0-9a-f]{2}){1,300}$" })
    }
}

/// One page of a list.
///
/// ```
/// use gesta_http::{Cursor, Paged};
///
/// let page = Paged::new(vec![1, 2], Cursor::new("numbers", "2"));
/// assert_eq!(serde_json::to_value(page)?["items"], serde_json::json!([1, 2]));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Paged<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Cursor of the next page; `None` on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

impl<T> Paged<T> {
    /// Creates a page, with the cursor of the next one unless it is the last.
    pub fn new(items: Vec<T>, next: impl Into<Option<Cursor>>) -> Self {
        Self { items, next: next.into() }
    }
}

impl<T: Schema> Schema for Paged<T> {
    fn schema(schemas: &mut Schemas) -> Value {
        json!({
            "type": "object",
            "properties": {
                "items": { "type": "array", "items": T::schema(schemas) },
                "next": Cursor::schema(schemas),
            },
            "required": ["items"],
            "additionalProperties": false,
        })
    }
}

/// The number of entries of one page, from 1 to [`PageLimit::MAX`]; 50 by default.
///
/// ```
/// use gesta_http::PageLimit;
///
/// let limit: PageLimit = serde_json::from_str("500")?;
/// assert_eq!(limit.number(), 500);
/// assert!(serde_json::from_str::<PageLimit>("501").is_err());
/// assert_eq!(PageLimit::of(10_000).number(), 500);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit(u16);

impl PageLimit {
    /// Maximum number of entries.
    pub const MAX: u16 = 500;

    /// Limits a number of entries to 1 to [`MAX`](Self::MAX).
    #[must_use]
    pub fn of(entries: u64) -> Self {
        Self(u16::try_from(entries).unwrap_or(Self::MAX).clamp(1, Self::MAX))
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(50)
    }
}

impl<'de> Deserialize<'de> for PageLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The integer type would report its own range.
        let odd = |_| D::Error::custom(format!("must be a whole number from 1 to {}", Self::MAX));
        match u16::deserialize(deserializer).map_err(odd)? {
            number @ 1..=Self::MAX => Ok(Self(number)),
            number => {
                Err(D::Error::custom(format!("must be between 1 and {}; got {number}", Self::MAX)))
            }
        }
    }
}

impl Schema for PageLimit {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": Self::MAX, "default": 50 })
    }
}

/// The page of a list that is asked for.
///
/// ```
/// use gesta_http::PageRequest;
///
/// let page: PageRequest<String> = PageRequest::first(2);
/// assert_eq!((page.after, page.limit.number()), (None, 2));
/// assert_eq!(PageRequest::after(7, 2).after, Some(7));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageRequest<K> {
    /// Key of the previous page's last entry; `None` for the first page.
    pub after: Option<K>,
    /// Maximum number of entries.
    pub limit: PageLimit,
}

impl<K> PageRequest<K> {
    /// Asks for the first page, of at most `limit` entries.
    #[must_use]
    pub fn first(limit: u64) -> Self {
        Self { after: None, limit: PageLimit::of(limit) }
    }

    /// Asks for the page after a key, of at most `limit` entries.
    #[must_use]
    pub fn after(key: K, limit: u64) -> Self {
        Self { after: Some(key), limit: PageLimit::of(limit) }
    }
}

impl<K> Default for PageRequest<K> {
    fn default() -> Self {
        Self { after: None, limit: PageLimit::default() }
    }
}

/// Returns the problem of a name in a URL that no store accepts.
pub(crate) fn invalid_name(field: &str, error: &InvalidName) -> Problem {
    Problem::invalid(field, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_cursor_is_refused_and_another_lists_is_unknown() {
        for odd in ["", "0", "0g", "AB", "xyz!"] {
            assert!(serde_json::from_value::<Cursor>(json!(odd)).is_err(), "{odd}");
        }
        let other: Cursor = serde_json::from_value(json!("00ff")).unwrap();
        let problem = other.place("users").unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.code()), (422, "unknown-cursor"));
    }

    #[test]
    fn a_place_of_any_letters_comes_back() {
        let cursor = Cursor::new("users", "åß-1");
        assert_eq!(cursor.place("users").unwrap(), "åß-1");
    }
}
