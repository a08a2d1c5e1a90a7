//! A post office for the tests of reactors: it keeps what was sent, and fails on request.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use gesta::{
    Begin, Component, EffectContext, EffectDeadLetter, EffectError, EffectKey, EventSet as _,
    Gesta, Reactor, ReactorSetup, ReactorStatus, Recorded,
    audit::{self, AuditEvent, Operator},
    store::{
        Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadStream, StreamName,
        memory::MemoryStore,
    },
    testing::{VirtualClock, drain},
};
use tokio::sync::watch;

use crate::library::{BookEvent, LendBook};

/// An effect that happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sent {
    pub(crate) stream: String,
    pub(crate) revision: u64,
    pub(crate) key: EffectKey,
    pub(crate) attempt: u32,
}

/// The way in which the effects of a stream fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Failing {
    Fails,
    Permanently,
    Panics,
    /// The text of its error panics.
    PanicsInText,
    NeverEnds,
    AfterAMinute,
    AfterAMillennium,
}

/// An error without a text.
#[derive(Debug)]
struct Illegible;

impl std::fmt::Display for Illegible {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("the ink is wet")
    }
}

impl std::error::Error for Illegible {}

/// The receiver of the effects. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct PostOffice(Arc<Desk>);

#[derive(Default)]
struct Desk {
    sent: Mutex<Vec<Sent>>,
    failing: Mutex<HashMap<String, Failing>>,
    /// Streams whose effects wait.
    closed: watch::Sender<HashSet<String>>,
    /// Streams whose effects are in progress.
    inside: watch::Sender<Vec<String>>,
    most_inside: Mutex<usize>,
}

impl PostOffice {
    pub(crate) fn fail(&self, stream: &str, how: Failing) {
        self.0.failing.lock().unwrap().insert(stream.to_owned(), how);
    }

    pub(crate) fn mend(&self, stream: &str) {
        self.0.failing.lock().unwrap().remove(stream);
    }

    pub(crate) fn close(&self, stream: &str) {
        self.0.closed.send_modify(|closed| {
            closed.insert(stream.to_owned());
        });
    }

    pub(crate) fn open(&self, stream: &str) {
        self.0.closed.send_modify(|closed| {
            closed.remove(stream);
        });
    }

    /// Waits until effects of these streams are in progress.
    pub(crate) async fn until_inside(&self, streams: &[&str]) {
        let all =
            |inside: &Vec<String>| streams.iter().all(|it| inside.iter().any(|in_| in_ == it));
        self.0.inside.subscribe().wait_for(all).await.unwrap();
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.0.sent.lock().unwrap().clone()
    }

    /// The revisions of a stream whose effects happened, in order.
    pub(crate) fn of(&self, stream: &str) -> Vec<u64> {
        let sent = self.sent().into_iter().filter(|sent| sent.stream == stream);
        sent.map(|sent| sent.revision).collect()
    }

    pub(crate) fn most_inside(&self) -> usize {
        *self.0.most_inside.lock().unwrap()
    }

    async fn take(&self, sent: Sent) -> Result<(), EffectError> {
        let visit = Visit::of(self, &sent.stream);
        let mut closed = self.0.closed.subscribe();
        drop(closed.wait_for(|closed| !closed.contains(&sent.stream)).await);
        // Lets the other effects in: the most that are inside are counted.
        tokio::task::yield_now().await;
        let failing = self.0.failing.lock().unwrap().get(&sent.stream).copied();
        match failing {
            Some(Failing::Fails) => return Err(EffectError::message("the post is on strike")),
            Some(Failing::Permanently) => return Err(EffectError::permanent("no such street")),
            Some(Failing::Panics) => panic!("the clerk fell asleep"),
            Some(Failing::PanicsInText) => return Err(Illegible.into()),
            Some(Failing::AfterAMillennium) => {
                return Err(EffectError::message("closed").retry_after(Duration::MAX));
            }
            Some(Failing::NeverEnds) => std::future::pending().await,
            Some(Failing::AfterAMinute) => {
                let minute = Duration::from_secs(60);
                return Err(EffectError::message("too busy").retry_after(minute));
            }
            None => {}
        }
        self.0.sent.lock().unwrap().push(sent);
        drop(visit);
        Ok(())
    }
}

/// An effect in progress.
struct Visit<'p> {
    office: &'p PostOffice,
    stream: String,
}

impl<'p> Visit<'p> {
    fn of(office: &'p PostOffice, stream: &str) -> Self {
        office.0.inside.send_modify(|inside| {
            assert!(!inside.iter().any(|it| it == stream), "two effects of {stream} at once");
            inside.push(stream.to_owned());
            let mut most = office.0.most_inside.lock().unwrap();
            *most = (*most).max(inside.len());
        });
        Self { office, stream: stream.to_owned() }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.office.0.inside.send_modify(|inside| inside.retain(|it| *it != self.stream));
    }
}

/// Sends a notice for each event of a book.
#[derive(Clone)]
pub(crate) struct Notices(pub(crate) PostOffice);

impl Reactor for Notices {
    const NAME: &'static str = "notices";
    type Event = BookEvent;

    async fn react(
        &self,
        event: &Recorded<BookEvent>,
        effect: &EffectContext,
    ) -> Result<(), EffectError> {
        let sent = Sent {
            stream: event.stream.as_str().to_owned(),
            revision: event.revision.number(),
            key: effect.key(),
            attempt: effect.attempt(),
        };
        self.0.take(sent).await
    }
}

/// A library that sends notices.
pub(crate) struct Branch {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) clock: VirtualClock,
    pub(crate) office: PostOffice,
    pub(crate) gesta: Gesta,
}

impl Branch {
    pub(crate) async fn open() -> Self {
        Self::with(|setup| setup).await
    }

    pub(crate) async fn with(
        change: impl FnOnce(ReactorSetup<Notices>) -> ReactorSetup<Notices>,
    ) -> Self {
        let store = Arc::new(MemoryStore::new());
        Self::on(store, VirtualClock::new(), PostOffice::default(), change).await
    }

    pub(crate) async fn on(
        store: Arc<dyn EventStore>,
        clock: VirtualClock,
        office: PostOffice,
        change: impl FnOnce(ReactorSetup<Notices>) -> ReactorSetup<Notices>,
    ) -> Self {
        let setup = change(ReactorSetup::of(Notices(office.clone()), Begin::Now));
        let builder = Gesta::on(Arc::clone(&store)).clock(clock.clone());
        let gesta = builder.react_set_up(setup).open().await.unwrap();
        Self { store, clock, office, gesta }
    }

    /// Closes the program and opens it again.
    pub(crate) async fn reopen(self) -> Self {
        self.gesta.close().await;
        Self::on(self.store, self.clock, self.office, |setup| setup).await
    }

    /// Ends the program without a close and opens it again.
    pub(crate) async fn crash(self) -> Self {
        let Self { store, clock, office, gesta } = self;
        drop(gesta);
        // The tasks of the dropped program end at their next poll.
        office.0.inside.subscribe().wait_for(Vec::is_empty).await.unwrap();
        Self::on(store, clock, office, |setup| setup).await
    }

    pub(crate) async fn lend(&self, book: &str) {
        self.gesta.execute(LendBook::new(book, "ann")).await.unwrap();
    }

    pub(crate) async fn lend_all(&self, books: &[&str]) {
        for book in books {
            self.lend(book).await;
        }
    }

    pub(crate) async fn drain(&self) {
        drain(&self.gesta).await;
    }

    /// Lets a time pass in which effects are attempted again.
    pub(crate) async fn pass(&self, time: Duration) {
        self.drain().await;
        self.clock.advance(time);
        self.drain().await;
    }

    pub(crate) async fn status(&self) -> ReactorStatus {
        self.gesta.reactors().await.unwrap().remove(0)
    }

    /// The codes of the reactor's causes in health. The store's times are those of the system,
    /// which are ahead of the virtual clock.
    pub(crate) async fn causes(&self) -> Vec<String> {
        let causes = self.gesta.health().await.causes.into_iter();
        let of_reactor = causes.filter(|cause| cause.component == Component::Reactor);
        of_reactor.map(|cause| cause.code()).collect()
    }

    pub(crate) async fn letters(&self) -> Vec<EffectDeadLetter> {
        self.drain().await;
        self.gesta.reactor_dead_letters("notices").await.unwrap()
    }

    /// The only dead letter.
    pub(crate) async fn letter(&self) -> EffectDeadLetter {
        let mut letters = self.letters().await;
        assert_eq!(letters.len(), 1, "{letters:?}");
        letters.remove(0)
    }

    /// Appends an event of another program.
    pub(crate) async fn append(&self, stream: &str, event_type: &str, data: &str) {
        let event_type = EventType::new(event_type).unwrap();
        let event = NewEvent::json(EventId::random(), event_type, data.to_owned());
        let stream = StreamName::new(stream).unwrap();
        self.store.append(Append::to(stream, ExpectedRevision::Any, [event])).await.unwrap();
    }

    /// The operations in the audit stream, with their targets, and errors of those that failed.
    pub(crate) async fn audited(&self) -> Vec<String> {
        let read = ReadStream::forwards(audit::stream());
        let events = self.store.read_stream(read).collect_events().await.unwrap();
        let told = events.iter().map(|event| {
            let read =
                AuditEvent::decode(event.event_type.as_str(), event.schema_version, event.into());
            match read.unwrap() {
                AuditEvent::Ordered(it) => format!("{} {}", it.operation, it.target),
                AuditEvent::Failed(it) => format!("{} {}: {}", it.operation, it.target, it.error),
                other => panic!("{other:?}"),
            }
        });
        told.collect()
    }
}

pub(crate) fn olga() -> Operator {
    Operator::new("olga").because("the address is corrected")
}
