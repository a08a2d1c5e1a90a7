//! Snapshots: a load from one equals a full replay, and missing or invalid snapshots do no harm.

use std::sync::Arc;

use gesta::{
    ExecuteError, Gesta, LoadError, SnapshotPolicy,
    prelude::*,
    stream_of,
    testing::{assert_snapshots_equal_replays, assert_snapshots_hold},
};
use gesta_store::{
    Append, DeleteStream, EventStore, ExpectedRevision, MemoryReadModels, NewEvent,
    SetStreamMetadata, Snapshot, SnapshotStore, StreamMetadata,
};

use crate::bank::new_store;

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "poured")]
struct Poured {
    litres: u64,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum BarrelEvent {
    Poured(Poured),
}

#[derive(Default, Debug, PartialEq, Serialize, Deserialize)]
struct Barrel {
    litres: u64,
}

impl Barrel {
    const HOLDS: u64 = 100;
}

impl Aggregate for Barrel {
    const CATEGORY: &'static str = "barrel";
    type Id = u32;
    type Event = BarrelEvent;

    fn evolve(&mut self, event: &BarrelEvent) {
        let BarrelEvent::Poured(Poured { litres }) = event;
        self.litres += litres;
    }
}

#[derive(Debug, PartialEq, thiserror::Error, Rejection)]
#[error("only {left} litres fit")]
#[rejection(code = "full")]
struct Full {
    left: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "pour", on = Barrel, either)]
struct Pour {
    #[command(id)]
    barrel: u32,
    litres: u64,
}

impl Decide for Pour {
    type Rejection = Full;

    fn decide(&self, barrel: &Barrel) -> Decision<Self> {
        if barrel.litres + self.litres > Barrel::HOLDS {
            return Err(Full { left: Barrel::HOLDS - barrel.litres });
        }
        Ok(Poured { litres: self.litres }.into())
    }
}

const EVERY_THIRD: SnapshotPolicy = SnapshotPolicy::every(3).fold_version(1);

struct Cellar {
    store: Arc<dyn EventStore>,
    snapshots: MemoryReadModels,
}

impl Cellar {
    fn new() -> Self {
        Self { store: new_store(), snapshots: MemoryReadModels::new() }
    }

    async fn open(&self, policy: SnapshotPolicy) -> Gesta {
        let builder = Gesta::on(Arc::clone(&self.store));
        builder.snapshots::<Barrel>(&self.snapshots, policy).open().await.unwrap()
    }

    async fn snapshot(&self) -> Option<Snapshot> {
        let stream = stream_of::<Barrel>(&1).unwrap();
        self.snapshots.load_snapshot(&stream).await.unwrap()
    }

    /// Changes the stored snapshot, so that a load that uses it differs.
    async fn doctor(&self, state: &'static str) {
        let mut snapshot = self.snapshot().await.unwrap();
        snapshot.state = state.into();
        self.snapshots.save_snapshot(snapshot).await.unwrap();
    }
}

async fn pour(gesta: &Gesta, litres: u64) {
    gesta.execute(Pour { barrel: 1, litres }).await.unwrap();
}

async fn litres(gesta: &Gesta) -> u64 {
    gesta.load::<Barrel>(&1).await.unwrap().map_or(0, |barrel| barrel.state.litres)
}

#[tokio::test]
async fn a_snapshot_is_taken_every_so_often_and_loads_begin_there() {
    let cellar = Cellar::new();
    let gesta = cellar.open(EVERY_THIRD).await;
    let mut expected = 0;
    for amount in 1..=10 {
        pour(&gesta, amount).await;
        expected += amount;
        let loaded = gesta.load::<Barrel>(&1).await.unwrap().unwrap();
        assert_eq!((loaded.state.litres, loaded.revision), (expected, Revision::new(amount - 1)));
    }
    assert_eq!(cellar.snapshot().await.unwrap().revision, Revision::new(8), "after 3, 6 and 9");

    cellar.doctor(r#"{"litres":70}"#).await;
    assert_eq!(litres(&gesta).await, 80, "the snapshot, and the tenth event");
    let full = gesta.execute(Pour { barrel: 1, litres: 21 }).await;
    assert!(matches!(full, Err(gesta::ExecuteError::Rejected(Full { left: 20 }))), "commands too");
    let before = gesta.load::<Barrel>(&1).as_of(Revision::new(8)).await.unwrap().unwrap();
    assert_eq!(before.state.litres, 45, "the past is always replayed");
}

#[tokio::test]
async fn a_snapshot_of_another_fold_is_ignored_and_replaced() {
    let cellar = Cellar::new();
    let gesta = cellar.open(EVERY_THIRD).await;
    for _ in 0..3 {
        pour(&gesta, 1).await;
    }
    assert_eq!(litres(&gesta).await, 3);
    cellar.doctor(r#"{"litres":70}"#).await;
    assert_eq!(litres(&gesta).await, 70);
    let changed = cellar.open(EVERY_THIRD.fold_version(2)).await;
    assert_eq!(litres(&changed).await, 3);
    assert_eq!(cellar.snapshot().await.unwrap().state, r#"{"litres":3}"#);
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_is_ignored() {
    let cellar = Cellar::new();
    let gesta = cellar.open(EVERY_THIRD).await;
    for _ in 0..3 {
        pour(&gesta, 1).await;
    }
    assert_eq!(litres(&gesta).await, 3);
    cellar.doctor(r#"{"litres":"many"}"#).await;
    assert_eq!(litres(&gesta).await, 3);
}

#[tokio::test]
async fn a_snapshot_of_events_that_are_gone_is_ignored() {
    let cellar = Cellar::new();
    let gesta = cellar.open(EVERY_THIRD).await;
    for _ in 0..3 {
        pour(&gesta, 1).await;
    }
    assert_eq!(litres(&gesta).await, 3);
    let stream = stream_of::<Barrel>(&1).unwrap();
    let delete = DeleteStream::new(stream, ExpectedRevision::Any);
    cellar.store.delete_stream(delete).await.unwrap();
    assert_eq!(litres(&gesta).await, 0, "the stream was deleted");

    let restored = Cellar { store: new_store(), snapshots: cellar.snapshots.clone() };
    let gesta = restored.open(EVERY_THIRD).await;
    for _ in 0..4 {
        pour(&gesta, 2).await;
    }
    assert_eq!(litres(&gesta).await, 8, "the snapshot belongs to another incarnation");
}

/// Hides the events before this revision.
async fn truncate(store: &Arc<dyn EventStore>, before: u64) {
    let metadata = StreamMetadata::default().truncate_before(Revision::new(before));
    set_metadata(store, metadata).await;
}

async fn set_metadata(store: &Arc<dyn EventStore>, metadata: StreamMetadata) {
    let stream = stream_of::<Barrel>(&1).unwrap();
    let expected_metadata = ExpectedRevision::Any;
    let set = SetStreamMetadata::new(stream, expected_metadata, metadata);
    store.set_stream_metadata(set).await.unwrap();
}

#[tokio::test]
async fn a_truncated_history_is_folded_from_a_snapshot_that_covers_it_or_not_at_all() {
    let cellar = Cellar::new();
    let gesta = cellar.open(EVERY_THIRD).await;
    for _ in 0..3 {
        pour(&gesta, 1).await;
    }
    assert_eq!(litres(&gesta).await, 3, "taken at revision 2");
    pour(&gesta, 1).await;
    truncate(&cellar.store, 3).await;
    assert_eq!(litres(&gesta).await, 4, "the snapshot covers what is hidden");
    pour(&gesta, 1).await;

    let changed = cellar.open(EVERY_THIRD.fold_version(2)).await;
    let refused = changed.load::<Barrel>(&1).await.unwrap_err();
    let LoadError::Truncated(history) = &refused else { panic!("{refused}") };
    assert_eq!((history.missing, history.first), (Revision::FIRST, Revision::new(3)));
    let refused = changed.execute(Pour { barrel: 1, litres: 1 }).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::Truncated(_)), "{refused}");
    let past = changed.load::<Barrel>(&1).as_of(Revision::FIRST).await.unwrap_err();
    assert!(matches!(past, LoadError::Truncated(_)), "the state at that revision is lost: {past}");

    truncate(&cellar.store, 4).await;
    let refused = gesta.load::<Barrel>(&1).await.unwrap_err();
    assert!(matches!(refused, LoadError::Truncated(_)), "one more is hidden: {refused}");
}

#[tokio::test]
async fn a_limit_of_events_or_of_their_age_is_no_state_of_the_rest() {
    let cellar = Cellar::new();
    let gesta = Gesta::on(Arc::clone(&cellar.store)).open().await.unwrap();
    for _ in 0..3 {
        pour(&gesta, 1).await;
    }
    let max_count = std::num::NonZeroU64::new(2);
    set_metadata(&cellar.store, StreamMetadata::default().max_count(max_count)).await;
    let refused = gesta.load::<Barrel>(&1).await.unwrap_err();
    assert!(refused.to_string().contains("starts at revision 1"), "{refused}");
}

#[tokio::test]
async fn a_stream_of_which_nothing_was_left_begins_anew_with_every_command_after() {
    let cellar = Cellar::new();
    let gesta = cellar.open(EVERY_THIRD).await;
    for _ in 0..4 {
        pour(&gesta, 10).await;
    }
    assert_eq!(litres(&gesta).await, 40);
    let stream = stream_of::<Barrel>(&1).unwrap();
    let delete = DeleteStream::new(stream.clone(), ExpectedRevision::Any);
    cellar.store.delete_stream(delete).await.unwrap();
    for expected in [1, 2, 3, 4, 5] {
        pour(&gesta, 1).await;
        assert_eq!(litres(&gesta).await, expected);
    }
    let before = gesta.load::<Barrel>(&1).as_of(Revision::new(2)).await.unwrap();
    assert!(before.is_none(), "the life before is deleted");
    truncate(&cellar.store, 6).await;
    let plain = Gesta::on(Arc::clone(&cellar.store)).open().await.unwrap();
    let refused = plain.load::<Barrel>(&1).await.unwrap_err();
    assert!(matches!(refused, LoadError::Truncated(_)), "within its second life: {refused}");
}

#[tokio::test]
async fn a_deleted_stream_that_another_program_revives_begins_anew() {
    let cellar = Cellar::new();
    let gesta = Gesta::on(Arc::clone(&cellar.store)).open().await.unwrap();
    pour(&gesta, 10).await;
    let stream = stream_of::<Barrel>(&1).unwrap();
    let delete = DeleteStream::new(stream.clone(), ExpectedRevision::Any);
    cellar.store.delete_stream(delete).await.unwrap();
    let EncodedEvent { event_type, data, .. } = EncodedEvent::of(&Poured { litres: 2 }).unwrap();
    let event = NewEvent::json(EventId::random(), event_type, data);
    cellar.store.append(Append::to(stream, ExpectedRevision::Any, [event])).await.unwrap();
    assert_eq!(litres(&gesta).await, 2);
    pour(&gesta, 1).await;
    assert_eq!(litres(&gesta).await, 3);
}

/// The program before and after a change to a type within an empty list of the state. The new
/// `evolve` fills the list from old events.
macro_rules! carts {
    ($program:ident, $line:item, $fold:expr) => {
        mod $program {
            use super::*;

            $line

            #[derive(Default, Debug, PartialEq, Serialize, Deserialize)]
            pub(super) struct Cart {
                pub(super) lines: Vec<Line>,
            }

            impl Aggregate for Cart {
                const CATEGORY: &'static str = "barrel";
                type Id = u32;
                type Event = BarrelEvent;

                fn evolve(&mut self, event: &BarrelEvent) {
                    let BarrelEvent::Poured(Poured { litres }) = event;
                    self.lines.push($fold(*litres));
                }
            }
        }
    };
}

carts!(
    before,
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Line {
        pub(super) litres: u64,
    },
    |litres| Line { litres }
);
carts!(
    after,
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Line {
        pub(super) litres: u64,
        #[serde(default)]
        pub(super) discount: u64,
    },
    |litres| Line { litres, discount: litres / 2 }
);

#[tokio::test]
async fn a_change_deep_inside_of_the_state_makes_snapshots_of_before_useless() {
    let cellar = Cellar::new();
    let policy = SnapshotPolicy::every(1).fold_version(1);
    let old = Gesta::on(Arc::clone(&cellar.store));
    let old = old.snapshots::<before::Cart>(&cellar.snapshots, policy).open().await.unwrap();
    pour(&old, 8).await;
    old.load::<before::Cart>(&1).await.unwrap();
    assert!(cellar.snapshot().await.is_some());

    let new = Gesta::on(Arc::clone(&cellar.store));
    let new = new.snapshots::<after::Cart>(&cellar.snapshots, policy).open().await.unwrap();
    let cart = new.load::<after::Cart>(&1).await.unwrap().unwrap().state;
    assert_eq!(cart.lines[0].discount, 4, "as a replay has it");
    assert_snapshots_hold(&new).await;
}

#[derive(Default, Debug, PartialEq, Serialize, Deserialize)]
struct Tagged {
    last: Option<Kind>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Kind {
    Poured { litres: u64 },
}

impl Aggregate for Tagged {
    const CATEGORY: &'static str = "barrel";
    type Id = u32;
    type Event = BarrelEvent;

    fn evolve(&mut self, event: &BarrelEvent) {
        let BarrelEvent::Poured(Poured { litres }) = event;
        self.last = Some(Kind::Poured { litres: *litres });
    }
}

#[tokio::test]
async fn a_state_that_hides_its_shape_has_snapshots_only_by_version() {
    let policy = SnapshotPolicy::every(1).fold_version(1);
    for (by_version, expected) in [(false, false), (true, true)] {
        let cellar = Cellar::new();
        let gesta = Gesta::on(Arc::clone(&cellar.store));
        let gesta = if by_version {
            gesta.snapshots_by_version::<Tagged>(&cellar.snapshots, policy)
        } else {
            gesta.snapshots::<Tagged>(&cellar.snapshots, policy)
        };
        let gesta = gesta.open().await.unwrap();
        pour(&gesta, 1).await;
        gesta.load::<Tagged>(&1).await.unwrap();
        assert_eq!(cellar.snapshot().await.is_some(), expected);
    }
}

#[tokio::test]
async fn the_test_kit_finds_stored_snapshots_of_code_that_has_changed() {
    let cellar = Cellar::new();
    let gesta = cellar.open(EVERY_THIRD).await;
    for _ in 0..3 {
        pour(&gesta, 1).await;
    }
    assert_eq!(litres(&gesta).await, 3);
    assert_snapshots_hold(&gesta).await;
    cellar.doctor(r#"{"litres":70}"#).await;
    let checked = tokio::spawn(async move { assert_snapshots_hold(&gesta).await }).await;
    let panic = checked.unwrap_err().into_panic().downcast::<String>().unwrap();
    let told = "barrel-1: from the snapshot at revision 2 the state is {\"litres\":70}, \
                with a replay it is {\"litres\":3}";
    assert!(panic.contains(told), "{panic}");
}

#[tokio::test]
async fn a_state_that_could_not_be_read_back_is_no_snapshot() {
    #[derive(Default, Debug, Serialize, Deserialize)]
    struct Mean {
        mean: Option<f64>,
    }
    impl Aggregate for Mean {
        const CATEGORY: &'static str = "barrel";
        type Id = u32;
        type Event = BarrelEvent;

        fn evolve(&mut self, _: &BarrelEvent) {
            self.mean = Some(f64::NAN);
        }
    }
    let cellar = Cellar::new();
    let policy = SnapshotPolicy::every(1).fold_version(1);
    let gesta = Gesta::on(Arc::clone(&cellar.store));
    let gesta = gesta.snapshots::<Mean>(&cellar.snapshots, policy).open().await.unwrap();
    pour(&gesta, 1).await;
    for _ in 0..2 {
        let mean = gesta.load::<Mean>(&1).await.unwrap().unwrap().state.mean;
        assert!(mean.is_some_and(f64::is_nan), "not none, as its JSON would read");
    }
    assert!(cellar.snapshot().await.is_none());
}

#[test]
fn the_test_kit_compares_snapshots_with_replays() {
    let poured = |litres| BarrelEvent::Poured(Poured { litres });
    assert_snapshots_equal_replays::<Barrel>([poured(1), poured(2), poured(3)]);
}

#[test]
fn the_test_kit_finds_state_that_a_snapshot_loses() {
    #[derive(Default, Serialize, Deserialize)]
    struct Forgetful {
        total: u64,
        #[serde(skip)]
        last: u64,
    }
    impl Aggregate for Forgetful {
        const CATEGORY: &'static str = "forgetful";
        type Id = u32;
        type Event = BarrelEvent;

        fn evolve(&mut self, event: &BarrelEvent) {
            let BarrelEvent::Poured(Poured { litres }) = event;
            self.total += self.last * litres;
            self.last = *litres;
        }
    }
    let poured = |litres| BarrelEvent::Poured(Poured { litres });
    let found = std::panic::catch_unwind(|| {
        assert_snapshots_equal_replays::<Forgetful>([poured(1), poured(2), poured(3)]);
    });
    assert!(found.is_err());
}
