//! Detection of streams that lack their beginning in an export.
//!
//! Not reported: system streams, journals of process managers and reactors, which start with a
//! checkpoint, and streams that were recreated after a deletion. Their state does not depend on the
//! missing events.

use std::collections::{BTreeMap, HashMap};

use gesta_store::{RecordedEvent, Revision, StreamMetadata, StreamName};
use serde_json::{Map, Value};

use crate::{counted::counted, events::Printable};

/// Member of a metadata event's metadata: events before this revision were deleted.
const DELETED_BEFORE: &str = "$deletedBefore";
/// Member of an event's metadata: all earlier events of its stream were hidden.
const BEGINS_ANEW: &str = "beginsAnew";
/// Prefixes of the journals of process managers and of reactors.
const JOURNALS: [&str; 2] = ["processes:journal-", "reactors:journal-"];
/// Limit on the streams that an error names.
const NAMED_MAX: usize = 5;

/// Streams that lack their beginning.
#[derive(Debug, Default)]
pub(super) struct TruncatedStreams {
    /// First existing revision of each stream.
    streams: BTreeMap<StreamName, Revision>,
    /// Revision before which each stream was truncated or deleted, in the lines read so far.
    hidden: HashMap<StreamName, Revision>,
}

impl TruncatedStreams {
    /// Adds an event whose revision does not continue its stream.
    pub(super) fn take(&mut self, event: &RecordedEvent, has_the_rest: bool) {
        let (stream, revision) = (&event.stream, event.revision);
        // Each of these streams means the same without its older events: of metadata only the last
        // counts, a journal starts with a checkpoint of all that came before, and an event marked
        // as the first after a deletion was appended to an empty state.
        let whole = stream.is_system()
            || (has_the_rest && JOURNALS.iter().any(|journals| stream.as_str().starts_with(journals)))
            || noted(event, BEGINS_ANEW) == Some(Value::Bool(true))
            // The events before this one were hidden, so nothing is missing.
            || self.hidden.get(stream).is_some_and(|before| *before >= revision);
        if !whole {
            self.streams.entry(stream.clone()).or_insert(revision);
        }
    }

    /// Applies stream metadata. `head` is the last revision read so far.
    pub(super) fn describe(
        &mut self,
        described: &StreamName,
        (event, metadata): (&RecordedEvent, &StreamMetadata),
        head: Option<Revision>,
    ) {
        let before = metadata.truncate_before.unwrap_or(Revision::FIRST);
        let deleted = deleted_before(event).unwrap_or(Revision::FIRST);
        let all = head.is_some_and(|head| before > head);
        if before > Revision::FIRST {
            let hidden = self.hidden.entry(described.clone()).or_insert(before);
            *hidden = before.max(*hidden);
        }
        // A stream of which all events are hidden, or that was deleted after the gap, shows readers
        // nothing that depends on the missing events.
        if all || self.streams.get(described).is_some_and(|first| deleted >= *first) {
            self.streams.remove(described);
        }
    }

    /// Removes a tombstoned stream.
    pub(super) fn forget(&mut self, described: &StreamName) {
        self.streams.remove(described);
    }

    /// Returns a description of the streams for an error, or `None` if there are none.
    pub(super) fn description(&self) -> Option<String> {
        let named = self.streams.iter().take(NAMED_MAX);
        let mut named: Vec<_> = named
            .map(|(stream, first)| {
                format!("{} before revision {first}", Printable(stream.as_str()))
            })
            .collect();
        let more = self.streams.len() - named.len();
        if more > 0 {
            named.push(format!("{more} more"));
        }
        let streams = counted(self.streams.len() as u64, "stream");
        (!self.streams.is_empty()).then(|| format!("{streams}: {}", named.join(", ")))
    }
}

/// Returns the revision before which events were deleted, from a metadata event.
pub(super) fn deleted_before(event: &RecordedEvent) -> Option<Revision> {
    noted(event, DELETED_BEFORE)?.as_u64().map(Revision::new)
}

/// Returns the metadata of a metadata event with another deletion revision.
pub(super) fn with_deleted_before(event: &RecordedEvent, before: Revision) -> Vec<u8> {
    let mut notes: Map<_, _> = serde_json::from_slice(&event.metadata).unwrap_or_default();
    notes.insert(DELETED_BEFORE.to_owned(), before.number().into());
    Value::Object(notes).to_string().into_bytes()
}

fn noted(event: &RecordedEvent, name: &str) -> Option<Value> {
    let mut notes: Map<String, Value> = serde_json::from_slice(&event.metadata).ok()?;
    notes.remove(name)
}
