//! The journal of a process manager: its checkpoints and set-aside inputs.
//!
//! Owns the stored forms of this stream and their fold, [`Journal`].
//!
//! Invariants:
//! - Each append expects the revision that it was decided on, so two programs that run the same
//!   manager agree on what is set aside.
//! - A checkpoint is atomic: its pieces count only once its closing event exists.
//! - A set-aside input is recorded before the manager's position passes it.
//!
//! Not here: the contents of a checkpoint ([`schedule`](super::schedule)).

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use gesta_store::{
    Append, Capability, CorrelationId, EventId, EventStore, ExpectedRevision, Incarnation,
    NewEvent, Position, ReadStream, Revision, SetStreamMetadata, StoreError, StreamAppend,
    StreamMetadata, StreamName,
};
use serde::{Deserialize, Serialize};

use super::{
    EffectId,
    aside::{AsideInput, AsideRef, Asides, SubjectKey, event_id_of},
    recording::encoded,
    setup::Identity,
    trouble::InputError,
};
use crate::{Event, EventSet, Recorded};

/// Entries per piece of a checkpoint.
const PIECE_ENTRIES_MAX: usize = 500;

/// Pieces per append.
const APPEND_PIECES_MAX: usize = 20;

#[derive(EventSet, Clone, Debug, PartialEq)]
pub(super) enum JournalEvent {
    Piece(CheckpointPiece),
    Checkpointed(Checkpointed),
    SetAside(InputsSetAside),
    Released(InputsReleased),
    Failed(RetryFailed),
    Touched(InstanceTouched),
}

/// A piece of the checkpoint that follows.
#[derive(Event, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[event(name = "process-checkpoint-piece")]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CheckpointPiece {
    pub(super) instances: Vec<Entry>,
    queues: Vec<StoredQueue>,
    /// Events that must not be handled when delivered again, as in a restored or moved store.
    skipped: Vec<String>,
}

/// A piece of one subject's set-aside inputs.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredQueue {
    subject: SubjectKey,
    inputs: Vec<AsideInput>,
    delivered: u64,
}

/// An instance with outstanding work. Without a further event, only the work listed here can change
/// it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) stream: String,
    /// Pending timers with due times, in microseconds since 1970.
    pub(super) timers: Vec<(EffectId, u64)>,
    /// Set if the instance has unexecuted commands, which its stream contains.
    pub(super) has_commands: bool,
}

/// The last event of a checkpoint. Every event up to `position` is handled, except for the
/// outstanding work in the checkpoint's pieces.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "process-checkpointed")]
#[serde(rename_all = "camelCase")]
pub(super) struct Checkpointed {
    pub(super) position: u64,
    /// Incarnation of the store in which the position is valid.
    pub(super) incarnation: String,
    /// Last event at or before the position that the manager has seen. Identifies the place in a
    /// store with other positions.
    pub(super) event: Option<String>,
    pub(super) pieces: u64,
    pub(super) next_number: u64,
    pub(super) census: Census,
}

/// Number of instances, up to a position.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Census {
    pub(super) position: u64,
    pub(super) running: u64,
    pub(super) ended: u64,
    pub(super) cancelled: u64,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "process-inputs-set-aside")]
#[serde(rename_all = "camelCase")]
pub(super) struct InputsSetAside {
    subject: SubjectKey,
    inputs: Vec<AsideInput>,
    delivered: u64,
}

/// Inputs are no longer set aside: they were handled, skipped, or dropped with their instance.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "process-inputs-released")]
#[serde(rename_all = "camelCase")]
pub(super) struct InputsReleased {
    pub(super) subject: SubjectKey,
    pub(super) numbers: Vec<u64>,
    /// Released events that must not be handled when delivered again.
    pub(super) skipped: Vec<String>,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "process-retry-failed")]
#[serde(rename_all = "camelCase")]
pub(super) struct RetryFailed {
    pub(super) subject: SubjectKey,
    pub(super) number: u64,
    pub(super) error: String,
    pub(super) attempts: u32,
}

/// An operator changed an instance that earlier checkpoints do not list.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "process-instance-touched")]
#[serde(rename_all = "camelCase")]
pub(super) struct InstanceTouched {
    pub(super) stream: String,
}

/// An input to set aside.
#[derive(Clone, Debug)]
pub(super) struct Failing {
    pub(super) input: AsideRef,
    pub(super) error: Option<String>,
    pub(super) attempts: u32,
    /// The correlation of the input, for the log. It is not stored.
    pub(super) correlation_id: Option<CorrelationId>,
}

/// The state of one manager's journal, as far as it was read.
#[derive(Debug)]
pub(super) struct Journal {
    identity: Arc<Identity>,
    revision: Option<Revision>,
    /// Last complete checkpoint, without its entries.
    pub(super) checkpoint: Option<Checkpointed>,
    /// Entries of the last complete checkpoint, until they are taken.
    entries: Vec<Entry>,
    /// Instances changed by operators since.
    touched: BTreeSet<String>,
    pub(super) asides: Asides,
    skipped: HashSet<String>,
    next_number: u64,
    /// Grows with each event of the journal.
    pub(super) version: u64,
    /// Pieces of a checkpoint that is not complete yet.
    pieces: Vec<CheckpointPiece>,
}

impl Journal {
    pub(super) async fn read(
        store: &dyn EventStore,
        identity: &Arc<Identity>,
    ) -> Result<Self, InputError> {
        let mut journal = Self {
            identity: Arc::clone(identity),
            revision: None,
            checkpoint: None,
            entries: Vec::new(),
            touched: BTreeSet::new(),
            asides: Asides::default(),
            skipped: HashSet::new(),
            next_number: 1,
            version: 0,
            pieces: Vec::new(),
        };
        journal.catch_up(store).await?;
        Ok(journal)
    }

    /// Takes the instances that must be loaded before any input is handled.
    pub(super) fn take_entries(&mut self) -> (Vec<Entry>, BTreeSet<String>) {
        (std::mem::take(&mut self.entries), self.touched.clone())
    }

    /// Returns the instances with outstanding work at the last checkpoint, unless they were taken.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the instances changed by operators since the last checkpoint.
    pub(super) fn touched(&self) -> impl Iterator<Item = &str> {
        self.touched.iter().map(String::as_str)
    }

    /// Returns whether an operator has excluded an event.
    pub(super) fn is_skipped(&self, event: &EventId) -> bool {
        // The set is mostly empty, so the id is rarely formatted.
        !self.skipped.is_empty() && self.skipped.contains(&event.to_string())
    }

    pub(super) async fn catch_up(&mut self, store: &dyn EventStore) -> Result<(), InputError> {
        let read = ReadStream::forwards(self.identity.journal.clone());
        let read = self.revision.map_or(read.clone(), |seen| read.from(seen.next()));
        let mut pages = store.read_stream(read);
        while let Some(page) = pages.next().await {
            for event in page? {
                self.revision = Some(event.revision);
                self.take(Recorded::<JournalEvent>::read(&event)?.event);
            }
        }
        Ok(())
    }

    fn take(&mut self, event: JournalEvent) {
        self.version += 1;
        if !matches!(event, JournalEvent::Piece(_) | JournalEvent::Checkpointed(_)) {
            // Another program's event came between the pieces, so their writer has given up this
            // checkpoint.
            self.pieces.clear();
        }
        match event {
            JournalEvent::Piece(piece) => self.pieces.push(piece),
            JournalEvent::Checkpointed(checkpoint) => self.complete(checkpoint),
            JournalEvent::SetAside(set_aside) => {
                let InputsSetAside { subject, inputs, delivered } = set_aside;
                let last = inputs.iter().map(|input| input.number).max().unwrap_or_default();
                self.next_number = self.next_number.max(last + 1);
                self.asides.add(&subject, &inputs, delivered);
            }
            JournalEvent::Released(released) => {
                self.asides.release(&released.subject, &released.numbers);
                self.skipped.extend(released.skipped);
            }
            JournalEvent::Failed(RetryFailed { subject, number, error, attempts }) => {
                self.asides.fail(&subject, number, &error, attempts);
            }
            JournalEvent::Touched(touched) => drop(self.touched.insert(touched.stream)),
        }
    }

    fn complete(&mut self, checkpoint: Checkpointed) {
        let pieces = std::mem::take(&mut self.pieces);
        let count = usize::try_from(checkpoint.pieces).unwrap_or(usize::MAX);
        // The last pieces are those of this checkpoint; any before them belong to an abandoned one.
        // If there are too few, the previous checkpoint stays valid.
        let Some(first) = pieces.len().checked_sub(count) else { return };
        // A checkpoint states everything, so it replaces all that was folded before it.
        self.entries.clear();
        self.touched.clear();
        self.skipped.clear();
        self.asides = Asides::default();
        for piece in pieces.into_iter().skip(first) {
            self.entries.extend(piece.instances);
            self.skipped.extend(piece.skipped);
            for StoredQueue { subject, inputs, delivered } in piece.queues {
                self.asides.add(&subject, &inputs, delivered);
            }
        }
        // Numbers name inputs to operators, so none is used twice, even once its queue is empty.
        self.next_number = self.next_number.max(checkpoint.next_number);
        self.checkpoint = Some(checkpoint);
    }

    /// Appends the events that `decide` returns for the current state, or nothing if it returns
    /// none.
    ///
    /// Appends to other streams are made atomically with it, if the store supports that.
    pub(super) async fn append(
        &mut self,
        store: &dyn EventStore,
        also: Vec<StreamAppend>,
        decide: impl Fn(&Self) -> Vec<JournalEvent>,
    ) -> Result<(), InputError> {
        let mut also = also;
        let mut refused_at = None;
        // Without atomic appends, write the other streams first: the journal is the last to change,
        // so a crash in between leaves the inputs set aside and the operation can be repeated.
        if !store.capabilities().has(Capability::MultiStreamAppend) {
            for part in also.drain(..) {
                store.append(Append::of(vec![part])).await?;
            }
        }
        loop {
            self.catch_up(store).await?;
            let events = decide(self);
            // Another program may have appended the same in between, which leaves nothing to do.
            if events.is_empty() && also.is_empty() {
                return Ok(());
            }
            let mut streams = also.clone();
            if !events.is_empty() {
                streams.push(self.part(events)?);
            }
            match store.append(Append::of(streams)).await {
                Ok(_) => return self.catch_up(store).await,
                // Another program that runs this manager appended first: read its events and decide
                // again.
                Err(StoreError::Conflict(_)) if refused_at != Some(self.revision) => {
                    refused_at = Some(self.revision);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn part(&self, events: Vec<JournalEvent>) -> Result<StreamAppend, InputError> {
        let expected = self.revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
        let new = |event: &JournalEvent| encoded(&self.identity, EventId::random(), event);
        let events = events.iter().map(new).collect::<Result<Vec<NewEvent>, InputError>>()?;
        Ok(StreamAppend::new(self.identity.journal.clone(), expected, events))
    }

    /// Sets inputs of one subject aside, except for events that are set aside already.
    pub(super) async fn set_aside(
        &mut self,
        store: &dyn EventStore,
        subject: &SubjectKey,
        inputs: &[Failing],
        (delivered, since): (Position, u64),
    ) -> Result<(), InputError> {
        self.append(store, Vec::new(), |journal| {
            // Decided on the current journal: another program may have set some of them aside.
            let fresh = inputs.iter().filter(|failing| !journal.has(subject, &failing.input));
            let numbered = fresh.zip(journal.next_number..).map(|(failing, number)| AsideInput {
                number,
                input: failing.input.clone(),
                error: failing.error.clone(),
                attempts: failing.attempts,
                since,
            });
            let inputs: Vec<AsideInput> = numbered.collect();
            if inputs.is_empty() {
                return Vec::new();
            }
            let (subject, delivered) = (subject.clone(), delivered.number());
            vec![InputsSetAside { subject, inputs, delivered }.into()]
        })
        .await
    }

    fn has(&self, subject: &SubjectKey, input: &AsideRef) -> bool {
        match input.event_id().and_then(event_id_of) {
            // An event is in at most one queue, so its id identifies the queue, regardless of the
            // subject.
            Some(id) => self.asides.has_event(&id),
            None => self.asides.queue_of(subject).is_some_and(|queue| queue.has(input)),
        }
    }

    /// Builds the events that move inputs to the queues of set-aside instances.
    pub(super) fn moved(
        &self,
        moved: &[(u64, String, AsideRef)],
        (delivered, since): (Position, u64),
    ) -> Vec<JournalEvent> {
        let numbered = moved.iter().zip(self.next_number..);
        let events = numbered.map(|((_, id, input), number)| {
            let (input, error) = (input.clone(), None);
            let inputs = vec![AsideInput { number, input, error, attempts: 0, since }];
            let subject = SubjectKey::Instance(id.clone());
            InputsSetAside { subject, inputs, delivered: delivered.number() }.into()
        });
        events.collect()
    }

    /// Writes a checkpoint. Gives up if another program appends in between; the next one follows
    /// soon.
    pub(super) async fn write_checkpoint(
        &mut self,
        store: &dyn EventStore,
        entries: Vec<Entry>,
        mut checkpoint: Checkpointed,
    ) -> Result<(), InputError> {
        self.catch_up(store).await?;
        let pieces = self.pieces_of(entries);
        // A reader counts the pieces, so that pieces of an abandoned checkpoint are not mistaken
        // for this one's.
        checkpoint.pieces = pieces.len() as u64;
        checkpoint.next_number = self.next_number;
        let first = self.revision.map_or(Revision::FIRST, Revision::next);
        let mut left: Vec<JournalEvent> = pieces.into_iter().map(Into::into).collect();
        left.push(checkpoint.into());
        while !left.is_empty() {
            let rest = left.split_off(APPEND_PIECES_MAX.min(left.len()));
            let part = self.part(std::mem::replace(&mut left, rest))?;
            match store.append(Append::of(vec![part])).await {
                Ok(_) => self.catch_up(store).await?,
                // Another program appended in between. Its pieces and ours are mixed: give up.
                Err(StoreError::Conflict(_)) => return self.catch_up(store).await,
                Err(error) => return Err(error.into()),
            }
        }
        // Hidden only after the closing event: until then a start needs the previous checkpoint.
        self.hide_before(store, first).await;
        Ok(())
    }

    /// Truncates the journal before a checkpoint. A failure is repeated by the next checkpoint.
    async fn hide_before(&self, store: &dyn EventStore, first: Revision) {
        if first == Revision::FIRST {
            return;
        }
        let metadata = StreamMetadata::default().truncate_before(first);
        let change =
            SetStreamMetadata::new(self.identity.journal.clone(), ExpectedRevision::Any, metadata);
        if let Err(error) = store.set_stream_metadata(change).await {
            tracing::debug!(journal = %self.identity.journal, %error, "old checkpoints stay");
        }
    }

    fn pieces_of(&self, entries: Vec<Entry>) -> Vec<CheckpointPiece> {
        let mut pieces = Vec::new();
        for instances in entries.chunks(PIECE_ENTRIES_MAX) {
            pieces.push(CheckpointPiece { instances: instances.to_vec(), ..Default::default() });
        }
        for (key, queue) in self.asides.queues() {
            let inputs: Vec<AsideInput> =
                queue.inputs.iter().map(|input| input.as_ref().clone()).collect();
            for inputs in inputs.chunks(PIECE_ENTRIES_MAX) {
                let (subject, inputs) = (key.clone(), inputs.to_vec());
                let queue = StoredQueue { subject, inputs, delivered: queue.delivered };
                pieces.push(CheckpointPiece { queues: vec![queue], ..Default::default() });
            }
        }
        let skipped: Vec<String> = self.skipped.iter().cloned().collect();
        for skipped in skipped.chunks(PIECE_ENTRIES_MAX) {
            pieces.push(CheckpointPiece { skipped: skipped.to_vec(), ..Default::default() });
        }
        pieces
    }

    pub(super) fn stream(&self) -> &StreamName {
        &self.identity.journal
    }
}

impl Checkpointed {
    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation.parse().ok().map(Incarnation::new)
    }
}
