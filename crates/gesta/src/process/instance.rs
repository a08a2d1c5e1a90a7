//! One process: loading from its stream, its reaction, and the append that records it.
//!
//! Invariant: an input is recorded once, together with its effects, at the revision that the
//! reaction saw. No panic of the manager leaves this module.
//!
//! Not here: scheduling of inputs ([`runner`](super::runner)) and errors
//! ([`trouble`](super::trouble)).

use std::collections::HashSet;

use gesta_store::{
    Append, Capability, CausationId, CorrelationId, EventId, EventStore, ExpectedRevision,
    NewEvent, ReadStream, RecordedAt, RecordedEvent, Revision, StoreError, StreamName,
};
use tracing::{Instrument as _, Span};

use super::{
    AfterEnd, CommandSet as _, Effects, Input, NotUnderstood, ProcessManager, RefusalKind,
    RejectedCommand,
    deps::ProcessDeps,
    effects::{Effect, Times},
    history::{
        Begins, COPY_BYTES_MAX, CommandOutcome, EffectId, Json, ProcessEvent, ProcessReacted,
        Refusal, Source, StoredEffect, StoredInput,
    },
    outstanding::{EndedBy, From, Outstanding, Past, PendingTimer},
    recording::{encoded_with, settled, timer_skipped},
    source::read_source,
    trouble::{InputError, guarded},
};
use crate::{
    CommandContext, CommandIdFrom, CustomMetadata, EventData, EventMetadata, EventSet, Recorded,
    audit,
    event::decode_each,
    spans::{TRACE_PARENT, continue_trace, process_span, record_failure, with_context},
};

/// An input for a process.
#[derive(Clone, Debug)]
pub(super) enum Incoming {
    Event {
        event: RecordedEvent,
        starts: bool,
    },
    Timer(EffectId),
    /// An operator fires a timer wherever it stands. The audit record is appended with the input.
    Fire {
        timer: EffectId,
        record: Box<NewEvent>,
    },
    Refused {
        command: EffectId,
        refusal: Refusal,
    },
}

impl Incoming {
    /// Returns the event, if the input is one.
    pub(super) const fn event(&self) -> Option<&RecordedEvent> {
        match self {
            Self::Event { event, .. } => Some(event),
            Self::Timer(_) | Self::Fire { .. } | Self::Refused { .. } => None,
        }
    }
}

/// Result of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handled {
    Recorded,
    /// Handled before, or the timer or command no longer exists.
    Known,
    /// The process has not started, or has ended.
    NotForIt,
    /// Would start an ended process again, which the definition ignores.
    Ignored,
}

/// The state of one process, folded from its stream.
pub(super) struct Instance<P> {
    pub(super) stream: StreamName,
    /// Initial state of each run.
    fresh: P,
    state: P,
    /// Events handled in all runs.
    handled: HashSet<String>,
    pub(super) outstanding: Outstanding,
}

/// An input in its decoded and its stored form.
struct Arriving<P: ProcessManager> {
    /// Several only if an upcaster splits the event.
    inputs: Vec<Input<P>>,
    stored: StoredInput,
    cause: CausationId,
    correlation_id: Option<CorrelationId>,
    /// Metadata that the commands of the reaction pass on.
    metadata: CustomMetadata,
    since: RecordedAt,
}

enum Response {
    Nothing(Handled),
    Append(NewEvent, Handled),
}

impl<P: ProcessManager> Instance<P> {
    pub(super) fn new(manager: &P, stream: &StreamName) -> Self {
        Self {
            stream: stream.clone(),
            fresh: manager.clone(),
            state: manager.clone(),
            handled: HashSet::new(),
            outstanding: Outstanding::default(),
        }
    }

    /// Handles one input, unless it was handled before or the process ignores it.
    pub(super) async fn handle(
        &mut self,
        deps: &ProcessDeps<P>,
        incoming: &Incoming,
    ) -> Result<Handled, InputError> {
        let span = process_span(P::NAME, incoming.event());
        let outcome = self.handle_once(deps, incoming).instrument(span.clone()).await;
        outcome.inspect_err(|trouble| record_failure(&span, trouble.kind()))
    }

    /// Returns the correlation id of an input, for the log.
    pub(super) fn correlation_of(&self, incoming: &Incoming) -> Option<CorrelationId> {
        let Outstanding { timers, commands, .. } = &self.outstanding;
        match incoming {
            Incoming::Event { event, .. } => event.correlation_id.clone(),
            Incoming::Timer(timer) | Incoming::Fire { timer, .. } => {
                timers.get(timer)?.from.correlation_id.clone()
            }
            Incoming::Refused { command, .. } => commands.get(command)?.from.correlation_id.clone(),
        }
    }

    async fn handle_once(
        &mut self,
        deps: &ProcessDeps<P>,
        incoming: &Incoming,
    ) -> Result<Handled, InputError> {
        let store = deps.store.as_ref();
        let arrived = incoming.event();
        let mut refused_at = None;
        loop {
            self.catch_up(store).await?;
            let (event, handled) = match self.answer(deps, incoming)? {
                Response::Nothing(handled) => return Ok(handled),
                Response::Append(event, handled) => (event, handled),
            };
            match store.append(self.append(deps, incoming, event).await?).await {
                // A concurrent append, for example the settlement of a command: reload and decide
                // again.
                Err(StoreError::Conflict(_)) if refused_at != Some(self.revision()) => {
                    refused_at = Some(self.revision());
                }
                Err(StoreError::Conflict(_)) => {
                    return Err(InputError::Hidden { stream: self.stream.clone() });
                }
                Err(error) => return Err(error.into()),
                // The append may be a repeat of an earlier one: take the state from the stream.
                Ok(_) => return self.fold_new(store, arrived).await.map(|()| handled),
            }
        }
    }

    async fn append(
        &self,
        deps: &ProcessDeps<P>,
        incoming: &Incoming,
        event: NewEvent,
    ) -> Result<Append, StoreError> {
        let expected = self.revision().map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
        let append = Append::to(self.stream.clone(), expected, [event]);
        let Incoming::Fire { record, .. } = incoming else { return Ok(append) };
        let record = record.as_ref().clone();
        // Record the operator's action together with its effect; without atomic appends, before it.
        if deps.store.capabilities().has(Capability::MultiStreamAppend) {
            return Ok(append.and(audit::stream(), ExpectedRevision::Any, [record]));
        }
        deps.store.append(Append::to(audit::stream(), ExpectedRevision::Any, [record])).await?;
        Ok(append)
    }

    fn revision(&self) -> Option<Revision> {
        self.outstanding.revision
    }

    pub(super) async fn catch_up(&mut self, store: &dyn EventStore) -> Result<(), InputError> {
        self.fold_new(store, None).await
    }

    /// Folds the new events of the stream. The event that has just arrived is not read again.
    async fn fold_new(
        &mut self,
        store: &dyn EventStore,
        arrived: Option<&RecordedEvent>,
    ) -> Result<(), InputError> {
        let read = ReadStream::forwards(self.stream.clone());
        let read = self.revision().map_or(read.clone(), |seen| read.from(seen.next()));
        let past = Past::read(store, read).await?;
        // Include events of former runs: an event is handled at most once over all runs.
        self.handled.extend(past.former.iter().filter_map(handled_event));
        let beginning = past.last_beginning();
        for recorded in &past.current {
            // Only the outstanding effects of a former run matter.
            let is_former = beginning.is_some_and(|beginning| recorded.revision < beginning);
            if !is_former {
                self.evolve(store, recorded, arrived).await?;
            }
            self.handled.extend(handled_event(recorded));
            self.outstanding.take(recorded)?;
        }
        Ok(())
    }

    async fn evolve(
        &mut self,
        store: &dyn EventStore,
        recorded: &Recorded<ProcessEvent>,
        arrived: Option<&RecordedEvent>,
    ) -> Result<(), InputError> {
        let ProcessEvent::Reacted(reacted) = &recorded.event else { return Ok(()) };
        if reacted.begins.is_some() || self.outstanding.ended.is_some() {
            self.state = self.fresh.clone();
        }
        let arrived = arrived.filter(|event| reacted.input.refers_to(event));
        let inputs = match arrived.map(decoded::<P>) {
            Some(Ok(inputs)) => inputs,
            Some(Err(_)) | None => self.stored_inputs(store, reacted, recorded.revision).await?,
        };
        for input in inputs {
            guarded::<P, _>(|| self.state.evolve(&input))?;
        }
        Ok(())
    }

    /// Decodes a stored input in current event types. `None` if the definition ignores inputs that
    /// it does not understand.
    async fn stored_inputs(
        &self,
        store: &dyn EventStore,
        reacted: &ProcessReacted,
        revision: Revision,
    ) -> Result<Vec<Input<P>>, InputError> {
        let read = match &reacted.input {
            StoredInput::Event { id, source: Some(source), data: None, .. } => {
                let Source { stream, revision } = source;
                let event = read_source(store, (stream, *revision), id).await?;
                decoded::<P>(&event)
            }
            StoredInput::Event { event_type, schema_version, data, .. } => {
                let data = EventData::from(data.as_ref().map_or("", |data| data.text()));
                self.copied((event_type, *schema_version), data, revision)
            }
            StoredInput::Timer { timer } => self.timer(*timer).map(|(input, ..)| vec![input]),
            StoredInput::Rejected { command, refusal } => {
                self.rejected(*command, refusal).map(|(input, _)| vec![input])
            }
        };
        match read {
            Err(trouble) if self.ignores(&trouble) => {
                tracing::debug!(stream = %self.stream, %revision, %trouble, "an input is ignored");
                Ok(Vec::new())
            }
            read => read,
        }
    }

    /// Decodes the events of a copy.
    fn copied(
        &self,
        (event_type, version): (&str, u16),
        data: EventData<'_>,
        revision: Revision,
    ) -> Result<Vec<Input<P>>, InputError> {
        if P::Event::IGNORED.contains(&event_type) {
            return Ok(Vec::new());
        }
        let mut inputs = Vec::new();
        let decoded = guarded::<P, _>(|| {
            let mut each = |event| inputs.push(Input::Event(event));
            P::Event::decode_each(event_type, version, data, &mut each)
        })?;
        let stream = self.stream.clone();
        decoded.map_err(|source| InputError::UnreadableInput { stream, revision, source })?;
        Ok(inputs)
    }

    /// Returns whether the definition ignores this error by declaration.
    #[expect(clippy::unused_self, reason = "the type of the manager is the instance's")]
    fn ignores(&self, trouble: &InputError) -> bool {
        P::NOT_UNDERSTOOD == NotUnderstood::Ignore
            && matches!(
                trouble,
                InputError::UnreadableInput { .. }
                    | InputError::UnreadableEffect { .. }
                    | InputError::Unreadable(_)
            )
    }

    fn timer(&self, id: EffectId) -> Result<(Input<P>, &From, RecordedAt), InputError> {
        let pending = self.outstanding.timers.get(&id).ok_or_else(|| self.no_such(id))?;
        Ok((Input::Timer(self.read(id, pending)?), &pending.from, pending.due))
    }

    fn read(&self, effect: EffectId, pending: &PendingTimer) -> Result<P::Timer, InputError> {
        let read = || P::timers().read(pending.version, pending.timer.text());
        guarded::<P, _>(read)?.map_err(|source| {
            let stream = self.stream.clone();
            InputError::UnreadableEffect { stream, effect, source }
        })
    }

    /// Returns the errors of pending timers and commands that the definition does not understand.
    pub(super) fn unreadable(&self) -> Vec<InputError> {
        if P::NOT_UNDERSTOOD == NotUnderstood::Ignore {
            return Vec::new();
        }
        let timers = &self.outstanding.timers;
        let timers = timers.iter().filter_map(|(id, timer)| self.read(*id, timer).err());
        let commands = self.outstanding.commands.iter().filter_map(|(id, command)| {
            let context = CommandContext::new(id.command_id(&self.stream), CommandIdFrom::Caller);
            let request = P::Commands::request(context, &command.name, command.payload.text());
            let (stream, command) = (self.stream.clone(), *id);
            let unreadable = |source| InputError::UnreadableCommand { stream, command, source };
            request.map_err(unreadable).err()
        });
        timers.chain(commands).collect()
    }

    fn rejected(&self, id: EffectId, refusal: &Refusal) -> Result<(Input<P>, &From), InputError> {
        let pending = self.outstanding.commands.get(&id).ok_or_else(|| self.no_such(id))?;
        let rejected = RejectedCommand {
            name: pending.name.clone(),
            kind: RefusalKind::read(&refusal.code),
            reason: refusal.reason.clone(),
            payload: pending.payload.clone(),
        };
        Ok((Input::Rejected(rejected), &pending.from))
    }

    fn no_such(&self, effect: EffectId) -> InputError {
        InputError::NoSuchEffect { stream: self.stream.clone(), effect }
    }

    /// Decides the append for an input.
    fn answer(&self, deps: &ProcessDeps<P>, incoming: &Incoming) -> Result<Response, InputError> {
        if let Some(handled) = self.without_effect(incoming) {
            return Ok(Response::Nothing(handled));
        }
        if let Incoming::Refused { command, refusal } = incoming
            && !self.outstanding.is_of_this_run(*command)
        {
            // The run that decided the command has ended. Its successor must not react to the
            // refusal, so the command is only settled.
            let outcome = CommandOutcome::Refused(refusal.clone());
            let correlation = self.outstanding.correlation_of(*command);
            let event = settled(&deps.identity, &self.stream, *command, correlation, outcome)?;
            return Ok(Response::Append(event, Handled::Recorded));
        }
        match self.arriving(incoming) {
            Ok(arriving) => {
                // The span of an event is below it already. That of a timer, or of a refused
                // command, is below the decision, which is known only now.
                if incoming.event().is_none() {
                    let correlation = arriving.correlation_id.as_ref().map(|id| id.as_str());
                    continue_trace(&arriving.metadata, correlation);
                }
                let event = self.react(deps, arriving)?;
                Ok(Response::Append(event, Handled::Recorded))
            }
            Err(trouble) if self.ignores(&trouble) => {
                let (Incoming::Timer(timer) | Incoming::Fire { timer, .. }) = incoming else {
                    return Err(trouble);
                };
                let correlation = self.outstanding.correlation_of(*timer);
                let event = timer_skipped(&deps.identity, *timer, correlation)?;
                Ok(Response::Append(event, Handled::Ignored))
            }
            Err(trouble) => Err(trouble),
        }
    }

    fn without_effect(&self, incoming: &Incoming) -> Option<Handled> {
        let Outstanding { timers, commands, begun, ended, .. } = &self.outstanding;
        match incoming {
            // Events are delivered again after a restart from an older checkpoint.
            Incoming::Event { event, .. } if self.handled.contains(&event.id.to_string()) => {
                Some(Handled::Known)
            }
            Incoming::Event { starts: true, .. } => {
                let ignored = ended.is_some() && P::AFTER_END == AfterEnd::Ignore;
                ignored.then_some(Handled::Ignored)
            }
            Incoming::Event { starts: false, .. } => {
                (!begun || ended.is_some()).then_some(Handled::NotForIt)
            }
            Incoming::Timer(timer) | Incoming::Fire { timer, .. } => {
                (!timers.contains_key(timer)).then_some(Handled::Known)
            }
            Incoming::Refused { command, .. } => {
                (!commands.contains_key(command)).then_some(Handled::Known)
            }
        }
    }

    fn arriving(&self, incoming: &Incoming) -> Result<Arriving<P>, InputError> {
        match incoming {
            Incoming::Event { event, .. } => arriving_event(event),
            Incoming::Timer(timer) | Incoming::Fire { timer, .. } => {
                let (input, from, since) = self.timer(*timer)?;
                Ok(Arriving {
                    inputs: vec![input],
                    stored: StoredInput::Timer { timer: *timer },
                    cause: CausationId::new(from.event.to_string())?,
                    correlation_id: from.correlation_id.clone(),
                    metadata: from.metadata.clone(),
                    since,
                })
            }
            Incoming::Refused { command, refusal } => {
                let (input, from) = self.rejected(*command, refusal)?;
                Ok(Arriving {
                    inputs: vec![input],
                    stored: StoredInput::Rejected { command: *command, refusal: refusal.clone() },
                    cause: command.command_id(&self.stream).causes(),
                    correlation_id: from.correlation_id.clone(),
                    metadata: from.metadata.clone(),
                    since: RecordedAt::from_micros(u64::MAX),
                })
            }
        }
    }

    fn react(&self, deps: &ProcessDeps<P>, arriving: Arriving<P>) -> Result<NewEvent, InputError> {
        let Arriving { inputs, stored, cause, correlation_id, metadata, since } = arriving;
        let times = Times::of(since, deps.now());
        let begins = self.begins();
        // A new run starts from the registered value, not from the state of the former run.
        let state = if begins.is_some() { &self.fresh } else { &self.state };
        let effects = guarded::<P, _>(|| react_to_all(state.clone(), &inputs, times.handled))?;
        // Derived from cause and revision: if the result of the append is lost, a repeat is
        // recognised.
        let id = EventId::derived_from(&format!("{} {cause}", self.stream), self.next().number());
        let effects = self.settle_places(effects, times)?;
        let at = times.handled.micros();
        let reacted = ProcessReacted { input: stored, at, effects, begins };
        let event: ProcessEvent = reacted.into();
        let event = encoded_with(&deps.identity, id, &event, Self::traced(metadata))?;
        Ok(event.causation_id(cause).correlation_id(correlation_id))
    }

    /// Returns metadata with the context of the current span, from which the commands go on; as it
    /// is if the definition passes on no context.
    fn traced(metadata: CustomMetadata) -> CustomMetadata {
        match P::PASSED_ON.contains(&TRACE_PARENT) {
            true => with_context(metadata, &Span::current()),
            false => metadata,
        }
    }

    /// Returns the kind of run that the next input starts, if it starts one.
    fn begins(&self) -> Option<Begins> {
        match self.outstanding.ended {
            Some(EndedBy::Itself) => Some(Begins::AfterEnd),
            Some(EndedBy::Operator) => Some(Begins::AfterCancellation),
            None if self.outstanding.begun => None,
            None => Some(Begins::First),
        }
    }

    fn next(&self) -> Revision {
        self.revision().map_or(Revision::FIRST, Revision::next)
    }

    /// Converts effects to their stored form, with effect ids and due times. Timers that are set
    /// again are cancelled first.
    fn settle_places(
        &self,
        effects: Effects<P>,
        times: Times,
    ) -> Result<Vec<StoredEffect>, InputError> {
        // An effect may cancel or replace a timer that an earlier effect of the same reaction has
        // set.
        let mut pending = self.pending_timers()?;
        let mut settled = Vec::with_capacity(effects.0.len());
        for effect in effects.0 {
            match effect {
                Effect::Send { name, payload } => {
                    settled.push(StoredEffect::Send { command: name.to_owned(), payload });
                }
                Effect::SetTimer { due, timer } => {
                    guarded::<P, _>(|| cancel(&mut pending, &timer, &mut settled))?;
                    let id = EffectId::at(self.next(), settled.len());
                    let json = guarded::<P, _>(|| Json::of(&timer))?.map_err(|source| {
                        InputError::UnencodableTimer { timer: format!("{timer:?}"), source }
                    })?;
                    pending.push((id, timer));
                    let due = due.from(times).micros();
                    let version = P::timers().version();
                    settled.push(StoredEffect::SetTimer { due, timer: json, version });
                }
                Effect::CancelTimer { timer } => {
                    guarded::<P, _>(|| cancel(&mut pending, &timer, &mut settled))?;
                }
                Effect::End => settled.push(StoredEffect::End),
            }
        }
        Ok(settled)
    }

    /// Returns the timers that effects can refer to. An undecodable timer equals no current one;
    /// its error is reported when it is due.
    fn pending_timers(&self) -> Result<Vec<(EffectId, P::Timer)>, InputError> {
        let mut pending = Vec::with_capacity(self.outstanding.timers.len());
        for (id, timer) in &self.outstanding.timers {
            match self.read(*id, timer) {
                Ok(timer) => pending.push((*id, timer)),
                Err(InputError::UnreadableEffect { .. }) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(pending)
    }
}

/// Returns the id of the handled event, if the input was one.
fn handled_event(recorded: &Recorded<ProcessEvent>) -> Option<String> {
    let ProcessEvent::Reacted(reacted) = &recorded.event else { return None };
    match &reacted.input {
        StoredInput::Event { id, .. } => Some(id.clone()),
        StoredInput::Timer { .. } | StoredInput::Rejected { .. } => None,
    }
}

/// Cancels the pending timer that equals this one, if there is one.
fn cancel<T: PartialEq>(
    pending: &mut Vec<(EffectId, T)>,
    timer: &T,
    effects: &mut Vec<StoredEffect>,
) {
    let Some(place) = pending.iter().position(|(_, pending)| pending == timer) else { return };
    let (timer, _) = pending.swap_remove(place);
    effects.push(StoredEffect::CancelTimer { timer });
}

fn arriving_event<P: ProcessManager>(event: &RecordedEvent) -> Result<Arriving<P>, InputError> {
    let position = event.position;
    let inputs = decoded::<P>(event)?;
    // A copy makes the process independent of the source stream, which may be deleted. The
    // process's stream is JSON, so data in another form is not copied.
    let is_copied = event.content_type.is_json() && event.data.len() <= COPY_BYTES_MAX;
    let copy = is_copied.then(|| Json::parse(&event.data)).transpose();
    let data = copy.map_err(|source| InputError::NotJson { position, source })?;
    let (stream, revision) = (event.stream.as_str().to_owned(), event.revision.number());
    Ok(Arriving {
        inputs,
        stored: StoredInput::Event {
            id: event.id.to_string(),
            position: position.number(),
            event_type: event.event_type.as_str().to_owned(),
            schema_version: event.schema_version,
            source: data.is_none().then_some(Source { stream, revision }),
            data,
        },
        cause: CausationId::new(event.id.to_string())?,
        correlation_id: event.correlation_id.clone(),
        metadata: EventMetadata::from_json(&event.metadata).custom.only(P::PASSED_ON),
        since: event.recorded_at,
    })
}

/// Decodes an event as inputs in current event types.
fn decoded<P: ProcessManager>(event: &RecordedEvent) -> Result<Vec<Input<P>>, InputError> {
    let mut inputs = Vec::new();
    let mut each = |event| inputs.push(Input::Event(event));
    let decoded = guarded::<P, _>(|| decode_each::<P::Event>(event, &mut each))?;
    decoded.map_err(|error| error.of(event))?;
    Ok(inputs)
}

/// Computes the effects of an input, from the state before it.
pub(crate) fn react<P: ProcessManager>(
    mut state: P,
    input: &Input<P>,
    at: RecordedAt,
) -> Effects<P> {
    state.evolve(input);
    state.react(input, at)
}

/// Computes the effects of inputs that arrive as one, in order.
fn react_to_all<P: ProcessManager>(
    mut state: P,
    inputs: &[Input<P>],
    at: RecordedAt,
) -> Effects<P> {
    let mut effects = Effects::none();
    for input in inputs {
        state.evolve(input);
        effects.0.extend(state.react(input, at).0);
    }
    effects
}
