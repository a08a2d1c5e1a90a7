//! The settings of a group: as clients ask for them, and as they are stored.
//!
//! Owns: the checks. Invariant: stored settings were checked, and a later version of this crate
//! reads them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tonic::Status;

use super::{
    errors::unusable,
    machine::{GroupRules, Strategy},
    name::GroupId,
};
use crate::proto::persistent_subscriptions::{create_req, update_req};

/// The first event of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum StartFrom {
    Start,
    /// The first event after the creation of the group.
    End,
    /// This revision or position.
    At(u64),
}

/// The settings of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupSettings {
    pub(crate) start_from: StartFrom,
    pub(crate) resolve_links: bool,
    pub(crate) extra_statistics: bool,
    /// 0 waits forever.
    pub(crate) message_timeout_ms: u32,
    pub(crate) max_retry_count: u32,
    pub(crate) min_checkpoint_count: u32,
    pub(crate) max_checkpoint_count: u32,
    pub(crate) checkpoint_after_ms: u32,
    /// 0 has no limit.
    pub(crate) max_subscriber_count: u32,
    pub(crate) live_buffer_size: u32,
    pub(crate) read_batch_size: u32,
    pub(crate) history_buffer_size: u32,
    pub(crate) strategy: String,
}

/// The settings of either request, before they are checked.
pub(super) struct AskedSettings {
    resolve_links: bool,
    extra_statistics: bool,
    message_timeout: AskedTime,
    max_retry_count: i32,
    min_checkpoint_count: i32,
    max_checkpoint_count: i32,
    checkpoint_after: AskedTime,
    max_subscriber_count: i32,
    live_buffer_size: i32,
    read_batch_size: i32,
    history_buffer_size: i32,
    strategy: AskedStrategy,
    /// The start that earlier clients ask for.
    pub(super) revision: u64,
}

/// A time in one of the protocol's units.
#[derive(Clone, Copy)]
enum AskedTime {
    Millis(i32),
    Ticks(i64),
}

/// A strategy by its name, or by the number of earlier clients and of updates.
enum AskedStrategy {
    Named(String),
    Numbered(i32),
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
            message_timeout: match $settings.message_timeout {
                Some($of::settings::MessageTimeout::MessageTimeoutMs(millis)) => {
                    AskedTime::Millis(millis)
                }
                Some($of::settings::MessageTimeout::MessageTimeoutTicks(ticks)) => {
                    AskedTime::Ticks(ticks)
                }
                None => AskedTime::Millis(0),
            },
            max_retry_count: $settings.max_retry_count,
            min_checkpoint_count: $settings.min_checkpoint_count,
            max_checkpoint_count: $settings.max_checkpoint_count,
            checkpoint_after: match $settings.checkpoint_after {
                Some($of::settings::CheckpointAfter::CheckpointAfterMs(millis)) => {
                    AskedTime::Millis(millis)
                }
                Some($of::settings::CheckpointAfter::CheckpointAfterTicks(ticks)) => {
                    AskedTime::Ticks(ticks)
                }
                None => AskedTime::Millis(0),
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
            "" => AskedStrategy::Numbered(settings.named_consumer_strategy),
            name => AskedStrategy::Named(name.to_owned()),
        };
        asked_settings!(settings, of, strategy)
    }
}

impl From<update_req::Settings> for AskedSettings {
    fn from(settings: update_req::Settings) -> Self {
        use crate::proto::persistent_subscriptions::update_req as of;
        let strategy = AskedStrategy::Numbered(settings.named_consumer_strategy);
        asked_settings!(settings, of, strategy)
    }
}

impl AskedSettings {
    /// Returns the settings, or the refusal of the first one that cannot be used.
    pub(super) fn check(
        self,
        group: &GroupId,
        start_from: StartFrom,
    ) -> Result<GroupSettings, Status> {
        self.checked(start_from).map_err(|reason| unusable(group, &reason))
    }

    /// An error has the name of the setting, its value and what is allowed.
    fn checked(self, start_from: StartFrom) -> Result<GroupSettings, String> {
        let settings = GroupSettings {
            start_from,
            resolve_links: self.resolve_links,
            extra_statistics: self.extra_statistics,
            message_timeout_ms: self.message_timeout.millis("message_timeout")?,
            max_retry_count: count("max_retry_count", self.max_retry_count)?,
            min_checkpoint_count: count("min_checkpoint_count", self.min_checkpoint_count)?,
            max_checkpoint_count: count("max_checkpoint_count", self.max_checkpoint_count)?,
            checkpoint_after_ms: self.checkpoint_after.millis("checkpoint_after")?,
            max_subscriber_count: count("max_subscriber_count", self.max_subscriber_count)?,
            live_buffer_size: count("live_buffer_size", self.live_buffer_size)?,
            read_batch_size: count("read_batch_size", self.read_batch_size)?,
            history_buffer_size: count("history_buffer_size", self.history_buffer_size)?,
            strategy: self.strategy.name()?,
        };
        settings.contradiction().map_or(Ok(settings), |found| Err(found.in_protocol()))
    }
}

fn count(name: &str, asked: i32) -> Result<u32, String> {
    let refused = |_| format!("`{name}` must be between 0 and {}; got {asked}", i32::MAX);
    u32::try_from(asked).map_err(refused)
}

impl AskedTime {
    /// Returns whole milliseconds. A part of one counts as one, because 0 has a meaning of its own.
    fn millis(self, name: &str) -> Result<u32, String> {
        let (value, unit, per_millisecond) = match self {
            Self::Millis(millis) => (i64::from(millis), "ms", 1),
            Self::Ticks(ticks) => (ticks, "ticks", TICKS),
        };
        let max = i64::from(i32::MAX) * per_millisecond;
        if !(0..=max).contains(&value) {
            return Err(format!("`{name}` must be between 0 and {max} {unit}; got {value}"));
        }
        let millis = value / per_millisecond + i64::from(value % per_millisecond > 0);
        Ok(u32::try_from(millis).expect("the range was checked"))
    }
}

impl AskedStrategy {
    fn name(self) -> Result<String, String> {
        let known = || Strategy::ALL.map(|strategy| format!("`{}`", strategy.name())).join(", ");
        match self {
            Self::Named(name) if Strategy::named(&name).is_some() => Ok(name),
            Self::Named(name) => {
                Err(format!("`consumer_strategy` must be one of {}; got `{name}`", known()))
            }
            Self::Numbered(number) => match create_req::ConsumerStrategy::try_from(number) {
                Ok(strategy) => Ok(strategy.as_str_name().to_owned()),
                Err(_) => Err(format!(
                    "`named_consumer_strategy` must be 0 (DispatchToSingle), 1 (RoundRobin) or 2 \
                     (Pinned); got {number}"
                )),
            },
        }
    }
}

/// Two settings that cannot be used together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contradiction {
    /// A batch must be smaller than the buffer that it goes to.
    LargeBatch { batch: u32, history: u32 },
    /// The least number of a checkpoint is beyond the largest one.
    LargeMinimum { min: u32, max: u32 },
}

impl Contradiction {
    /// Returns the reason, with the names that the protocol has.
    fn in_protocol(self) -> String {
        match self {
            Self::LargeBatch { batch, history } => format!(
                "`read_batch_size` must be less than `history_buffer_size`; got {batch} and \
                 {history}"
            ),
            Self::LargeMinimum { min, max } => format!(
                "`min_checkpoint_count` must be at most `max_checkpoint_count`; got {min} and {max}"
            ),
        }
    }
}

impl GroupSettings {
    /// The settings that official clients send by default, of a group that begins at the end.
    pub(crate) fn usual() -> Self {
        Self {
            start_from: StartFrom::End,
            resolve_links: false,
            extra_statistics: false,
            message_timeout_ms: 30_000,
            max_retry_count: 10,
            min_checkpoint_count: 10,
            max_checkpoint_count: 1_000,
            checkpoint_after_ms: 2_000,
            max_subscriber_count: 0,
            live_buffer_size: 500,
            read_batch_size: 20,
            history_buffer_size: 500,
            strategy: Strategy::RoundRobin.name().to_owned(),
        }
    }

    /// Returns what makes the settings unusable together.
    pub(crate) fn contradiction(&self) -> Option<Contradiction> {
        let Self { read_batch_size: batch, history_buffer_size: history, .. } = *self;
        let Self { min_checkpoint_count: min, max_checkpoint_count: max, .. } = *self;
        if batch >= history {
            return Some(Contradiction::LargeBatch { batch, history });
        }
        (min > max).then_some(Contradiction::LargeMinimum { min, max })
    }

    /// Returns `true` if there is a strategy with this name.
    pub(crate) fn has_known_strategy(&self) -> bool {
        Strategy::named(&self.strategy).is_some()
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
            extra_statistics: self.extra_statistics,
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
    fn a_time_of_less_than_a_millisecond_is_not_forever() {
        use create_req::settings::MessageTimeout::MessageTimeoutTicks;
        let timeout = Some(MessageTimeoutTicks(1));
        let settings = check(create_req::Settings { message_timeout: timeout, ..asked() });
        assert_eq!(settings.unwrap().rules().message_timeout, Some(MESSAGE_TIMEOUT_MIN));
    }

    #[test]
    fn a_setting_that_cannot_be_used_is_refused_with_its_name_its_value_and_what_is_allowed() {
        use create_req::settings::{CheckpointAfter, MessageTimeout};
        let cases = [
            (
                create_req::Settings { consumer_strategy: "Best".to_owned(), ..asked() },
                "`consumer_strategy` must be one of `DispatchToSingle`, `RoundRobin`, `Pinned`, \
                 `PinnedByCorrelation`; got `Best`",
            ),
            (
                create_req::Settings { named_consumer_strategy: 7, ..asked() },
                "`named_consumer_strategy` must be 0 (DispatchToSingle), 1 (RoundRobin) or 2 \
                 (Pinned); got 7",
            ),
            (
                create_req::Settings { max_retry_count: -5, ..asked() },
                "`max_retry_count` must be between 0 and 2147483647; got -5",
            ),
            (
                create_req::Settings {
                    message_timeout: Some(MessageTimeout::MessageTimeoutMs(-1)),
                    ..asked()
                },
                "`message_timeout` must be between 0 and 2147483647 ms; got -1",
            ),
            (
                create_req::Settings {
                    checkpoint_after: Some(CheckpointAfter::CheckpointAfterTicks(-5)),
                    ..asked()
                },
                "`checkpoint_after` must be between 0 and 21474836470000 ticks; got -5",
            ),
            (
                create_req::Settings { read_batch_size: 500, ..asked() },
                "`read_batch_size` must be less than `history_buffer_size`; got 500 and 500",
            ),
            (
                create_req::Settings { min_checkpoint_count: 11, ..asked() },
                "`min_checkpoint_count` must be at most `max_checkpoint_count`; got 11 and 10",
            ),
        ];
        for (settings, expected) in cases {
            let refused = check(settings).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
            assert!(refused.message().ends_with(expected), "{refused}");
            let kind = refused.metadata().get("exception").unwrap();
            assert_eq!(kind.to_str().unwrap(), "persistent-subscription-failed");
            assert_eq!(refused.metadata().get("reason").unwrap(), expected);
        }
    }
}
