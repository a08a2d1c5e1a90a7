//! Values of the contract as the protocol has them, and the reverse.
//!
//! Owns: ids, names, expectations, positions, and recorded events. Invariants: numbers of the
//! protocol have 63 bits, and what is larger means the end; an event that lacks a part is reported
//! and never guessed. Not here: what an event's metadata carry ([`envelope`](crate::envelope)).

use bytes::Bytes;
use gesta_store::{
    ContentType, Damage, EventId, EventType, ExpectedRevision, Incarnation, Position, RecordedAt,
    RecordedEvent, Revision, StoreError, StreamMetadata, StreamName, TombstoneStream,
};
use uuid::Uuid;

use crate::{
    envelope::Carried,
    proto::{
        shared::{self, StreamIdentifier},
        streams::read_resp::{ReadEvent, read_event::RecordedEvent as Record},
    },
};

/// The content type that JSON has in the protocol; everything else is bytes.
pub(crate) const JSON: &str = "application/json";
pub(crate) const OCTET_STREAM: &str = "application/octet-stream";
/// Type of the event that ends a stream.
pub(crate) const ENDED_TYPE: &str = "$streamDeleted";
/// The incarnation of every store behind the protocol, which has none. A checkpoint of another kind
/// of store is told by it.
pub(crate) const INCARNATION: Incarnation =
    Incarnation::new(Uuid::from_u128(0x6b75_7272_656e_4064_8000_7072_6f74_6f63));
/// Largest revision or position.
pub(crate) const NUMBER_MAX: u64 = i64::MAX.cast_unsigned();

pub(crate) fn identifier(stream: &StreamName) -> StreamIdentifier {
    StreamIdentifier { stream_name: Bytes::copy_from_slice(stream.as_str().as_bytes()) }
}

pub(crate) fn stream_of(identifier: Option<&StreamIdentifier>) -> Option<StreamName> {
    let name = std::str::from_utf8(&identifier?.stream_name).ok()?;
    StreamName::stored(name).ok()
}

pub(crate) fn uuid(id: EventId) -> shared::Uuid {
    let (high, low) = id.as_uuid().as_u64_pair();
    shared::Uuid {
        value: Some(shared::uuid::Value::Structured(shared::uuid::Structured {
            most_significant_bits: high.cast_signed(),
            least_significant_bits: low.cast_signed(),
        })),
    }
}

fn event_id(id: Option<&shared::Uuid>) -> Option<EventId> {
    let id = match id?.value.as_ref()? {
        shared::uuid::Value::String(text) => text.parse::<Uuid>().ok()?,
        shared::uuid::Value::Structured(halves) => Uuid::from_u64_pair(
            halves.most_significant_bits.cast_unsigned(),
            halves.least_significant_bits.cast_unsigned(),
        ),
    };
    Some(EventId::from(id))
}

/// Returns an expectation as a number of the protocol.
pub(crate) fn number_of_expected(expected: ExpectedRevision) -> i64 {
    match expected {
        ExpectedRevision::NoStream => -1,
        ExpectedRevision::Any => -2,
        ExpectedRevision::StreamExists => -4,
        ExpectedRevision::Exact(revision) => i64::try_from(revision.number()).unwrap_or(i64::MAX),
    }
}

pub(crate) fn expected_of_number(number: i64) -> Option<ExpectedRevision> {
    match number {
        -1 => Some(ExpectedRevision::NoStream),
        -2 => Some(ExpectedRevision::Any),
        -4 => Some(ExpectedRevision::StreamExists),
        _ => Some(ExpectedRevision::Exact(head_of_number(number)?)),
    }
}

/// Returns the head of a stream; `None` for the numbers of a stream without one.
pub(crate) fn head_of_number(number: i64) -> Option<Revision> {
    u64::try_from(number).ok().map(Revision::new)
}

/// Reads an event, or a link in place of its event.
pub(crate) fn recorded(read: ReadEvent) -> Result<RecordedEvent, StoreError> {
    let record = read.event.or(read.link).ok_or_else(|| malformed(0, "an event is empty"))?;
    let position = record.commit_position;
    of_record(record).map_err(|what| malformed(position, what))
}

fn of_record(record: Record) -> Result<RecordedEvent, &'static str> {
    let stream = stream_of(record.stream_identifier.as_ref()).ok_or("the stream has no name")?;
    let id = event_id(record.id.as_ref()).ok_or("the event id is no UUID")?;
    let event_type = record.metadata.get("type").ok_or("the event type is missing")?;
    let event_type = EventType::stored(event_type.as_str()).map_err(|_| "no type's name")?;
    // Ticks of 100 ns.
    let created = record.metadata.get("created").and_then(|ticks| ticks.parse::<u64>().ok());
    let recorded_at =
        RecordedAt::from_micros(created.ok_or("the recorded time is no number")? / 10);
    let content_type = match record.metadata.get("content-type").map(String::as_str) {
        Some(JSON) => ContentType::JSON,
        _ => ContentType::OCTET_STREAM,
    };
    let carried = Carried::of(record.custom_metadata, content_type);
    let event = carried.into_event(id, event_type, record.data);
    let revision = Revision::new(record.stream_revision);
    let position = Position::new(record.commit_position);
    Ok(as_tombstone(RecordedEvent::new(event, stream, revision, position, recorded_at)))
}

/// Gives the end of a stream the form that it has in the contract: an event of the metadata.
fn as_tombstone(mut event: RecordedEvent) -> RecordedEvent {
    if event.event_type.as_str() != ENDED_TYPE {
        return event;
    }
    let ended = EventType::new(TombstoneStream::EVENT_TYPE);
    if let (Ok(stream), Ok(event_type)) = (event.stream.metadata_stream(), ended) {
        event.stream = stream;
        event.event_type = event_type;
    }
    event
}

/// Reads stream metadata. What cannot be read hides nothing, as on the server.
pub(crate) fn stream_metadata(event: &RecordedEvent) -> StreamMetadata {
    StreamMetadata::from_json(&event.data).unwrap_or_default()
}

pub(crate) fn malformed(position: u64, what: impl Into<String>) -> StoreError {
    StoreError::Corrupt(Damage::new("message of the server", position, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let metadata = [("type", "paid"), ("created", "17000000000000001"), ("content-type", JSON)];
        Record {
            id: Some(uuid(EventId::from(Uuid::from_u128(7)))),
            stream_identifier: Some(identifier(&StreamName::new("order-1").unwrap())),
            stream_revision: 3,
            prepare_position: 9,
            commit_position: 9,
            metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            custom_metadata: Bytes::new(),
            data: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn an_event_is_read_with_its_place_and_time() {
        let event = of_record(record()).unwrap();
        assert_eq!(event.id.as_uuid(), Uuid::from_u128(7));
        assert_eq!((event.revision.number(), event.position.number()), (3, 9));
        assert_eq!(event.recorded_at.micros(), 1_700_000_000_000_000);
        assert!(event.content_type.is_json());
    }

    #[test]
    fn an_event_that_lacks_a_part_is_reported() {
        for lack in ["type", "created"] {
            let mut record = record();
            record.metadata.remove(lack);
            of_record(record).unwrap_err();
        }
        of_record(Record { id: None, ..record() }).unwrap_err();
        of_record(Record { stream_identifier: None, ..record() }).unwrap_err();
        recorded(ReadEvent::default()).unwrap_err();
    }

    #[test]
    fn the_end_of_a_stream_is_an_event_of_its_metadata() {
        let mut ended = record();
        ended.metadata.insert("type".to_owned(), ENDED_TYPE.to_owned());
        let event = of_record(ended).unwrap();
        assert_eq!(event.stream.as_str(), "$$order-1");
        assert_eq!(event.event_type.as_str(), TombstoneStream::EVENT_TYPE);
    }

    #[test]
    fn an_expectation_survives_its_number() {
        let exact = ExpectedRevision::Exact(Revision::new(7));
        let others = [ExpectedRevision::Any, ExpectedRevision::NoStream];
        for expected in others.into_iter().chain([ExpectedRevision::StreamExists, exact]) {
            assert_eq!(expected_of_number(number_of_expected(expected)), Some(expected));
        }
        assert_eq!(expected_of_number(-3), None);
    }
}
