//! Streams of which the export lacks what came before.
//!
//! Always holds: a stream is meant only if its state would be folded from the rest as if that was
//! all: not the system's own, not the journals of process managers, which begin with a checkpoint,
//! and none that began anew after its deletion.

use std::collections::{BTreeMap, HashMap};

use gesta_store::{RecordedEvent, Revision, StreamMetadata, StreamName};
use serde_json::{Map, Value};

use crate::{counted::counted, events::Printable};

/// In the metadata of a metadata event: events before this revision were deleted.
const DELETED_BEFORE: &str = "$deletedBefore";
/// In the metadata of an event: all that was in its stream before was hidden.
const BEGINS_ANEW: &str = "beginsAnew";
/// Before the names of process managers, in those of their journals.
const JOURNALS: &str = "processes:journal-";
/// Streams that are named.
const NAMED_MAX: usize = 5;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Truncated {
    /// The first revision that is there, after what is not.
    streams: BTreeMap<StreamName, Revision>,
    /// The revision before which a stream was truncated or deleted, as far as was read.
    hidden: HashMap<StreamName, Revision>,
}

impl Truncated {
    /// Takes an event that does not come next in its stream.
    pub(super) fn take(&mut self, event: &RecordedEvent, has_the_rest: bool) {
        let (stream, revision) = (&event.stream, event.revision);
        let whole = stream.is_system()
            || (stream.as_str().starts_with(JOURNALS) && has_the_rest)
            || noted(event, BEGINS_ANEW) == Some(Value::Bool(true))
            // Whatever was truncated up to here before it came had nothing left.
            || self.hidden.get(stream).is_some_and(|before| *before >= revision);
        if !whole {
            self.streams.entry(stream.clone()).or_insert(revision);
        }
    }

    /// Takes what metadata say of a stream whose last revision so far is `head`.
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
        if all || self.streams.get(described).is_some_and(|first| deleted >= *first) {
            self.streams.remove(described);
        }
    }

    /// Takes that a stream is forbidden for ever.
    pub(super) fn forget(&mut self, described: &StreamName) {
        self.streams.remove(described);
    }

    /// How many there are, and the first few; nothing if there are none.
    pub(super) fn told(&self) -> Option<String> {
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

/// The revision before which a metadata event says that events were deleted.
pub(super) fn deleted_before(event: &RecordedEvent) -> Option<Revision> {
    noted(event, DELETED_BEFORE)?.as_u64().map(Revision::new)
}

/// The metadata of a metadata event, with another revision before which events were deleted.
pub(super) fn with_deleted_before(event: &RecordedEvent, before: Revision) -> Vec<u8> {
    let mut notes: Map<_, _> = serde_json::from_slice(&event.metadata).unwrap_or_default();
    notes.insert(DELETED_BEFORE.to_owned(), before.number().into());
    Value::Object(notes).to_string().into_bytes()
}

fn noted(event: &RecordedEvent, name: &str) -> Option<Value> {
    let mut notes: Map<String, Value> = serde_json::from_slice(&event.metadata).ok()?;
    notes.remove(name)
}
