//! Streams as things: their metadata, their end, and listing them.
//!
//! Owns: [`StreamMetadata`] and its JSON form (the names that KurrentDB uses, so that its tools
//! read them), and the requests about whole streams. Always holds: metadata are events of the
//! stream `$$name`, so the log alone is the truth. Not here: how a store finds them.

use std::{num::NonZeroU64, time::Duration};

use serde_json::{Map, Value};

use crate::{
    Category, ExpectedRevision, Invalid, RecordedAt, RecordedEvent, Revision, StoreError,
    StreamName,
};

const MAX_AGE: &str = "$maxAge";
const MAX_COUNT: &str = "$maxCount";
const TRUNCATE_BEFORE: &str = "$tb";
const CACHE_CONTROL: &str = "$cacheControl";
const ACL: &str = "$acl";

/// What holds for a stream as a whole: which of its events reads still show, who may use it.
///
/// Hidden events are not in event queries and append conditions either. A raw
/// [`read_all`](crate::EventStore::read_all) shows them until they are scavenged
/// ([`Visibility`](crate::Visibility)). Revisions never restart.
///
/// ```
/// use gesta_store::{Revision, StreamMetadata};
///
/// let metadata =
///     StreamMetadata { truncate_before: Some(Revision::new(3)), ..StreamMetadata::default() };
/// let json = metadata.to_json();
/// assert_eq!(json, br#"{"$tb":3}"#);
/// assert_eq!(StreamMetadata::from_json(&json)?, metadata);
/// # Ok::<(), gesta_store::StoreError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct StreamMetadata {
    /// Events older than this are hidden; whole seconds.
    pub max_age: Option<Duration>,
    /// Only so many of the last events are shown.
    pub max_count: Option<NonZeroU64>,
    /// Events before this revision are hidden. A head before it means: deleted. Setting it lower
    /// shows events again, except those that a deletion has hidden.
    pub truncate_before: Option<Revision>,
    /// How long the head of the stream may be cached by HTTP clients; whole seconds.
    pub cache_control: Option<Duration>,
    /// Who may use the stream; kept for servers, which enforce it.
    pub acl: Option<Acl>,
    /// Whatever else, by names that do not begin with `$`.
    pub custom: Map<String, Value>,
}

/// Who may use a stream: names of users or roles for each right.
///
/// ```
/// use gesta_store::Acl;
///
/// let acl = Acl { read: vec!["auditors".to_owned()], ..Acl::default() };
/// assert!(acl.append.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Acl {
    /// May read events (`$r`).
    pub read: Vec<String>,
    /// May append (`$w`).
    pub append: Vec<String>,
    /// May delete (`$d`).
    pub delete: Vec<String>,
    /// May read metadata (`$mr`).
    pub read_metadata: Vec<String>,
    /// May set metadata (`$mw`).
    pub set_metadata: Vec<String>,
}

impl StreamMetadata {
    /// The type of the event that sets a stream's metadata, in the stream `$$name`.
    pub const EVENT_TYPE: &str = "$metadata";

    /// The JSON form, an object; what is not set is left out.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Map::new();
        let mut number = |name: &str, value: Option<u64>| {
            if let Some(value) = value {
                json.insert(name.to_owned(), value.into());
            }
        };
        number(MAX_AGE, self.max_age.map(|age| age.as_secs()));
        number(MAX_COUNT, self.max_count.map(NonZeroU64::get));
        number(TRUNCATE_BEFORE, self.truncate_before.map(Revision::number));
        number(CACHE_CONTROL, self.cache_control.map(|age| age.as_secs()));
        if let Some(acl) = &self.acl {
            json.insert(ACL.to_owned(), acl.to_value());
        }
        json.extend(self.custom.clone());
        Value::Object(json).to_string().into_bytes()
    }

    /// Reads the JSON form. Names that begin with `$` and are not known are refused.
    ///
    /// # Errors
    /// [`Invalid::Metadata`] with what cannot be read.
    pub fn from_json(json: &[u8]) -> Result<Self, StoreError> {
        let json: Map<String, Value> =
            serde_json::from_slice(json).map_err(|error| unreadable(error.to_string()))?;
        let mut metadata = Self::default();
        for (name, value) in json {
            metadata.set(name, value)?;
        }
        Ok(metadata)
    }

    fn set(&mut self, name: String, value: Value) -> Result<(), StoreError> {
        match name.as_str() {
            MAX_AGE => self.max_age = Some(Duration::from_secs(number(&name, &value)?)),
            MAX_COUNT => {
                let count = NonZeroU64::new(number(&name, &value)?);
                self.max_count = Some(count.ok_or_else(|| unreadable(format!("{name} is 0")))?);
            }
            TRUNCATE_BEFORE => self.truncate_before = Some(Revision::new(number(&name, &value)?)),
            CACHE_CONTROL => self.cache_control = Some(Duration::from_secs(number(&name, &value)?)),
            ACL => self.acl = Some(Acl::from_value(value)?),
            unknown if unknown.starts_with('$') => {
                return Err(unreadable(format!("{unknown} is not known")));
            }
            _ => drop(self.custom.insert(name, value)),
        }
        Ok(())
    }

    /// Whether a stream with this head is deleted: all its events so far are truncated.
    #[must_use]
    pub fn deletes(&self, head: Revision) -> bool {
        self.truncate_before.is_some_and(|before| before > head)
    }

    /// The first revision that a stream's reads show by count and truncation, given its head.
    #[must_use]
    pub fn first_shown(&self, head: Revision) -> Revision {
        let truncated = self.truncate_before.unwrap_or(Revision::FIRST);
        let counted = self
            .max_count
            .map_or(0, |count| head.number().saturating_add(1).saturating_sub(count.get()));
        truncated.max(Revision::new(counted))
    }

    /// Whether reads of a stream with this head show an event of it, at `now`.
    #[must_use]
    pub fn shows(&self, event: &RecordedEvent, head: Revision, now: RecordedAt) -> bool {
        event.revision >= self.first_shown(head) && !self.expires(event.recorded_at, now)
    }

    /// Whether max age hides an event recorded then, at `now`.
    #[must_use]
    pub fn expires(&self, recorded_at: RecordedAt, now: RecordedAt) -> bool {
        self.max_age.is_some_and(|max| now.since(recorded_at) > max)
    }
}

impl Acl {
    const RIGHTS: [&str; 5] = ["$r", "$w", "$d", "$mr", "$mw"];

    fn to_value(&self) -> Value {
        let lists =
            [&self.read, &self.append, &self.delete, &self.read_metadata, &self.set_metadata];
        let rights = Self::RIGHTS.iter().zip(lists).filter(|(_, names)| !names.is_empty());
        Value::Object(
            rights.map(|(right, names)| ((*right).to_owned(), names.clone().into())).collect(),
        )
    }

    fn from_value(value: Value) -> Result<Self, StoreError> {
        let Value::Object(rights) = value else {
            return Err(unreadable(format!("{ACL} is not an object")));
        };
        let mut acl = Self::default();
        for (right, names) in rights {
            let list = match right.as_str() {
                "$r" => &mut acl.read,
                "$w" => &mut acl.append,
                "$d" => &mut acl.delete,
                "$mr" => &mut acl.read_metadata,
                "$mw" => &mut acl.set_metadata,
                unknown => return Err(unreadable(format!("{ACL} has no right {unknown}"))),
            };
            *list = names_of(&right, names)?;
        }
        Ok(acl)
    }
}

/// One name or a list of names.
fn names_of(right: &str, value: Value) -> Result<Vec<String>, StoreError> {
    let not_names = || unreadable(format!("{right} is neither a name nor a list of names"));
    match value {
        Value::String(name) => Ok(vec![name]),
        Value::Array(names) => names
            .into_iter()
            .map(|name| name.as_str().map(str::to_owned).ok_or_else(not_names))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(not_names()),
    }
}

fn number(name: &str, value: &Value) -> Result<u64, StoreError> {
    value.as_u64().ok_or_else(|| unreadable(format!("{name} is not a whole number")))
}

fn unreadable(reason: String) -> StoreError {
    Invalid::Metadata { reason }.into()
}

/// Where a stream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamState {
    /// No event was ever appended.
    Missing,
    /// It has events and is not deleted.
    Live,
    /// Deleted; an append revives it, and revisions go on.
    Deleted,
    /// Gone for ever.
    Tombstoned,
}

/// What a store knows of one stream.
///
/// ```
/// use gesta_store::{EventStore, StreamName, StreamState, memory::MemoryStore};
///
/// # gesta_store::conformance::block_on(async {
/// let order = StreamName::new("order-1")?;
/// let known = MemoryStore::new().describe_stream(&order).await?;
/// assert_eq!(known.state, StreamState::Missing);
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store answers");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct StreamDescription {
    /// Where it is in its life.
    pub state: StreamState,
    /// Its last revision, hidden or not.
    pub head: Option<Revision>,
    /// Its metadata; the default where none were set.
    pub metadata: StreamMetadata,
    /// The head of the stream `$$name`, where metadata were ever set.
    pub metadata_revision: Option<Revision>,
}

/// Sets a stream's metadata, all of them.
///
/// A deletion stays: where the stream is deleted, or was and has been revived, what the deletion has
/// hidden stays hidden, whatever `truncate_before` is or is left out. A truncation that deleted
/// nothing may be taken back.
///
/// ```
/// use gesta_store::{ExpectedRevision, SetStreamMetadata, StreamMetadata, StreamName};
///
/// let change = SetStreamMetadata {
///     stream: StreamName::new("order-1")?,
///     expected_metadata: ExpectedRevision::Any,
///     metadata: StreamMetadata::default(),
/// };
/// assert_eq!(change.expected_metadata, ExpectedRevision::Any);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SetStreamMetadata {
    /// Which stream, whether it exists yet or not.
    pub stream: StreamName,
    /// What is expected of the stream `$$name`.
    pub expected_metadata: ExpectedRevision,
    /// The metadata from now on.
    pub metadata: StreamMetadata,
}

/// Hides all events of a stream from its reads; an append revives it, and revisions go on.
///
/// ```
/// use gesta_store::{DeleteStream, ExpectedRevision, StreamName};
///
/// let delete = DeleteStream {
///     stream: StreamName::new("order-1")?,
///     expected: ExpectedRevision::StreamExists,
/// };
/// assert_eq!(delete.stream.as_str(), "order-1");
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteStream {
    /// Which stream.
    pub stream: StreamName,
    /// What must hold of it. With `Any`, deleting what is not there is no error.
    pub expected: ExpectedRevision,
}

/// Forbids a stream for ever: reads and appends answer
/// [`StoreError::Deleted`](crate::StoreError::Deleted).
///
/// ```
/// use gesta_store::{ExpectedRevision, StreamName, TombstoneStream};
///
/// let tombstone = TombstoneStream {
///     stream: StreamName::new("order-1")?,
///     expected: ExpectedRevision::Any,
/// };
/// assert_eq!(tombstone.stream.as_str(), "order-1");
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TombstoneStream {
    /// Which stream, whether it exists or not.
    pub stream: StreamName,
    /// What must hold of it.
    pub expected: ExpectedRevision,
}

impl TombstoneStream {
    /// The type of the event that tombstones a stream, in the stream `$$name`.
    pub const EVENT_TYPE: &str = "$tombstone";
}

/// Asks for names of streams, in byte order: those that have events and are not deleted.
///
/// Names that begin with `$` are listed only under a prefix that does.
///
/// ```
/// use gesta_store::ListStreams;
///
/// let first_ten = ListStreams { prefix: "order-".to_owned(), after: None, limit: 10 };
/// assert!(first_ten.after.is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListStreams {
    /// Only names that begin with this; empty: all.
    pub prefix: String,
    /// Only names after this one, so that the last name of a page asks for the next page.
    pub after: Option<StreamName>,
    /// How many at most.
    pub limit: usize,
}

/// Asks for categories, in byte order: those that any event was ever appended to.
///
/// ```
/// use gesta_store::ListCategories;
///
/// let first_ten = ListCategories { after: None, limit: 10 };
/// assert!(first_ten.after.is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListCategories {
    /// Only categories after this one.
    pub after: Option<Category>,
    /// How many at most.
    pub limit: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_survive_their_json_form() {
        let metadata = StreamMetadata {
            max_age: Some(Duration::from_secs(60)),
            max_count: NonZeroU64::new(10),
            truncate_before: Some(Revision::new(3)),
            cache_control: Some(Duration::from_secs(5)),
            acl: Some(Acl { read: vec!["ann".to_owned()], ..Acl::default() }),
            custom: [("team".to_owned(), Value::from("sales"))].into_iter().collect(),
        };
        assert_eq!(StreamMetadata::from_json(&metadata.to_json()).unwrap(), metadata);
    }

    #[test]
    fn unreadable_metadata_are_refused_with_the_reason() {
        for (json, reason) in [
            ("[]", "invalid type"),
            (r#"{"$maxCount":0}"#, "$maxCount is 0"),
            (r#"{"$tb":-1}"#, "$tb is not a whole number"),
            (r#"{"$unknown":1}"#, "$unknown is not known"),
            (r#"{"$acl":{"$x":[]}}"#, "$acl has no right $x"),
        ] {
            let error = StreamMetadata::from_json(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }

    #[test]
    fn count_and_truncation_hide_the_earlier_events() {
        let metadata = StreamMetadata {
            max_count: NonZeroU64::new(2),
            truncate_before: Some(Revision::new(3)),
            ..StreamMetadata::default()
        };
        assert_eq!(metadata.first_shown(Revision::new(3)), Revision::new(3));
        assert_eq!(metadata.first_shown(Revision::new(9)), Revision::new(8));
        assert!(metadata.deletes(Revision::new(2)));
        assert!(!metadata.deletes(Revision::new(3)));
    }
}
