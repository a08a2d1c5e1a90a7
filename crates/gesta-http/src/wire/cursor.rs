//! Cursors of paged lists.
//!
//! Invariant: a cursor carries the name of its list, so that a cursor of another list is refused.
//! Its contents are opaque to clients: the place after which its page starts, and the places of as
//! many earlier pages as fit, so that pages have links back.

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

/// Maximum length of a cursor, in characters. Proxies take URLs of 8,000 at least.
const CHARS_MAX: usize = 2_400;

/// Maximum length of its contents, in bytes.
const BYTES_MAX: usize = CHARS_MAX / 2;

/// Separates the name of the list and the places.
const SEPARATOR: &str = "\0";

impl Cursor {
    /// Creates a cursor of a list. `place` is the list's own description of the last entry.
    #[must_use]
    pub fn new(list: &str, place: &str) -> Self {
        Self::of_parts(&[list, place])
    }

    /// Creates the cursor of the page after the one that `from` is the start of; `None` stands for
    /// the first page.
    pub(crate) fn after_page(list: &str, place: &str, from: Option<&Self>) -> Self {
        let earlier = from.and_then(Self::text).unwrap_or_default();
        let mut parts = vec![list, place];
        match from {
            // An empty place stands for the first page.
            None => parts.push(""),
            // The name of the list is there already.
            Some(_) => parts.extend(earlier.split(SEPARATOR).skip(1)),
        }
        // The earliest places are left out if there are too many.
        while parts.len() > 2 && parts.iter().map(|part| part.len() + 1).sum::<usize>() > BYTES_MAX
        {
            parts.pop();
        }
        Self::of_parts(&parts)
    }

    fn of_parts(parts: &[&str]) -> Self {
        // Hexadecimal needs no escapes in a URL.
        Self(parts.join(SEPARATOR).bytes().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Returns the cursor of the previous page, `Some(None)` if that is the first page, and `None`
    /// if it is unknown.
    pub(crate) fn previous(&self) -> Option<Option<Self>> {
        let text = self.text()?;
        let mut parts = text.split(SEPARATOR);
        let (list, _) = (parts.next()?, parts.next()?);
        let earlier: Vec<_> = parts.collect();
        match earlier.first() {
            None => None,
            Some(&"") => Some(None),
            Some(_) => {
                let parts: Vec<_> = [list].into_iter().chain(earlier).collect();
                Some(Some(Self::of_parts(&parts)))
            }
        }
    }

    /// Returns the text that clients see.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the text that a client sent.
    pub(crate) fn read_text(text: &str) -> Option<Self> {
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let fits = !text.is_empty() && text.len() <= CHARS_MAX && text.len().is_multiple_of(2);
        (fits && is_hex).then(|| Self(text.to_owned()))
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
        let text = self.text()?;
        let mut parts = text.split(SEPARATOR);
        let (name, place) = (parts.next()?, parts.next()?);
        (name == list).then(|| place.to_owned())
    }

    fn text(&self) -> Option<String> {
        let digits = self.0.as_bytes().chunks(2);
        let bytes = digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
        String::from_utf8(bytes.collect::<Option<Vec<_>>>()?).ok()
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // A malformed cursor is a 400 here. One of another list is a 422, which only its list can
        // detect.
        let odd = || D::Error::custom("must be the `next` of an earlier page, unchanged");
        Self::read_text(&text).ok_or_else(odd)
    }
}

impl Schema for Cursor {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "pattern": format!("^([0-9a-f]{{2}}){{1,{BYTES_MAX}}}$") })
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
    fn a_cursor_keeps_its_length_however_many_pages_it_leads_back() {
        let mut cursor: Option<Cursor> = None;
        for page in 0..100 {
            let place = format!("{page:036}");
            let next = Cursor::after_page("users", &place, cursor.as_ref());
            assert!(next.as_str().len() <= CHARS_MAX, "{}", next.as_str().len());
            assert_eq!(next.place("users").unwrap(), place);
            cursor = Some(next);
        }
        for page in (68..99).rev() {
            cursor = cursor.unwrap().previous().expect("it is not too far back");
            assert_eq!(cursor.as_ref().unwrap().place("users").unwrap(), format!("{page:036}"));
        }
        assert!(cursor.unwrap().previous().is_none(), "too far back");
    }

    #[test]
    fn a_place_of_any_letters_comes_back() {
        let cursor = Cursor::new("users", "åß-1");
        assert_eq!(cursor.place("users").unwrap(), "åß-1");
    }
}
