//! Snapshots: an aggregate's state at a revision, so that a load need not begin at the first event.
//!
//! Owns: [`SnapshotPolicy`], [`Builder::snapshots`], and loads that begin at a snapshot. Always
//! holds: a snapshot is used only if it was folded in this life of the store, by the same fold,
//! and its last event is still where it was; in any other case it is ignored and replaced. Losing
//! it, or not being able to read or keep it, costs time and nothing else. Not here: where it is
//! kept ([`SnapshotStore`]).

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use gesta_store::{
    DatabaseError, EventStore, Fingerprint, Incarnation, Position, ReadStream, RecordedEvent,
    Revision, Snapshot, SnapshotStore, StoreError, StreamName,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Aggregate, AsOf, Boundary as _, BoundaryRead, Builder, EventSet, UndecodableEvent,
    read::{ReadFailure, Seen, read},
};

/// An aggregate whose type is forgotten.
pub(crate) type AnyAggregate = dyn Any + Send + Sync;

/// When snapshots of an aggregate are taken, and by which fold.
///
/// ```
/// use gesta::SnapshotPolicy;
///
/// let policy = SnapshotPolicy { every: 100, fold_version: 1 };
/// assert_eq!(policy.fold_version, 1, "greater, once `evolve` means something else");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// After how many events since the last one a load takes another.
    pub every: u64,
    /// Which `evolve` has folded it. Raise it when the same events lead to another state.
    pub fold_version: u32,
}

impl Builder {
    /// Keeps snapshots of an aggregate in this store.
    ///
    /// An aggregate that reads tags has none, for its state is of many streams.
    pub fn snapshots<A>(
        mut self,
        store: &(impl SnapshotStore + Clone),
        policy: SnapshotPolicy,
    ) -> Self
    where
        A: Aggregate + Serialize + DeserializeOwned,
    {
        let rule = Rule::of::<A>(Arc::new(store.clone()), policy);
        self.parts.snapshots.insert(TypeId::of::<A>(), rule);
        self
    }
}

/// Which aggregates have snapshots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshots(HashMap<TypeId, Arc<Rule>>);

/// How snapshots of one aggregate are taken and used.
struct Rule {
    store: Arc<dyn SnapshotStore>,
    every: u64,
    fingerprint: Fingerprint,
    /// Sets the aggregate to a state, if the bytes are one.
    restore: fn(&mut AnyAggregate, &[u8]) -> bool,
    state: fn(&AnyAggregate) -> Option<Bytes>,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "every {} events by fold {}", self.every, self.fingerprint)
    }
}

impl Rule {
    fn of<A: Aggregate + Serialize + DeserializeOwned>(
        store: Arc<dyn SnapshotStore>,
        policy: SnapshotPolicy,
    ) -> Self {
        Self {
            store,
            every: policy.every.max(1),
            fingerprint: fingerprint::<A>(policy.fold_version),
            restore: restore::<A>,
            state: state::<A>,
        }
    }
}

/// The fold version, and the shape of the state: its type's name, what an empty one looks like,
/// and which events it folds. The name alone would not tell that a field was added.
fn fingerprint<A: Aggregate + Serialize>(fold_version: u32) -> Fingerprint {
    let empty = serde_json::to_string(&A::default()).unwrap_or_default();
    let mut hasher = blake3::Hasher::new();
    for part in [std::any::type_name::<A>(), A::CATEGORY, &empty, &A::Event::NAMES.join(",")] {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(&fold_version.to_be_bytes());
    let mut number = [0; 8];
    hasher.finalize_xof().fill(&mut number);
    Fingerprint::new(u64::from_be_bytes(number))
}

fn restore<A: Aggregate + DeserializeOwned>(aggregate: &mut AnyAggregate, state: &[u8]) -> bool {
    let (Some(aggregate), Ok(state)) =
        (aggregate.downcast_mut::<A>(), serde_json::from_slice(state))
    else {
        return false;
    };
    *aggregate = state;
    true
}

fn state<A: Aggregate + Serialize>(aggregate: &AnyAggregate) -> Option<Bytes> {
    serde_json::to_vec(aggregate.downcast_ref::<A>()?).ok().map(Bytes::from)
}

/// What the events of one read are folded into.
pub(crate) trait Fold: Send {
    /// Takes in an event.
    fn take(&mut self, event: &RecordedEvent) -> Result<(), UndecodableEvent>;

    /// The aggregate that they are folded into.
    fn aggregate(&mut self) -> &mut AnyAggregate;
}

/// Folds into one aggregate whose type is known.
pub(crate) struct FoldInto<'a, A>(pub(crate) &'a mut A);

impl<A: Aggregate> Fold for FoldInto<'_, A> {
    fn take(&mut self, event: &RecordedEvent) -> Result<(), UndecodableEvent> {
        A::take(self.0, 0, event).map_err(|error| error.of(event))
    }

    fn aggregate(&mut self) -> &mut AnyAggregate {
        self.0
    }
}

impl Snapshots {
    fn insert(&mut self, aggregate: TypeId, rule: Rule) {
        self.0.insert(aggregate, Arc::new(rule));
    }

    /// Reads what a boundary depends on, from a snapshot on where there is one.
    pub(crate) async fn read(
        &self,
        store: &dyn EventStore,
        planned: &BoundaryRead,
        as_of: AsOf,
        fold: &mut dyn Fold,
    ) -> Result<Seen, ReadFailure> {
        let rule = match (as_of, &planned.tagged) {
            (AsOf::Now, None) => self.0.get(&(*fold.aggregate()).type_id()),
            (AsOf::Now | AsOf::Revision(_) | AsOf::Position(_) | AsOf::Time(_), _) => None,
        };
        let Some(rule) = rule else {
            return read(store, planned, as_of, None, |event| fold.take(event)).await;
        };
        let incarnation = store.head().await?.incarnation;
        let resumed = rule.resume(store, &planned.stream, incarnation, fold).await?;
        let mut taken = 0;
        let seen = read(store, planned, as_of, resumed, |event| {
            taken += 1;
            fold.take(event)
        })
        .await?;
        if let (true, Some((revision, _))) = (taken >= rule.every, seen.last) {
            rule.keep(&planned.stream, revision, incarnation, fold).await;
        }
        Ok(seen)
    }
}

impl Rule {
    /// Sets the aggregate to a snapshot and says which event was its last; if none can be used,
    /// the aggregate stays as it was.
    async fn resume(
        &self,
        store: &dyn EventStore,
        stream: &StreamName,
        incarnation: Incarnation,
        fold: &mut dyn Fold,
    ) -> Result<Option<(Revision, Position)>, StoreError> {
        let usable = |snapshot: &Snapshot| {
            snapshot.fingerprint == self.fingerprint && snapshot.incarnation == incarnation
        };
        let Some(snapshot) = self.find(stream).await.filter(usable) else { return Ok(None) };
        // A stream that was deleted or truncated no longer shows the event.
        let last = ReadStream::forwards(stream.clone()).from(snapshot.revision).limit(1);
        let events = store.read_stream(last).collect_events().await?;
        let Some(last) = events.first().filter(|event| event.revision == snapshot.revision) else {
            return Ok(None);
        };
        let restored = (self.restore)(fold.aggregate(), &snapshot.state);
        Ok(restored.then_some((last.revision, last.position)))
    }

    async fn find(&self, stream: &StreamName) -> Option<Snapshot> {
        let found = self.store.load_snapshot(stream).await;
        found.unwrap_or_else(|error| {
            warn(stream, &error, "snapshot not read");
            None
        })
    }

    async fn keep(
        &self,
        stream: &StreamName,
        revision: Revision,
        incarnation: Incarnation,
        fold: &mut dyn Fold,
    ) {
        let Some(state) = (self.state)(fold.aggregate()) else { return };
        let (stream, fingerprint) = (stream.clone(), self.fingerprint);
        let snapshot =
            Snapshot { stream: stream.clone(), revision, incarnation, fingerprint, state };
        if let Err(error) = self.store.save_snapshot(snapshot).await {
            warn(&stream, &error, "snapshot not kept");
        }
    }
}

fn warn(stream: &StreamName, error: &DatabaseError, what: &str) {
    tracing::warn!(%stream, %error, "{what}");
}

/// Asserts that a load from a snapshot at any point of a history ends in the state that a full
/// replay ends in: that nothing which `evolve` needs is left out of the state's JSON form.
///
/// # Panics
/// When the states differ, with both.
#[track_caller]
pub fn assert_snapshots_equal_replays<A>(history: impl IntoIterator<Item = A::Event>)
where
    A: Aggregate + Serialize + DeserializeOwned,
{
    let history: Vec<A::Event> = history.into_iter().collect();
    let json = |state: &A| serde_json::to_value(state).expect("the state has a JSON form");
    let replayed = json(&A::after(history.clone()));
    for taken in 0..=history.len() {
        let (before, since) = history.split_at(taken);
        let snapshot = json(&A::after(before.to_vec()));
        let mut state: A = serde_json::from_value(snapshot).expect("the state reads its JSON form");
        for event in since {
            state.evolve(event);
        }
        assert_eq!(json(&state), replayed, "from a snapshot after {taken} events");
    }
}
