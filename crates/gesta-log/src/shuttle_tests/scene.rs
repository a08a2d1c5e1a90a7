//! The harness: a store with all its threads on an in-memory disk, and its clients.
//!
//! A client checks each answer by reading the event back. Under patient time, an answer that takes
//! longer than [`PATIENCE`] fails the schedule.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gesta_store::{
    Append, Appended, Delivery, EventId, EventStore, EventType, ExpectedRevision, NewEvent,
    Position, ReadAll, StoreError, StreamName, Subscription,
};
use shuttle::future::block_on;

use super::{
    disk::{Fault, MemoryDisk},
    schedules::{PATIENCE, is_patient},
};
use crate::{
    clock::{Clock, Rng},
    commit::SubmitQueue,
    disk::Disk,
    options::Options,
    store::{Engine, LogStore},
    sync::{thread, timed},
};

/// The time of the schedule.
#[derive(Debug)]
struct ScheduleClock;

impl Clock for ScheduleClock {
    fn now(&self) -> gesta_store::RecordedAt {
        let since = timed::look().as_micros();
        gesta_store::RecordedAt::from_micros(u64::try_from(since).unwrap())
    }

    fn elapsed(&self) -> Duration {
        timed::look()
    }
}

/// The same bytes in every schedule.
#[derive(Debug)]
struct Counted(u128);

impl Rng for Counted {
    fn bytes(&mut self) -> [u8; 16] {
        self.0 += 1;
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_le_bytes()
    }

    fn fork(&mut self) -> Box<dyn Rng> {
        Box::new(Self(self.0 << 64))
    }
}

fn engine(disk: &Arc<MemoryDisk>, options: Options) -> (Engine, LogStore) {
    let rng = Box::new(Counted(1));
    Engine::open(Arc::clone(disk) as _, Arc::new(ScheduleClock), rng, options).unwrap()
}

/// Segments that several scenes fill, and nothing that is due before a lost waking is noticed.
pub(super) fn small() -> Options {
    Options {
        segment_bytes_first: 16 << 10,
        segment_bytes_max: 16 << 10,
        index_cache_bytes_max: 1 << 20,
        close_after: Duration::from_secs(1),
        ..Options::default()
    }
}

/// An open store and what lies below it.
pub(super) struct Harness {
    pub(super) store: LogStore,
    pub(super) disk: Arc<MemoryDisk>,
    pub(super) queue: Arc<SubmitQueue>,
}

impl Harness {
    pub(super) fn open(fault: Fault, options: Options) -> Self {
        Self::on(MemoryDisk::new(fault), options)
    }

    /// A store all of whose reads of files take an I/O thread.
    pub(super) fn cold(options: Options) -> Self {
        let options = Options { tail_bytes_max: 1, index_cache_bytes_max: 0, ..options };
        Self::on(MemoryDisk::cold(), options)
    }

    fn on(disk: MemoryDisk, options: Options) -> Self {
        let disk = Arc::new(disk);
        let (engine, store) = engine(&disk, options);
        let queue = Arc::clone(engine.commit_loop.queue());
        let store = store.start(engine).unwrap();
        Self { store, disk, queue }
    }

    /// Returns a client with its own handle.
    pub(super) fn client(&self, name: &'static str) -> Client {
        Client::new(self.store.clone(), name)
    }

    /// Waits for all clients, closes the store, and compares its events with their answers.
    pub(super) fn end(self, clients: Vec<thread::JoinHandle<Answers>>) -> Answers {
        let answers: Answers =
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        let seen = everything(&self.store);
        block_on(self.store.close()).unwrap();
        let held = reopened(&self.disk);
        let positions = held.keys().map(|position| position.number());
        assert!(positions.eq(1..=held.len() as u64), "no position is left out: {held:?}");
        // Appends without a waiter may be written after the read.
        assert!(held.iter().take(seen.len()).eq(&seen), "seen {seen:?}, held {held:?}");
        for (event, answer) in &answers {
            match answer {
                Ok(position) => assert_eq!(held.get(position), Some(event), "{answers:?}"),
                Err(StoreError::Unavailable { .. }) => {}
                Err(error) => assert!(!held.values().any(|held| held == event), "{error}"),
            }
        }
        answers
    }
}

/// The events after reopening the store, by position.
pub(super) fn reopened(disk: &MemoryDisk) -> BTreeMap<Position, String> {
    let (_engine, store) = engine(&Arc::new(disk.copied()), small());
    everything(&store)
}

/// Number of runs.
pub(super) fn runs(disk: &MemoryDisk) -> usize {
    disk.list().unwrap().iter().filter(|file| file.ends_with(".run")).count()
}

/// All events of a store, by position.
pub(super) fn everything(store: &LogStore) -> BTreeMap<Position, String> {
    let events = block_on(store.read_all(ReadAll::forwards()).collect_events()).unwrap();
    events.iter().map(|event| (event.position, name_of(&event.data))).collect()
}

/// An event's data are its name and as many dots as it takes.
fn name_of(data: &[u8]) -> String {
    String::from_utf8(data.to_vec()).unwrap().trim_end_matches('.').to_owned()
}

/// The answer to each event of a client.
pub(super) type Answers = Vec<(String, Result<Position, StoreError>)>;

/// A client of the store.
pub(super) struct Client {
    store: LogStore,
    name: &'static str,
    event_bytes: usize,
}

impl Client {
    pub(super) fn new(store: LogStore, name: &'static str) -> Self {
        Self { store, name, event_bytes: 8 }
    }

    /// Sets the size of its events, in bytes.
    pub(super) fn with(self, event_bytes: usize) -> Self {
        Self { event_bytes, ..self }
    }

    fn append_of(&self, event: &str) -> Append {
        let stream = StreamName::new(format!("client-{}", self.name)).unwrap();
        let dots = self.event_bytes.saturating_sub(event.len());
        let data = event.to_owned() + &".".repeat(dots);
        let event_type = EventType::new("happened").unwrap();
        let event = NewEvent::json(EventId::derived_from(event, 0), event_type, data);
        Append::to(stream, ExpectedRevision::Any, [event])
    }

    fn event(&self, number: usize) -> String {
        format!("{}{number}", self.name)
    }

    /// Appends events one after the other, on a thread that blocks.
    pub(super) fn blocking(self, events: usize) -> thread::JoinHandle<Answers> {
        thread::spawn(move || {
            let one = |number| {
                let event = self.event(number);
                let asked = timed::look();
                let answer = self.store.append_blocking(self.append_of(&event));
                self.judge(event, answer, asked)
            };
            (0..events).map(one).collect()
        })
    }

    /// The same by futures, each awaited before the next.
    pub(super) fn awaiting(self, events: usize) -> thread::JoinHandle<Answers> {
        thread::spawn(move || {
            let one = |number| {
                let event = self.event(number);
                let asked = timed::look();
                let answer = block_on(self.store.append(self.append_of(&event)));
                self.judge(event, answer, asked)
            };
            (0..events).map(one).collect()
        })
    }

    /// Queues all events at once and awaits the last one first.
    pub(super) fn queueing(self, events: usize) -> thread::JoinHandle<Answers> {
        thread::spawn(move || {
            let queue = |number| {
                let event = self.event(number);
                let answer = self.store.append(self.append_of(&event));
                (event, answer)
            };
            let queued: Vec<_> = (0..events).map(queue).collect();
            // Each wait is timed by itself: the first event is awaited after all others.
            let one = |(event, answer)| {
                let asked = timed::look();
                self.judge(event, block_on(answer), asked)
            };
            queued.into_iter().rev().map(one).collect()
        })
    }

    /// Queues events and drops their futures.
    pub(super) fn leaving(self, events: usize) -> thread::JoinHandle<Answers> {
        thread::spawn(move || {
            for number in 0..events {
                drop(self.store.append(self.append_of(&self.event(number))));
            }
            Answers::new()
        })
    }

    /// Checks that an acknowledged event is readable.
    fn judge(
        &self,
        event: String,
        answer: Result<Appended, StoreError>,
        asked: Duration,
    ) -> (String, Result<Position, StoreError>) {
        let waited = timed::look().saturating_sub(asked);
        assert!(!is_patient() || waited < PATIENCE, "{event} waited {} µs", waited.as_micros());
        let answer = answer.map(|appended| appended.position);
        if let Ok(position) = answer {
            let own = ReadAll::forwards().from(position).limit(1);
            let read = block_on(self.store.read_all(own).collect_events()).unwrap();
            let read: Vec<_> = read.iter().map(|event| name_of(&event.data)).collect();
            assert_eq!(read, [event.as_str()], "one's own write at {position}");
        }
        (event, answer)
    }
}

/// Follows a store until it is closed; gives the positions in the order in which they came.
pub(super) fn follow(mut subscription: Subscription) -> thread::JoinHandle<Vec<u64>> {
    thread::spawn(move || {
        let mut seen = Vec::new();
        loop {
            match block_on(subscription.next()) {
                Some(Ok(Delivery::Events(page))) => {
                    seen.extend(page.iter().map(|event| event.position.number()));
                }
                Some(Ok(_)) => {}
                Some(Err(StoreError::Stopped { .. })) => return seen,
                other => panic!("a subscription said {other:?}"),
            }
        }
    })
}
