//! After a crash at any point, processes continue: each command is executed once.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use gesta::{
    EventMetadata, Gesta, SetAside, Subject,
    store::{
        Append, Appended, Capabilities, Category, EventId, EventStore, Head, ListCategories,
        ListStreams, Pages, ReadAll, ReadStream, StoreFuture, StreamDescription, StreamName,
        Subscribe, Subscription, memory::MemoryStore,
    },
    testing::{VirtualClock, drain},
};
use tokio::sync::Notify;

use crate::{
    fragile::{DAY, Fragile, REACT_PANICS, operator},
    library::{LendBook, Library, MONTH, MoveAway, Reminder, ReturnBook},
};

/// On which side of an append the program ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Before,
    After,
}

/// A store whose program ends at a certain append of its processes: from there on, nothing that is
/// appended is ever answered.
struct Ending {
    store: Arc<MemoryStore>,
    appends_left: Arc<AtomicUsize>,
    side: Side,
    ended: Arc<Notify>,
}

impl Ending {
    async fn perform(&self, append: Append) -> Result<Appended, gesta::store::StoreError> {
        if !is_of_a_process(&append) {
            return self.store.append(append).await;
        }
        let left = self.appends_left.load(Ordering::SeqCst);
        if left > 0 {
            self.appends_left.store(left - 1, Ordering::SeqCst);
            return self.store.append(append).await;
        }
        if self.side == Side::After {
            self.store.append(append).await?;
        }
        self.ended.notify_one();
        pending().await
    }
}

fn is_of_a_process(append: &Append) -> bool {
    append.events().any(|event| EventMetadata::from_json(&event.metadata).actor.is_some())
}

impl EventStore for Ending {
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        Box::pin(self.perform(append))
    }

    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        self.store.find_append(first_event)
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        self.store.read_stream(read)
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        self.store.read_all(read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        self.store.subscribe(subscribe)
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        self.store.describe_stream(stream)
    }

    fn list_streams(&self, list: ListStreams) -> StoreFuture<'_, Vec<StreamName>> {
        self.store.list_streams(list)
    }

    fn list_categories(&self, list: ListCategories) -> StoreFuture<'_, Vec<Category>> {
        self.store.list_categories(list)
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        self.store.head()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
}

/// One run of the program after the other, over the same store and the same time.
struct Runs {
    store: Arc<MemoryStore>,
    clock: VirtualClock,
    ended: Arc<Notify>,
    gesta: Gesta,
    crashes: usize,
}

impl Runs {
    async fn begin(appends: usize, side: Side) -> Self {
        let (store, clock) = (Arc::new(MemoryStore::new()), VirtualClock::new());
        let ended = Arc::new(Notify::new());
        let gesta = Self::open(&store, &clock, &ended, (appends, side)).await;
        Self { store, clock, ended, gesta, crashes: 0 }
    }

    async fn open(
        store: &Arc<MemoryStore>,
        clock: &VirtualClock,
        ended: &Arc<Notify>,
        (appends, side): (usize, Side),
    ) -> Gesta {
        let (store, ended) = (Arc::clone(store), Arc::clone(ended));
        let appends_left = Arc::new(AtomicUsize::new(appends));
        let store = Ending { store, appends_left, side, ended };
        let builder = Gesta::on(Arc::new(store)).clock(clock.clone());
        builder.process_with(Reminder::after(MONTH)).open().await.unwrap()
    }

    /// Runs until no work is left, with a restart after each crash.
    async fn settle(&mut self) {
        tokio::select! {
            () = self.ended.notified() => {}
            () = drain(&self.gesta) => return,
        }
        self.crashes += 1;
        let for_ever = (usize::MAX, Side::Before);
        // The replaced program is dropped, not closed: a crash writes no checkpoint.
        self.gesta = Self::open(&self.store, &self.clock, &self.ended, for_ever).await;
        drain(&self.gesta).await;
    }
}

/// Two loans, one of whose readers cannot be reminded, until both books are written off.
async fn story(runs: &mut Runs) -> Vec<String> {
    for (book, reader) in [("emma", "ann"), ("momo", "bob")] {
        runs.gesta.execute(LendBook::new(book, reader)).await.unwrap();
        runs.settle().await;
    }
    runs.gesta.execute(MoveAway::new("bob")).await.unwrap();
    for _ in 0..2 {
        runs.clock.advance(MONTH);
        runs.settle().await;
    }
    let mut happened = Library::happened(runs.store.as_ref()).await;
    happened.sort();
    happened
}

#[tokio::test]
async fn wherever_the_program_ends_everything_is_done_once() {
    let mut crashes = 0;
    for side in [Side::Before, Side::After] {
        for appends in 0.. {
            let mut runs = Runs::begin(appends, side).await;
            let happened = story(&mut runs).await;
            let expected = [
                "ann reminded of emma",
                "bob moved away",
                "emma lent to ann",
                "emma lost",
                "momo lent to bob",
                "momo lost",
            ];
            assert_eq!(happened, expected, "ended {side:?} append {appends}");
            crashes += runs.crashes;
            if runs.crashes == 0 {
                break;
            }
        }
    }
    // Five inputs and three settled commands; a rejection settles by its input.
    assert!(crashes >= 2 * 11, "the program ended {crashes} times");
}

/// Runs of a program whose manager fails at one book, and of the corrected program.
struct Troubled {
    store: Arc<MemoryStore>,
    clock: VirtualClock,
    ended: Arc<Notify>,
    appends_left: Arc<AtomicUsize>,
    side: Side,
    crashes: usize,
}

impl Troubled {
    fn new(appends: usize, side: Side) -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            clock: VirtualClock::new(),
            ended: Arc::new(Notify::new()),
            appends_left: Arc::new(AtomicUsize::new(appends)),
            side,
            crashes: 0,
        }
    }

    async fn open<const CORRECTED: bool>(&self) -> Gesta {
        let (store, ended) = (Arc::clone(&self.store), Arc::clone(&self.ended));
        let appends_left = Arc::clone(&self.appends_left);
        let store = Ending { store, appends_left, side: self.side, ended };
        let builder = Gesta::on(Arc::new(store)).clock(self.clock.clone());
        builder.process_with(Fragile::<CORRECTED>::default()).open().await.unwrap()
    }

    /// Runs the program until `work` is done and it is closed. Starts it again if it crashes.
    async fn until_done<const CORRECTED: bool>(&mut self, work: impl AsyncFn(&Gesta)) {
        let run = async |gesta: Gesta| {
            work(&gesta).await;
            gesta.close().await;
        };
        tokio::select! {
            biased;
            () = self.ended.notified() => {}
            () = run(self.open::<CORRECTED>().await) => return,
        }
        self.crashes += 1;
        // A new count: no append of the crashed program is answered any longer.
        self.appends_left = Arc::new(AtomicUsize::new(usize::MAX));
        self.ended = Arc::new(Notify::new());
        run(self.open::<CORRECTED>().await).await;
    }
}

async fn set_aside(gesta: &Gesta) -> Vec<(Subject, Vec<u64>)> {
    drain(gesta).await;
    let all = gesta.process_set_aside("fragile").await.unwrap();
    let numbers = |one: &SetAside| one.inputs.iter().map(|input| input.number).collect();
    all.iter().map(|one| (one.subject.clone(), numbers(one))).collect()
}

/// Two loans of a book that fails, a return that is skipped, and one loan that does not fail.
async fn troubled_story(runs: &mut Troubled) -> Vec<String> {
    let before = Gesta::on(runs.store.clone()).open().await.unwrap();
    for book in [REACT_PANICS, "emma"] {
        before.execute(LendBook::new(book, "ann")).await.unwrap();
    }
    before.execute(ReturnBook::new(REACT_PANICS)).await.unwrap();
    before.execute(LendBook::new(REACT_PANICS, "bob")).await.unwrap();
    runs.until_done::<false>(async |gesta| {
        let all = set_aside(gesta).await;
        assert_eq!((all.len(), all[0].1.len()), (1, 3), "{all:?}");
    })
    .await;
    runs.until_done::<true>(async |gesta| {
        let all = set_aside(gesta).await;
        let Some((subject, numbers)) = all.first().filter(|(_, numbers)| numbers.len() == 3) else {
            return;
        };
        // The return, in the middle.
        gesta.skip_process_input("fragile", subject, numbers[1], &operator()).await.unwrap();
    })
    .await;
    runs.until_done::<true>(async |gesta| {
        for (subject, _) in set_aside(gesta).await {
            gesta.retry_process("fragile", &subject, &operator()).await.unwrap();
        }
        assert_eq!(set_aside(gesta).await, []);
    })
    .await;
    runs.clock.advance(DAY);
    runs.until_done::<true>(async |gesta| drain(gesta).await).await;
    Library::happened(runs.store.as_ref()).await.split_off(4)
}

#[tokio::test]
async fn wherever_the_program_ends_what_is_set_aside_is_neither_lost_nor_done_twice() {
    let mut crashes = 0;
    for side in [Side::Before, Side::After] {
        for appends in 0.. {
            let mut runs = Troubled::new(appends, side);
            let mut happened = troubled_story(&mut runs).await;
            happened.sort();
            let expected = ["ann reminded of emma", "bob reminded of react panics"];
            assert_eq!(happened, expected, "ended {side:?} append {appends}");
            crashes += runs.crashes;
            if runs.crashes == 0 {
                break;
            }
        }
    }
    assert!(crashes >= 2 * 10, "the program ended {crashes} times");
}
