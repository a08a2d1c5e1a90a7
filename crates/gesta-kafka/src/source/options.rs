//! Settings of a source.

use std::time::Duration;

use crate::{InvalidUrl, url::check_name};

const ATTEMPTS_DEFAULT: u32 = 5;
const PAUSE_MIN_DEFAULT: Duration = Duration::from_millis(200);
const PAUSE_MAX_DEFAULT: Duration = Duration::from_secs(10);

/// The records with which a new consumer group begins.
///
/// ```
/// assert_eq!(gesta_kafka::SourceBegin::default(), gesta_kafka::SourceBegin::Earliest);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceBegin {
    /// The first ones that the topics still have.
    #[default]
    Earliest,
    /// Those that are written after the group was created.
    Latest,
}

/// Settings of a [`Source`](crate::Source).
///
/// ```
/// use gesta_kafka::SourceOptions;
///
/// let options = SourceOptions::new("bank", ["payments"])?.attempts(3);
/// assert_eq!(options.name(), "bank");
/// # Ok::<(), gesta_kafka::InvalidUrl>(())
/// ```
#[derive(Clone, Debug)]
pub struct SourceOptions {
    pub(crate) name: String,
    pub(crate) topics: Vec<String>,
    pub(crate) begin: SourceBegin,
    pub(crate) attempts: u32,
    pub(crate) pause_min: Duration,
    pub(crate) pause_max: Duration,
    pub(crate) dead_letter_topic: String,
    pub(crate) session_max: Duration,
}

impl SourceOptions {
    /// Creates the settings of a source with this name, which reads these topics.
    ///
    /// The name is that of the consumer group, and part of the ids of commands and events. Programs
    /// with a source of the same name share the partitions. Records that cannot be handled go to
    /// the topic `NAME.dead-letters`, which is created if it does not exist.
    ///
    /// # Errors
    ///
    /// [`InvalidUrl`] if the name or a topic has characters that topics cannot have, or no topic is
    /// given.
    pub fn new<T: Into<String>>(
        name: impl Into<String>,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidUrl> {
        let name = name.into();
        check_name(&name)?;
        let topics: Vec<String> = topics.into_iter().map(Into::into).collect();
        topics.iter().try_for_each(|topic| check_name(topic))?;
        if topics.is_empty() {
            return Err(InvalidUrl::because("a source needs at least one topic"));
        }
        Ok(Self {
            dead_letter_topic: format!("{name}.dead-letters"),
            name,
            topics,
            begin: SourceBegin::Earliest,
            attempts: ATTEMPTS_DEFAULT,
            pause_min: PAUSE_MIN_DEFAULT,
            pause_max: PAUSE_MAX_DEFAULT,
            session_max: Duration::from_secs(10),
        })
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets where a new group begins.
    #[must_use]
    pub fn begin(self, begin: SourceBegin) -> Self {
        Self { begin, ..self }
    }

    /// Sets the number of attempts before a record becomes a dead letter: 5 by default, at least 1.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts: attempts.max(1), ..self }
    }

    /// Sets the first pause between two attempts and the longest: 200 ms and 10 s by default. Each
    /// is twice as long as the one before.
    #[must_use]
    pub fn pauses(self, first: Duration, longest: Duration) -> Self {
        Self { pause_min: first, pause_max: longest.max(first), ..self }
    }

    /// Sets the topic of dead letters.
    ///
    /// # Errors
    ///
    /// [`InvalidUrl`] if the name has characters that topics cannot have.
    pub fn dead_letters_to(self, topic: impl Into<String>) -> Result<Self, InvalidUrl> {
        let dead_letter_topic = topic.into();
        check_name(&dead_letter_topic)?;
        Ok(Self { dead_letter_topic, ..self })
    }

    /// Sets the time after which the group gives the partitions of a program that was killed to
    /// others: 10 seconds by default, from 6 seconds to 5 minutes unless brokers allow otherwise.
    #[must_use]
    pub fn session(self, limit: Duration) -> Self {
        Self { session_max: limit, ..self }
    }
}
