//! The innermost step: load, decide, append.
//!
//! Owns: the conditions of an append. Invariants: an append checks every stream and query that its
//! decision read; a rejection is based on a state that existed at one moment; a decision that a
//! repeat must find leaves an event or a receipt; the events have the trace context of the append
//! that records them. Not here: retries, detection of repeats.

use std::sync::{Arc, atomic::Ordering};

use gesta_store::{
    Append, AppendCondition, Appended, Capability, Conflict, EventQuery, EventStore,
    ExpectedRevision, NewEvent, Position, RecordedEvent, Revision, StoreError, StreamAppend,
    StreamName,
};
use tracing::{Instrument as _, Span};

use super::{
    CommandContext, CommandIdFrom, CommandRequest,
    receipts::{self, CommandAnswered, RememberedRejections},
    request::{DecisionAttempt, ErasedCommand},
    step::InnerPipeline,
};
use crate::{
    AnyRejection, AsOf, BoundaryRead, Clock, CommandError, EncodeError, EncodedEvent,
    EventMetadata, Existence, InvalidField, Receipt, UndecodableEvent,
    event::CheckEvent,
    event_names::EventNames,
    metrics::PipelineCounters,
    read::ReadProgress,
    snapshot::{AnyAggregate, EventFold, Snapshots},
    spans::{append_span, record_failure, with_context},
};

/// The innermost step.
pub(super) struct DecisionStep {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) snapshots: Snapshots,
    pub(super) event_names: Arc<EventNames>,
    pub(super) remembered: Arc<RememberedRejections>,
    pub(super) counters: Arc<PipelineCounters>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) check_event: Option<Arc<dyn CheckEvent>>,
}

impl InnerPipeline for DecisionStep {
    async fn execute(&self, request: CommandRequest) -> Result<Receipt, CommandError> {
        let registered = request.erased().register_events(&self.event_names);
        registered.map_err(EncodeError::from)?;
        self.decide(request).await
    }
}

impl DecisionStep {
    async fn decide(&self, request: CommandRequest) -> Result<Receipt, CommandError> {
        let store = self.store.as_ref();
        let command = request.erased();
        let loaded = load(store, &self.snapshots, command).await?;
        loaded.check_existence(command.existence())?;
        loaded.check_revision(&request.context)?;
        let events = match loaded.attempt.decide() {
            Err(CommandError::Rejected(rejection)) => {
                return Err(self.reject(&loaded, &request, rejection).await?);
            }
            decided => decided?,
        };
        if let Some(check) = &self.check_event {
            events.iter().flatten().try_for_each(|event| check.check(event))?;
        }
        let command_id = request.context.command_id.clone();
        if events.iter().any(|of_one| !of_one.is_empty()) {
            let appended = self.append(&loaded, &request, events, None).await?;
            return Ok(Receipt::new(command_id, appended));
        }
        // No events: the append still checks the reads, and leaves a receipt if the command may
        // repeat.
        let heads = loaded.heads();
        let answered = CommandAnswered::at(&heads).encode()?;
        let receipt = Some(answered).filter(|_| self.may_come_again(&request));
        let appended = self.append(&loaded, &request, events, receipt).await?;
        Ok(Receipt::without_events(command_id, appended, heads))
    }

    /// Appends what was decided, and counts the append with its time.
    async fn append(
        &self,
        loaded: &LoadedBoundary<'_>,
        request: &CommandRequest,
        decided: Vec<Vec<EncodedEvent>>,
        receipt: Option<EncodedEvent>,
    ) -> Result<Appended, CommandError> {
        let events: usize = decided.iter().map(Vec::len).sum();
        let events = events + usize::from(receipt.is_some());
        // Before the append is built, because its events carry the context of this span.
        let span = append_span(loaded.first_stream().map(StreamName::as_str), events);
        let append = loaded.append(request, decided, receipt, &span)?;
        let begun = self.clock.now();
        let outcome = self.store.append(append).instrument(span.clone()).await;
        // The system clock may have been set back.
        let time = self.clock.now().duration_since(begun).unwrap_or_default();
        self.counters.appends.record(time);
        if let Ok(appended) = &outcome {
            self.counters.events.fetch_add(events as u64, Ordering::Relaxed);
            span.record("gesta.position", appended.position.number());
        }
        outcome.map_err(|error| {
            let refused = loaded.refused(&request.context, error);
            record_failure(&span, refused.kind());
            refused
        })
    }

    /// Returns the rejection, after checking that the state it is based on existed at one moment.
    async fn reject(
        &self,
        loaded: &LoadedBoundary<'_>,
        request: &CommandRequest,
        rejection: AnyRejection,
    ) -> Result<CommandError, CommandError> {
        let json = self.remembered.write(request.name(), &rejection);
        match json.filter(|_| self.may_come_again(request)) {
            None => check_moment(self.store.as_ref(), loaded.check()).await?,
            Some(json) => {
                let answered = CommandAnswered::at(&loaded.heads()).rejected(&json).encode()?;
                let nothing = loaded.reads.iter().map(|_| Vec::new()).collect();
                self.append(loaded, request, nothing, Some(answered)).await?;
            }
        }
        Ok(CommandError::Rejected(rejection))
    }

    /// Returns whether a repeat must find the decision without events. A store that cannot find
    /// appends, or appends to one stream only, does not support that.
    fn may_come_again(&self, request: &CommandRequest) -> bool {
        let capabilities = self.store.capabilities();
        let is_found = capabilities.has(Capability::FindAppend)
            && capabilities.has(Capability::MultiStreamAppend);
        is_found && request.context.command_id_from == CommandIdFrom::Caller
    }
}

async fn check_moment(store: &dyn EventStore, check: Option<Append>) -> Result<(), CommandError> {
    let Some(check) = check else { return Ok(()) };
    match store.append(check).await {
        // A store that cannot check several streams cannot append such a decision either.
        Ok(_) | Err(StoreError::Unsupported { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A boundary with its state, and the extent of each read.
struct LoadedBoundary<'c> {
    attempt: Box<dyn DecisionAttempt + 'c>,
    reads: Vec<(BoundaryRead, ReadProgress)>,
}

async fn load<'c>(
    store: &dyn EventStore,
    snapshots: &Snapshots,
    command: &'c dyn ErasedCommand,
) -> Result<LoadedBoundary<'c>, CommandError> {
    // Reads follow each other and may see different moments; the condition of the append rules out
    // a change in between.
    let mut attempt = command.begin()?;
    let mut reads = Vec::new();
    for (place, planned) in attempt.reads().into_iter().enumerate() {
        let fold = &mut AttemptFold { attempt: attempt.as_mut(), place };
        let seen = snapshots.read(store, &planned, AsOf::Now, fold).await?;
        reads.push((planned, seen));
    }
    Ok(LoadedBoundary { attempt, reads })
}

/// Folds the read at one index into an attempt.
struct AttemptFold<'a, 'c> {
    attempt: &'a mut (dyn DecisionAttempt + 'c),
    place: usize,
}

impl EventFold for AttemptFold<'_, '_> {
    fn take(&mut self, event: &RecordedEvent) -> Result<(), UndecodableEvent> {
        self.attempt.take(self.place, event)
    }

    fn aggregate(&mut self) -> &mut AnyAggregate {
        self.attempt.aggregate(self.place)
    }
}

impl LoadedBoundary<'_> {
    fn first_stream(&self) -> Option<&StreamName> {
        self.reads.first().map(|(read, _)| &read.stream)
    }

    fn check_existence(&self, existence: Existence) -> Result<(), CommandError> {
        let Some((first, seen)) = self.reads.first() else { return Ok(()) };
        let stream = first.stream.clone();
        match (existence, seen.last) {
            (Existence::Existing, None) => Err(CommandError::NotFound { stream }),
            (Existence::New, Some(_)) => Err(CommandError::AlreadyExists { stream }),
            (Existence::Existing, Some(_)) | (Existence::New, None) | (Existence::Either, _) => {
                Ok(())
            }
        }
    }

    /// Checks the caller's expected revision. For an aggregate that reads tags, the own stream is
    /// not read, so the append checks it.
    fn check_revision(&self, context: &CommandContext) -> Result<(), CommandError> {
        let Some(expected) = context.expected_revision else { return Ok(()) };
        let Some((first, seen)) = self.reads.first() else { return Ok(()) };
        let head = seen.last.map(|(revision, _)| revision);
        // With tags, `head` belongs to another stream.
        if first.query.is_some() || head == Some(expected) {
            return Ok(());
        }
        Err(CommandError::RevisionMismatch { stream: first.stream.clone(), expected, head })
    }

    /// Builds an append without events that checks all reads together, or `None` for a single read.
    ///
    /// An append with events checks them itself. A rejection needs this check, because its reads
    /// may have seen two streams before and after the same change.
    fn check(&self) -> Option<Append> {
        if self.reads.len() < 2 {
            return None;
        }
        // Streams are checked by expectations, queries by the condition.
        let part = |(read, seen): &(BoundaryRead, ReadProgress)| {
            StreamAppend::new(read.stream.clone(), expectation(read, seen), Vec::new())
        };
        let mut streams = self.reads.iter().map(part).collect();
        without_idle(&mut streams);
        Some(self.conditioned(streams))
    }

    /// Returns the heads of the streams that were read.
    fn heads(&self) -> Vec<(StreamName, Revision)> {
        let of_streams = self.reads.iter().filter(|(read, _)| read.query.is_none());
        let head = |(read, seen): &(BoundaryRead, ReadProgress)| {
            let head = seen.last.map(|(head, _)| head).or(seen.hidden)?;
            Some((read.stream.clone(), head))
        };
        of_streams.filter_map(head).collect()
    }

    /// Builds the append of the events for each read, or of a receipt if there are none.
    fn append(
        &self,
        request: &CommandRequest,
        events: Vec<Vec<EncodedEvent>>,
        receipt: Option<EncodedEvent>,
        span: &Span,
    ) -> Result<Append, CommandError> {
        let mut recording = Recording::of(request, span)?;
        let expected = request.context.expected_revision.map(ExpectedRevision::Exact);
        let mut streams = Vec::with_capacity(self.reads.len());
        for (place, ((read, seen), events)) in self.reads.iter().zip(events).enumerate() {
            // The caller's expected revision applies to the first aggregate.
            let expected_here = expected.filter(|_| place == 0);
            streams.push(StreamAppend::new(
                read.stream.clone(),
                expected_here.unwrap_or_else(|| expectation(read, seen)),
                recording.new_events(events, seen.hidden.is_some()),
            ));
        }
        if streams.is_empty() {
            return Err(InvalidField::new("id", "must name an aggregate").into());
        }
        // The receipt goes into the same append, so that it is recorded if and only if the checks
        // pass.
        streams.extend(receipt.map(|receipt| {
            StreamAppend::new(
                receipts::stream(),
                ExpectedRevision::Any,
                recording.new_events(vec![receipt], false),
            )
        }));
        without_idle(&mut streams);
        Ok(self.conditioned(streams))
    }

    fn conditioned(&self, streams: Vec<StreamAppend>) -> Append {
        let mut append = Append::of(streams);
        append.condition = self.condition();
        append
    }

    /// Requires that no event after the reads matches any of the queries.
    fn condition(&self) -> Option<AppendCondition> {
        let queries =
            self.reads.iter().filter_map(|(read, seen)| Some((read.query.as_ref()?, seen)));
        queries.fold(None, |condition, (query, seen)| {
            Some(match condition {
                None => AppendCondition { none_matching: query.clone(), after: seen.up_to },
                Some(condition) => either(condition, query, seen.up_to),
            })
        })
    }

    /// Converts an append error: a failed expectation of the caller is a `RevisionMismatch`, not a
    /// conflict.
    fn refused(&self, context: &CommandContext, error: StoreError) -> CommandError {
        let Some(expected) = context.expected_revision else { return error.into() };
        match error {
            StoreError::Conflict(Conflict::Stream { stream, head, .. })
                if Some(&stream) == self.first_stream() =>
            {
                CommandError::RevisionMismatch { stream, expected, head }
            }
            other => other.into(),
        }
    }
}

/// Combines two conditions into one, at the lower of the two positions. An event between them may
/// fail it although it was read; that costs another attempt, not correctness.
fn either(condition: AppendCondition, query: &EventQuery, seen: Position) -> AppendCondition {
    let items = query.items().iter().cloned();
    AppendCondition {
        none_matching: items.fold(condition.none_matching, EventQuery::or),
        after: condition.after.min(seen),
    }
}

fn expectation(read: &BoundaryRead, seen: &ReadProgress) -> ExpectedRevision {
    let head = seen.last.map(|(head, _)| head).or(seen.hidden);
    match (&read.query, head) {
        // The condition covers the query, and events of others in this stream do not matter.
        (Some(_), _) => ExpectedRevision::Any,
        (None, Some(head)) => ExpectedRevision::Exact(head),
        // The stream may have been created since, which then conflicts.
        (None, None) => ExpectedRevision::NoStream,
    }
}

/// Removes streams without events and expectations, except that an append names at least one.
fn without_idle(streams: &mut Vec<StreamAppend>) {
    let idle =
        |part: &StreamAppend| part.events.is_empty() && part.expected == ExpectedRevision::Any;
    if !streams.iter().all(idle) {
        streams.retain(|part| !idle(part));
        return;
    }
    streams.truncate(1);
}

/// Creates the events of one command: ids by ordinal, with the same metadata and related ids.
struct Recording<'c> {
    request: &'c CommandRequest,
    metadata: EventMetadata,
    ordinal: u64,
}

impl<'c> Recording<'c> {
    fn of(request: &'c CommandRequest, span: &Span) -> Result<Self, CommandError> {
        let metadata = EventMetadata {
            command_id: Some(request.context.command_id.clone()),
            command: Some(request.name().to_owned()),
            payload_digest: Some(request.payload()?.digest()),
            actor: request.context.actor.clone(),
            begins_anew: false,
            // The store of the tenant writes it.
            tenant: None,
            custom: with_context(request.context.metadata.clone(), span),
        };
        Ok(Self { request, metadata, ordinal: 0 })
    }

    /// Creates the events of one stream. The first event after hidden ones is marked as a restart,
    /// which distinguishes the stream from a truncated one.
    fn new_events(&mut self, events: Vec<EncodedEvent>, after_hidden: bool) -> Vec<NewEvent> {
        if events.is_empty() {
            return Vec::new();
        }
        let metadata = self.metadata.to_json();
        let begins = || EventMetadata { begins_anew: true, ..self.metadata.clone() };
        // Consumed by the first event only.
        let mut first = after_hidden.then(|| begins().to_json());
        let mut new_event = |event| {
            let metadata = first.take().unwrap_or_else(|| metadata.clone());
            self.new_event(event, metadata)
        };
        events.into_iter().map(&mut new_event).collect()
    }

    fn new_event(&mut self, event: EncodedEvent, metadata: bytes::Bytes) -> NewEvent {
        let CommandContext { command_id, correlation_id, causation_id, .. } = &self.request.context;
        // Ids derive from the command: a repeated append has the same ids, which the store
        // recognizes.
        let id = self.request.event_id(self.ordinal);
        self.ordinal += 1;
        event
            .with_id(id)
            .metadata(metadata)
            .correlation_id(correlation_id.clone().unwrap_or_else(|| command_id.begins()))
            .causation_id(causation_id.clone().unwrap_or_else(|| command_id.causes()))
    }
}
