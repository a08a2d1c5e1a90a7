//! JSON of process managers, instances and set-aside inputs.

use gesta::{
    EffectId, InstanceCounts, InstanceDetails, InstanceSummary, ProcessState, ProcessStatus,
    SetAsideInput, Subject, WaitingInput,
};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use crate::{
    Schema,
    built_in::leases::{LeaseDetails, LeasesInForce},
    requests::personal::PersonalView,
    wire::event::recorded_at,
};

/// A process manager.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProcessDetails {
    /// Name.
    name: &'static str,
    /// State: `starting`, `running`, `paused`, `halted`, or `waiting` while another node runs it.
    state: &'static str,
    /// Position up to which all events are handled or set aside.
    position: u64,
    /// Number of pending timers.
    timers: u64,
    /// Number of decided commands that await execution.
    commands: u64,
    /// Number of subjects with set-aside inputs.
    troubled: u64,
    /// Number of set-aside inputs.
    set_aside: u64,
    /// Error of the first set-aside input.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Error that the manager as a whole is retrying.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// Node that runs it, if several nodes share the work and one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// Lease under which it runs, if it is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseDetails>,
    /// Number of instances in each state; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    instances: Option<CountDetails>,
}

/// Number of a process manager's instances in each state.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CountDetails {
    /// Started and not ended, including those with set-aside inputs.
    running: u64,
    /// With set-aside inputs.
    troubled: u64,
    /// Ended by their own decision.
    ended: u64,
    /// Cancelled by an operator.
    cancelled: u64,
    /// Position up to which they were counted.
    as_of: u64,
}

impl ProcessDetails {
    pub(super) fn of(
        status: ProcessStatus,
        leases: &LeasesInForce,
        counts: Option<InstanceCounts>,
        view: &PersonalView,
    ) -> Self {
        Self {
            name: status.name,
            state: match status.state {
                ProcessState::Starting => "starting",
                ProcessState::Waiting => "waiting",
                ProcessState::Running => "running",
                ProcessState::Paused => "paused",
                ProcessState::Halted => "halted",
                // `ProcessState` is non-exhaustive.
                _ => "other",
            },
            position: status.position.number(),
            timers: status.timers as u64,
            commands: status.commands as u64,
            troubled: status.troubled as u64,
            set_aside: status.set_aside as u64,
            error: status.error.map(|error| view.error(error)),
            trouble: status.trouble.map(|error| view.error(error)),
            node: status.runs_on.map(|node| node.to_string()),
            lease: leases.of(status.lease.as_ref()),
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

/// An instance of a process manager, in a list.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedInstance {
    /// Id.
    id: String,
    /// State: `running`, `troubled`, `ended` or `cancelled`.
    state: String,
    /// Last revision of its stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// Number of its set-aside inputs.
    set_aside: u64,
    /// Error of the first set-aside input.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl ListedInstance {
    pub(super) fn of(summary: InstanceSummary, view: &PersonalView) -> Self {
        Self {
            id: summary.id,
            state: summary.state.to_string(),
            revision: summary.revision.map(|revision| revision.number()),
            set_aside: summary.set_aside as u64,
            error: summary.error.map(|error| view.error(error)),
        }
    }
}

/// An instance of a process manager.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownInstance {
    /// Id.
    id: String,
    /// Stream of its events.
    stream: String,
    /// State: `running`, `troubled`, `ended` or `cancelled`.
    state: String,
    /// Last revision of its stream that can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// Pending timers.
    timers: Vec<TimerDetails>,
    /// Decided commands that await execution, in order.
    commands: Vec<CommandDetails>,
    /// Commands that were permanently refused and not resent.
    refused: Vec<RefusedDetails>,
    /// Set-aside inputs, in order. The first one failed; the others wait for it.
    set_aside: Vec<InputDetails>,
    /// Error that keeps its stream from being read.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// A pending timer.
#[derive(Debug, Serialize, Schema)]
pub(super) struct TimerDetails {
    /// Id, for firing it now.
    id: String,
    /// Due time (RFC 3339).
    due: String,
    /// Value of the timer.
    timer: Box<RawValue>,
}

/// A command that awaits execution.
#[derive(Debug, Serialize, Schema)]
pub(super) struct CommandDetails {
    /// Id: where it was decided in the instance's stream.
    id: String,
    /// Command name.
    name: String,
    /// Payload.
    payload: Box<RawValue>,
}

/// A command that was permanently refused.
#[derive(Debug, Serialize, Schema)]
pub(super) struct RefusedDetails {
    /// Id, for resending it.
    id: String,
    /// Command name.
    name: String,
    /// Payload.
    payload: Box<RawValue>,
    /// Stable code of the refusal.
    code: String,
    /// Explanation for people.
    reason: String,
}

/// Returns stored JSON unchanged, and any other text as a JSON string.
fn json_of(text: &str) -> Box<RawValue> {
    let as_written = RawValue::from_string(text.to_owned());
    let as_text = || RawValue::from_string(json!(text).to_string());
    as_written.or_else(|_| as_text()).expect("a text has a JSON form")
}

impl ShownInstance {
    pub(super) fn of(details: InstanceDetails, view: &PersonalView) -> Self {
        let timers = details.timers.into_iter().map(|timer| TimerDetails {
            id: timer.id.to_string(),
            due: recorded_at(timer.due),
            timer: view.opaque(json_of(&timer.timer)),
        });
        let commands = details.commands.into_iter().map(|command| CommandDetails {
            id: command.id.to_string(),
            name: command.name,
            payload: view.opaque(json_of(&command.payload)),
        });
        let refused = details.refused.into_iter().map(|command| RefusedDetails {
            id: command.id.to_string(),
            name: command.name,
            payload: view.opaque(json_of(&command.payload)),
            code: command.kind.to_string(),
            reason: view.error(command.reason),
        });
        Self {
            id: details.id,
            stream: details.stream.to_string(),
            state: details.state.to_string(),
            revision: details.revision.map(|revision| revision.number()),
            timers: timers.collect(),
            commands: commands.collect(),
            refused: refused.collect(),
            set_aside: inputs_of(details.set_aside, view),
            trouble: details.trouble.map(|error| view.error(error)),
        }
    }
}

/// The set-aside inputs of one subject.
#[derive(Debug, Serialize, Schema)]
pub(super) struct SubjectDetails {
    /// Id of the subject, for retry and skip: `instance:ID`, or `stream:NAME` for events that
    /// could not be routed to an instance.
    subject: String,
    /// Inputs of this page, in order. Those with an error failed; the others wait for one.
    inputs: Vec<InputDetails>,
}

/// A set-aside input.
#[derive(Debug, Default, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
pub(super) struct InputDetails {
    /// Number, for skipping it.
    number: u64,
    /// Kind: `event`, `timer`, `refusal`, `command`, or `stream` if the instance's stream
    /// cannot be read.
    kind: &'static str,
    /// Error of the last attempt; absent if it only waits for an earlier input.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Number of attempts.
    attempts: u32,
    /// Time at which it was set aside (RFC 3339).
    since: String,
    /// Event id.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    /// Event type.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    /// Stream of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    /// Revision of the event in its stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// Position of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    /// Id of the timer or command.
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<String>,
    /// Code and reason of the command's refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
}

impl SubjectDetails {
    /// Groups inputs, which are in order of their subjects.
    pub(super) fn group(inputs: Vec<(Subject, SetAsideInput)>, view: &PersonalView) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (subject, input) in inputs {
            let (subject, input) = (subject.to_string(), InputDetails::of(input, view));
            match groups.last_mut() {
                Some(last) if last.subject == subject => last.inputs.push(input),
                _ => groups.push(Self { subject, inputs: vec![input] }),
            }
        }
        groups
    }
}

fn inputs_of(inputs: Vec<SetAsideInput>, view: &PersonalView) -> Vec<InputDetails> {
    inputs.into_iter().map(|input| InputDetails::of(input, view)).collect()
}

impl InputDetails {
    fn of(set_aside: SetAsideInput, view: &PersonalView) -> Self {
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
                refusal: Some(format!("{code}: {}", view.error(reason))),
                ..Self::of_effect("refusal", command)
            },
            WaitingInput::Command { command } => Self::of_effect("command", command),
            WaitingInput::Stream => Self { kind: "stream", ..Self::default() },
            // `WaitingInput` is non-exhaustive.
            _ => Self { kind: "other", ..Self::default() },
        };
        Self {
            number: set_aside.number,
            error: set_aside.error.map(|error| view.error(error)),
            attempts: set_aside.attempts,
            since: recorded_at(set_aside.since),
            ..of_input
        }
    }

    fn of_effect(kind: &'static str, effect: EffectId) -> Self {
        Self { kind, effect: Some(effect.to_string()), ..Self::default() }
    }
}
