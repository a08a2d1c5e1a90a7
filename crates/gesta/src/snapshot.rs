//! Snapshots: an aggregate's state at a revision, so that a load need not begin at the first event.
//!
//! Owns: [`SnapshotPolicy`], [`Builder::snapshots`], and loads that begin at a snapshot. Always
//! holds: a snapshot is used only if it was folded in this life of the store, by the same fold, from
//! events and into a state of the same shapes, and its last event is still where it was, or is the
//! last of those that a truncation hides; in any other case it is ignored and replaced. Losing it,
//! or not being able to read or keep it, costs time and nothing else. Not here: where it is kept
//! ([`SnapshotStore`]).

use std::{
    any::{Any, TypeId},
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use gesta_store::{
    Category, DatabaseError, EventId, EventStore, Filter, Fingerprint, Incarnation, Position,
    ReadAll, ReadStream, RecordedEvent, Revision, Snapshot, SnapshotStore, StoreError, StreamName,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Aggregate, AsOf, Boundary as _, BoundaryRead, Builder, EncodeError, EventSet, EventVersion,
    LoadError, Registry, TypeShape, UndecodableEvent, json,
    read::{ReadFailure, Seen, begins_anew, read},
};

/// An aggregate whose type is forgotten.
pub(crate) type AnyAggregate = dyn Any + Send + Sync;

/// When snapshots of an aggregate are taken, and by which fold.
///
/// A snapshot is used as long as the same program would fold the same state. Noticed by itself is
/// whatever changes the shape of the state or of its events, however deep (fields, kinds of values,
/// variants), which events and versions there are, and which types they are upcast through. Code
/// has no shape: raise `fold_version` when `evolve` or an upcaster does something else with the
/// same types. [`assert_snapshots_hold`](crate::testing::assert_snapshots_hold) tells whether stored
/// snapshots are still what a replay makes.
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
    /// Which code has folded it: `evolve` and the upcasters. Raise it when the same events lead to
    /// another state.
    pub fold_version: u32,
}

impl Builder {
    /// Keeps snapshots of an aggregate in this store.
    ///
    /// An aggregate that reads tags has none, for its state is of many streams. Neither has one
    /// whose state or events hide a part of their shape from serde (types that are untagged,
    /// internally or adjacently tagged, or flattened), since a change there could not be noticed:
    /// a warning names the places. Give such parts another representation, or keep snapshots
    /// [by version](Self::snapshots_by_version).
    pub fn snapshots<A>(
        mut self,
        store: &(impl SnapshotStore + Clone),
        policy: SnapshotPolicy,
    ) -> Self
    where
        A: Aggregate + Serialize + DeserializeOwned,
    {
        let shapes = Shapes::of::<A>();
        if shapes.hidden.is_empty() {
            let rule = Rule::of::<A>(Arc::new(store.clone()), policy, &shapes);
            self.parts.snapshots.insert(TypeId::of::<A>(), rule);
        } else {
            let (aggregate, hidden) = (std::any::type_name::<A>(), shapes.hidden.join(", "));
            tracing::warn!(aggregate, hidden, "no snapshots: a part of the shape is hidden");
            self.parts.snapshots.refused.push(format!("{aggregate} hides {hidden}"));
        }
        self
    }

    /// Keeps snapshots of an aggregate whose shape is hidden in part. What is hidden is covered by
    /// `fold_version` alone: raise it with every change there.
    pub fn snapshots_by_version<A>(
        mut self,
        store: &(impl SnapshotStore + Clone),
        policy: SnapshotPolicy,
    ) -> Self
    where
        A: Aggregate + Serialize + DeserializeOwned,
    {
        let rule = Rule::of::<A>(Arc::new(store.clone()), policy, &Shapes::of::<A>());
        self.parts.snapshots.insert(TypeId::of::<A>(), rule);
        self
    }
}

/// Which aggregates have snapshots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshots {
    rules: HashMap<TypeId, Arc<Rule>>,
    /// Which aggregates have none although they were to have some, and why.
    refused: Vec<String>,
}

/// How snapshots of one aggregate are taken and used.
struct Rule {
    store: Arc<dyn SnapshotStore>,
    every: u64,
    fingerprint: Fingerprint,
    /// Sets the aggregate to a state, if the bytes are one.
    restore: fn(&mut AnyAggregate, &[u8]) -> bool,
    state: fn(&AnyAggregate) -> Result<Bytes, EncodeError>,
    category: &'static str,
    /// An aggregate to which nothing has happened.
    fresh: fn() -> Box<dyn Fold>,
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
        shapes: &Shapes,
    ) -> Self {
        Self {
            store,
            every: policy.every.max(1),
            fingerprint: shapes.fingerprint(policy.fold_version),
            restore: restore::<A>,
            state: state::<A>,
            category: A::CATEGORY,
            fresh: || Box::new(Folded(A::default())),
        }
    }
}

/// Everything about a fold that types tell: what tells a snapshot of it from one of another.
struct Shapes {
    parts: Vec<String>,
    /// The places that serde does not tell.
    hidden: Vec<String>,
}

impl Shapes {
    /// The shape of the state and what an empty one looks like; of each event its versions, their
    /// shapes, and the types that they are upcast through.
    fn of<A: Aggregate + Serialize + DeserializeOwned>() -> Self {
        let state = TypeShape::of::<A>();
        let mut hidden: Vec<String> =
            state.untraced().map(|(place, why)| format!("{place} ({why})")).collect();
        let empty = serde_json::to_string(&A::default()).unwrap_or_default();
        let mut parts = vec![std::any::type_name::<A>().to_owned(), A::CATEGORY.to_owned(), empty];
        parts.push(state.to_string());
        parts.push(A::Event::IGNORED.join(","));
        let events = Registry::of::<A::Event>();
        for name in events.names() {
            for version in events.type_shapes(name) {
                let EventVersion { version, type_name, shape } = version;
                parts.push(format!("{name} {version} {type_name} {shape}"));
                let places = shape.untraced();
                hidden.extend(places.map(|(place, why)| format!("{name} {place} ({why})")));
            }
            parts.extend(events.versions(name).iter().map(|known| known.shape.to_owned()));
        }
        Self { parts, hidden }
    }

    fn fingerprint(&self, fold_version: u32) -> Fingerprint {
        let mut hasher = blake3::Hasher::new();
        for part in &self.parts {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&fold_version.to_be_bytes());
        let mut number = [0; 8];
        hasher.finalize_xof().fill(&mut number);
        Fingerprint::new(u64::from_be_bytes(number))
    }
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

/// A state that could not be read back is as good as none, and worse where it reads as another.
fn state<A: Aggregate + Serialize + DeserializeOwned>(
    aggregate: &AnyAggregate,
) -> Result<Bytes, EncodeError> {
    let aggregate = aggregate.downcast_ref::<A>().expect("a rule is found by the aggregate's type");
    json::to_json(std::any::type_name::<A>(), aggregate).map(Bytes::from)
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

/// An aggregate of its own that events are folded into.
struct Folded<A>(A);

impl<A: Aggregate> Fold for Folded<A> {
    fn take(&mut self, event: &RecordedEvent) -> Result<(), UndecodableEvent> {
        FoldInto(&mut self.0).take(event)
    }

    fn aggregate(&mut self) -> &mut AnyAggregate {
        &mut self.0
    }
}

impl Snapshots {
    fn insert(&mut self, aggregate: TypeId, rule: Rule) {
        self.rules.insert(aggregate, Arc::new(rule));
    }

    /// Compares what snapshots lead to with replays, of every stream of every aggregate that has
    /// snapshots. Gives what differs, or why there are none.
    pub(crate) async fn differences(&self, store: &dyn EventStore) -> Result<Vec<String>, String> {
        let mut differences = self.refused.clone();
        for rule in self.rules.values() {
            for stream in rule.streams(store).await? {
                differences.extend(rule.difference(store, &stream).await?);
            }
        }
        Ok(differences)
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
            (AsOf::Now, None) => self.rules.get(&(*fold.aggregate()).type_id()),
            (AsOf::Now | AsOf::Revision(_) | AsOf::Position(_) | AsOf::Time(_), _) => None,
        };
        let Some(rule) = rule else {
            return read(store, planned, as_of, None, |event| fold.take(event)).await;
        };
        let incarnation = store.head().await?.incarnation;
        let resumed = rule.resume(store, &planned.stream, incarnation, fold).await?;
        let (mut taken, mut last) = (0, None);
        let seen = read(store, planned, as_of, resumed, |event| {
            taken += 1;
            last = Some((event.revision, event.id));
            fold.take(event)
        })
        .await?;
        if let (true, Some(last)) = (taken >= rule.every, last) {
            rule.keep(&planned.stream, last, incarnation, fold).await;
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
            is_of_fold(snapshot.fingerprint, self.fingerprint)
                && snapshot.incarnation == incarnation
        };
        let Some(snapshot) = self.find(stream).await.filter(usable) else { return Ok(None) };
        let Some(position) = self.standing(store, &snapshot).await? else { return Ok(None) };
        let restored = (self.restore)(fold.aggregate(), &snapshot.state);
        Ok(restored.then_some((snapshot.revision, position)))
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
        (revision, event): (Revision, EventId),
        incarnation: Incarnation,
        fold: &mut dyn Fold,
    ) {
        let state = match (self.state)(fold.aggregate()) {
            Ok(state) => state,
            Err(error) => {
                tracing::warn!(%stream, %error, "no snapshot taken");
                return;
            }
        };
        let (stream, fingerprint) = (stream.clone(), bound_to(self.fingerprint, event));
        let snapshot =
            Snapshot { stream: stream.clone(), revision, incarnation, fingerprint, state };
        if let Err(error) = self.store.save_snapshot(snapshot).await {
            warn(&stream, &error, "snapshot not kept");
        }
    }

    /// The position of a snapshot's last event, if it belongs to the stream's present life: it is
    /// shown and is the very event (an older copy of the store may have another one there), or it
    /// is the last of those that a truncation hides, which the snapshot then covers. The position
    /// of a hidden one is not known, and not needed, for an event after it is shown.
    async fn standing(
        &self,
        store: &dyn EventStore,
        snapshot: &Snapshot,
    ) -> Result<Option<Position>, StoreError> {
        let revision = snapshot.revision;
        let from = ReadStream::forwards(snapshot.stream.clone()).from(revision).limit(1);
        let events = store.read_stream(from).collect_events().await?;
        let Some(shown) = events.first() else { return Ok(None) };
        if shown.revision == revision {
            let is_same = snapshot.fingerprint == bound_to(self.fingerprint, shown.id);
            return Ok(is_same.then_some(shown.position));
        }
        let covers = shown.revision == revision.next() && !begins_anew(store, shown).await?;
        Ok(covers.then_some(Position::START))
    }
}

/// The bits of a stored fingerprint that are the fold's alone; the last event is in the others.
const OF_FOLD: u64 = 0xFFFF_FFFF_0000_0000;

/// Binds a fold's fingerprint to the last event that was folded, so that a snapshot of another
/// history of the store is told from one of this. The fold's half stays as it is, because a last
/// event that is hidden cannot be compared.
fn bound_to(fold: Fingerprint, event: EventId) -> Fingerprint {
    let mut hash = [0; 8];
    blake3::Hasher::new().update(event.as_uuid().as_bytes()).finalize_xof().fill(&mut hash);
    Fingerprint::new(fold.number() ^ (u64::from_be_bytes(hash) & !OF_FOLD))
}

fn is_of_fold(stored: Fingerprint, fold: Fingerprint) -> bool {
    stored.number() & OF_FOLD == fold.number() & OF_FOLD
}

impl Rule {
    /// The streams of the aggregate that have events.
    async fn streams(&self, store: &dyn EventStore) -> Result<BTreeSet<StreamName>, String> {
        let category = Category::new(self.category).map_err(|error| error.to_string())?;
        let read = ReadAll::forwards().filter(Filter::Categories(vec![category]));
        let mut pages = store.read_all(read);
        let mut streams = BTreeSet::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| error.to_string())?;
            streams.extend(page.iter().map(|event| event.stream.clone()));
        }
        Ok(streams)
    }

    /// What differs between a replay of a stream, its stored snapshot with what came after it, and
    /// a replay that goes through a snapshot after each event.
    async fn difference(
        &self,
        store: &dyn EventStore,
        stream: &StreamName,
    ) -> Result<Option<String>, String> {
        let planned = BoundaryRead { stream: stream.clone(), tagged: None };
        let incarnation = store.head().await.map_err(|error| error.to_string())?.incarnation;
        let (mut replayed, mut stepped, mut resumed) =
            ((self.fresh)(), (self.fresh)(), (self.fresh)());
        let resume = self.resume(store, stream, incarnation, resumed.as_mut()).await;
        let resume = resume.map_err(|error| error.to_string())?;
        let seen = read(store, &planned, AsOf::Now, None, |event| {
            if resume.is_some_and(|(last, _)| event.revision > last) {
                resumed.take(event)?;
            }
            replayed.take(event)?;
            stepped.take(event)?;
            if let Ok(state) = (self.state)(stepped.aggregate()) {
                (self.restore)(stepped.aggregate(), &state);
            }
            Ok(())
        });
        match seen.await {
            // Nothing can be replayed; that a snapshot covers what is hidden is all there is.
            Err(ReadFailure::Truncated(_)) if resume.is_some() => return Ok(None),
            Err(failure) => return Err(LoadError::from(failure).to_string()),
            Ok(_) => {}
        }
        let replay = self.json(replayed.as_mut())?;
        let stepped = self.json(stepped.as_mut())?;
        if stepped != replay {
            return Ok(Some(format!(
                "{stream}: through snapshots {stepped}, by a replay {replay}"
            )));
        }
        let Some((last, _)) = resume else { return Ok(None) };
        let resumed = self.json(resumed.as_mut())?;
        Ok((resumed != replay).then(|| {
            format!(
                "{stream}: from the snapshot at revision {last} {resumed}, by a replay {replay}"
            )
        }))
    }

    fn json(&self, fold: &mut dyn Fold) -> Result<serde_json::Value, String> {
        let state = (self.state)(fold.aggregate()).map_err(|error| error.to_string())?;
        serde_json::from_slice(&state).map_err(|error| error.to_string())
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
