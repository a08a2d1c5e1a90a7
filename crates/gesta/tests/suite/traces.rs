//! Traces go on from a command through its events to everything that follows from them.

use std::sync::{Arc, Mutex, OnceLock};

use gesta::{
    Begin, EffectContext, EffectError, Gesta, Reactor, SPAN_TARGET,
    prelude::*,
    store::{
        Append, EventStore, ExpectedRevision, NewEvent, ReadStream, RecordedEvent,
        memory::MemoryStore,
    },
    testing::{VirtualClock, drain},
};
use gesta_services::TraceSink;
use gesta_sqlite::{Sqlite, Tx};
use gesta_telemetry::{JsonLog, SampleRatio, Service, TraceExporter, current_context};
use serde_json::Value;
use tracing::{Dispatch, Level, subscriber::DefaultGuard};
use tracing_subscriber::{Layer as _, filter::Targets, layer::SubscriberExt as _};

use crate::library::{BookEvent, BookLent, LendBook, MONTH, Reminder, ReturnBook};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Maximum number of traces in which a transaction has a span, by the documentation.
const TRACES_MAX: usize = 32;

/// A subscriber of this thread's tasks that exports spans and keeps lines.
struct Traced {
    sink: TraceSink,
    exporter: TraceExporter,
    written: Written,
    _guard: DefaultGuard,
}

/// The lines that a log has written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Traced {
    /// Begins to export all traces.
    ///
    /// A second subscriber stays for all tests: while there is one alone, `tracing` switches a
    /// place off for every thread if a thread without it comes there first.
    fn begin() -> Self {
        static SECOND: OnceLock<Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| Dispatch::new(tracing_subscriber::registry()));
        let sink = TraceSink::start().unwrap();
        let service = Service::new("library", "1.0");
        let exporter = TraceExporter::start(sink.url().parse().unwrap(), service).unwrap();
        let of_gesta = || Targets::new().with_target(SPAN_TARGET, Level::INFO);
        let spans = exporter.layer(SampleRatio::ALL).with_filter(of_gesta());
        let written = Written::default();
        let writer = written.clone();
        let log = JsonLog::new(move || writer.clone());
        let log = log.with_filter(of_gesta().with_target("suite", Level::INFO));
        let subscriber = tracing_subscriber::registry().with(log).with(spans);
        let guard = tracing::subscriber::set_default(subscriber);
        Self { sink, exporter, written, _guard: guard }
    }

    /// Returns all spans and lines so far, and ends the export.
    fn end(self) -> Told {
        let Self { sink, exporter, written, _guard } = self;
        exporter.finish();
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Told { spans: sink.received(), lines }
    }
}

/// The spans and lines of a test.
struct Told {
    spans: Vec<Value>,
    lines: Vec<Value>,
}

impl Told {
    fn named(&self, name: &str) -> Vec<&Value> {
        self.spans.iter().filter(|span| span["name"] == name).collect()
    }

    /// The names of a span and of those above it, the outermost first.
    fn path(&self, span: &Value) -> String {
        let above = self.spans.iter().find(|above| above["spanId"] == span["parentSpanId"]);
        let name = span["name"].as_str().unwrap();
        above.map_or(name.to_owned(), |above| format!("{} > {name}", self.path(above)))
    }

    fn paths(&self) -> Vec<String> {
        self.spans.iter().map(|span| self.path(span)).collect()
    }
}

/// The value of a span's attribute.
fn attribute(span: &Value, name: &str) -> Option<Value> {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == name)?;
    found["value"].as_object().unwrap().values().next().cloned()
}

fn links(span: &Value) -> usize {
    span["links"].as_array().map_or(0, Vec::len)
}

/// A read model of the loans.
struct Loans;

impl Projection for Loans {
    const NAME: &'static str = "loans";
    type Event = BookEvent;
}

impl Apply<Tx> for Loans {
    async fn prepare(&self, tx: &mut Tx) -> Result<(), ApplyError> {
        tx.execute_script("create table loans (position integer primary key)")?;
        Ok(())
    }

    async fn apply(&self, tx: &mut Tx, events: &[Recorded<BookEvent>]) -> Result<(), ApplyError> {
        for event in events {
            let position = event.position.number();
            tx.execute("insert into loans values (?1)", gesta_sqlite::params![position])?;
        }
        tracing::info!(events = events.len(), "applied");
        Ok(())
    }
}

/// Sends a notice for each loan, with the trace in its header.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Reactor for Notes {
    const NAME: &'static str = "notes";
    type Event = BookEvent;

    async fn react(&self, _: &Recorded<BookEvent>, _: &EffectContext) -> Result<(), EffectError> {
        tracing::info!("noted");
        let context = current_context().map(|context| context.to_string());
        self.0.lock().unwrap().extend(context);
        Ok(())
    }
}

/// A library with everything that may follow from an event.
struct Everything {
    store: Arc<dyn EventStore>,
    clock: VirtualClock,
    notes: Notes,
    gesta: Gesta,
}

impl Everything {
    async fn open() -> Self {
        Self::on(Arc::new(MemoryStore::new())).await
    }

    async fn on(store: Arc<dyn EventStore>) -> Self {
        let (clock, notes) = (VirtualClock::new(), Notes::default());
        let builder = Gesta::on(Arc::clone(&store)).clock(clock.clone());
        let models = Sqlite::temporary().await.unwrap();
        let builder =
            builder.process_with(Reminder::after(MONTH)).react(notes.clone(), Begin::AtTheStart);
        let gesta = builder.project(Loans, &models).open().await.unwrap();
        drain(&gesta).await;
        Self { store, clock, notes, gesta }
    }
}

async fn first_of(store: &dyn EventStore, stream: &str) -> RecordedEvent {
    let stream = ReadStream::forwards(StreamName::new(stream).unwrap());
    store.read_stream(stream).collect_events().await.unwrap().remove(0)
}

fn stored_context(event: &RecordedEvent) -> Option<String> {
    let metadata: Value = serde_json::from_slice(&event.metadata).unwrap();
    metadata["traceparent"].as_str().map(str::to_owned)
}

/// An event of a trace of its own, as another node has appended it.
fn lent_in_trace(number: usize) -> NewEvent {
    let lent = BookLent { book: format!("b{number}"), reader: "ann".to_owned() };
    let lent = EncodedEvent::of(&lent).unwrap();
    let trace = format!("00-{:032x}-{:016x}-01", number + 1, 7);
    lent.with_id(EventId::random()).metadata(format!(r#"{{"traceparent":"{trace}"}}"#))
}

async fn append(store: &dyn EventStore, events: Vec<NewEvent>) {
    let stream = StreamName::new("book-many").unwrap();
    store.append(Append::to(stream, ExpectedRevision::Any, events)).await.unwrap();
}

#[tokio::test]
async fn what_follows_from_a_command_is_in_its_trace() {
    let traced = Traced::begin();
    let library = Everything::open().await;
    library.gesta.execute(LendBook::new("emma", "ann")).correlation_id("talk-1").await.unwrap();
    drain(&library.gesta).await;
    library.clock.advance(MONTH);
    drain(&library.gesta).await;
    library.gesta.close().await;
    let told = traced.end();
    let lent = "command lend-book > append";
    let paths = told.paths();
    for path in [
        "command lend-book",
        lent,
        &format!("{lent} > projection loans"),
        &format!("{lent} > reactor notes"),
        &format!("{lent} > process reminder"),
        // The timer goes on from the decision that set it, and so does the command.
        &format!("{lent} > process reminder > process reminder > command remind-reader > append"),
    ] {
        assert!(paths.iter().any(|known| known == path), "{path} is not in {paths:#?}");
    }
    let traces: Vec<_> = told.spans.iter().map(|span| &span["traceId"]).collect();
    assert!(traces.iter().all(|trace| *trace == traces[0]), "{traces:?}");
    for span in &told.spans {
        let id = attribute(span, "gesta.correlation_id");
        assert!(span["name"] == "append" || id == Some("talk-1".into()), "{span}");
        assert_eq!(span.get("status"), None, "nothing fails: {span}");
    }
}

#[tokio::test]
async fn lines_of_applications_have_the_correlation_and_the_trace_of_what_they_are_about() {
    let traced = Traced::begin();
    let library = Everything::open().await;
    let lend = library.gesta.execute(LendBook::new("emma", "ann")).correlation_id("talk-1");
    lend.metadata("traceparent", CALLER).await.unwrap();
    drain(&library.gesta).await;
    library.gesta.close().await;
    let told = traced.end();
    for message in ["applied", "noted"] {
        let line = told.lines.iter().find(|line| line["message"] == message).unwrap();
        assert_eq!(line["correlation_id"], "talk-1", "{line}");
        assert_eq!(line["trace_id"], CALLER[3..35], "{line}");
        let spans = told.spans.iter().filter(|span| span["spanId"] == line["span_id"]);
        assert_eq!(spans.count(), 1, "{line}");
    }
    // An effect can pass the context on to another program.
    let passed = library.notes.0.lock().unwrap().clone();
    let reactor = told.named("reactor notes")[0]["spanId"].as_str().unwrap().to_owned();
    assert_eq!(passed, [format!("{}{reactor}-01", &CALLER[..36])]);
}

#[tokio::test]
async fn an_event_keeps_the_context_of_the_append_in_the_trace_of_the_caller() {
    let traced = Traced::begin();
    let library = Everything::open().await;
    let lend = library.gesta.execute(LendBook::new("emma", "ann"));
    lend.metadata("traceparent", CALLER).metadata("tracestate", "a=1").await.unwrap();
    let event = first_of(library.store.as_ref(), "book-emma").await;
    library.gesta.close().await;
    let told = traced.end();
    let (command, append) = (told.named("command lend-book")[0], told.named("append")[0]);
    assert_eq!(command["parentSpanId"], CALLER[36..52]);
    assert_eq!(command["traceState"], "a=1");
    let id = append["spanId"].as_str().unwrap();
    assert_eq!(stored_context(&event), Some(format!("{}{id}-01", &CALLER[..36])));
}

#[tokio::test]
async fn without_a_layer_that_exports_spans_an_event_keeps_the_context_of_the_caller() {
    let library = Everything::open().await;
    let lend = library.gesta.execute(LendBook::new("emma", "ann"));
    lend.metadata("traceparent", CALLER).await.unwrap();
    library.gesta.execute(LendBook::new("persuasion", "ann")).await.unwrap();
    let event = first_of(library.store.as_ref(), "book-emma").await;
    assert_eq!(stored_context(&event).as_deref(), Some(CALLER));
    let event = first_of(library.store.as_ref(), "book-persuasion").await;
    assert_eq!(stored_context(&event), None);
}

#[tokio::test]
async fn a_transaction_has_a_span_in_each_of_a_few_traces() {
    let traced = Traced::begin();
    let library = Everything::open().await;
    append(library.store.as_ref(), (0..3).map(lent_in_trace).collect()).await;
    drain(&library.gesta).await;
    library.gesta.close().await;
    let told = traced.end();
    let spans = told.named("projection loans");
    let traces: Vec<_> = spans.iter().map(|span| span["traceId"].as_str().unwrap()).collect();
    let expected: Vec<_> = (1..=3).map(|number| format!("{number:032x}")).collect();
    assert_eq!(traces, expected);
    for span in spans {
        assert_eq!(span["parentSpanId"], format!("{:016x}", 7));
        let events = attribute(span, "messaging.batch.message_count");
        assert_eq!(events, Some("3".into()));
    }
}

#[tokio::test]
async fn a_transaction_of_many_traces_has_one_span_with_links() {
    let traced = Traced::begin();
    let library = Everything::open().await;
    append(library.store.as_ref(), (0..=TRACES_MAX).map(lent_in_trace).collect()).await;
    drain(&library.gesta).await;
    library.gesta.close().await;
    let told = traced.end();
    let spans = told.named("projection loans");
    assert_eq!(spans.len(), 1);
    assert_eq!(links(spans[0]), TRACES_MAX + 1);
    assert_eq!(spans[0].get("parentSpanId"), None);
}

#[tokio::test]
async fn a_read_model_that_catches_up_adds_nothing_to_old_traces() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    append(store.as_ref(), vec![lent_in_trace(0)]).await;
    let traced = Traced::begin();
    let library = Everything::on(store).await;
    library.gesta.close().await;
    let told = traced.end();
    let spans = told.named("projection loans");
    assert_eq!((spans.len(), links(spans[0])), (1, 1));
    assert_ne!(spans[0]["traceId"], format!("{:032x}", 1));
}

#[tokio::test]
async fn a_trace_that_is_not_sampled_is_not_sampled_anywhere_later() {
    let traced = Traced::begin();
    let library = Everything::open().await;
    let lend = library.gesta.execute(LendBook::new("emma", "ann"));
    lend.metadata("traceparent", CALLER.replace("-01", "-00")).await.unwrap();
    drain(&library.gesta).await;
    library.clock.advance(MONTH);
    drain(&library.gesta).await;
    let event = first_of(library.store.as_ref(), "book-emma").await;
    library.gesta.close().await;
    assert!(stored_context(&event).unwrap().ends_with("-00"));
    assert_eq!(traced.end().paths(), [""; 0]);
}

#[tokio::test]
async fn a_rejection_is_no_error_of_its_span_and_a_failure_is_told_by_its_kind_alone() {
    let traced = Traced::begin();
    let library = Everything::open().await;
    assert!(library.gesta.execute(ReturnBook::new("emma")).await.is_err());
    let (id, event_type) = (EventId::random(), EventType::new("book-lent").unwrap());
    let unreadable = NewEvent::json(id, event_type, r#"{"book":"emma","reader":4711}"#);
    append(library.store.as_ref(), vec![unreadable]).await;
    drain(&library.gesta).await;
    library.gesta.close().await;
    let told = traced.end();
    let refused = told.named("command return-book")[0];
    assert_eq!(refused.get("status"), None, "{refused}");
    assert_eq!(attribute(refused, "gesta.outcome"), Some("not-found".into()));
    let failed = told.named("projection loans");
    assert!(!failed.is_empty());
    for span in failed {
        assert_eq!(span["status"]["code"], 2, "{span}");
        assert_eq!(attribute(span, "error.type"), Some("undecodable".into()));
    }
    let all = format!("{:?}", told.spans);
    assert!(!all.contains("4711"), "{all}");
}
