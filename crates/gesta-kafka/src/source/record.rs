//! A record as a handler gets it, and its identity.
//!
//! Invariant: a record has the same identity each time it is delivered, also when it comes back as
//! a dead letter.

use bytes::Bytes;
use gesta_store::EventId;
use rdkafka::{
    Message,
    message::{Header, Headers as _, OwnedHeaders},
};

use super::{
    dead_letter::{self, DeadLetterNote},
    place::RecordPlace,
};

/// A record that a [`Source`](crate::Source) has read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceRecord {
    /// The place from which it was read.
    pub place: RecordPlace,
    /// The place that its identity comes from: that of the original record, if this one is a dead
    /// letter, and otherwise the same as `place`.
    pub origin: RecordPlace,
    /// The key, if the record has one.
    pub key: Option<Bytes>,
    /// The value, if the record has one.
    pub value: Option<Bytes>,
    /// Names and values of the headers, in their order. Headers without a value are left out.
    pub headers: Vec<(String, Bytes)>,
    /// Time of the record in milliseconds since 1970, if it has one.
    pub timestamp_millis: Option<i64>,
    /// Name of the source that reads it.
    source: String,
}

impl SourceRecord {
    pub(crate) fn read(record: &impl Message, source: &str) -> Self {
        let place = RecordPlace::new(record.topic(), record.partition(), record.offset());
        let all = record.headers().into_iter().flat_map(|headers| {
            (0..headers.count()).filter_map(move |nth| {
                let Header { key, value } = headers.try_get(nth)?;
                Some((key.to_owned(), Bytes::copy_from_slice(value?)))
            })
        });
        let headers: Vec<_> = all.collect();
        let note = DeadLetterNote::of(&headers);
        Self {
            origin: note.map_or_else(|| place.clone(), |note| note.origin),
            place,
            key: record.key().map(Bytes::copy_from_slice),
            value: record.payload().map(Bytes::copy_from_slice),
            headers,
            timestamp_millis: record.timestamp().to_millis(),
            source: source.to_owned(),
        }
    }

    /// Returns the last header of a name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut all = self.headers.iter().rev();
        all.find(|(known, _)| known == name).map(|(_, value)| &value[..])
    }

    /// Returns an id for the command that the record stands for: `SOURCE:TOPIC:PARTITION:OFFSET`.
    /// The same record has the same id each time, so its command takes effect once.
    ///
    /// Ids of a topic that is deleted and created again are used again. Give its source another
    /// name then, or take the id from a header with [`id_by_header`](Self::id_by_header).
    #[must_use]
    pub fn command_id(&self) -> String {
        format!("{}:{}", self.source, self.origin)
    }

    /// Returns an id for the command that the record stands for, by a header that the producer has
    /// set, such as `ce_id`. `None` if the record has no such header, or it is not text.
    ///
    /// Unlike [`command_id`](Self::command_id), two records with the same header have the same id.
    #[must_use]
    pub fn id_by_header(&self, name: &str) -> Option<String> {
        let value = std::str::from_utf8(self.header(name)?).ok()?;
        Some(format!("{}:{value}", self.source))
    }

    /// Returns the id of the `ordinal`-th event that the record leads to.
    #[must_use]
    pub fn event_id(&self, ordinal: u64) -> EventId {
        EventId::derived_from(&self.command_id(), ordinal)
    }

    /// Returns the headers without those of a dead letter.
    pub(crate) fn original_headers(&self) -> OwnedHeaders {
        let own = self.headers.iter().filter(|(name, _)| !dead_letter::is_note(name));
        own.fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header { key, value: Some(&value[..]) })
        })
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::{Timestamp, message::OwnedMessage};

    use super::*;

    fn message(topic: &str, offset: i64, headers: OwnedHeaders) -> OwnedMessage {
        let (value, key) = (b"value".to_vec(), b"key".to_vec());
        let time = Timestamp::CreateTime(7);
        OwnedMessage::new(Some(value), Some(key), topic.to_owned(), time, 2, offset, Some(headers))
    }

    #[test]
    fn a_record_has_the_same_ids_each_time() {
        let headers = OwnedHeaders::new().insert(Header { key: "payment", value: Some("p-1") });
        let first = SourceRecord::read(&message("payments", 41, headers), "bank");
        assert_eq!(first.command_id(), "bank:payments:2:41");
        assert_eq!(first.id_by_header("payment").as_deref(), Some("bank:p-1"));
        assert_eq!(first.id_by_header("other"), None);
        let again = SourceRecord::read(&message("payments", 41, OwnedHeaders::new()), "bank");
        assert_eq!(first.event_id(0), again.event_id(0));
        assert_ne!(first.event_id(0), first.event_id(1));
        assert_eq!(first.timestamp_millis, Some(7));
    }

    #[test]
    fn a_dead_letter_has_the_identity_of_its_record() {
        let headers = OwnedHeaders::new().insert(Header { key: "payment", value: Some("p-1") });
        let record = SourceRecord::read(&message("payments", 41, headers), "bank");
        let note = DeadLetterNote {
            origin: record.origin.clone(),
            error: "no such account".to_owned(),
            attempts: 3,
        };
        let letter = message("bank.dead-letters", 5, note.add_to(record.original_headers()));
        let back = SourceRecord::read(&letter, "bank");
        assert_eq!(back.command_id(), record.command_id());
        assert_eq!(back.place.offset, 5);
        assert_eq!(back.header("payment"), Some(&b"p-1"[..]));
        // A second failure replaces the note of the first.
        assert_eq!(back.original_headers().count(), 1);
    }
}
