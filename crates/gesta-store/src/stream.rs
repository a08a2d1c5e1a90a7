//! Streams as a whole: metadata, deletion, tombstones and listing.
//!
//! Owns: [`StreamMetadata`] with its JSON form (the names of KurrentDB, so that its tools can read
//! them), and the requests about streams. Metadata are events of the stream `$$name`: the log is
//! the only source of truth. Not here: how a store finds the current metadata.

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
/// The group of those who have every right.
const ADMINS: &str = "$admins";

/// Metadata of a stream: which of its events are hidden, and who may use it.
///
/// Hidden events are not returned by reads of the stream, and do not match event queries and append
/// conditions. [`read_all`](crate::EventStore::read_all) returns them until they are scavenged,
/// unless it asks for [`Visibility::Visible`](crate::Visibility). Revisions are not affected.
///
/// ```
/// use gesta_store::{Revision, StreamMetadata};
///
/// let metadata = StreamMetadata::default().truncate_before(Revision::new(3));
/// let json = metadata.to_json();
/// assert_eq!(json, br#"{"$tb":3}"#);
/// assert_eq!(StreamMetadata::from_json(&json)?, metadata);
/// # Ok::<(), gesta_store::StoreError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
#[non_exhaustive]
pub struct StreamMetadata {
    /// Hides events older than this. Whole seconds.
    pub max_age: Option<Duration>,
    /// Hides all but the last n events.
    pub max_count: Option<NonZeroU64>,
    /// Hides events before this revision. Beyond the head it deletes the stream. A lower value
    /// shows events again, except those that a deletion has hidden.
    pub truncate_before: Option<Revision>,
    /// Time for which HTTP clients may cache the head of the stream. Whole seconds.
    pub cache_control: Option<Duration>,
    /// Access rights. Stored for servers, which enforce them; stores do not.
    pub acl: Option<Acl>,
    /// Other entries. Names that begin with `$` are reserved for stores and servers; those that
    /// this version does not know are kept here and come back unchanged.
    pub custom: Map<String, Value>,
}

/// Access rights of a stream: the users and roles that have each right.
///
/// A right without names is not set. An empty list in JSON is read as one of `$admins`.
///
/// ```
/// use gesta_store::Acl;
///
/// let mut acl = Acl::default();
/// acl.read.push("auditors".to_owned());
/// assert!(acl.append.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Acl {
    /// Read events (`$r`).
    pub read: Vec<String>,
    /// Append events (`$w`).
    pub append: Vec<String>,
    /// Delete the stream (`$d`).
    pub delete: Vec<String>,
    /// Read the metadata (`$mr`).
    pub read_metadata: Vec<String>,
    /// Set the metadata (`$mw`).
    pub set_metadata: Vec<String>,
}

impl StreamMetadata {
    /// Type of the event in `$$name` that sets the metadata.
    pub const EVENT_TYPE: &str = "$metadata";
    /// Names of the fields in the JSON form. Other names are kept in [`custom`](Self::custom).
    pub const NAMES: [&str; 5] = [MAX_AGE, MAX_COUNT, TRUNCATE_BEFORE, CACHE_CONTROL, ACL];

    /// Hides events of the stream that are older.
    #[must_use]
    pub fn max_age(self, age: impl Into<Option<Duration>>) -> Self {
        Self { max_age: age.into(), ..self }
    }

    /// Hides all but the last events of the stream.
    #[must_use]
    pub fn max_count(self, events: impl Into<Option<NonZeroU64>>) -> Self {
        Self { max_count: events.into(), ..self }
    }

    /// Hides the events before this revision.
    #[must_use]
    pub fn truncate_before(self, revision: impl Into<Option<Revision>>) -> Self {
        Self { truncate_before: revision.into(), ..self }
    }

    /// Sets how long clients may cache the head of the stream.
    #[must_use]
    pub fn cache_control(self, age: impl Into<Option<Duration>>) -> Self {
        Self { cache_control: age.into(), ..self }
    }

    /// Sets the access control list.
    #[must_use]
    pub fn acl(self, acl: impl Into<Option<Acl>>) -> Self {
        Self { acl: acl.into(), ..self }
    }

    /// Sets the application's own entries.
    #[must_use]
    pub fn custom(self, custom: Map<String, Value>) -> Self {
        Self { custom, ..self }
    }

    /// Encodes the metadata as a JSON object. Unset values are left out.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // The fields win over custom entries of the same name.
        let mut json = self.custom.clone();
        json.retain(|name, _| !Self::NAMES.contains(&name.as_str()));
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
        Value::Object(json).to_string().into_bytes()
    }

    /// Decodes the metadata from JSON.
    ///
    /// # Errors
    ///
    /// [`Invalid::Metadata`] if the JSON is not an object, or a value has the wrong type.
    pub fn from_json(json: &[u8]) -> Result<Self, StoreError> {
        let json: Map<String, Value> =
            serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))?;
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
                self.max_count = Some(
                    count.ok_or_else(|| malformed(format!("{name} must be at least 1; got 0")))?,
                );
            }
            TRUNCATE_BEFORE => self.truncate_before = Some(Revision::new(number(&name, &value)?)),
            CACHE_CONTROL => self.cache_control = Some(Duration::from_secs(number(&name, &value)?)),
            ACL => self.acl = Some(Acl::from_value(value)?),
            // Unknown names too: a newer version or another tool may have meant them.
            _ => drop(self.custom.insert(name, value)),
        }
        Ok(())
    }

    /// Returns `true` if a stream with this head is deleted: all its events are truncated.
    #[must_use]
    pub fn deletes(&self, head: Revision) -> bool {
        self.truncate_before.is_some_and(|before| before > head)
    }

    /// Returns the first revision that count and truncation leave visible in a stream with this
    /// head.
    #[must_use]
    pub fn first_visible(&self, head: Revision) -> Revision {
        // Truncation beyond the head hides everything: the stream is deleted.
        let truncated = self.truncate_before.unwrap_or(Revision::FIRST);
        // The last n revisions are `head + 1 - n` and later.
        let counted = self
            .max_count
            .map_or(0, |count| head.number().saturating_add(1).saturating_sub(count.get()));
        // The stricter of the two applies.
        truncated.max(Revision::new(counted))
    }

    /// Returns `true` if a read at `now` of a stream with this head returns the event.
    #[must_use]
    pub fn is_visible(&self, event: &RecordedEvent, head: Revision, now: RecordedAt) -> bool {
        event.revision >= self.first_visible(head) && !self.is_expired(event.recorded_at, now)
    }

    /// Returns `true` if max age hides, at `now`, an event recorded at `recorded_at`.
    #[must_use]
    pub fn is_expired(&self, recorded_at: RecordedAt, now: RecordedAt) -> bool {
        self.max_age.is_some_and(|max| now.since(recorded_at) > max)
    }
}

impl Acl {
    const RIGHTS: [&str; 5] = ["$r", "$w", "$d", "$mr", "$mw"];

    fn to_value(&self) -> Value {
        let lists =
            [&self.read, &self.append, &self.delete, &self.read_metadata, &self.set_metadata];
        // A right without names is left out.
        let rights = Self::RIGHTS.iter().zip(lists).filter(|(_, names)| !names.is_empty());
        Value::Object(
            rights.map(|(right, names)| ((*right).to_owned(), names.clone().into())).collect(),
        )
    }

    fn from_value(value: Value) -> Result<Self, StoreError> {
        let Value::Object(rights) = value else {
            return Err(malformed(format!("{ACL} must be an object")));
        };
        let mut acl = Self::default();
        for (right, names) in rights {
            let list = match right.as_str() {
                "$r" => &mut acl.read,
                "$w" => &mut acl.append,
                "$d" => &mut acl.delete,
                "$mr" => &mut acl.read_metadata,
                "$mw" => &mut acl.set_metadata,
                unknown => {
                    return Err(malformed(format!(
                        "{ACL} has no right {unknown}; expected $r, $w, $d, $mr or $mw"
                    )));
                }
            };
            *list = names_of(&right, names)?;
        }
        Ok(acl)
    }
}

/// Decodes a name or a list of names.
fn names_of(right: &str, value: Value) -> Result<Vec<String>, StoreError> {
    let not_names = || malformed(format!("{right} must be a name or a list of names"));
    match value {
        // KurrentDB writes a single name without a list.
        Value::String(name) => Ok(vec![name]),
        // Administrators alone, who have every right. A right without names would be left out,
        // and so be given to all by default.
        Value::Array(names) if names.is_empty() => Ok(vec![ADMINS.to_owned()]),
        Value::Array(names) => names
            .into_iter()
            .map(|name| name.as_str().map(str::to_owned).ok_or_else(not_names))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(not_names()),
    }
}

fn number(name: &str, value: &Value) -> Result<u64, StoreError> {
    value.as_u64().ok_or_else(|| malformed(format!("{name} must be a non-negative integer")))
}

fn malformed(reason: String) -> StoreError {
    Invalid::Metadata { reason }.into()
}

/// The state of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamState {
    /// No event was ever appended.
    Missing,
    /// The stream has events and is not deleted.
    Live,
    /// All events are hidden. An append revives the stream, and its revisions continue.
    Deleted,
    /// The name can never be used again.
    Tombstoned,
}

/// The state, head and metadata of a stream.
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
#[non_exhaustive]
pub struct StreamDescription {
    /// The stream's state.
    pub state: StreamState,
    /// The last revision, hidden or not.
    pub head: Option<Revision>,
    /// The metadata; the default if none were set.
    pub metadata: StreamMetadata,
    /// The head of the stream `$$name`, or `None` if no metadata were ever set.
    pub metadata_revision: Option<Revision>,
}

impl StreamDescription {
    /// Describes a stream in this state, without a head and metadata.
    #[must_use]
    pub fn new(state: StreamState) -> Self {
        let metadata = StreamMetadata::default();
        Self { state, head: None, metadata, metadata_revision: None }
    }

    /// Sets the last revision, hidden or not.
    #[must_use]
    pub fn head(self, head: impl Into<Option<Revision>>) -> Self {
        Self { head: head.into(), ..self }
    }

    /// Sets the metadata, and the head of the stream `$$name`.
    #[must_use]
    pub fn metadata(self, metadata: StreamMetadata, at: impl Into<Option<Revision>>) -> Self {
        Self { metadata, metadata_revision: at.into(), ..self }
    }
}

/// A request that replaces the metadata of a stream.
///
/// A deletion persists: events that it has hidden stay hidden, whatever `truncate_before` says. A
/// truncation that did not delete the stream can be undone.
///
/// ```
/// use gesta_store::{ExpectedRevision, SetStreamMetadata, StreamMetadata, StreamName};
///
/// let order = StreamName::new("order-1")?;
/// let metadata = StreamMetadata::default();
/// let change = SetStreamMetadata::new(order, ExpectedRevision::Any, metadata);
/// assert_eq!(change.expected_metadata, ExpectedRevision::Any);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SetStreamMetadata {
    /// The stream's name. The stream need not exist.
    pub stream: StreamName,
    /// The expected revision of the stream `$$name`.
    pub expected_metadata: ExpectedRevision,
    /// The new metadata.
    pub metadata: StreamMetadata,
}

impl SetStreamMetadata {
    /// Replaces the metadata of a stream if the stream `$$name` is as expected.
    #[must_use]
    pub const fn new(
        stream: StreamName,
        expected_metadata: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Self {
        Self { stream, expected_metadata, metadata }
    }
}

/// A request to delete a stream: hides all its events.
///
/// An append revives the stream, and its revisions continue.
///
/// ```
/// use gesta_store::{DeleteStream, ExpectedRevision, StreamName};
///
/// let delete = DeleteStream::new(StreamName::new("order-1")?, ExpectedRevision::StreamExists);
/// assert_eq!(delete.stream.as_str(), "order-1");
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteStream {
    /// The stream's name.
    pub stream: StreamName,
    /// The expected revision. With [`ExpectedRevision::Any`] the deletion of a missing stream
    /// succeeds.
    pub expected: ExpectedRevision,
}

impl DeleteStream {
    /// Deletes a stream if it is as expected.
    #[must_use]
    pub const fn new(stream: StreamName, expected: ExpectedRevision) -> Self {
        Self { stream, expected }
    }
}

/// A request to tombstone a stream: reads and appends then return
/// [`StoreError::Deleted`](crate::StoreError::Deleted). Cannot be undone.
///
/// ```
/// use gesta_store::{ExpectedRevision, StreamName, TombstoneStream};
///
/// let tombstone = TombstoneStream::new(StreamName::new("order-1")?, ExpectedRevision::Any);
/// assert_eq!(tombstone.stream.as_str(), "order-1");
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TombstoneStream {
    /// The stream's name. The stream need not exist.
    pub stream: StreamName,
    /// The expected revision.
    pub expected: ExpectedRevision,
}

impl TombstoneStream {
    /// Type of the event in `$$name` that tombstones the stream.
    pub const EVENT_TYPE: &str = "$tombstone";

    /// Tombstones a stream if it is as expected.
    #[must_use]
    pub const fn new(stream: StreamName, expected: ExpectedRevision) -> Self {
        Self { stream, expected }
    }
}

/// A request for names of streams that have events and are neither deleted nor tombstoned, in byte
/// order.
///
/// Names that begin with `$` are listed only if the prefix does.
///
/// ```
/// use gesta_store::ListStreams;
///
/// let first_ten = ListStreams::all().prefix("order-").limit(10);
/// assert!(first_ten.after.is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListStreams {
    /// Prefix of the names; empty for all.
    pub prefix: String,
    /// Lists names after this one: pass the last name of a page to get the next page.
    pub after: Option<StreamName>,
    /// Maximum number of names.
    pub limit: usize,
}

impl ListStreams {
    /// Lists the names of all streams but the system's.
    #[must_use]
    pub const fn all() -> Self {
        Self { prefix: String::new(), after: None, limit: usize::MAX }
    }

    /// Lists only names with this prefix.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Lists names after this one: pass the last name of a page to get the next page.
    #[must_use]
    pub fn after(self, name: impl Into<Option<StreamName>>) -> Self {
        Self { after: name.into(), ..self }
    }

    /// Limits the number of names.
    #[must_use]
    pub fn limit(self, names: usize) -> Self {
        Self { limit: names, ..self }
    }
}

/// A request for categories, in byte order. A category is listed once a stream in it has had an
/// event.
///
/// ```
/// use gesta_store::ListCategories;
///
/// let first_ten = ListCategories::all().limit(10);
/// assert!(first_ten.after.is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListCategories {
    /// Lists categories after this one.
    pub after: Option<Category>,
    /// Maximum number of categories.
    pub limit: usize,
}

impl ListCategories {
    /// Lists all categories.
    #[must_use]
    pub const fn all() -> Self {
        Self { after: None, limit: usize::MAX }
    }

    /// Lists categories after this one.
    #[must_use]
    pub fn after(self, category: impl Into<Option<Category>>) -> Self {
        Self { after: category.into(), ..self }
    }

    /// Limits the number of categories.
    #[must_use]
    pub fn limit(self, categories: usize) -> Self {
        Self { limit: categories, ..self }
    }
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
    fn unknown_system_names_are_kept_and_known_ones_come_from_their_fields() {
        let json = br#"{"$tb":3,"$unknown":{"a":[1]},"team":"sales"}"#;
        let mut metadata = StreamMetadata::from_json(json).unwrap();
        assert_eq!(metadata.to_json(), json);
        metadata.custom.insert(TRUNCATE_BEFORE.to_owned(), 9.into());
        assert_eq!(metadata.to_json(), json);
    }

    #[test]
    fn a_right_of_nobody_is_one_of_administrators_and_not_of_everybody() {
        let metadata = StreamMetadata::from_json(br#"{"$acl":{"$r":[]}}"#).unwrap();
        assert_eq!(metadata.acl.as_ref().unwrap().read, ["$admins"]);
        assert_eq!(metadata.to_json(), br#"{"$acl":{"$r":["$admins"]}}"#);
    }

    #[test]
    fn unreadable_metadata_are_refused_with_the_reason() {
        for (json, reason) in [
            ("[]", "invalid type"),
            (r#"{"$maxCount":0}"#, "$maxCount must be at least 1"),
            (r#"{"$tb":-1}"#, "$tb must be a non-negative integer"),
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
        assert_eq!(metadata.first_visible(Revision::new(3)), Revision::new(3));
        assert_eq!(metadata.first_visible(Revision::new(9)), Revision::new(8));
        assert!(metadata.deletes(Revision::new(2)));
        assert!(!metadata.deletes(Revision::new(3)));
    }
}
