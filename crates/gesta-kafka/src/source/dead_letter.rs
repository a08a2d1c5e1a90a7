//! Dead letters: records that could not be handled, in a topic with the way back.
//!
//! A dead letter has the key, value and headers of its record, and headers that say where it was
//! and why it is here. A source that reads the topic of dead letters handles them under the ids of
//! their records, so what was handled after all takes effect once.

use bytes::Bytes;
use rdkafka::message::{Header, OwnedHeaders};

use super::place::RecordPlace;

const TOPIC: &str = "gesta-dead-letter-topic";
const PARTITION: &str = "gesta-dead-letter-partition";
const OFFSET: &str = "gesta-dead-letter-offset";
const ERROR: &str = "gesta-dead-letter-error";
const ATTEMPTS: &str = "gesta-dead-letter-attempts";

/// Longest error text of a dead letter.
const ERROR_BYTES_MAX: usize = 4_096;

pub(crate) fn is_note(header: &str) -> bool {
    [TOPIC, PARTITION, OFFSET, ERROR, ATTEMPTS].contains(&header)
}

/// The headers of a dead letter: its origin and its error.
///
/// | header | value |
/// | --- | --- |
/// | `gesta-dead-letter-topic`, `-partition`, `-offset` | the place of the record |
/// | `gesta-dead-letter-error` | the error of the last attempt |
/// | `gesta-dead-letter-attempts` | number of attempts |
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterNote {
    /// The place of the record that failed.
    pub origin: RecordPlace,
    /// The error of the last attempt.
    pub error: String,
    /// Number of attempts.
    pub attempts: u32,
}

impl DeadLetterNote {
    /// Reads the note in the headers of a record. `None` if the record is no dead letter.
    #[must_use]
    pub fn of(headers: &[(String, Bytes)]) -> Option<Self> {
        let text = |name: &str| {
            let (_, value) = headers.iter().rev().find(|(known, _)| known == name)?;
            std::str::from_utf8(value).ok()
        };
        let (partition, offset) = (text(PARTITION)?.parse().ok()?, text(OFFSET)?.parse().ok()?);
        let origin = RecordPlace::new(text(TOPIC)?, partition, offset);
        let error = text(ERROR)?.to_owned();
        Some(Self { origin, error, attempts: text(ATTEMPTS)?.parse().ok()? })
    }

    pub(crate) fn add_to(&self, headers: OwnedHeaders) -> OwnedHeaders {
        let error = self.error.get(..self.error.floor_char_boundary(ERROR_BYTES_MAX));
        let RecordPlace { topic, partition, offset } = &self.origin;
        headers
            .insert(Header { key: TOPIC, value: Some(topic) })
            .insert(Header { key: PARTITION, value: Some(&partition.to_string()) })
            .insert(Header { key: OFFSET, value: Some(&offset.to_string()) })
            .insert(Header { key: ERROR, value: Some(error.unwrap_or_default()) })
            .insert(Header { key: ATTEMPTS, value: Some(&self.attempts.to_string()) })
    }
}
