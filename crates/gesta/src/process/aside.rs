//! The set-aside inputs of one manager: a queue of references for each stream.
//!
//! Owns: [`Asides`], folded from the manager's journal.
//!
//! Invariant: every queue starts with an input that failed. An event is in at most one queue.
//!
//! Not here: the stored form ([`journal`](super::journal)) and the failures
//! ([`instance`](super::instance)).

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
};

use gesta_store::{EventId, EventType, Position, RecordedAt, RecordedEvent, Revision, StreamName};
use serde::{Deserialize, Serialize};

use super::{
    EffectId, SetAside, SetAsideInput, Subject, WaitingInput, history::Refusal, setup::Identity,
};

/// Maximum length of a stored error, in bytes.
const ERROR_BYTES_MAX: usize = 2_000;

/// A set-aside input, in its stored form.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct AsideInput {
    pub(super) number: u64,
    pub(super) input: AsideRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    pub(super) attempts: u32,
    /// Microseconds since 1970.
    pub(super) since: u64,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum AsideRef {
    Event {
        id: String,
        event_type: String,
        stream: String,
        revision: u64,
        position: u64,
    },
    Timer {
        timer: EffectId,
    },
    Refused {
        command: EffectId,
        refusal: Refusal,
    },
    Command {
        command: EffectId,
    },
    /// The process itself: it has outstanding effects, and its stream cannot be read.
    Stream,
}

/// A [`Subject`], in its stored form.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub(super) enum SubjectKey {
    Instance(String),
    Source(String),
}

impl SubjectKey {
    pub(super) fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Instance(id) => Self::Instance(id.clone()),
            Subject::Source(stream) => Self::Source(stream.as_str().to_owned()),
        }
    }

    fn subject(&self) -> Option<Subject> {
        match self {
            Self::Instance(id) => Some(Subject::Instance(id.clone())),
            Self::Source(stream) => StreamName::stored(stream.clone()).ok().map(Subject::Source),
        }
    }
}

impl AsideRef {
    pub(super) fn event(event: &RecordedEvent) -> Self {
        Self::Event {
            id: event.id.to_string(),
            event_type: event.event_type.as_str().to_owned(),
            stream: event.stream.as_str().to_owned(),
            revision: event.revision.number(),
            position: event.position.number(),
        }
    }

    pub(super) fn event_id(&self) -> Option<&str> {
        match self {
            Self::Event { id, .. } => Some(id),
            Self::Timer { .. } | Self::Refused { .. } | Self::Command { .. } | Self::Stream => None,
        }
    }

    pub(super) fn position(&self) -> Option<u64> {
        match self {
            Self::Event { position, .. } => Some(*position),
            Self::Timer { .. } | Self::Refused { .. } | Self::Command { .. } | Self::Stream => None,
        }
    }

    fn view(&self) -> Option<WaitingInput> {
        Some(match self {
            Self::Event { id, event_type, stream, revision, position } => WaitingInput::Event {
                id: event_id_of(id)?,
                event_type: EventType::new(event_type.clone()).ok()?,
                stream: StreamName::stored(stream.clone()).ok()?,
                revision: Revision::new(*revision),
                position: Position::new(*position),
            },
            Self::Timer { timer } => WaitingInput::Timer { timer: *timer },
            Self::Refused { command, refusal } => WaitingInput::Refused {
                command: *command,
                code: refusal.code.clone(),
                reason: refusal.reason.clone(),
            },
            Self::Command { command } => WaitingInput::Command { command: *command },
            Self::Stream => WaitingInput::Stream,
        })
    }
}

/// Returns the id in a stored text.
pub(super) fn event_id_of(text: &str) -> Option<EventId> {
    text.parse::<uuid::Uuid>().ok().map(EventId::from)
}

/// Truncates the text of an error to the stored maximum.
pub(super) fn bounded(mut error: String) -> String {
    if error.len() > ERROR_BYTES_MAX {
        let end = (0..=ERROR_BYTES_MAX).rev().find(|place| error.is_char_boundary(*place));
        error.truncate(end.unwrap_or_default());
        error.push('…');
    }
    error
}

/// The queue of one subject.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Queue {
    pub(super) inputs: VecDeque<Arc<AsideInput>>,
    /// Position up to which all events of the subject are handled or queued.
    pub(super) delivered: u64,
}

/// All set-aside inputs of one manager.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asides {
    queues: BTreeMap<SubjectKey, Queue>,
    events: HashSet<EventId>,
    count: usize,
}

impl Asides {
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn subjects(&self) -> usize {
        self.queues.len()
    }

    /// Returns the instances that are set aside.
    pub(crate) fn instance_ids(&self) -> impl Iterator<Item = String> {
        self.queues.keys().filter_map(|key| match key {
            SubjectKey::Instance(id) => Some(id.clone()),
            SubjectKey::Source(_) => None,
        })
    }

    pub(super) fn holds(&self, subject: &Subject) -> bool {
        self.queues.contains_key(&SubjectKey::of(subject))
    }

    pub(super) fn queue(&self, subject: &Subject) -> Option<&Queue> {
        self.queues.get(&SubjectKey::of(subject))
    }

    pub(super) fn queue_of(&self, key: &SubjectKey) -> Option<&Queue> {
        self.queues.get(key)
    }

    pub(super) fn queues(&self) -> impl Iterator<Item = (&SubjectKey, &Queue)> {
        self.queues.iter()
    }

    /// Returns whether an event is queued, or was handled before its subject was set aside.
    pub(super) fn has_taken(&self, subject: &Subject, event: &RecordedEvent) -> bool {
        self.has_event(&event.id)
            || self.queue(subject).is_some_and(|queue| event.position.number() <= queue.delivered)
    }

    pub(super) fn has_event(&self, event: &EventId) -> bool {
        self.events.contains(event)
    }

    pub(super) fn add(&mut self, key: &SubjectKey, inputs: &[AsideInput], delivered: u64) {
        let queue = self.queues.entry(key.clone()).or_default();
        // Never moves back, so that a delivered event does not look new.
        queue.delivered = queue.delivered.max(delivered);
        for input in inputs {
            self.events.extend(input.input.event_id().and_then(event_id_of));
            queue.inputs.push_back(Arc::new(input.clone()));
        }
        self.count += inputs.len();
    }

    pub(super) fn release(&mut self, key: &SubjectKey, numbers: &[u64]) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        let before = queue.inputs.len();
        for input in queue.inputs.iter().filter(|input| numbers.contains(&input.number)) {
            if let Some(id) = input.input.event_id().and_then(event_id_of) {
                self.events.remove(&id);
            }
        }
        queue.inputs.retain(|input| !numbers.contains(&input.number));
        self.count -= before - queue.inputs.len();
        // An empty queue would still hold its subject: later inputs would wait behind nothing.
        if queue.inputs.is_empty() {
            self.queues.remove(key);
        }
    }

    pub(super) fn fail(&mut self, key: &SubjectKey, number: u64, error: &str, attempts: u32) {
        let queue = self.queues.get_mut(key);
        let input =
            queue.and_then(|queue| queue.inputs.iter_mut().find(|input| input.number == number));
        if let Some(input) = input {
            // Copies only if a retry or a published status still refers to the input.
            let input = Arc::make_mut(input);
            input.error = Some(error.to_owned());
            input.attempts = attempts;
        }
    }

    /// After a restore positions have another meaning, so only ids identify delivered events.
    pub(super) fn forget_positions(&mut self) {
        self.queues.values_mut().for_each(|queue| queue.delivered = 0);
    }

    /// Returns the error of the first subject's first input.
    pub(super) fn first_error(&self) -> Option<String> {
        let (key, queue) = self.queues.first_key_value()?;
        let error = queue.inputs.iter().find_map(|input| input.error.as_deref())?;
        let name = match key {
            SubjectKey::Instance(id) => format!("instance {id}"),
            SubjectKey::Source(stream) => format!("stream {stream}"),
        };
        Some(format!("{name} is set aside: {error}"))
    }

    /// Returns all inputs in the operators' form.
    pub(super) fn view(&self, identity: &Identity) -> Vec<SetAside> {
        let subjects = self.queues.iter().filter_map(|(key, queue)| {
            let subject = key.subject()?;
            let stream = match &subject {
                Subject::Instance(id) => identity.stream(id).ok()?,
                Subject::Source(stream) => stream.clone(),
            };
            Some(SetAside { subject, stream, inputs: queue.view() })
        });
        subjects.collect()
    }

    pub(crate) fn view_of(&self, subject: &Subject) -> Vec<SetAsideInput> {
        self.queue(subject).map(Queue::view).unwrap_or_default()
    }
}

impl Queue {
    /// Returns whether a queue contains this timer, refusal or command.
    pub(super) fn has(&self, input: &AsideRef) -> bool {
        self.inputs.iter().any(|one| one.input == *input)
    }

    fn view(&self) -> Vec<SetAsideInput> {
        let inputs = self.inputs.iter().filter_map(|input| {
            Some(SetAsideInput {
                number: input.number,
                input: input.input.view()?,
                error: input.error.clone(),
                attempts: input.attempts,
                since: RecordedAt::from_micros(input.since),
            })
        });
        inputs.collect()
    }

    /// Returns the queued timers of an instance. They have fired and wait for their turn.
    pub(super) fn timers(&self) -> impl Iterator<Item = EffectId> {
        self.inputs.iter().filter_map(|input| match &input.input {
            AsideRef::Timer { timer } => Some(*timer),
            AsideRef::Event { .. }
            | AsideRef::Refused { .. }
            | AsideRef::Command { .. }
            | AsideRef::Stream => None,
        })
    }

    /// Returns whether a queued command blocks the sending of later ones.
    pub(super) fn holds_commands(&self) -> bool {
        self.inputs.iter().any(|input| match &input.input {
            AsideRef::Command { .. } | AsideRef::Refused { .. } => true,
            AsideRef::Event { .. } | AsideRef::Timer { .. } | AsideRef::Stream => false,
        })
    }
}
