//! Process managers, instances and set-aside inputs as they are answered.

use gesta::{
    EffectId, InstanceCounts, InstanceDetails, InstanceSummary, ProcessState, ProcessStatus,
    SetAside, SetAsideInput, WaitingInput,
};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use crate::event::recorded_at;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProcessDetails {
    name: &'static str,
    state: &'static str,
    position: u64,
    timers: u64,
    commands: u64,
    troubled: u64,
    set_aside: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instances: Option<CountDetails>,
}

crate::response! {
    /// A process manager.
    ProcessDetails {
        /// Its name.
        name: &'static str,
        /// Its state: `starting`, `running`, `paused` or `halted`.
        state: &'static str,
        /// Everything up to here is handled or set aside.
        position: u64,
        /// The number of pending timers.
        timers: u64,
        /// The number of commands that were decided and are not executed yet.
        commands: u64,
        /// The number of streams of which inputs are set aside.
        troubled: u64,
        /// The number of inputs that are set aside.
        set_aside: u64,
        /// Why the first of them failed.
        error: Option<String>,
        /// What the manager as a whole is trying again.
        trouble: Option<String>,
        /// The numbers of its instances by state; only where one manager is shown.
        instances: Option<CountDetails>,
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CountDetails {
    running: u64,
    troubled: u64,
    ended: u64,
    cancelled: u64,
    as_of: u64,
}

crate::response! {
    /// The numbers of a manager's instances by state.
    CountDetails {
        /// Begun and not ended.
        running: u64,
        /// Set aside.
        troubled: u64,
        /// Ended by themselves.
        ended: u64,
        /// Ended by an operator.
        cancelled: u64,
        /// The position up to which they were counted.
        as_of: u64,
    }
}

impl ProcessDetails {
    pub(super) fn of(status: ProcessStatus, counts: Option<InstanceCounts>) -> Self {
        Self {
            name: status.name,
            state: match status.state {
                ProcessState::Starting => "starting",
                ProcessState::Running => "running",
                ProcessState::Paused => "paused",
                ProcessState::Halted => "halted",
            },
            position: status.position.number(),
            timers: status.timers as u64,
            commands: status.commands as u64,
            troubled: status.troubled as u64,
            set_aside: status.set_aside as u64,
            error: status.error,
            trouble: status.trouble,
            instances: counts.map(|counts| CountDetails {
                running: counts.running,
                troubled: counts.troubled,
                ended: counts.ended,
                cancelled: counts.cancelled,
                as_of: counts.as_of.number(),
            }),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedInstance {
    id: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    set_aside: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

crate::response! {
    /// An instance of a process manager, in a list.
    ListedInstance {
        /// Its id.
        id: String,
        /// Its state: `running`, `troubled`, `ended` or `cancelled`.
        state: String,
        /// The last revision of its stream.
        revision: Option<u64>,
        /// The number of its inputs that are set aside.
        set_aside: u64,
        /// Why the first of them failed.
        error: Option<String>,
    }
}

impl ListedInstance {
    pub(super) fn of(summary: InstanceSummary) -> Self {
        Self {
            id: summary.id,
            state: summary.state.to_string(),
            revision: summary.revision.map(|revision| revision.number()),
            set_aside: summary.set_aside as u64,
            error: summary.error,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownInstance {
    id: String,
    stream: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    timers: Vec<TimerDetails>,
    commands: Vec<CommandDetails>,
    refused: Vec<RefusedDetails>,
    set_aside: Vec<InputDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

crate::response! {
    /// An instance of a process manager.
    ShownInstance {
        /// Its id.
        id: String,
        /// Its stream.
        stream: String,
        /// Its state: `running`, `troubled`, `ended` or `cancelled`.
        state: String,
        /// The last revision of its stream that can be read.
        revision: Option<u64>,
        /// The pending timers.
        timers: Vec<TimerDetails>,
        /// The commands that were decided and are not executed yet, in order.
        commands: Vec<CommandDetails>,
        /// The commands that were refused for good and not sent again.
        refused: Vec<RefusedDetails>,
        /// The inputs that are set aside, in order. The first one failed.
        set_aside: Vec<InputDetails>,
        /// Why its stream cannot be read, if it cannot.
        trouble: Option<String>,
    }
}

#[derive(Debug, Serialize)]
pub(super) struct TimerDetails {
    id: String,
    due: String,
    timer: Box<RawValue>,
}

crate::response! {
    /// A pending timer.
    TimerDetails {
        /// What to fire it by.
        id: String,
        /// When it is due (RFC 3339).
        due: String,
        /// Its value.
        timer: Box<RawValue>,
    }
}

#[derive(Debug, Serialize)]
pub(super) struct CommandDetails {
    id: String,
    name: String,
    payload: Box<RawValue>,
}

crate::response! {
    /// A command that is not executed yet.
    CommandDetails {
        /// The place where it was decided.
        id: String,
        /// Its name.
        name: String,
        /// The command.
        payload: Box<RawValue>,
    }
}

#[derive(Debug, Serialize)]
pub(super) struct RefusedDetails {
    id: String,
    name: String,
    payload: Box<RawValue>,
    code: String,
    reason: String,
}

crate::response! {
    /// A command that was refused for good.
    RefusedDetails {
        /// What to send it again by.
        id: String,
        /// Its name.
        name: String,
        /// The command.
        payload: Box<RawValue>,
        /// The kind of the refusal.
        code: String,
        /// The reason, for people.
        reason: String,
    }
}

/// Stored JSON as it was written; what is none is shown as a text.
fn json_of(text: &str) -> Box<RawValue> {
    let as_written = RawValue::from_string(text.to_owned());
    let as_text = || RawValue::from_string(json!(text).to_string());
    as_written.or_else(|_| as_text()).expect("a text has a JSON form")
}

impl ShownInstance {
    pub(super) fn of(details: InstanceDetails) -> Self {
        let timers = details.timers.into_iter().map(|timer| TimerDetails {
            id: timer.id.to_string(),
            due: recorded_at(timer.due),
            timer: json_of(&timer.timer),
        });
        let commands = details.commands.into_iter().map(|command| CommandDetails {
            id: command.id.to_string(),
            name: command.name,
            payload: json_of(&command.payload),
        });
        let refused = details.refused.into_iter().map(|command| RefusedDetails {
            id: command.id.to_string(),
            name: command.name,
            payload: json_of(&command.payload),
            code: command.code,
            reason: command.reason,
        });
        Self {
            id: details.id,
            stream: details.stream.to_string(),
            state: details.state.to_string(),
            revision: details.revision.map(|revision| revision.number()),
            timers: timers.collect(),
            commands: commands.collect(),
            refused: refused.collect(),
            set_aside: details.set_aside.into_iter().map(InputDetails::of).collect(),
            trouble: details.trouble,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct SubjectDetails {
    subject: String,
    inputs: Vec<InputDetails>,
}

crate::response! {
    /// What is set aside of one stream.
    SubjectDetails {
        /// What to retry or skip it by: `instance:ID`, or `stream:NAME` of events that could not
        /// be routed.
        subject: String,
        /// The inputs, in order. The first one failed, the others wait behind it.
        inputs: Vec<InputDetails>,
    }
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InputDetails {
    number: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    attempts: u32,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
}

crate::response! {
    /// An input that is set aside.
    InputDetails {
        /// What to skip it by.
        number: u64,
        /// Its kind: `event`, `timer`, `refusal`, `command`, or `stream` of an instance whose stream
        /// cannot be read.
        kind: &'static str,
        /// Why it failed; none for one that waits behind another.
        error: Option<String>,
        /// How often it was tried.
        attempts: u32,
        /// Since when it is set aside (RFC 3339).
        since: String,
        /// The event's id.
        event_id: Option<String>,
        /// The event's type.
        event_type: Option<String>,
        /// The event's stream.
        stream: Option<String>,
        /// The event's place in its stream.
        revision: Option<u64>,
        /// The event's place in the store.
        position: Option<u64>,
        /// The place where the timer was set or the command decided.
        effect: Option<String>,
        /// The refusal of the command: code and reason.
        refusal: Option<String>,
    }
}

impl SubjectDetails {
    pub(super) fn of(set_aside: SetAside) -> Self {
        Self {
            subject: set_aside.subject.to_string(),
            inputs: set_aside.inputs.into_iter().map(InputDetails::of).collect(),
        }
    }
}

impl InputDetails {
    fn of(set_aside: SetAsideInput) -> Self {
        let of_input = match set_aside.input {
            WaitingInput::Event { id, event_type, stream, revision, position } => Self {
                kind: "event",
                event_id: Some(id.to_string()),
                event_type: Some(event_type.to_string()),
                stream: Some(stream.to_string()),
                revision: Some(revision.number()),
                position: Some(position.number()),
                ..Self::default()
            },
            WaitingInput::Timer { timer } => Self::of_effect("timer", timer),
            WaitingInput::Refused { command, code, reason } => Self {
                refusal: Some(format!("{code}: {reason}")),
                ..Self::of_effect("refusal", command)
            },
            WaitingInput::Command { command } => Self::of_effect("command", command),
            WaitingInput::Stream => Self { kind: "stream", ..Self::default() },
            // A kind of a later version of the framework.
            _ => Self { kind: "other", ..Self::default() },
        };
        Self {
            number: set_aside.number,
            error: set_aside.error,
            attempts: set_aside.attempts,
            since: recorded_at(set_aside.since),
            ..of_input
        }
    }

    fn of_effect(kind: &'static str, effect: EffectId) -> Self {
        Self { kind, effect: Some(effect.to_string()), ..Self::default() }
    }
}
