//! The settings of a group: as clients ask for them, and as they are stored.
//!
//! Owns: the checks. Invariant: stored settings were checked, and a later version of this crate
//! reads them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tonic::Status;

use super::{
    errors::failed,
    machine::{GroupRules, Strategy},
    name::GroupId,
};
use crate::proto::persistent_subscriptions::{create_req, update_req};

/// The first event of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum StartFrom {
    Start,
    /// The first event after the creation of the group.
    End,
    /// This revision or position.
    At(u64),
}

/// The settings of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupSettings {
    pub(super) start_from: StartFrom,
    pub(super) resolve_links: bool,
    pub(super) extra_statistics: bool,
    /// 0 waits forever.
    pub(super) message_timeout_ms: u32,
    pub(super) max_retry_count: u32,
    pub(super) min_checkpoint_count: u32,
    pub(super) max_checkpoint_count: u32,
    pub(super) checkpoint_after_ms: u32,
    /// 0 has no limit.
    pub(super) max_subscriber_count: u32,
    pub(super) live_buffer_size: u32,
    pub(super) read_batch_size: u32,
    pub(super) history_buffer_size: u32,
    pub(super) strategy: String,
}

/// The settings of either request, before they are checked.
pub(super) struct AskedSettings {
    resolve_links: bool,
    extra_statistics: bool,
    message_timeout_ms: i64,
    max_retry_count: i32,
    min_checkpoint_count: i32,
    max_checkpoint_count: i32,
    checkpoint_after_ms: i64,
    max_subscriber_count: i32,
    live_buffer_size: i32,
    read_batch_size: i32,
    history_buffer_size: i32,
    strategy: String,
    /// The start that earlier clients ask for.
    pub(super) revision: u64,
}

/// Least time for an acknowledgement. Clients collect acknowledgements for a fifth of a second
/// before they send them, and the original looks for late ones once a second.
const MESSAGE_TIMEOUT_MIN: Duration = Duration::from_millis(500);

/// Ticks of 100 ns in a millisecond.
const TICKS: i64 = 10_000;

/// Reads the settings of a request. Both have the same fields in types of their own.
macro_rules! asked_settings {
    ($settings:ident, $of:ident, $strategy:expr) => {
        AskedSettings {
            resolve_links: $settings.resolve_links,
            extra_statistics: $settings.extra_statistics,
            message_timeout_ms: match $settings.message_timeout {
                Some($of::settings::MessageTimeout::MessageTimeoutMs(millis)) => millis.into(),
                Some($of::settings::MessageTimeout::MessageTimeoutTicks(ticks)) => ticks / TICKS,
                None => 0,
            },
            max_retry_count: $settings.max_retry_count,
            min_checkpoint_count: $settings.min_checkpoint_count,
            max_checkpoint_count: $settings.max_checkpoint_count,
            checkpoint_after_ms: match $settings.checkpoint_after {
                Some($of::settings::CheckpointAfter::CheckpointAfterMs(millis)) => millis.into(),
                Some($of::settings::CheckpointAfter::CheckpointAfterTicks(ticks)) => ticks / TICKS,
                None => 0,
            },
            max_subscriber_count: $settings.max_subscriber_count,
            live_buffer_size: $settings.live_buffer_size,
            read_batch_size: $settings.read_batch_size,
            history_buffer_size: $settings.history_buffer_size,
            strategy: $strategy,
            revision: $settings.revision,
        }
    };
}

impl From<create_req::Settings> for AskedSettings {
    fn from(settings: create_req::Settings) -> Self {
        use crate::proto::persistent_subscriptions::create_req as of;
        // Earlier clients have a number in place of the name.
        let strategy = match settings.consumer_strategy.as_str() {
            "" => settings.named_consumer_strategy().as_str_name().to_owned(),
            name => name.to_owned(),
        };
        asked_settings!(settings, of, strategy)
    }
}

impl From<update_req::Settings> for AskedSettings {
    fn from(settings: update_req::Settings) -> Self {
        use crate::proto::persistent_subscriptions::update_req as of;
        let strategy = settings.named_consumer_strategy().as_str_name().to_owned();
        asked_settings!(settings, of, strategy)
    }
}

impl AskedSettings {
    /// Returns the settings, or the reason for which they cannot be used.
    pub(super) fn check(
        self,
        group: &GroupId,
        start_from: StartFrom,
    ) -> Result<GroupSettings, Status> {
        let number = |name: &str, value: i64| {
            u32::try_from(value).map_err(|_| {
                failed(group, &format!("{name} must be between 0 and {}; got {value}", u32::MAX))
            })
        };
        let settings = GroupSettings {
            start_from,
            resolve_links: self.resolve_links,
            extra_statistics: self.extra_statistics,
            message_timeout_ms: number("the message timeout", self.message_timeout_ms)?,
            max_retry_count: number("max_retry_count", self.max_retry_count.into())?,
            min_checkpoint_count: number("min_checkpoint_count", self.min_checkpoint_count.into())?,
            max_checkpoint_count: number("max_checkpoint_count", self.max_checkpoint_count.into())?,
            checkpoint_after_ms: number("checkpoint_after", self.checkpoint_after_ms)?,
            max_subscriber_count: number("max_subscriber_count", self.max_subscriber_count.into())?,
            live_buffer_size: number("live_buffer_size", self.live_buffer_size.into())?,
            read_batch_size: number("read_batch_size", self.read_batch_size.into())?,
            history_buffer_size: number("history_buffer_size", self.history_buffer_size.into())?,
            strategy: self.strategy,
        };
        settings.contradiction().map_or(Ok(settings), |reason| Err(failed(group, &reason)))
    }
}

impl GroupSettings {
    /// Returns what makes the settings unusable together.
    fn contradiction(&self) -> Option<String> {
        let Self { read_batch_size: batch, history_buffer_size: history, .. } = self;
        let Self { min_checkpoint_count: min, max_checkpoint_count: max, strategy, .. } = self;
        if batch >= history {
            return Some(format!(
                "read_batch_size must be less than history_buffer_size; got {batch} and {history}"
            ));
        }
        if min > max {
            return Some(format!(
                "min_checkpoint_count must be at most max_checkpoint_count; got {min} and {max}"
            ));
        }
        match Strategy::named(strategy) {
            Some(_) => None,
            None => Some(format!("there is no consumer strategy `{strategy}`")),
        }
    }

    /// Returns the strategy; that of an unknown name is the plainest.
    pub(super) fn strategy(&self) -> Strategy {
        // Settings are checked before they are stored, so only a later version stores others.
        Strategy::named(&self.strategy).unwrap_or(Strategy::RoundRobin)
    }

    pub(super) fn rules(&self) -> GroupRules {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let millis = |number: u32| Duration::from_millis(number.into());
        GroupRules {
            strategy: self.strategy(),
            message_timeout: (self.message_timeout_ms > 0)
                .then(|| millis(self.message_timeout_ms).max(MESSAGE_TIMEOUT_MIN)),
            retries_max: self.max_retry_count,
            consumers_max: (self.max_subscriber_count > 0)
                .then(|| count(self.max_subscriber_count)),
            live_buffer: count(self.live_buffer_size),
            history_buffer: count(self.history_buffer_size),
            read_batch: count(self.read_batch_size),
            checkpoint_after: millis(self.checkpoint_after_ms),
            checkpoint_min: self.min_checkpoint_count.into(),
            checkpoint_max: u64::from(self.max_checkpoint_count).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::name::GroupSource;

    fn asked() -> create_req::Settings {
        create_req::Settings {
            max_checkpoint_count: 10,
            read_batch_size: 20,
            history_buffer_size: 500,
            ..create_req::Settings::default()
        }
    }

    fn check(settings: create_req::Settings) -> Result<GroupSettings, Status> {
        let group = GroupId::new(GroupSource::All, "mail").unwrap();
        AskedSettings::from(settings).check(&group, StartFrom::Start)
    }

    #[test]
    fn a_strategy_has_a_name_or_the_number_of_earlier_clients() {
        let named =
            create_req::Settings { consumer_strategy: "PinnedByCorrelation".to_owned(), ..asked() };
        assert_eq!(check(named).unwrap().strategy(), Strategy::PinnedByCorrelation);
        let numbered = create_req::Settings { named_consumer_strategy: 2, ..asked() };
        assert_eq!(check(numbered).unwrap().strategy(), Strategy::Pinned);
    }

    #[test]
    fn ticks_and_milliseconds_are_the_same_time() {
        use create_req::settings::MessageTimeout;
        for timeout in [
            MessageTimeout::MessageTimeoutTicks(20_000_000),
            MessageTimeout::MessageTimeoutMs(2_000),
        ] {
            let settings = create_req::Settings { message_timeout: Some(timeout), ..asked() };
            let rules = check(settings).unwrap().rules();
            assert_eq!(rules.message_timeout, Some(Duration::from_secs(2)));
        }
    }

    #[test]
    fn a_short_time_for_an_acknowledgement_leaves_clients_time_to_send_it() {
        use create_req::settings::MessageTimeout::MessageTimeoutMs;
        for (asked_ms, waits) in [(1, Some(MESSAGE_TIMEOUT_MIN)), (0, None)] {
            let timeout = Some(MessageTimeoutMs(asked_ms));
            let settings = check(create_req::Settings { message_timeout: timeout, ..asked() });
            let settings = settings.unwrap();
            assert_eq!(settings.rules().message_timeout, waits);
            assert_eq!(i64::from(settings.message_timeout_ms), i64::from(asked_ms));
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused_with_the_reason() {
        let unknown = create_req::Settings { consumer_strategy: "Best".to_owned(), ..asked() };
        let negative = create_req::Settings { max_retry_count: -1, ..asked() };
        let batch = create_req::Settings { read_batch_size: 500, ..asked() };
        let checkpoints = create_req::Settings { min_checkpoint_count: 11, ..asked() };
        for settings in [unknown, negative, batch, checkpoints] {
            let refused = check(settings).unwrap_err();
            let kind = refused.metadata().get("exception").unwrap();
            assert_eq!(kind.to_str().unwrap(), "persistent-subscription-failed");
            assert!(refused.metadata().contains_key("reason"), "{refused}");
        }
    }
}
