//! Knowledge of hidden events: truncations, limits and ends of streams.
//!
//! Owns: [`HiddenStreams`]. Invariants: it has every change of metadata up to its position; its
//! memory grows with the number of streams whose metadata hide something, and with nothing else.
//! Not here: the reads that bring it up to date ([`visibility`](crate::visibility)).

use std::collections::HashMap;

use gesta_store::{
    Position, RecordedAt, RecordedEvent, Revision, StreamMetadata, StreamName, TombstoneStream,
};

use crate::wire::stream_metadata;

/// Streams with hidden events.
#[derive(Debug, Default)]
pub(crate) struct HiddenStreams {
    streams: HashMap<StreamName, Hiding>,
    pub(crate) up_to: Position,
}

#[derive(Debug)]
enum Hiding {
    All,
    ByMetadata(StreamMetadata),
}

impl HiddenStreams {
    /// Types of the events that [`take`](Self::take) knows, on servers of any kind.
    pub(crate) const EVENT_TYPES: [&str; 3] =
        [StreamMetadata::EVENT_TYPE, TombstoneStream::EVENT_TYPE, crate::wire::ENDED_TYPE];

    /// Takes a change in.
    pub(crate) fn take(&mut self, event: &RecordedEvent) {
        let Some(stream) = event.stream.described_stream() else { return };
        if let Some(Hiding::All) = self.streams.get(&stream) {
            return;
        }
        if event.event_type.as_str() == TombstoneStream::EVENT_TYPE {
            self.streams.insert(stream, Hiding::All);
            return;
        }
        let metadata = stream_metadata(event);
        let hides = metadata.truncate_before.is_some_and(|before| before > Revision::FIRST)
            || metadata.max_age.is_some()
            || metadata.max_count.is_some();
        match hides {
            true => {
                // Rights and other entries hide nothing.
                let metadata = StreamMetadata::default()
                    .truncate_before(metadata.truncate_before)
                    .max_age(metadata.max_age)
                    .max_count(metadata.max_count);
                self.streams.insert(stream, Hiding::ByMetadata(metadata));
            }
            false => drop(self.streams.remove(&stream)),
        }
    }

    /// Returns `true` if the head of the stream decides on its events.
    pub(crate) fn needs_head(&self, stream: &StreamName) -> bool {
        match self.streams.get(stream) {
            Some(Hiding::ByMetadata(metadata)) => metadata.max_count.is_some(),
            Some(Hiding::All) | None => false,
        }
    }

    /// Returns `true` if an event is visible at a time. `head` is that of its stream, if it
    /// matters.
    pub(crate) fn shows(&self, event: &RecordedEvent, head: Revision, now: RecordedAt) -> bool {
        match self.streams.get(&event.stream) {
            None => true,
            Some(Hiding::All) => false,
            Some(Hiding::ByMetadata(metadata)) => metadata.is_visible(event, head, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use gesta_store::{EventId, EventType, NewEvent};

    use super::*;

    fn event(stream: &str, event_type: &str, data: &str, revision: u64) -> RecordedEvent {
        let event_type = EventType::new(event_type).unwrap();
        let event = NewEvent::json(EventId::random(), event_type, data.to_owned());
        let (revision, position) = (Revision::new(revision), Position::new(9));
        let stream = StreamName::new(stream).unwrap();
        RecordedEvent::new(event, stream, revision, position, RecordedAt::from_micros(0))
    }

    fn shows(hidden: &HiddenStreams, revision: u64) -> bool {
        let event = event("order-1", "paid", "{}", revision);
        hidden.shows(&event, Revision::new(9), RecordedAt::from_micros(0))
    }

    #[test]
    fn metadata_hide_events_until_others_show_them() {
        let mut hidden = HiddenStreams::default();
        hidden.take(&event("$$order-1", "$metadata", r#"{"$tb":3}"#, 0));
        assert!(!shows(&hidden, 2) && shows(&hidden, 3));
        hidden.take(&event("$$order-1", "$metadata", r#"{"$maxCount":1}"#, 1));
        assert!(hidden.needs_head(&StreamName::new("order-1").unwrap()));
        assert!(!shows(&hidden, 8) && shows(&hidden, 9));
        hidden.take(&event("$$order-1", "$metadata", r#"{"team":"sales"}"#, 2));
        assert!(shows(&hidden, 0) && hidden.streams.is_empty());
    }

    #[test]
    fn a_tombstone_hides_everything_for_ever() {
        let mut hidden = HiddenStreams::default();
        hidden.take(&event("$$order-1", "$tombstone", "{}", 0));
        hidden.take(&event("$$order-1", "$metadata", "{}", 1));
        assert!(!shows(&hidden, 9));
    }
}
