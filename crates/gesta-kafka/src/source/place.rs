//! The place of a record: topic, partition and offset.

use std::fmt;

/// The place of a record in its cluster.
///
/// ```
/// use gesta_kafka::RecordPlace;
///
/// let place = RecordPlace::new("payments", 2, 41);
/// assert_eq!(place.to_string(), "payments:2:41");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RecordPlace {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

impl RecordPlace {
    /// Creates the place of a record.
    #[must_use]
    pub fn new(topic: impl Into<String>, partition: i32, offset: i64) -> Self {
        Self { topic: topic.into(), partition, offset }
    }
}

impl fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.topic, self.partition, self.offset)
    }
}
