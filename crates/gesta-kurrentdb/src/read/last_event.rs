//! The last event that a read or a subscription has returned.
//!
//! Owns: [`LastEvent`], and the decision whether a call that continues after it is answered by the
//! same store. A connection string may name several servers, and a server may have another store
//! after a restart. Invariant: an event of another id at the same place is another store.

use gesta_store::{EventId, Invalid, Position, RecordedEvent, Revision, StoreError};

use crate::wire::INCARNATION;

/// Id and place of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastEvent {
    pub(crate) id: EventId,
    pub(crate) revision: Revision,
    pub(crate) position: Position,
}

impl LastEvent {
    pub(crate) const fn of(event: &RecordedEvent) -> Self {
        Self { id: event.id, revision: event.revision, position: event.position }
    }

    /// Compares the event that a further call of a stream finds at its revision.
    pub(crate) fn check_in_stream(&self, found: Option<&RecordedEvent>) -> Result<(), StoreError> {
        self.check(found.filter(|event| event.revision == self.revision))
    }

    /// Compares the event that a further call of the whole store finds at its position.
    pub(crate) fn check_in_all(&self, found: Option<&RecordedEvent>) -> Result<(), StoreError> {
        self.check(found.filter(|event| event.position == self.position))
    }

    fn check(&self, found: Option<&RecordedEvent>) -> Result<(), StoreError> {
        match found.map(Self::of) {
            Some(found) if found == *self => Ok(()),
            Some(_) => Err(self.other_store()),
            None => Err(self.not_found()),
        }
    }

    /// The store that answers now has not what was read.
    fn other_store(&self) -> StoreError {
        let Self { position, .. } = *self;
        Invalid::OtherIncarnation { position, incarnation: INCARNATION }.into()
    }

    /// The event is hidden, scavenged, or in another store.
    fn not_found(&self) -> StoreError {
        StoreError::unreachable(format!(
            "the connection broke, and the event {} at position {}, after which the read would \
             continue, is not to be found any more; read again from the start",
            self.id, self.position
        ))
    }
}

#[cfg(test)]
mod tests {
    use gesta_store::{EventType, NewEvent, RecordedAt, StreamName};

    use super::*;

    fn event(id: u64, revision: u64, position: u64) -> RecordedEvent {
        let event_type = EventType::new("happened").unwrap();
        let event = NewEvent::json(EventId::derived_from("test", id), event_type, "{}");
        let stream = StreamName::new("order-1").unwrap();
        let (revision, position) = (Revision::new(revision), Position::new(position));
        RecordedEvent::new(event, stream, revision, position, RecordedAt::from_micros(0))
    }

    #[test]
    fn only_the_same_event_at_the_same_places_is_the_same_store() {
        let last = LastEvent::of(&event(7, 3, 9));
        last.check_in_stream(Some(&event(7, 3, 9))).unwrap();
        last.check_in_all(Some(&event(7, 3, 9))).unwrap();
        let is_other = |checked: Result<(), StoreError>| {
            matches!(checked, Err(StoreError::Rejected(Invalid::OtherIncarnation { .. })))
        };
        assert!(is_other(last.check_in_stream(Some(&event(8, 3, 9)))));
        assert!(is_other(last.check_in_stream(Some(&event(7, 3, 8)))));
        assert!(is_other(last.check_in_all(Some(&event(8, 0, 9)))));
        assert!(is_other(last.check_in_all(Some(&event(7, 2, 9)))));
    }

    #[test]
    fn an_event_that_is_not_shown_may_be_hidden_and_the_read_is_repeated() {
        let last = LastEvent::of(&event(7, 3, 9));
        for checked in [
            last.check_in_stream(None),
            last.check_in_stream(Some(&event(8, 4, 9))),
            last.check_in_all(Some(&event(8, 3, 10))),
        ] {
            let error = checked.unwrap_err();
            assert!(error.is_transient() && error.to_string().contains("position 9"), "{error}");
        }
    }
}
