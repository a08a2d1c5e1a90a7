//! Whenever the program ends, processes go on where they were: each command is executed once.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use gesta::{
    EventMetadata, Gesta,
    store::{
        Answer, Append, Appended, Capabilities, Category, EventId, EventStore, Head,
        ListCategories, ListStreams, Pages, ReadAll, ReadStream, StreamDescription, StreamName,
        Subscribe, Subscription, memory::MemoryStore,
    },
    testing::{VirtualClock, drain},
};
use tokio::sync::Notify;

use crate::library::{LendBook, Library, MONTH, MoveAway, Reminder};

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
    appends_left: AtomicUsize,
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
    fn append(&self, append: Append) -> Answer<'_, Appended> {
        Box::pin(self.perform(append))
    }

    fn find_append(&self, first_event: EventId) -> Answer<'_, Option<Appended>> {
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

    fn describe_stream(&self, stream: &StreamName) -> Answer<'_, StreamDescription> {
        self.store.describe_stream(stream)
    }

    fn list_streams(&self, list: ListStreams) -> Answer<'_, Vec<StreamName>> {
        self.store.list_streams(list)
    }

    fn list_categories(&self, list: ListCategories) -> Answer<'_, Vec<Category>> {
        self.store.list_categories(list)
    }

    fn head(&self) -> Answer<'_, Head> {
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
        let store = Ending { store, appends_left: AtomicUsize::new(appends), side, ended };
        let builder = Gesta::on(Arc::new(store)).clock(clock.clone());
        builder.process_with(Reminder::after(MONTH)).open().await.unwrap()
    }

    /// Until nothing is left to do, beginning anew where the program ends on the way.
    async fn settle(&mut self) {
        tokio::select! {
            () = self.ended.notified() => {}
            () = drain(&self.gesta) => return,
        }
        self.crashes += 1;
        let for_ever = (usize::MAX, Side::Before);
        let next = Self::open(&self.store, &self.clock, &self.ended, for_ever).await;
        std::mem::replace(&mut self.gesta, next).close().await;
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
    // Five inputs, three commands, each told to be done; a rejection is told by its input.
    assert!(crashes >= 2 * 11, "the program ended {crashes} times");
}
