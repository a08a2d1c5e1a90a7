//! The outstanding effects of a process, and its current run.
//!
//! Invariant: this state is folded from the process's stream alone, without the manager's types.
//! Timers end with the run that set them. Commands are executed beyond it, but their refusals do
//! not reach a later run.

use std::{collections::BTreeMap, sync::Arc};

use gesta_store::{
    CorrelationId, EventId, EventStore, ReadStream, RecordedAt, RecordedEvent, Revision, StreamName,
};
use tokio::task::JoinSet;

use super::{
    history::{
        Begins, CommandOutcome, CommandResent, EffectId, Json, ProcessCancelled, ProcessEvent,
        ProcessReacted, Refusal, StoredEffect, StoredInput,
    },
    trouble::{InputError, joined},
};
use crate::{CustomMetadata, Event as _, Recorded};

/// Maximum number of streams that are read side by side at a start.
const READS_MAX: usize = 32;

/// Number of refused commands kept for operators, the latest ones.
const REFUSED_MAX: usize = 100;

/// The outstanding effects of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct Outstanding {
    pub(super) commands: BTreeMap<EffectId, PendingCommand>,
    pub(super) timers: BTreeMap<EffectId, PendingTimer>,
    pub(super) refused: BTreeMap<EffectId, (PendingCommand, Refusal)>,
    /// Number of earlier runs.
    pub(super) run: u64,
    pub(super) ended: Option<EndedBy>,
    /// The process has had an input.
    pub(super) begun: bool,
    /// Last revision that was read.
    pub(super) revision: Option<Revision>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndedBy {
    Itself,
    Operator,
}

/// A command that the stream does not show as executed.
#[derive(Clone, Debug)]
pub(super) struct PendingCommand {
    pub(super) name: String,
    pub(super) payload: Json,
    pub(super) from: From,
    pub(super) run: u64,
}

#[derive(Clone, Debug)]
pub(super) struct PendingTimer {
    pub(super) due: RecordedAt,
    pub(super) timer: Json,
    pub(super) version: u16,
    pub(super) from: From,
}

/// The event that decided a command, with its correlation and the metadata to pass on.
#[derive(Clone, Debug)]
pub(super) struct From {
    pub(super) event: EventId,
    pub(super) correlation_id: Option<CorrelationId>,
    pub(super) metadata: CustomMetadata,
}

impl Outstanding {
    /// Reads the outstanding effects of several processes side by side. The results are in the
    /// order of the streams.
    pub(super) async fn read_each(
        store: &Arc<dyn EventStore>,
        streams: Vec<StreamName>,
    ) -> Result<Vec<(StreamName, Result<Self, InputError>)>, InputError> {
        let mut streams = streams.into_iter().enumerate();
        let (mut reading, mut read) = (JoinSet::new(), BTreeMap::new());
        loop {
            while reading.len() < READS_MAX
                && let Some((nth, stream)) = streams.next()
            {
                let store = Arc::clone(store);
                reading.spawn(async move {
                    let outstanding = Self::read(store.as_ref(), &stream).await;
                    (nth, (stream, outstanding))
                });
            }
            let Some(ended) = reading.join_next().await else { break };
            let (nth, one) = joined(ended)?;
            read.insert(nth, one);
        }
        Ok(read.into_values().collect())
    }

    /// Reads the outstanding effects from a process's stream.
    pub(super) async fn read(
        store: &dyn EventStore,
        stream: &StreamName,
    ) -> Result<Self, InputError> {
        let past = Past::read(store, ReadStream::forwards(stream.clone())).await?;
        let mut outstanding = Self::default();
        past.current.iter().try_for_each(|recorded| outstanding.take(recorded))?;
        Ok(outstanding)
    }

    /// Applies the next event of the stream.
    ///
    /// # Errors
    /// [`InputError::Truncated`] if the stream's beginning is hidden, so that its state is unknown.
    pub(super) fn take(&mut self, recorded: &Recorded<ProcessEvent>) -> Result<(), InputError> {
        // A command in flight while the stream was deleted can be settled by the first event after
        // the deletion.
        if !self.begun && !matches!(recorded.event, ProcessEvent::Settled(_)) {
            if !is_beginning(recorded) {
                let (stream, first) = (recorded.stream.clone(), recorded.revision);
                return Err(InputError::Truncated { stream, first });
            }
            self.begun = true;
        }
        match &recorded.event {
            ProcessEvent::Settled(settled) => self.settle(settled.command, &settled.outcome),
            ProcessEvent::Reacted(reacted) => self.take_reaction(reacted, recorded),
            // A cancellation drops commands too, unlike an end. One in flight may still be
            // executed; its settlement then finds nothing to remove.
            ProcessEvent::Cancelled(ProcessCancelled { .. }) => {
                self.timers.clear();
                self.commands.clear();
                self.ended = Some(EndedBy::Operator);
            }
            ProcessEvent::Resent(resent) => self.resend(resent, recorded),
            ProcessEvent::TimerSkipped(skipped) => drop(self.timers.remove(&skipped.timer)),
        }
        self.revision = Some(recorded.revision);
        Ok(())
    }

    fn take_reaction(&mut self, reacted: &ProcessReacted, recorded: &Recorded<ProcessEvent>) {
        // A reaction after an end begins another run.
        if self.ended.take().is_some() {
            self.run += 1;
        }
        match &reacted.input {
            StoredInput::Event { .. } => {}
            StoredInput::Timer { timer } => drop(self.timers.remove(timer)),
            StoredInput::Rejected { command, refusal } => self.refuse(*command, refusal),
        }
        for (ordinal, effect) in reacted.effects.iter().enumerate() {
            self.take_effect(EffectId::at(recorded.revision, ordinal), effect, recorded);
        }
        // Commands stay: they were decided before the end and are executed beyond it.
        if reacted.ends() {
            self.timers.clear();
            self.ended = Some(EndedBy::Itself);
        }
    }

    fn take_effect(
        &mut self,
        id: EffectId,
        effect: &StoredEffect,
        recorded: &Recorded<ProcessEvent>,
    ) {
        match effect {
            StoredEffect::Send { command, payload } => {
                let (name, payload) = (command.clone(), payload.clone());
                let command =
                    PendingCommand { name, payload, from: From::of(recorded), run: self.run };
                self.commands.insert(id, command);
            }
            StoredEffect::SetTimer { due, timer, version } => {
                let (due, timer) = (RecordedAt::from_micros(*due), timer.clone());
                let (version, from) = (*version, From::of(recorded));
                self.timers.insert(id, PendingTimer { due, timer, version, from });
            }
            StoredEffect::CancelTimer { timer } => drop(self.timers.remove(timer)),
            StoredEffect::End => {}
        }
    }

    fn settle(&mut self, command: EffectId, outcome: &CommandOutcome) {
        match outcome {
            CommandOutcome::Executed | CommandOutcome::Skipped => {
                drop(self.commands.remove(&command))
            }
            CommandOutcome::Refused(refusal) => self.refuse(command, refusal),
        }
    }

    fn refuse(&mut self, command: EffectId, refusal: &Refusal) {
        let Some(pending) = self.commands.remove(&command) else { return };
        self.refused.insert(command, (pending, refusal.clone()));
        // Effect ids sort by revision, so the first one is the oldest.
        if self.refused.len() > REFUSED_MAX {
            self.refused.pop_first();
        }
    }

    fn resend(&mut self, resent: &CommandResent, recorded: &Recorded<ProcessEvent>) {
        // The command stays one of the run that decided it. If it is refused again in a later
        // run, that run does not get the refusal.
        let first = self.refused.remove(&resent.refused).map(|(first, _)| first);
        let run = first.as_ref().map_or(self.run, |first| first.run);
        let mut from = From::of(recorded);
        if let Some(first) = first {
            // Earlier programs recorded no correlation here.
            from.correlation_id = from.correlation_id.or(first.from.correlation_id);
            from.metadata = first.from.metadata;
        }
        let (name, payload) = (resent.command.clone(), resent.payload.clone());
        let command = PendingCommand { name, payload, from, run };
        self.commands.insert(EffectId::at(recorded.revision, 0), command);
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.commands.is_empty() && self.timers.is_empty()
    }

    /// Returns the correlation of a command or timer, if it is known and has one.
    pub(super) fn correlation_of(&self, effect: EffectId) -> Option<CorrelationId> {
        let command = self.commands.get(&effect).map(|command| &command.from);
        let refused = || self.refused.get(&effect).map(|(command, _)| &command.from);
        let timer = || self.timers.get(&effect).map(|timer| &timer.from);
        command.or_else(refused).or_else(timer)?.correlation_id.clone()
    }

    /// Returns whether a command was decided in the current run.
    pub(super) fn is_of_this_run(&self, command: EffectId) -> bool {
        let pending = self.commands.get(&command);
        self.ended.is_none() && pending.is_some_and(|pending| pending.run == self.run)
    }
}

impl From {
    fn of(recorded: &Recorded<ProcessEvent>) -> Self {
        Self {
            event: recorded.id,
            correlation_id: recorded.correlation_id.clone(),
            // A reaction's own metadata: it has only the entries to pass on.
            metadata: recorded.metadata.custom.clone(),
        }
    }
}

/// Events of a process's stream, in order.
pub(super) struct Past {
    /// Events before the last cancellation, as far as they decode. They only show which inputs were
    /// handled.
    pub(super) former: Vec<Recorded<ProcessEvent>>,
    pub(super) current: Vec<Recorded<ProcessEvent>>,
}

impl Past {
    pub(super) async fn read(store: &dyn EventStore, read: ReadStream) -> Result<Self, InputError> {
        let events = store.read_stream(read).collect_events().await?;
        let is_cancellation =
            |event: &RecordedEvent| event.event_type.as_str() == ProcessCancelled::NAME;
        let current = events.iter().rposition(is_cancellation).unwrap_or_default();
        let (former, current) = events.split_at(current);
        // Events before a cancellation no longer form the state. One that does not decode must not
        // keep the instance from its next run.
        let former = former.iter().filter_map(|event| Recorded::read(event).ok()).collect();
        let current = current.iter().map(Recorded::read).collect::<Result<_, _>>()?;
        Ok(Self { former, current })
    }

    /// Index of the event that starts the current run, if these events contain it.
    pub(super) fn last_beginning(&self) -> Option<Revision> {
        let begins = |recorded: &&Recorded<ProcessEvent>| match &recorded.event {
            ProcessEvent::Reacted(reacted) => reacted.begins.is_some(),
            ProcessEvent::Settled(_)
            | ProcessEvent::Cancelled(_)
            | ProcessEvent::Resent(_)
            | ProcessEvent::TimerSkipped(_) => false,
        };
        self.current.iter().rev().find(begins).map(|recorded| recorded.revision)
    }
}

/// Returns whether the process's state follows from this event and later ones alone.
fn is_beginning(recorded: &Recorded<ProcessEvent>) -> bool {
    match &recorded.event {
        ProcessEvent::Reacted(ProcessReacted { begins, .. }) => {
            recorded.revision == Revision::FIRST || *begins == Some(Begins::First)
        }
        ProcessEvent::Cancelled(_) => true,
        ProcessEvent::Settled(_) | ProcessEvent::Resent(_) | ProcessEvent::TimerSkipped(_) => false,
    }
}
