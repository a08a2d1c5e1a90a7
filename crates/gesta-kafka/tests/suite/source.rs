//! A source: records become events and commands, each once in effect.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use gesta::Gesta;
use gesta_kafka::{
    AppendRecords, DeadLetterNote, HandleError, HandleRecord, KafkaUrl, Source, SourceOptions,
    SourceProgress, SourceRecord, SourceStatus,
};
use gesta_store::{EventStore, EventType, NewEvent, StreamName, memory::MemoryStore};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::{
    bank::{Account, Deposit, all_events},
    broker::{WAIT_MAX, create_topic, produce, records_of, shared_or_skip, unique},
};

const PAUSE: Duration = Duration::from_millis(10);

/// A running source.
pub(crate) struct Running {
    pub(crate) progress: SourceProgress,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(
        url: &KafkaUrl,
        options: SourceOptions,
        handler: impl HandleRecord,
    ) -> Self {
        let source = Source::new(url, options.pauses(PAUSE, PAUSE * 4));
        let progress = source.progress();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let task = tokio::spawn(async move { source.run_until(handler, stopped).await.unwrap() });
        Self { progress, stop, task }
    }

    pub(crate) async fn until(&mut self, condition: impl FnMut(&SourceStatus) -> bool) {
        let waited = timeout(WAIT_MAX, self.progress.until(condition)).await;
        assert!(waited.is_ok_and(|reached| reached), "{:?}", self.progress.status());
    }

    /// Waits until a store has this many events, which this source appends.
    pub(crate) async fn until_appended(&mut self, store: &MemoryStore, count: usize) {
        loop {
            // Taken first: a record that is missing after it finishes later.
            let now = self.progress.status().finished_records;
            if all_events(store).await.len() == count {
                return;
            }
            self.until(|status| status.finished_records > now).await;
        }
    }

    pub(crate) async fn stop(self) {
        drop(self.stop);
        timeout(WAIT_MAX, self.task).await.unwrap().unwrap();
    }

    /// Ends the source as a crash does: nothing is finished or committed.
    pub(crate) fn kill(self) {
        self.task.abort();
    }
}

/// Returns records with keys of this many streams.
pub(crate) fn payments(count: u32, keys: u32) -> Vec<(String, String)> {
    (0..count).map(|number| (format!("{}", number % keys), format!("{number}"))).collect()
}

/// Appends the event of a payment to the stream of its key.
pub(crate) fn append_payments(store: &Arc<MemoryStore>) -> AppendRecords {
    let store: Arc<dyn EventStore> = store.clone();
    let appended = AppendRecords::to(store, |record| {
        let key = std::str::from_utf8(record.key.as_deref().unwrap()).unwrap();
        let stream = StreamName::new(format!("payment-{key}")).unwrap();
        let received = EventType::new("payment-received").unwrap();
        let data = record.value.clone().unwrap();
        Ok(Some((stream, vec![NewEvent::json(record.event_id(0), received, data)])))
    });
    appended.unwrap()
}

/// Asserts that each payment was appended once, and those of a key in their order.
pub(crate) async fn assert_payments(store: &MemoryStore, count: u32) {
    let mut last = std::collections::BTreeMap::new();
    let events = all_events(store).await;
    for event in &events {
        let number: u32 = std::str::from_utf8(&event.data).unwrap().parse().unwrap();
        let before = last.insert(event.stream.to_string(), number);
        assert!(before.is_none_or(|before| before < number), "{before:?} before {number}");
    }
    assert_eq!(events.len(), usize::try_from(count).unwrap());
}

/// A handler made of a function.
pub(crate) struct Handle<F>(pub(crate) F);

impl<F, R> HandleRecord for Handle<F>
where
    F: Fn(SourceRecord) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandleError>> + Send,
{
    async fn handle(&self, record: &SourceRecord) -> Result<(), HandleError> {
        (self.0)(record.clone()).await
    }
}

pub(crate) async fn new_topic(url: &KafkaUrl, partitions: i32) -> (String, SourceOptions) {
    let topic = unique("payments");
    create_topic(url, &topic, partitions).await;
    let options = SourceOptions::new(unique("bank"), [topic.as_str()]).unwrap();
    (topic, options)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_becomes_one_event_over_restarts_and_kills() {
    let Some(url) = shared_or_skip() else { return };
    let (topic, options) = new_topic(&url, 3).await;
    let options = options.session(Duration::from_secs(6));
    produce(&url, &topic, &payments(900, 30));
    let store = Arc::new(MemoryStore::new());
    let mut source = Running::start(&url, options.clone(), append_payments(&store));
    source.until(|status| status.finished_records >= 100).await;
    source.kill();
    let mut source = Running::start(&url, options.clone(), append_payments(&store));
    source.until(|status| status.finished_records >= 100).await;
    source.stop().await;
    let mut source = Running::start(&url, options, append_payments(&store));
    source.until_appended(&store, 900).await;
    source.stop().await;
    assert_payments(&store, 900).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_read_again_is_the_same_command() {
    let Some(url) = shared_or_skip() else { return };
    let (topic, options) = new_topic(&url, 1).await;
    produce(&url, &topic, &payments(20, 1));
    let gesta = Gesta::at("memory:").open().await.unwrap();
    for _ in 0..2 {
        let bank = gesta.clone();
        let handler = Handle(move |record: SourceRecord| {
            let bank = bank.clone();
            async move {
                let deposit = Deposit { account: 7, amount: 1 };
                let executed = bank.execute(deposit).command_id(record.command_id()).await;
                executed.map(drop).map_err(HandleError::failed)
            }
        });
        let mut source = Running::start(&url, options.clone(), handler);
        source.until(|status| status.finished_records == 20).await;
        source.stop().await;
        // As if no offset had been committed.
        crate::broker::forget_group(&url, options.name()).await;
    }
    let account = gesta.load::<Account>(&7).await.unwrap().unwrap();
    assert_eq!(account.state.balance, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_fails_is_tried_again_before_the_next_one() {
    let Some(url) = shared_or_skip() else { return };
    let (topic, options) = new_topic(&url, 1).await;
    produce(&url, &topic, &payments(3, 1));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handled = Arc::clone(&seen);
    let handler = Handle(move |record: SourceRecord| {
        let mut handled = handled.lock().unwrap();
        handled.push(record.place.offset);
        let failures = handled.iter().filter(|offset| **offset == 1).count();
        let fails = record.place.offset == 1 && failures < 3;
        async move { if fails { Err(HandleError::failed("not yet")) } else { Ok(()) } }
    });
    let mut source = Running::start(&url, options, handler);
    source.until(|status| status.finished_records == 3).await;
    assert_eq!(*seen.lock().unwrap(), [0, 1, 1, 1, 2]);
    assert_eq!(source.progress.status().dead_letters, 0);
    source.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_record_is_set_aside_and_comes_back_as_the_same_record() {
    let Some(url) = shared_or_skip() else { return };
    let (topic, options) = new_topic(&url, 1).await;
    let letters = format!("{}.dead-letters", options.name());
    produce(&url, &topic, &payments(4, 1));
    let handler = Handle(|record: SourceRecord| async move {
        match record.place.offset {
            1 => Err(HandleError::invalid("no such account")),
            2 => panic!("a bug"),
            _ => Ok(()),
        }
    });
    let name = options.name().to_owned();
    let mut source = Running::start(&url, options.attempts(2), handler);
    source.until(|status| status.finished_records == 4).await;
    assert_eq!(source.progress.status().dead_letters, 2);
    source.stop().await;
    let records = records_of(&url, &letters, 2);
    let notes: Vec<_> = records.iter().map(note).collect();
    let place = |note: &DeadLetterNote| (note.origin.topic.clone(), note.origin.offset);
    assert_eq!(notes.iter().map(place).collect::<Vec<_>>(), [(topic.clone(), 1), (topic, 2)]);
    let reasons: Vec<_> = notes.iter().map(|note| (&*note.error, note.attempts)).collect();
    assert_eq!(reasons, [("no such account", 1), ("the handler panicked", 2)]);
    // The way back: a source on the dead letters, under the name of the first one.
    let ids = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&ids);
    let handler = Handle(move |record: SourceRecord| {
        kept.lock().unwrap().push(record.command_id());
        async { Ok(()) }
    });
    let again = SourceOptions::new(&name, [letters]).unwrap();
    let mut source = Running::start(&url, again, handler);
    source.until(|status| status.finished_records == 2).await;
    source.stop().await;
    let origin = &notes[0].origin.topic;
    let expected = [1, 2].map(|offset| format!("{name}:{origin}:0:{offset}"));
    assert_eq!(*ids.lock().unwrap(), expected);
}

fn note(record: &gesta_kafka::rdkafka::message::OwnedMessage) -> DeadLetterNote {
    use gesta_kafka::rdkafka::{Message as _, message::Headers as _};
    let headers = record
        .headers()
        .unwrap()
        .iter()
        .map(|header| (header.key.to_owned(), header.value.unwrap().to_vec().into()));
    DeadLetterNote::of(&headers.collect::<Vec<_>>()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_handler_needs_is_waited_for_without_dead_letters() {
    let Some(url) = shared_or_skip() else { return };
    let (topic, options) = new_topic(&url, 1).await;
    produce(&url, &topic, &payments(2, 1));
    let (attempts, is_away) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(true)));
    let (counted, asked) = (Arc::clone(&attempts), Arc::clone(&is_away));
    let handler = Handle(move |_: SourceRecord| {
        counted.fetch_add(1, Ordering::SeqCst);
        let is_away = asked.load(Ordering::SeqCst);
        async move { if is_away { Err(HandleError::unavailable("store away")) } else { Ok(()) } }
    });
    let mut source = Running::start(&url, options.attempts(1), handler);
    source
        .until(|status| status.trouble.as_deref().is_some_and(|text| text.contains("away")))
        .await;
    while attempts.load(Ordering::SeqCst) < 9 {
        tokio::task::yield_now().await;
    }
    is_away.store(false, Ordering::SeqCst);
    source.until(|status| status.finished_records == 2).await;
    assert_eq!(source.progress.status().dead_letters, 0);
    source.stop().await;
}
