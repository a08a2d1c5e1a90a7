//! A manager that fails depending on the name of a book, unless corrected.

use std::time::Duration;

use gesta::{
    EventSet, Gesta, InstanceState, ProcessSetup, SetAside, Subject,
    audit::{self, AuditEvent, Operator},
    prelude::*,
    store::{Append, EventStore, ExpectedRevision, NewEvent, ReadStream},
    testing::{VirtualClock, drain},
};

use crate::library::{BookEvent, BookLent, LendBook, Library, RemindReader, WriteOffBook};

/// The failure for a book of this name.
pub(crate) const ROUTE_PANICS: &str = "route panics";
pub(crate) const ID_IS_NO_NAME: &str = "id is no name";
pub(crate) const EVOLVE_PANICS: &str = "evolve panics";
pub(crate) const REACT_PANICS: &str = "react panics";
pub(crate) const REACTION_IS_TOO_LARGE: &str = "reaction is too large";
pub(crate) const TIMER_IS_NOT_FINITE: &str = "timer is not finite";
pub(crate) const SENDING_PANICS: &str = "sending panics";

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Reminds of each loan after a day.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fragile<const CORRECTED: bool> {
    loan: Option<BookLent>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct Days(pub(crate) f64);

impl<const CORRECTED: bool> Fragile<CORRECTED> {
    fn fails(book: &str, why: &str) -> bool {
        !CORRECTED && book == why
    }
}

impl<const CORRECTED: bool> ProcessManager for Fragile<CORRECTED> {
    const NAME: &'static str = "fragile";
    type Event = BookEvent;
    type Timer = Days;
    type Commands = (RemindReader, WriteOffBook);

    fn route(event: &Recorded<BookEvent>) -> Routing {
        match &event.event {
            BookEvent::Lent(lent) => {
                assert!(!Self::fails(&lent.book, ROUTE_PANICS), "no way to route this");
                if Self::fails(&lent.book, ID_IS_NO_NAME) {
                    return Routing::start("x".repeat(5_000));
                }
                Routing::start(&lent.book)
            }
            BookEvent::Returned(returned) => Routing::continue_with(&returned.book),
            BookEvent::Lost(_) => Routing::Ignore,
        }
    }

    fn evolve(&mut self, input: &Input<Self>) {
        if let Input::Event(BookEvent::Lent(lent)) = input {
            assert!(!Self::fails(&lent.book, EVOLVE_PANICS), "no way to take this in");
            self.loan = Some(lent.clone());
        }
    }

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        let Some(BookLent { book, reader }) = self.loan.clone() else { return Effects::none() };
        assert!(!Self::fails(&book, REACT_PANICS), "no way to react to this");
        match input {
            Input::Event(BookEvent::Lent(_)) if Self::fails(&book, REACTION_IS_TOO_LARGE) => {
                let reader = "r".repeat(17 << 20);
                Effects::none().send(RemindReader { reader, book })
            }
            Input::Event(BookEvent::Lent(_)) if Self::fails(&book, TIMER_IS_NOT_FINITE) => {
                Effects::none().after(DAY, Days(f64::NAN))
            }
            Input::Event(BookEvent::Lent(_)) => Effects::none().after(DAY, Days(1.0)),
            Input::Event(_) => Effects::none().cancel(Days(1.0)),
            Input::Timer(_) => Effects::none().send(RemindReader { reader, book }),
            Input::Rejected(_) => Effects::none().send(WriteOffBook { book }).end(),
        }
    }
}

/// A library with the fragile manager, on a store and a clock that survive restarts.
pub(crate) struct Shelves {
    pub(crate) store: std::sync::Arc<dyn EventStore>,
    pub(crate) clock: VirtualClock,
    pub(crate) gesta: Gesta,
}

impl Shelves {
    pub(crate) async fn open() -> Self {
        let store = std::sync::Arc::new(gesta::store::memory::MemoryStore::new());
        Self::on(store, VirtualClock::new()).await
    }

    pub(crate) async fn on(store: std::sync::Arc<dyn EventStore>, clock: VirtualClock) -> Self {
        Self::with(store, clock, ProcessSetup::of(Fragile::<false>::default())).await
    }

    pub(crate) async fn with<P: ProcessManager>(
        store: std::sync::Arc<dyn EventStore>,
        clock: VirtualClock,
        setup: ProcessSetup<P>,
    ) -> Self {
        let builder = Gesta::on(std::sync::Arc::clone(&store)).clock(clock.clone());
        let gesta = builder.process_set_up(setup).open().await.unwrap();
        Self { store, clock, gesta }
    }

    /// Ends the program and starts it again.
    pub(crate) async fn reopen(self) -> Self {
        self.gesta.close().await;
        Self::on(self.store, self.clock).await
    }

    /// Ends the program and starts the corrected one.
    pub(crate) async fn corrected(self) -> Self {
        self.reopen_as(ProcessSetup::of(Fragile::<true>::default())).await
    }

    pub(crate) async fn reopen_as<P: ProcessManager>(self, setup: ProcessSetup<P>) -> Self {
        self.gesta.close().await;
        Self::with(self.store, self.clock, setup).await
    }

    pub(crate) async fn lend(&self, book: &str) {
        self.gesta.execute(LendBook::new(book, "ann")).await.unwrap();
    }

    /// Lends many books without failures.
    pub(crate) async fn lend_others(&self) {
        for book in ["emma", "lolita", "momo", "ulysses"] {
            self.lend(book).await;
        }
    }

    pub(crate) async fn day_passes(&self) {
        drain(&self.gesta).await;
        self.clock.advance(DAY);
        drain(&self.gesta).await;
    }

    /// The books whose readers were reminded.
    pub(crate) async fn reminded(&self) -> Vec<String> {
        let happened = Library::happened(self.store.as_ref()).await;
        let mut books: Vec<String> = happened
            .iter()
            .filter_map(|one| one.split_once(" reminded of "))
            .map(|(_, book)| book.to_owned())
            .collect();
        books.sort();
        books
    }

    pub(crate) async fn set_aside(&self) -> Vec<SetAside> {
        drain(&self.gesta).await;
        self.gesta.process_set_aside("fragile").await.unwrap()
    }

    /// The only subject that is set aside, with its error.
    pub(crate) async fn only_trouble(&self) -> (Subject, String) {
        let mut all = self.set_aside().await;
        assert_eq!(all.len(), 1, "{all:?}");
        let SetAside { subject, inputs, .. } = all.remove(0);
        (subject, inputs[0].error.clone().unwrap())
    }

    pub(crate) async fn state_of(&self, id: &str) -> InstanceState {
        self.gesta.process_instance("fragile", id).await.unwrap().state
    }

    /// Appends an event of another program.
    pub(crate) async fn append(&self, stream: &str, event_type: &str, data: &str) {
        let event_type = EventType::new(event_type).unwrap();
        let event = NewEvent::json(EventId::random(), event_type, data.to_owned());
        let stream = StreamName::new(stream).unwrap();
        self.store.append(Append::to(stream, ExpectedRevision::Any, [event])).await.unwrap();
    }

    /// The audit stream: operations with actor, and the reason or the error.
    pub(crate) async fn audited(&self) -> Vec<String> {
        let read = ReadStream::forwards(audit::stream());
        let events = self.store.read_stream(read).collect_events().await.unwrap();
        let told = events.iter().map(|event| {
            let read =
                AuditEvent::decode(event.event_type.as_str(), event.schema_version, event.into());
            let (operation, target, why) = match read.unwrap() {
                AuditEvent::Ordered(it) => (it.operation, it.target, it.reason.unwrap_or_default()),
                AuditEvent::Failed(it) => (it.operation, it.target, it.error),
                other => panic!("{other:?}"),
            };
            let actor = gesta::EventMetadata::from_json(&event.metadata).actor.unwrap();
            format!("{actor}: {operation} {target}: {why}")
        });
        told.collect()
    }
}

pub(crate) fn operator() -> Operator {
    Operator::new("olga").because("the bug is mended")
}

pub(crate) fn instance(id: &str) -> Subject {
    Subject::Instance(id.to_owned())
}
