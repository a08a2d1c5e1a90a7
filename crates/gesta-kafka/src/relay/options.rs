//! Settings of a relay: its name, the choice of topics, the guarantee.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use gesta_store::{Filter, RecordedEvent};

use crate::{InvalidUrl, KafkaUrl, url::check_name};

/// Partitions of a topic that the relay creates, unless told otherwise.
const PARTITIONS_DEFAULT: u32 = 4;
/// Most partitions of a topic that the relay creates.
const PARTITIONS_MAX: u32 = 10_000;
/// Time in which a batch has to be acknowledged before the relay starts again.
const PUBLISH_MAX_DEFAULT: Duration = Duration::from_secs(30);

/// The number of times that an event may be in its topic.
///
/// ```
/// use gesta_kafka::RelayGuarantee;
///
/// assert_eq!("exactly-once".parse(), Ok(RelayGuarantee::ExactlyOnce));
/// assert_eq!(RelayGuarantee::default(), RelayGuarantee::AtLeastOnce);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayGuarantee {
    /// At least once, in order. After a crash of the relay or a broker, the events after the last
    /// checkpoint come again, with the same ids and positions.
    #[default]
    AtLeastOnce,
    /// Once for each event id, for consumers with `isolation.level=read_committed`. Events and
    /// checkpoint are one transaction of Kafka.
    ExactlyOnce,
}

impl FromStr for RelayGuarantee {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        match text {
            "at-least-once" => Ok(Self::AtLeastOnce),
            "exactly-once" => Ok(Self::ExactlyOnce),
            other => Err(InvalidUrl::because(format!(
                "`delivery` must be at-least-once or exactly-once; got `{}`",
                other.escape_debug()
            ))),
        }
    }
}

impl fmt::Display for RelayGuarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtLeastOnce => "at-least-once",
            Self::ExactlyOnce => "exactly-once",
        })
    }
}

type Choose = dyn Fn(&RecordedEvent) -> Option<String> + Send + Sync;

/// The choice of a topic for each event.
///
/// A choice must not change for a relay that has published: events of one stream would be in two
/// topics, and lose their order.
///
/// ```
/// use gesta_kafka::RelayTopics;
///
/// let by_category = RelayTopics::by_category("shop.");
/// assert_eq!(format!("{by_category:?}"), "RelayTopics(one for each category, shop.…)");
/// ```
#[derive(Clone)]
pub struct RelayTopics {
    choose: Arc<Choose>,
    description: Arc<str>,
}

impl RelayTopics {
    /// All events in one topic.
    #[must_use]
    pub fn one(topic: impl Into<String>) -> Self {
        let topic = topic.into();
        let description = topic.as_str().into();
        Self { choose: Arc::new(move |_| Some(topic.clone())), description }
    }

    /// One topic for each category, with this text before the category. Events of streams without a
    /// category are left out.
    ///
    /// Characters that names of topics cannot have become `_`, so two categories may share a topic.
    #[must_use]
    pub fn by_category(prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        let description = format!("one for each category, {prefix}…").into();
        let choose = move |event: &RecordedEvent| {
            let category = event.stream.category()?;
            let allowed = |character: char| {
                let is_plain = character.is_ascii_alphanumeric() || "._-".contains(character);
                if is_plain { character } else { '_' }
            };
            let category: String = category.as_str().chars().map(allowed).collect();
            Some(format!("{prefix}{category}"))
        };
        Self { choose: Arc::new(choose), description }
    }

    /// The topic that a function returns for an event. `None` leaves the event out.
    #[must_use]
    pub fn chosen_by(
        choose: impl Fn(&RecordedEvent) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { choose: Arc::new(choose), description: "chosen by a function".into() }
    }

    /// Returns the topic of an event. `None` for events of system streams, too.
    pub(crate) fn topic_of(&self, event: &RecordedEvent) -> Option<String> {
        if event.stream.is_system() { None } else { (self.choose)(event) }
    }
}

impl fmt::Debug for RelayTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayTopics({})", self.description)
    }
}

/// Settings of a [`Relay`](crate::Relay).
///
/// ```
/// use gesta_kafka::{RelayGuarantee, RelayOptions, RelayTopics};
///
/// let options = RelayOptions::new("shop")?
///     .guarantee(RelayGuarantee::ExactlyOnce)
///     .topics(RelayTopics::by_category("shop."));
/// assert_eq!(options.name(), "shop");
/// # Ok::<(), gesta_kafka::InvalidUrl>(())
/// ```
#[derive(Clone, Debug)]
pub struct RelayOptions {
    pub(crate) name: String,
    pub(crate) guarantee: RelayGuarantee,
    pub(crate) topics: RelayTopics,
    pub(crate) partitions: u32,
    pub(crate) replication: Option<u32>,
    pub(crate) filter: Filter,
    pub(crate) source: String,
    pub(crate) publish_max: Duration,
}

impl RelayOptions {
    /// Options of a URL, for errors.
    const OPTIONS: [&str; 4] = ["delivery", "topic", "partitions", "replication"];

    /// Creates the settings of a relay with this name, which publishes all events at least once to
    /// the topic `NAME.events`.
    ///
    /// The name identifies the relay in its cluster: its checkpoints are in the topic `NAME.relay`.
    /// A relay with another name begins at the first event.
    ///
    /// # Errors
    ///
    /// [`InvalidUrl`] if the name cannot be part of a topic's.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidUrl> {
        let name = name.into();
        check_name(&name)?;
        Ok(Self {
            guarantee: RelayGuarantee::AtLeastOnce,
            topics: RelayTopics::one(format!("{name}.events")),
            partitions: PARTITIONS_DEFAULT,
            replication: None,
            filter: Filter::Everything,
            source: format!("/gesta/{name}"),
            publish_max: PUBLISH_MAX_DEFAULT,
            name,
        })
    }

    /// Reads the settings of a URL: its relay, and the options `delivery` (`at-least-once` or
    /// `exactly-once`), `topic`, `partitions` and `replication`.
    ///
    /// # Errors
    ///
    /// [`InvalidUrl`] if the URL names no relay, or an option is unknown or out of range.
    pub fn of_url(url: &KafkaUrl) -> Result<Self, InvalidUrl> {
        url.check_options(&Self::OPTIONS)?;
        let name = url.relay().ok_or_else(|| {
            InvalidUrl::because("the name of the relay is missing; write kafka://HOST:PORT/RELAY")
        })?;
        let mut options = Self::new(name)?;
        if let Some(delivery) = url.option("delivery") {
            options = options.guarantee(delivery.parse()?);
        }
        if let Some(topic) = url.option("topic") {
            check_name(topic)?;
            options = options.topics(RelayTopics::one(topic));
        }
        if let Some(partitions) = url.option("partitions") {
            options = options.partitions(count("partitions", partitions, PARTITIONS_MAX)?);
        }
        if let Some(replication) = url.option("replication") {
            options = options.replication(count("replication", replication, 100)?);
        }
        Ok(options)
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets the number of times that an event may be in its topic.
    #[must_use]
    pub fn guarantee(self, guarantee: RelayGuarantee) -> Self {
        Self { guarantee, ..self }
    }

    /// Sets the choice of topics.
    #[must_use]
    pub fn topics(self, topics: RelayTopics) -> Self {
        Self { topics, ..self }
    }

    /// Sets the number of partitions of topics that the relay creates: 4 by default, at least 1. A
    /// topic that exists keeps its own.
    #[must_use]
    pub fn partitions(self, partitions: u32) -> Self {
        Self { partitions: partitions.clamp(1, PARTITIONS_MAX), ..self }
    }

    /// Sets the number of replicas of topics that the relay creates. By default the cluster's.
    #[must_use]
    pub fn replication(self, replicas: u32) -> Self {
        Self { replication: Some(replicas.max(1)), ..self }
    }

    /// Publishes only the events that the filter selects. Must not change for a relay that has
    /// published: events that it has passed are not published later.
    #[must_use]
    pub fn filter(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// Sets the origin of the events, `ce_source`: a URI reference. `/gesta/NAME` by default.
    #[must_use]
    pub fn source(self, source: impl Into<String>) -> Self {
        Self { source: source.into(), ..self }
    }

    /// Sets the time in which a batch has to be acknowledged: 30 seconds by default, from 1 second
    /// to 10 minutes. After it the relay starts again at its checkpoint.
    #[must_use]
    pub fn publish_within(self, limit: Duration) -> Self {
        let limit = limit.clamp(Duration::from_secs(1), Duration::from_secs(600));
        Self { publish_max: limit, ..self }
    }
}

fn count(option: &str, text: &str, max: u32) -> Result<u32, InvalidUrl> {
    let parsed = text.parse().ok().filter(|count| (1..=max).contains(count));
    parsed.ok_or_else(|| {
        let text = text.escape_debug();
        InvalidUrl::because(format!("`{option}` must be between 1 and {max}; got `{text}`"))
    })
}

#[cfg(test)]
mod tests {
    use gesta_store::{EventId, EventType, NewEvent, Position, RecordedAt, Revision, StreamName};

    use super::*;

    fn event_of(stream: &str) -> RecordedEvent {
        let event = NewEvent::json(EventId::random(), EventType::new("happened").unwrap(), "{}");
        let stream = StreamName::stored(stream).unwrap();
        let (revision, position) = (Revision::FIRST, Position::new(1));
        RecordedEvent::new(event, stream, revision, position, RecordedAt::from_micros(0))
    }

    #[test]
    fn each_category_has_a_topic() {
        let topics = RelayTopics::by_category("shop.");
        let topic = |stream: &str| topics.topic_of(&event_of(stream));
        assert_eq!(topic("order-1").as_deref(), Some("shop.order"));
        assert_eq!(topic("gift card-1").as_deref(), Some("shop.gift_card"));
        assert_eq!(topic("settings"), None);
        assert_eq!(topic("$$order-1"), None);
        assert_eq!(RelayTopics::one("all").topic_of(&event_of("$settings")), None);
    }

    #[test]
    fn a_url_has_the_settings_of_a_relay() {
        let of = |text: &str| RelayOptions::of_url(&text.parse().unwrap());
        let options = of("kafka://a:1/shop?delivery=exactly-once&partitions=9&topic=t").unwrap();
        assert_eq!(options.guarantee, RelayGuarantee::ExactlyOnce);
        assert_eq!(options.partitions, 9);
        assert_eq!(options.topics.topic_of(&event_of("order-1")).as_deref(), Some("t"));
        for (url, reason) in [
            ("kafka://a:1", "the name of the relay is missing"),
            ("kafka://a:1/shop?partitions=0", "`partitions` must be between 1 and 10000; got `0`"),
            ("kafka://a:1/shop?delivery=maybe", "`delivery` must be at-least-once or exactly-once"),
            ("kafka://a:1/shop?tpoic=t", "there is no option `tpoic`"),
        ] {
            let error = of(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
