//! Consumer groups in bodies and answers: their settings and filters.
//!
//! Invariants: a setting that a body leaves out stays, or is that of official clients for a new
//! group; a setting that is refused is named as the body has it. Not here: the acts
//! ([`work_acts`](super::work_acts)).

use serde::Deserialize;
use serde_json::{Value, json};

use super::{object::Object, parameters::NUMBER_MAX, problem::Problem};
use crate::groups::{Contradiction, FilteredName, GroupFilter, GroupSettings, StartFrom};

/// Maximum of a setting that is a number: clients read it with 32 bits and a sign.
pub(super) const SETTING_MAX: u32 = i32::MAX.unsigned_abs();
/// The strategies of delivery.
pub(super) const STRATEGIES: [&str; 4] =
    ["RoundRobin", "DispatchToSingle", "Pinned", "PinnedByCorrelation"];

/// The body of a new group.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewGroupBody {
    pub(super) source: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) settings: Object<SettingsBody>,
    pub(super) filter: Option<Object<FilterBody>>,
}

/// Settings to change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct SettingsBody {
    start_from: Option<StartBody>,
    resolve_links: Option<bool>,
    extra_statistics: Option<bool>,
    message_timeout_ms: Option<u32>,
    max_retry_count: Option<u32>,
    min_checkpoint_count: Option<u32>,
    max_checkpoint_count: Option<u32>,
    checkpoint_after_ms: Option<u32>,
    max_subscriber_count: Option<u32>,
    live_buffer_size: Option<u32>,
    read_batch_size: Option<u32>,
    history_buffer_size: Option<u32>,
    strategy: Option<String>,
}

/// A revision or position, or a word.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a number, `start` or `end`")]
enum StartBody {
    At(u64),
    Word(StartWord),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StartWord {
    Start,
    End,
}

impl From<StartBody> for StartFrom {
    fn from(body: StartBody) -> Self {
        match body {
            StartBody::Word(StartWord::Start) | StartBody::At(0) => Self::Start,
            StartBody::Word(StartWord::End) => Self::End,
            StartBody::At(place) => Self::At(place),
        }
    }
}

/// A selection by names: by one expression, or by prefixes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct FilterBody {
    on: FilteredName,
    #[serde(default)]
    regex: String,
    #[serde(default)]
    prefixes: Vec<String>,
}

impl FilterBody {
    pub(super) fn check(self) -> Result<GroupFilter, Problem> {
        if self.regex.is_empty() == self.prefixes.is_empty() {
            let reason = "must have either a `regex` or `prefixes`";
            return Err(Problem::invalid("filter", reason));
        }
        let filter = GroupFilter::by(self.on, self.regex, self.prefixes);
        filter.map_err(|refused| Problem::of_change(&refused).with("field", "filter"))
    }
}

impl SettingsBody {
    /// Returns settings with these changes, or the refusal of one that cannot be used.
    pub(super) fn over(self, settings: GroupSettings) -> Result<GroupSettings, Problem> {
        let kept = settings;
        let settings = GroupSettings {
            start_from: match self.start_from {
                Some(StartBody::At(place)) if place > NUMBER_MAX => {
                    let reason = format!("must be at most {NUMBER_MAX}; got {place}");
                    return Err(Problem::invalid("startFrom", reason));
                }
                start => start.map_or(kept.start_from, StartFrom::from),
            },
            resolve_links: self.resolve_links.unwrap_or(kept.resolve_links),
            extra_statistics: self.extra_statistics.unwrap_or(kept.extra_statistics),
            message_timeout_ms: count("messageTimeoutMs", self.message_timeout_ms)?
                .unwrap_or(kept.message_timeout_ms),
            max_retry_count: count("maxRetryCount", self.max_retry_count)?
                .unwrap_or(kept.max_retry_count),
            min_checkpoint_count: count("minCheckpointCount", self.min_checkpoint_count)?
                .unwrap_or(kept.min_checkpoint_count),
            max_checkpoint_count: count("maxCheckpointCount", self.max_checkpoint_count)?
                .unwrap_or(kept.max_checkpoint_count),
            checkpoint_after_ms: count("checkpointAfterMs", self.checkpoint_after_ms)?
                .unwrap_or(kept.checkpoint_after_ms),
            max_subscriber_count: count("maxSubscriberCount", self.max_subscriber_count)?
                .unwrap_or(kept.max_subscriber_count),
            live_buffer_size: count("liveBufferSize", self.live_buffer_size)?
                .unwrap_or(kept.live_buffer_size),
            read_batch_size: count("readBatchSize", self.read_batch_size)?
                .unwrap_or(kept.read_batch_size),
            history_buffer_size: count("historyBufferSize", self.history_buffer_size)?
                .unwrap_or(kept.history_buffer_size),
            strategy: self.strategy.unwrap_or(kept.strategy),
        };
        checked(settings)
    }
}

fn count(name: &str, asked: Option<u32>) -> Result<Option<u32>, Problem> {
    match asked {
        Some(number) if number > SETTING_MAX => {
            Err(Problem::invalid(name, format!("must be at most {SETTING_MAX}; got {number}")))
        }
        asked => Ok(asked),
    }
}

fn checked(settings: GroupSettings) -> Result<GroupSettings, Problem> {
    if !settings.has_known_strategy() {
        let known = STRATEGIES.join("`, `");
        let reason = format!("must be one of `{known}`; got `{}`", settings.strategy);
        return Err(Problem::invalid("strategy", reason));
    }
    match settings.contradiction() {
        None => Ok(settings),
        Some(Contradiction::LargeBatch { batch, history }) => {
            let reason =
                format!("must be less than `historyBufferSize`; got {batch} and {history}");
            Err(Problem::invalid("readBatchSize", reason))
        }
        Some(Contradiction::LargeMinimum { min, max }) => {
            let reason = format!("must be at most `maxCheckpointCount`; got {min} and {max}");
            Err(Problem::invalid("minCheckpointCount", reason))
        }
    }
}

/// Returns settings in the form of a body.
pub(super) fn settings_json(settings: &GroupSettings) -> Value {
    let start_from = match settings.start_from {
        StartFrom::Start => json!("start"),
        StartFrom::End => json!("end"),
        StartFrom::At(place) => json!(place),
    };
    json!({
        "startFrom": start_from,
        "resolveLinks": settings.resolve_links,
        "extraStatistics": settings.extra_statistics,
        "messageTimeoutMs": settings.message_timeout_ms,
        "maxRetryCount": settings.max_retry_count,
        "minCheckpointCount": settings.min_checkpoint_count,
        "maxCheckpointCount": settings.max_checkpoint_count,
        "checkpointAfterMs": settings.checkpoint_after_ms,
        "maxSubscriberCount": settings.max_subscriber_count,
        "liveBufferSize": settings.live_buffer_size,
        "readBatchSize": settings.read_batch_size,
        "historyBufferSize": settings.history_buffer_size,
        "strategy": settings.strategy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::native_call::parse;

    fn changed(json: &str) -> Result<Value, Value> {
        let body: SettingsBody = parse(json.as_bytes()).map_err(|problem| problem.to_json())?;
        let settings = body.over(GroupSettings::usual());
        settings.map(|settings| settings_json(&settings)).map_err(|problem| problem.to_json())
    }

    #[test]
    fn settings_that_are_left_out_stay() {
        let usual = settings_json(&GroupSettings::usual());
        assert_eq!(changed("{}").unwrap(), usual);
        let mut expected = usual;
        expected["maxRetryCount"] = 3.into();
        expected["startFrom"] = 7.into();
        expected["strategy"] = "PinnedByCorrelation".into();
        let json = r#"{"maxRetryCount":3,"startFrom":7,"strategy":"PinnedByCorrelation"}"#;
        assert_eq!(changed(json).unwrap(), expected);
        assert_eq!(changed(r#"{"startFrom":0}"#).unwrap()["startFrom"], "start");
    }

    #[test]
    fn a_setting_that_cannot_be_used_is_named() {
        for (json, field) in [
            (r#"{"startFrom":"now"}"#, "startFrom"),
            (r#"{"startFrom":9007199254740992}"#, "startFrom"),
            (r#"{"maxRetryCount":-1}"#, "maxRetryCount"),
            (r#"{"liveBufferSize":4294967295}"#, "liveBufferSize"),
            (r#"{"strategy":"Best"}"#, "strategy"),
            (r#"{"readBatchSize":500}"#, "readBatchSize"),
            (r#"{"minCheckpointCount":1001}"#, "minCheckpointCount"),
            (r#"{"colour":"red"}"#, "colour"),
        ] {
            assert_eq!(changed(json).unwrap_err()["field"], field, "{json}");
        }
    }

    #[test]
    fn every_strategy_is_known() {
        for strategy in STRATEGIES {
            let settings =
                GroupSettings { strategy: strategy.to_owned(), ..GroupSettings::usual() };
            assert!(settings.has_known_strategy(), "{strategy}");
        }
    }
}
