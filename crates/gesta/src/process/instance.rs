//! One process: loaded from its stream, asked for its reaction, and the append that records it.
//!
//! Always holds: an input is recorded once, together with its effects, on the revision that the
//! reaction saw; no panic of the manager leaves this module. Not here: when an input is handled
//! ([`runner`](super::runner)), and what happens where it cannot be ([`trouble`](super::trouble)).

use std::{
    any::Any,
    collections::{HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
};

use gesta_store::{
    Append, CausationId, CorrelationId, EventId, EventStore, ExpectedRevision, NewEvent,
    ReadStream, RecordedAt, RecordedEvent, Revision, StoreError, StreamName,
};

use super::{
    AfterEnd, CommandSet as _, Effects, Input, NotUnderstood, ProcessManager, RejectedCommand,
    checkpoint::event_at,
    effects::{Effect, Times},
    history::{
        Begins, COPY_BYTES_MAX, CommandSettled, EffectId, Json, Outcome, ProcessEvent,
        ProcessReacted, Refusal, Source, StoredEffect, StoredInput, TimerSkipped,
    },
    outstanding::{EndedBy, From, Outstanding, Past, PendingTimer},
    runner::Parts,
    setup::Identity,
    trouble::Trouble,
};
use crate::{
    CommandContext, CommandIdFrom, EventMetadata, EventSet, Recorded, audit, event_set::decode_each,
};

/// How many processes are remembered besides their streams.
const INSTANCES_MAX: usize = 256;

/// What comes to a process.
#[derive(Clone, Debug)]
pub(super) enum Incoming {
    Event {
        event: RecordedEvent,
        starts: bool,
    },
    Timer(EffectId),
    /// An operator has a timer fire, wherever it stands; the record of that goes with it.
    Fire {
        timer: EffectId,
        record: Box<NewEvent>,
    },
    Refused {
        command: EffectId,
        refusal: Refusal,
    },
}

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handled {
    Recorded,
    /// It was handled before, or there is no such timer or command any more.
    Known,
    /// The process has not begun, or has ended.
    NotForIt,
    /// It would begin an ended process anew, and the definition does not want that.
    Ignored,
}

/// One process, as its stream has made it.
pub(super) struct Instance<P> {
    pub(super) stream: StreamName,
    /// What each life begins with.
    fresh: P,
    state: P,
    /// The events that it has handled, in all its lives.
    handled: HashSet<String>,
    pub(super) outstanding: Outstanding,
}

/// An input on its way in: as the process sees it, and as it is stored.
struct Arriving<P: ProcessManager> {
    /// One, unless an upcaster splits the event.
    inputs: Vec<Input<P>>,
    stored: StoredInput,
    cause: CausationId,
    correlation_id: Option<CorrelationId>,
    since: RecordedAt,
}

/// What is to be appended upon an input.
enum Answer {
    Nothing(Handled),
    Append(NewEvent, Handled),
}

/// Processes that were loaded lately. A process to which much comes is not read from its beginning
/// each time; what its stream has got since is always read.
pub(super) struct Instances<P>(VecDeque<Instance<P>>);

impl<P: ProcessManager> Instances<P> {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// The process of a stream, which is nowhere else until it is put back.
    pub(super) fn take(&mut self, parts: &Parts<P>, stream: &StreamName) -> Instance<P> {
        let known = self.0.iter().position(|instance| instance.stream == *stream);
        let known = known.and_then(|place| self.0.remove(place));
        known.unwrap_or_else(|| Instance::new(&parts.manager, stream))
    }

    pub(super) fn put(&mut self, instance: Instance<P>) {
        if instance.outstanding.revision.is_some() {
            self.0.push_front(instance);
            self.0.truncate(INSTANCES_MAX);
        }
    }
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

    /// Handles one input, unless it was handled before or is for nobody.
    pub(super) async fn handle(
        &mut self,
        parts: &Parts<P>,
        incoming: &Incoming,
    ) -> Result<Handled, Trouble> {
        let store = parts.store.as_ref();
        let mut refused_at = None;
        loop {
            self.catch_up(store).await?;
            let (event, handled) = match self.answer(parts, incoming)? {
                Answer::Nothing(handled) => return Ok(handled),
                Answer::Append(event, handled) => (event, handled),
            };
            match store.append(self.append(parts, incoming, event).await?).await {
                // Somebody else appended, be it that a command of the process was executed.
                Err(StoreError::Conflict(_)) if refused_at != Some(self.revision()) => {
                    refused_at = Some(self.revision());
                }
                Err(StoreError::Conflict(_)) => {
                    return Err(Trouble::Hidden { stream: self.stream.clone() });
                }
                Err(error) => return Err(error.into()),
                // Whatever was appended, the stream knows best.
                Ok(_) => return self.catch_up(store).await.map(|()| handled),
            }
        }
    }

    async fn append(
        &self,
        parts: &Parts<P>,
        incoming: &Incoming,
        event: NewEvent,
    ) -> Result<Append, StoreError> {
        let expected = self.revision().map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
        let append = Append::to(self.stream.clone(), expected, [event]);
        let Incoming::Fire { record, .. } = incoming else { return Ok(append) };
        let record = record.as_ref().clone();
        if parts.store.capabilities().multi_stream_append {
            return Ok(append.and(audit::stream(), ExpectedRevision::Any, [record]));
        }
        parts.store.append(Append::to(audit::stream(), ExpectedRevision::Any, [record])).await?;
        Ok(append)
    }

    fn revision(&self) -> Option<Revision> {
        self.outstanding.revision
    }

    pub(super) async fn catch_up(&mut self, store: &dyn EventStore) -> Result<(), Trouble> {
        let read = ReadStream::forwards(self.stream.clone());
        let read = self.revision().map_or(read.clone(), |seen| read.from(seen.next()));
        let past = Past::read(store, read).await?;
        self.handled.extend(past.former.iter().filter_map(handled_event));
        let beginning = past.last_beginning();
        for recorded in &past.present {
            // Of a former life, only what is outstanding matters.
            let is_former = beginning.is_some_and(|beginning| recorded.revision < beginning);
            if !is_former {
                self.evolve(store, recorded).await?;
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
    ) -> Result<(), Trouble> {
        let ProcessEvent::Reacted(reacted) = &recorded.event else { return Ok(()) };
        if reacted.begins.is_some() || self.outstanding.ended.is_some() {
            self.state = self.fresh.clone();
        }
        for input in self.stored_inputs(store, reacted, recorded.revision).await? {
            guarded::<P, _>(|| self.state.evolve(&input))?;
        }
        Ok(())
    }

    /// An input as the process saw it, in today's events; none where the definition ignores what
    /// it does not understand any more.
    async fn stored_inputs(
        &self,
        store: &dyn EventStore,
        reacted: &ProcessReacted,
        revision: Revision,
    ) -> Result<Vec<Input<P>>, Trouble> {
        let read = match &reacted.input {
            StoredInput::Event { id, source: Some(source), data: None, .. } => {
                let event = read_again(store, source, id).await?;
                decoded::<P>(&event)
            }
            StoredInput::Event { event_type, schema_version, data, .. } => {
                let bytes = data.as_ref().map_or(&b""[..], |data| data.text().as_bytes());
                self.copied((event_type, *schema_version), bytes, revision)
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

    /// The events of a copy.
    fn copied(
        &self,
        (event_type, version): (&str, u16),
        data: &[u8],
        revision: Revision,
    ) -> Result<Vec<Input<P>>, Trouble> {
        if P::Event::IGNORED.contains(&event_type) {
            return Ok(Vec::new());
        }
        let mut inputs = Vec::new();
        let decoded = guarded::<P, _>(|| {
            let mut each = |event| inputs.push(Input::Event(event));
            P::Event::decode_each(event_type, version, data, &mut each)
        })?;
        let stream = self.stream.clone();
        decoded.map_err(|source| Trouble::UnreadableInput { stream, revision, source })?;
        Ok(inputs)
    }

    /// Whether the definition says that it is all right not to understand this.
    #[expect(clippy::unused_self, reason = "the type of the manager is the instance's")]
    fn ignores(&self, trouble: &Trouble) -> bool {
        P::NOT_UNDERSTOOD == NotUnderstood::Ignore
            && matches!(
                trouble,
                Trouble::UnreadableInput { .. }
                    | Trouble::UnreadableEffect { .. }
                    | Trouble::Unreadable(_)
            )
    }

    fn timer(&self, id: EffectId) -> Result<(Input<P>, &From, RecordedAt), Trouble> {
        let pending = self.outstanding.timers.get(&id).ok_or_else(|| self.no_such(id))?;
        Ok((Input::Timer(self.read(id, pending)?), &pending.from, pending.due))
    }

    fn read(&self, effect: EffectId, pending: &PendingTimer) -> Result<P::Timer, Trouble> {
        let read = || P::timers().read(pending.version, pending.timer.text());
        guarded::<P, _>(read)?.map_err(|source| {
            let stream = self.stream.clone();
            Trouble::UnreadableEffect { stream, effect, source }
        })
    }

    /// The pending timers and commands that the definition does not understand.
    pub(super) fn unreadable(&self) -> Vec<Trouble> {
        if P::NOT_UNDERSTOOD == NotUnderstood::Ignore {
            return Vec::new();
        }
        let timers = &self.outstanding.timers;
        let timers = timers.iter().filter_map(|(id, timer)| self.read(*id, timer).err());
        let commands = self.outstanding.commands.iter().filter_map(|(id, command)| {
            let context = CommandContext::new(id.command_id(&self.stream), CommandIdFrom::Caller);
            let request = P::Commands::request(context, &command.name, command.payload.text());
            let (stream, command) = (self.stream.clone(), *id);
            let unreadable = |source| Trouble::UnreadableCommand { stream, command, source };
            request.map_err(unreadable).err()
        });
        timers.chain(commands).collect()
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

    /// What is to be appended upon an input.
    fn answer(&self, parts: &Parts<P>, incoming: &Incoming) -> Result<Answer, Trouble> {
        if let Some(handled) = self.without_effect(incoming) {
            return Ok(Answer::Nothing(handled));
        }
        if let Incoming::Refused { command, refusal } = incoming
            && !self.outstanding.is_of_this_life(*command)
        {
            let outcome = Outcome::Refused(refusal.clone());
            let event = settled(&parts.identity, &self.stream, *command, outcome)?;
            return Ok(Answer::Append(event, Handled::Recorded));
        }
        match self.arriving(incoming) {
            Ok(arriving) => {
                let event = self.react(parts, arriving)?;
                Ok(Answer::Append(event, Handled::Recorded))
            }
            Err(trouble) if self.ignores(&trouble) => {
                let (Incoming::Timer(timer) | Incoming::Fire { timer, .. }) = incoming else {
                    return Err(trouble);
                };
                let event = timer_skipped(&parts.identity, *timer)?;
                Ok(Answer::Append(event, Handled::Ignored))
            }
            Err(trouble) => Err(trouble),
        }
    }

    fn without_effect(&self, incoming: &Incoming) -> Option<Handled> {
        let Outstanding { timers, commands, begun, ended, .. } = &self.outstanding;
        match incoming {
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

    fn arriving(&self, incoming: &Incoming) -> Result<Arriving<P>, Trouble> {
        match incoming {
            Incoming::Event { event, .. } => arriving_event(event),
            Incoming::Timer(timer) | Incoming::Fire { timer, .. } => {
                let (input, from, since) = self.timer(*timer)?;
                Ok(Arriving {
                    inputs: vec![input],
                    stored: StoredInput::Timer { timer: *timer },
                    cause: CausationId::new(from.event.to_string())?,
                    correlation_id: from.correlation_id.clone(),
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
                    since: RecordedAt::from_micros(u64::MAX),
                })
            }
        }
    }

    fn react(&self, parts: &Parts<P>, arriving: Arriving<P>) -> Result<NewEvent, Trouble> {
        let Arriving { inputs, stored, cause, correlation_id, since } = arriving;
        let times = Times::of(since, parts.now());
        let begins = self.begins();
        let state = if begins.is_some() { &self.fresh } else { &self.state };
        let effects = guarded::<P, _>(|| react_to_all(state.clone(), &inputs, times.handled))?;
        let id = EventId::derived_from(&format!("{} {cause}", self.stream), self.next().number());
        let effects = self.settle_places(effects, times)?;
        let at = times.handled.micros();
        let reacted = ProcessReacted { input: stored, at, effects, begins };
        let event: ProcessEvent = reacted.into();
        let event = encoded(&parts.identity, id, &event)?;
        Ok(NewEvent { causation_id: Some(cause), correlation_id, ..event })
    }

    /// The life that begins with the next input, if one does.
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

    /// The effects with times and places instead of waits and values.
    fn settle_places(
        &self,
        effects: Effects<P>,
        times: Times,
    ) -> Result<Vec<StoredEffect>, Trouble> {
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
                        Trouble::UnencodableTimer { timer: format!("{timer:?}"), source }
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

    /// The timers that the process can still speak of. One that cannot be read any more equals
    /// none of today's, and is told when it is due.
    fn pending_timers(&self) -> Result<Vec<(EffectId, P::Timer)>, Trouble> {
        let mut pending = Vec::with_capacity(self.outstanding.timers.len());
        for (id, timer) in &self.outstanding.timers {
            match self.read(*id, timer) {
                Ok(timer) => pending.push((*id, timer)),
                Err(Trouble::UnreadableEffect { .. }) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(pending)
    }
}

/// The event that was handled, if one was.
fn handled_event(recorded: &Recorded<ProcessEvent>) -> Option<String> {
    let ProcessEvent::Reacted(reacted) = &recorded.event else { return None };
    match &reacted.input {
        StoredInput::Event { id, .. } => Some(id.clone()),
        StoredInput::Timer { .. } | StoredInput::Rejected { .. } => None,
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
    let inputs = decoded::<P>(event)?;
    let is_copied = event.data.len() <= COPY_BYTES_MAX;
    let copy = is_copied.then(|| Json::parse(&event.data)).transpose();
    let data = copy.map_err(|source| Trouble::NotJson { position, source })?;
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
        since: event.recorded_at,
    })
}

/// An event as the inputs that it means today.
fn decoded<P: ProcessManager>(event: &RecordedEvent) -> Result<Vec<Input<P>>, Trouble> {
    let mut inputs = Vec::new();
    let mut each = |event| inputs.push(Input::Event(event));
    let decoded = guarded::<P, _>(|| decode_each::<P::Event>(event, &mut each))?;
    decoded.map_err(|error| error.of(event))?;
    Ok(inputs)
}

/// The event that a process's stream has only a reference to.
async fn read_again(
    store: &dyn EventStore,
    source: &Source,
    id: &str,
) -> Result<RecordedEvent, Trouble> {
    let Source { stream, revision } = source;
    let gone =
        || Trouble::EventGone { stream: stream.clone(), revision: *revision, event: id.to_owned() };
    let read =
        ReadStream::forwards(StreamName::stored(stream.clone())?).from(Revision::new(*revision));
    let id = id.parse().map_err(|_| gone())?;
    event_at(store, read, id).await?.ok_or_else(gone)
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

/// What a process wants done upon inputs that come as one, in order.
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

/// Says in a process's stream that a command needs no sending any more.
pub(super) fn settled(
    identity: &Identity,
    stream: &StreamName,
    command: EffectId,
    outcome: Outcome,
) -> Result<NewEvent, Trouble> {
    let cause = command.command_id(stream).causes();
    let settled: ProcessEvent = CommandSettled { command, outcome }.into();
    let event = encoded(identity, command.settled_id(stream), &settled)?;
    Ok(NewEvent { causation_id: Some(cause), ..event })
}

/// Says in a process's stream that a timer is not pending any more.
pub(super) fn timer_skipped(identity: &Identity, timer: EffectId) -> Result<NewEvent, Trouble> {
    let skipped: ProcessEvent = TimerSkipped { timer }.into();
    encoded(identity, EventId::random(), &skipped)
}

/// An event by which a manager remembers something.
pub(super) fn encoded<E: EventSet>(
    identity: &Identity,
    id: EventId,
    event: &E,
) -> Result<NewEvent, Trouble> {
    let encoded = event.encode()?;
    let metadata = EventMetadata { actor: Some(identity.actor()), ..EventMetadata::default() };
    Ok(NewEvent {
        schema_version: encoded.schema_version,
        metadata: metadata.to_json(),
        ..NewEvent::json(id, encoded.event_type, encoded.data)
    })
}

/// A panic of the manager is that input's trouble, not the end of all processes.
pub(super) fn guarded<P: ProcessManager, T>(what: impl FnOnce() -> T) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(what))
        .map_err(|panic| Trouble::Panicked { process: P::NAME, message: said(panic.as_ref()) })
}

/// The text of a panic.
pub(super) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a text".to_owned())
}
