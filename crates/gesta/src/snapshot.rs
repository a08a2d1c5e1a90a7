//! Snapshots: an aggregate's state at a revision, from which a load continues.
//!
//! Owns: [`SnapshotPolicy`], and loads from a snapshot. Invariants: a snapshot is used only if it
//! was taken in the store's current incarnation, by the same fold, from events and into a state
//! of the same shapes, and if its last event is still at its revision or is the last one hidden
//! by a truncation. Any other snapshot is ignored and replaced. Losing a snapshot, or failing to
//! read or write one, costs time only, and not much ([`limited`]). Not here: storage
//! ([`SnapshotStore`]).

mod limited;
mod selected;

use std::{
    any::{Any, TypeId},
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use gesta_store::{
    Category, EventId, EventStore, Filter, Fingerprint, Incarnation, Position, ReadAll, ReadStream,
    RecordedEvent, Revision, Snapshot, SnapshotStore, StoreError, StreamName,
};
use serde::{Serialize, de::DeserializeOwned};

use self::limited::LimitedSnapshots;
use crate::{
    Aggregate, AsOf, Boundary as _, BoundaryRead, Clock, EncodeError, EventSet, EventVersion,
    LoadError, Registry, TypeShape, UndecodableEvent, json,
    read::{ReadFailure, ReadProgress, begins_anew, read},
};

/// A type-erased aggregate.
pub(crate) type AnyAggregate = dyn Any + Send + Sync;

/// The interval of an aggregate's snapshots, and the version of its fold.
///
/// A snapshot is valid as long as the program would fold the same state. Changes of shape are
/// detected automatically, at any depth: fields, kinds of values and variants of the state and its
/// events, the set of events and versions, the types of upcasters. Code has no shape: raise
/// `fold_version` when `evolve` or an upcaster changes its behavior with the same types.
/// [`assert_snapshots_hold`](crate::testing::assert_snapshots_hold) checks stored snapshots against
/// replays.
///
/// ```
/// use gesta::SnapshotPolicy;
///
/// let policy = SnapshotPolicy::every(100).fold_version(1);
/// assert_eq!(policy.fold_version, 1, "greater, once `evolve` means something else");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotPolicy {
    /// Number of events after which a load takes a new snapshot.
    pub every: u64,
    /// Version of the code that folds: `evolve` and the upcasters. Raise it when the same events
    /// lead to another state.
    pub fold_version: u32,
}

impl SnapshotPolicy {
    /// Takes a snapshot every given number of events, of the first version of the fold.
    #[must_use]
    pub const fn every(events: u64) -> Self {
        Self { every: events, fold_version: 1 }
    }

    /// Sets the version of the code that folds.
    #[must_use]
    pub const fn fold_version(self, version: u32) -> Self {
        Self { fold_version: version, ..self }
    }
}

/// The aggregates with snapshots, and their rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshots {
    rules: HashMap<TypeId, Arc<Rule>>,
    /// Aggregates registered for snapshots that take none, with the reason.
    refused: Vec<String>,
}

/// Storage and validity of one aggregate's snapshots.
struct Rule {
    store: LimitedSnapshots,
    every: u64,
    fingerprint: Fingerprint,
    /// Replaces the aggregate by a stored state; returns false if it does not decode.
    restore: fn(&mut AnyAggregate, &[u8]) -> bool,
    state: fn(&AnyAggregate) -> Result<Bytes, EncodeError>,
    category: &'static str,
    /// Creates an aggregate in its initial state.
    fresh: fn() -> Box<dyn EventFold>,
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
            store: LimitedSnapshots::new(store),
            every: policy.every.max(1),
            fingerprint: shapes.fingerprint(policy.fold_version),
            restore: restore::<A>,
            state: state::<A>,
            category: A::CATEGORY,
            fresh: || Box::new(Folded(A::default())),
        }
    }
}

/// The type information of a fold, hashed into the fingerprint of its snapshots.
struct Shapes {
    parts: Vec<String>,
    /// Places with a shape that serde does not reveal.
    hidden: Vec<String>,
}

impl Shapes {
    /// Collects the shape of the state, its initial value, and for each event its versions with
    /// their shapes and types.
    fn of<A: Aggregate + Serialize + DeserializeOwned>() -> Self {
        let state = TypeShape::of::<A>();
        let mut hidden: Vec<String> =
            state.untraced().map(|(place, why)| format!("{place} ({why})")).collect();
        // A changed initial value changes every state, even with the same shape.
        let empty = serde_json::to_string(&A::default()).unwrap_or_default();
        let mut parts = vec![std::any::type_name::<A>().to_owned(), A::CATEGORY.to_owned(), empty];
        parts.push(state.to_string());
        // Ignoring another type changes the state folded from the same events.
        parts.push(A::Event::IGNORED.join(","));
        let events = Registry::of::<A::Event>();
        for name in events.names() {
            for version in events.type_shapes(name) {
                let EventVersion { version, type_name, shape, .. } = version;
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
            // Length prefixes keep neighbouring parts apart.
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

/// Encodes a state and checks that the result decodes, since a snapshot that decodes differently
/// would corrupt loads.
fn state<A: Aggregate + Serialize + DeserializeOwned>(
    aggregate: &AnyAggregate,
) -> Result<Bytes, EncodeError> {
    let aggregate = aggregate.downcast_ref::<A>().expect("a rule is found by the aggregate's type");
    Ok(json::to_json(std::any::type_name::<A>(), aggregate)?.into())
}

/// The target that a read folds its events into.
pub(crate) trait EventFold: Send {
    /// Applies an event.
    fn take(&mut self, event: &RecordedEvent) -> Result<(), UndecodableEvent>;

    /// Returns the aggregate, for restoring and taking snapshots.
    fn aggregate(&mut self) -> &mut AnyAggregate;
}

/// Folds into a borrowed aggregate.
pub(crate) struct FoldInto<'a, A>(pub(crate) &'a mut A);

impl<A: Aggregate> EventFold for FoldInto<'_, A> {
    fn take(&mut self, event: &RecordedEvent) -> Result<(), UndecodableEvent> {
        A::take(self.0, 0, event).map_err(|error| error.of(event))
    }

    fn aggregate(&mut self) -> &mut AnyAggregate {
        self.0
    }
}

/// Folds into an owned aggregate.
struct Folded<A>(A);

impl<A: Aggregate> EventFold for Folded<A> {
    fn take(&mut self, event: &RecordedEvent) -> Result<(), UndecodableEvent> {
        FoldInto(&mut self.0).take(event)
    }

    fn aggregate(&mut self) -> &mut AnyAggregate {
        &mut self.0
    }
}

impl Snapshots {
    /// Adds an aggregate, unless a part of its shape is hidden.
    pub(crate) fn add<A>(&mut self, store: &(impl SnapshotStore + Clone), policy: SnapshotPolicy)
    where
        A: Aggregate + Serialize + DeserializeOwned,
    {
        let shapes = Shapes::of::<A>();
        if shapes.hidden.is_empty() {
            self.insert::<A>(Rule::of::<A>(Arc::new(store.clone()), policy, &shapes));
            return;
        }
        let (aggregate, hidden) = (std::any::type_name::<A>(), shapes.hidden.join(", "));
        tracing::warn!(
            aggregate,
            hidden,
            "no snapshots are taken: part of the state's shape cannot be traced"
        );
        self.refused.push(format!("{aggregate}: cannot trace the shape of {hidden}"));
    }

    /// Adds an aggregate, hidden parts included.
    pub(crate) fn add_by_version<A>(
        &mut self,
        store: &(impl SnapshotStore + Clone),
        policy: SnapshotPolicy,
    ) where
        A: Aggregate + Serialize + DeserializeOwned,
    {
        let rule = Rule::of::<A>(Arc::new(store.clone()), policy, &Shapes::of::<A>());
        self.insert::<A>(rule);
    }

    fn insert<A: Aggregate>(&mut self, rule: Rule) {
        self.rules.insert(TypeId::of::<A>(), Arc::new(rule));
    }

    /// Compares snapshots with replays, for every stream of every aggregate with snapshots. Returns
    /// the differences, or the reasons for missing snapshots.
    pub(crate) async fn differences(&self, store: &dyn EventStore) -> Result<Vec<String>, String> {
        let mut differences = self.refused.clone();
        for rule in self.rules.values() {
            for stream in rule.streams(store).await? {
                differences.extend(rule.difference(store, &stream).await?);
            }
        }
        Ok(differences)
    }

    /// Sets the clock that limits the answers of snapshot stores.
    pub(crate) fn timed_by(&self, clock: &Arc<dyn Clock>) {
        for rule in self.rules.values() {
            rule.store.timed_by(clock);
        }
    }

    /// Returns why snapshots are left out now, once for each reason.
    pub(crate) fn troubles(&self) -> BTreeSet<String> {
        self.rules.values().filter_map(|rule| rule.store.trouble()).collect()
    }

    /// Reads a boundary, starting from a snapshot if a valid one exists.
    pub(crate) async fn read(
        &self,
        store: &dyn EventStore,
        planned: &BoundaryRead,
        as_of: AsOf,
        fold: &mut dyn EventFold,
    ) -> Result<ReadProgress, ReadFailure> {
        let rule = match as_of {
            AsOf::Now => self.rules.get(&(*fold.aggregate()).type_id()),
            // Snapshots hold the latest state, so historical reads skip them.
            AsOf::Revision(_) | AsOf::Position(_) | AsOf::Time(_) => None,
        };
        let Some(rule) = rule else {
            return read(store, planned, as_of, None, |event| fold.take(event)).await;
        };
        if let Some(query) = &planned.query {
            return rule.read_selected(store, planned, query, fold).await;
        }
        // Read before the snapshot: one from another incarnation may contain events that were lost.
        let incarnation = store.head().await?.incarnation;
        let resumed = rule.resume(store, &planned.stream, incarnation, fold).await?;
        // Counts the events after the snapshot: enough of them are worth a new one.
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
    /// Restores the latest valid snapshot and returns its last event; leaves the aggregate
    /// unchanged if none is valid.
    async fn resume(
        &self,
        store: &dyn EventStore,
        stream: &StreamName,
        incarnation: Incarnation,
        fold: &mut dyn EventFold,
    ) -> Result<Option<(Revision, Position)>, StoreError> {
        let usable = |snapshot: &Snapshot| {
            snapshot.fingerprint.fold() == self.fingerprint.fold()
                // Revisions of another incarnation may belong to events that are lost.
                && snapshot.incarnation == incarnation
        };
        // Check the cheap conditions first; the last event needs a read of the store.
        let found = self.store.load(stream).await;
        let Some(snapshot) = found.filter(usable) else { return Ok(None) };
        let Some(position) = self.standing(store, &snapshot).await? else { return Ok(None) };
        let restored = (self.restore)(fold.aggregate(), &snapshot.state);
        Ok(restored.then_some((snapshot.revision, position)))
    }

    async fn keep(
        &self,
        stream: &StreamName,
        (revision, event): (Revision, EventId),
        incarnation: Incarnation,
        fold: &mut dyn EventFold,
    ) {
        let state = match (self.state)(fold.aggregate()) {
            Ok(state) => state,
            Err(error) => {
                tracing::warn!(%stream, %error, "no snapshot taken");
                return;
            }
        };
        let (stream, fingerprint) = (stream.clone(), bound_to(self.fingerprint, event));
        self.store.save(Snapshot::new(stream, revision, incarnation, fingerprint, state)).await;
    }

    /// Returns the position of a snapshot's last event, if the snapshot belongs to the stream's
    /// current events.
    ///
    /// Either the event is visible and has the recorded id (a restored older store may have another
    /// event at that revision), or it is the last one hidden by a truncation, so that the snapshot
    /// covers the hidden events. The position of a hidden event is unknown and not needed, because
    /// a later event is visible.
    async fn standing(
        &self,
        store: &dyn EventStore,
        snapshot: &Snapshot,
    ) -> Result<Option<Position>, StoreError> {
        let revision = snapshot.revision;
        let from = ReadStream::forwards(snapshot.stream.clone()).from(revision).limit(1);
        let events = store.read_stream(from).collect_events().await?;
        let Some(shown) = events.first() else { return Ok(None) };
        // The last event of the snapshot is visible, so its id can be compared.
        if shown.revision == revision {
            let is_same = snapshot.fingerprint == bound_to(self.fingerprint, shown.id);
            return Ok(is_same.then_some(shown.position));
        }
        let covers = shown.revision == revision.next() && !begins_anew(store, shown).await?;
        // The hidden event itself cannot be compared; the half of the fingerprint for the fold has
        // to be enough.
        Ok(covers.then_some(Position::START))
    }
}

/// Combines a fold's fingerprint with the last folded event, to detect a snapshot of a diverged
/// history. The half of the fold stays unchanged, because a hidden last event cannot be compared.
fn bound_to(fold: Fingerprint, event: EventId) -> Fingerprint {
    let mut hash = [0; 8];
    blake3::Hasher::new().update(event.as_uuid().as_bytes()).finalize_xof().fill(&mut hash);
    Fingerprint::new(fold.number() ^ (u64::from_be_bytes(hash) & u64::from(u32::MAX)))
}

impl Rule {
    /// Returns the aggregate's streams that have events.
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

    /// Compares three states of a stream: a full replay, the stored snapshot with later events, and
    /// a replay through a snapshot after each event.
    async fn difference(
        &self,
        store: &dyn EventStore,
        stream: &StreamName,
    ) -> Result<Option<String>, String> {
        let planned = BoundaryRead { stream: stream.clone(), query: None };
        let incarnation = store.head().await.map_err(|error| error.to_string())?.incarnation;
        let (mut replayed, mut stepped, mut resumed) =
            ((self.fresh)(), (self.fresh)(), (self.fresh)());
        let resume = self.resume(store, stream, incarnation, resumed.as_mut()).await;
        let resume = resume.map_err(|error| error.to_string())?;
        let seen = read(store, &planned, AsOf::Now, None, |event| {
            // Only events after the snapshot; it contains the others.
            if resume.is_some_and(|(last, _)| event.revision > last) {
                resumed.take(event)?;
            }
            replayed.take(event)?;
            stepped.take(event)?;
            // Round-trip the state after each event, like a snapshot taken there.
            if let Ok(state) = (self.state)(stepped.aggregate()) {
                (self.restore)(stepped.aggregate(), &state);
            }
            Ok(())
        });
        match seen.await {
            // Without the hidden events no replay is possible; the snapshot that covers them is all
            // there is to check.
            Err(ReadFailure::Truncated(_)) if resume.is_some() => return Ok(None),
            Err(failure) => return Err(LoadError::from(failure).to_string()),
            Ok(_) => {}
        }
        let replay = self.json(replayed.as_mut())?;
        let stepped = self.json(stepped.as_mut())?;
        if stepped != replay {
            return Ok(Some(format!(
                "{stream}: with snapshots the state is {stepped}, with a replay it is {replay}"
            )));
        }
        let Some((last, _)) = resume else { return Ok(None) };
        let resumed = self.json(resumed.as_mut())?;
        Ok((resumed != replay).then(|| {
            format!(
                "{stream}: from the snapshot at revision {last} the state is {resumed}, with a \
                 replay it is {replay}"
            )
        }))
    }

    fn json(&self, fold: &mut dyn EventFold) -> Result<serde_json::Value, String> {
        let state = (self.state)(fold.aggregate()).map_err(|error| error.to_string())?;
        serde_json::from_slice(&state).map_err(|error| error.to_string())
    }
}

/// Asserts that a load from a snapshot at any point of a history yields the state of a full replay,
/// so that the state's JSON form omits nothing that `evolve` needs.
///
/// # Panics
/// If the states differ, with both.
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
