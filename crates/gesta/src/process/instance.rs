//! One process: loaded from its stream, asked for its reaction, and the append that records it.
//!
//! Always holds: an input is recorded once, together with its effects, on the revision that the
//! reaction saw. Not here: when an input is handled ([`runner`](super::runner)).

use std::{
    collections::{HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
};

use gesta_store::{
    Append, CausationId, CorrelationId, EventId, EventStore, ExpectedRevision, InvalidName,
    NewEvent, Position, ReadStream, RecordedAt, RecordedEvent, Revision, StoreError, StreamName,
};

use super::{
    Effects, Input, ProcessManager, RejectedCommand, category_text,
    effects::Effect,
    history::{
        CommandSettled, EffectId, Json, Outcome, ProcessEvent, ProcessReacted, Refusal,
        StoredEffect, StoredInput,
    },
    outstanding::{From, Outstanding},
    runner::Parts,
};
use crate::{EncodeError, EventMetadata, EventSet, Recorded, UndecodableEvent};

/// How many processes are remembered besides their streams.
const INSTANCES_MAX: usize = 64;

/// Why a process could not handle an input. It is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The store's word.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event of the process, or for it, cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UndecodableEvent),
    /// A timer, or what a timer or a command was, cannot be read any more.
    #[error("effect {effect} of {stream} cannot be read")]
    UnreadableEffect { stream: StreamName, effect: EffectId, source: serde_json::Error },
    /// The stream speaks of an effect that it does not have.
    #[error("{stream} has no effect {effect} to speak of")]
    NoSuchEffect { stream: StreamName, effect: EffectId },
    /// A copy of an event in the process's stream is not of the set any more.
    #[error("the input at revision {revision} of {stream} cannot be read")]
    UnreadableInput { stream: StreamName, revision: Revision, source: crate::DecodeError },
    /// The event's data cannot be copied.
    #[error("the event at {position} is not JSON")]
    NotJson { position: Position, source: serde_json::Error },
    /// The reaction cannot be written.
    #[error(transparent)]
    Unencodable(#[from] EncodeError),
    /// A name or an id is none.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The manager panicked.
    #[error("process {process} panicked: {message}")]
    Panicked { process: &'static str, message: String },
    /// Sending a command panicked.
    #[error("sending a command failed: {message}")]
    Sending { message: String },
}

/// What comes to a process.
#[derive(Clone, Debug)]
pub(super) enum Incoming {
    Event { event: RecordedEvent, starts: bool },
    Timer(EffectId),
    Refused { command: EffectId, refusal: Refusal },
}

/// One process, as its stream has made it.
pub(super) struct Instance<P> {
    stream: StreamName,
    state: P,
    revision: Option<Revision>,
    /// The events that it has handled.
    handled: HashSet<String>,
    outstanding: Outstanding,
    ended: bool,
}

/// An input on its way in: as the process sees it, and as it is stored.
struct Arriving<P: ProcessManager> {
    input: Input<P>,
    stored: StoredInput,
    cause: CausationId,
    correlation_id: Option<CorrelationId>,
}

/// Processes that were loaded lately. A process to which much comes is not read from its beginning
/// each time; what its stream has got since is always read.
pub(super) struct Instances<P>(VecDeque<Instance<P>>);

impl<P: ProcessManager> Instances<P> {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Handles one input, unless it was handled before or is for nobody; gives what the process
    /// has outstanding afterwards.
    pub(super) async fn handle(
        &mut self,
        parts: &Parts<P>,
        stream: &StreamName,
        incoming: &Incoming,
        at: RecordedAt,
    ) -> Result<Outstanding, Trouble> {
        let known = self.0.iter().position(|instance| instance.stream == *stream);
        let known = known.and_then(|place| self.0.remove(place));
        let mut instance = known.unwrap_or_else(|| Instance::new(&parts.manager, stream));
        instance.handle(parts.store.as_ref(), incoming, at).await?;
        let outstanding = instance.outstanding.clone();
        if instance.revision.is_some() {
            self.0.push_front(instance);
            self.0.truncate(INSTANCES_MAX);
        }
        Ok(outstanding)
    }
}

impl<P: ProcessManager> Instance<P> {
    fn new(manager: &P, stream: &StreamName) -> Self {
        Self {
            stream: stream.clone(),
            state: manager.clone(),
            revision: None,
            handled: HashSet::new(),
            outstanding: Outstanding::default(),
            ended: false,
        }
    }

    async fn handle(
        &mut self,
        store: &dyn EventStore,
        incoming: &Incoming,
        at: RecordedAt,
    ) -> Result<(), Trouble> {
        let mut refused_at = None;
        loop {
            self.catch_up(store).await?;
            let Some(event) = self.answer(incoming, at)? else { return Ok(()) };
            let expected =
                self.revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
            match store.append(Append::to(self.stream.clone(), expected, [event])).await {
                // Somebody else appended, be it that a command of the process was executed.
                Err(StoreError::Conflict(_)) if refused_at != Some(self.revision) => {
                    refused_at = Some(self.revision);
                }
                Err(error) => return Err(error.into()),
                // Whatever was appended, the stream knows best.
                Ok(_) => return self.catch_up(store).await,
            }
        }
    }

    async fn catch_up(&mut self, store: &dyn EventStore) -> Result<(), Trouble> {
        let read = ReadStream::forwards(self.stream.clone());
        let read = self.revision.map_or(read.clone(), |seen| read.from(seen.next()));
        let mut pages = store.read_stream(read);
        while let Some(page) = pages.next().await {
            page?.iter().try_for_each(|event| self.take(event))?;
        }
        Ok(())
    }

    fn take(&mut self, event: &RecordedEvent) -> Result<(), Trouble> {
        let recorded = Recorded::<ProcessEvent>::read(event)?;
        if let ProcessEvent::Reacted(reacted) = &recorded.event {
            let input = self.stored_input(&reacted.input, recorded.revision)?;
            guarded::<P, _>(|| self.state.evolve(&input))?;
            if let StoredInput::Event { id, .. } = &reacted.input {
                self.handled.insert(id.clone());
            }
            self.ended |= reacted.ends();
        }
        self.outstanding.take(&recorded);
        self.revision = Some(recorded.revision);
        Ok(())
    }

    /// An input as the process saw it.
    fn stored_input(&self, stored: &StoredInput, revision: Revision) -> Result<Input<P>, Trouble> {
        match stored {
            StoredInput::Event { event_type, schema_version, data, .. } => {
                let bytes = data.text().as_bytes();
                let decoded = P::Event::decode(event_type, *schema_version, bytes);
                let stream = self.stream.clone();
                decoded.map(Input::Event).map_err(|source| Trouble::UnreadableInput {
                    stream,
                    revision,
                    source,
                })
            }
            StoredInput::Timer { timer } => self.timer(*timer).map(|(input, _)| input),
            StoredInput::Rejected { command, refusal } => {
                self.rejected(*command, refusal).map(|(input, _)| input)
            }
        }
    }

    fn timer(&self, id: EffectId) -> Result<(Input<P>, &From), Trouble> {
        let pending = self.outstanding.timers.get(&id).ok_or_else(|| self.no_such(id))?;
        Ok((Input::Timer(self.read(id, &pending.timer)?), &pending.from))
    }

    fn read(&self, effect: EffectId, timer: &Json) -> Result<P::Timer, Trouble> {
        let stream = || self.stream.clone();
        timer.read().map_err(|source| Trouble::UnreadableEffect {
            stream: stream(),
            effect,
            source,
        })
    }

    fn rejected(&self, id: EffectId, refusal: &Refusal) -> Result<(Input<P>, &From), Trouble> {
        let pending = self.outstanding.commands.get(&id).ok_or_else(|| self.no_such(id))?;
        let rejected = RejectedCommand {
            name: pending.name.clone(),
            code: refusal.code.clone(),
            reason: refusal.reason.clone(),
            payload: pending.payload.clone(),
        };
        Ok((Input::Rejected(rejected), &pending.from))
    }

    fn no_such(&self, effect: EffectId) -> Trouble {
        Trouble::NoSuchEffect { stream: self.stream.clone(), effect }
    }

    /// What is to be appended upon an input: nothing where it was handled before, or is for a
    /// process that has not begun or has ended.
    fn answer(&self, incoming: &Incoming, at: RecordedAt) -> Result<Option<NewEvent>, Trouble> {
        if self.is_known(incoming) {
            return Ok(None);
        }
        if !self.ended {
            let arriving = self.arriving(incoming)?;
            return Ok(Some(self.react(arriving, at)?));
        }
        match incoming {
            Incoming::Event { .. } | Incoming::Timer(_) => Ok(None),
            Incoming::Refused { command, refusal } => {
                let outcome = Outcome::Refused(refusal.clone());
                let cause = command.command_id(&self.stream).causes();
                Ok(Some(settled::<P>(&self.stream, *command, outcome, Some(cause))?))
            }
        }
    }

    fn is_known(&self, incoming: &Incoming) -> bool {
        match incoming {
            Incoming::Event { event, starts } => {
                let begun = self.revision.is_some() || *starts;
                !begun || self.handled.contains(&event.id.to_string())
            }
            Incoming::Timer(timer) => !self.outstanding.timers.contains_key(timer),
            Incoming::Refused { command, .. } => !self.outstanding.commands.contains_key(command),
        }
    }

    fn arriving(&self, incoming: &Incoming) -> Result<Arriving<P>, Trouble> {
        match incoming {
            Incoming::Event { event, .. } => arriving_event(event),
            Incoming::Timer(timer) => {
                let (input, from) = self.timer(*timer)?;
                Ok(Arriving {
                    input,
                    stored: StoredInput::Timer { timer: *timer },
                    cause: CausationId::new(from.event.to_string())?,
                    correlation_id: from.correlation_id.clone(),
                })
            }
            Incoming::Refused { command, refusal } => {
                let (input, from) = self.rejected(*command, refusal)?;
                Ok(Arriving {
                    input,
                    stored: StoredInput::Rejected { command: *command, refusal: refusal.clone() },
                    cause: command.command_id(&self.stream).causes(),
                    correlation_id: from.correlation_id.clone(),
                })
            }
        }
    }

    fn react(&self, arriving: Arriving<P>, at: RecordedAt) -> Result<NewEvent, Trouble> {
        let Arriving { input, stored, cause, correlation_id } = arriving;
        let effects = guarded::<P, _>(|| react(self.state.clone(), &input, at))?;
        let id = EventId::derived_from(&format!("{} {cause}", self.stream), self.next().number());
        let effects = self.settle_places(effects, at)?;
        let reacted = ProcessReacted { input: stored, at: at.micros(), effects };
        new_event::<P>(id, &reacted.into(), Some(cause), correlation_id)
    }

    fn next(&self) -> Revision {
        self.revision.map_or(Revision::FIRST, Revision::next)
    }

    /// The effects with times and places instead of waits and values.
    fn settle_places(
        &self,
        effects: Effects<P>,
        at: RecordedAt,
    ) -> Result<Vec<StoredEffect>, Trouble> {
        let mut pending = self.pending_timers()?;
        let mut settled = Vec::with_capacity(effects.0.len());
        for effect in effects.0 {
            match effect {
                Effect::Send { name, payload } => {
                    settled.push(StoredEffect::Send { command: name.to_owned(), payload });
                }
                Effect::SetTimer { due, timer } => {
                    cancel(&mut pending, &timer, &mut settled);
                    let id = EffectId::at(self.next(), settled.len());
                    let json = guarded::<P, _>(|| Json::of(&timer))?;
                    pending.push((id, timer));
                    let due = due.from(at).micros();
                    settled.push(StoredEffect::SetTimer { due, timer: json });
                }
                Effect::CancelTimer { timer } => cancel(&mut pending, &timer, &mut settled),
                Effect::End => settled.push(StoredEffect::End),
            }
        }
        Ok(settled)
    }

    fn pending_timers(&self) -> Result<Vec<(EffectId, P::Timer)>, Trouble> {
        let pending = self.outstanding.timers.iter();
        pending.map(|(id, pending)| Ok((*id, self.read(*id, &pending.timer)?))).collect()
    }
}

/// Cancels the timer that equals this one, if it is pending.
fn cancel<T: PartialEq>(
    pending: &mut Vec<(EffectId, T)>,
    timer: &T,
    effects: &mut Vec<StoredEffect>,
) {
    let Some(place) = pending.iter().position(|(_, pending)| pending == timer) else { return };
    let (timer, _) = pending.swap_remove(place);
    effects.push(StoredEffect::CancelTimer { timer });
}

fn arriving_event<P: ProcessManager>(event: &RecordedEvent) -> Result<Arriving<P>, Trouble> {
    let position = event.position;
    let data = Json::parse(&event.data).map_err(|source| Trouble::NotJson { position, source })?;
    Ok(Arriving {
        input: Input::Event(Recorded::<P::Event>::read(event)?.event),
        stored: StoredInput::Event {
            id: event.id.to_string(),
            position: position.number(),
            event_type: event.event_type.as_str().to_owned(),
            schema_version: event.schema_version,
            data,
        },
        cause: CausationId::new(event.id.to_string())?,
        correlation_id: event.correlation_id.clone(),
    })
}

/// What a process wants done upon an input, from its state before it.
pub(crate) fn react<P: ProcessManager>(
    mut state: P,
    input: &Input<P>,
    at: RecordedAt,
) -> Effects<P> {
    state.evolve(input);
    state.react(input, at)
}

/// Says in a process's stream that a command needs no sending any more.
pub(super) fn settled<P: ProcessManager>(
    stream: &StreamName,
    command: EffectId,
    outcome: Outcome,
    cause: Option<CausationId>,
) -> Result<NewEvent, Trouble> {
    let settled = CommandSettled { command, outcome };
    new_event::<P>(command.settled_id(stream), &settled.into(), cause, None)
}

fn new_event<P: ProcessManager>(
    id: EventId,
    event: &ProcessEvent,
    causation_id: Option<CausationId>,
    correlation_id: Option<CorrelationId>,
) -> Result<NewEvent, Trouble> {
    let encoded = event.encode()?;
    let actor = Some(category_text::<P>());
    let metadata = EventMetadata { actor, ..EventMetadata::default() };
    Ok(NewEvent {
        schema_version: encoded.schema_version,
        metadata: metadata.to_json(),
        correlation_id,
        causation_id,
        ..NewEvent::json(id, encoded.event_type, encoded.data)
    })
}

/// A panic of the manager is that input's trouble, not the end of all processes.
pub(super) fn guarded<P: ProcessManager, T>(what: impl FnOnce() -> T) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(what)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let message = text.unwrap_or_else(|| "without a text".to_owned());
        Trouble::Panicked { process: P::NAME, message }
    })
}
