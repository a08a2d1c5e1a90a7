//! Spans and log lines of calls.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock},
};

use gesta_server::SPAN_TARGET;
use tonic::{Code, Request};
use tracing::{
    Dispatch, Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt as _, registry::LookupSpan};

use crate::{
    client::*,
    scene::Scene,
    secured::{Secured, basic},
};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

type Fields = BTreeMap<&'static str, String>;

/// A span, with the name of its parent.
#[derive(Clone, Debug, Default)]
struct Span {
    name: &'static str,
    parent: Option<u64>,
    fields: Fields,
}

/// The spans and lines of a server since the test began.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    spans: BTreeMap<u64, Span>,
    ended: Vec<u64>,
    /// Level and fields of each line.
    lines: Vec<(Level, Fields)>,
}

struct Taken<'a>(&'a mut Fields);

impl Visit for Taken<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, spans: Context<'_, S>) {
        let span = spans.span(id).unwrap();
        if span.metadata().target() != SPAN_TARGET {
            return;
        }
        let parent = span.parent().map(|parent| parent.id().into_u64());
        let mut told = Span { name: span.name(), parent, fields: Fields::new() };
        attributes.record(&mut Taken(&mut told.fields));
        self.0.lock().unwrap().spans.insert(id.into_u64(), told);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some(span) = self.0.lock().unwrap().spans.get_mut(&id.into_u64()) {
            values.record(&mut Taken(&mut span.fields));
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.0.lock().unwrap().ended.push(id.into_u64());
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("gesta") {
            let mut fields = Fields::new();
            event.record(&mut Taken(&mut fields));
            self.0.lock().unwrap().lines.push((*event.metadata().level(), fields));
        }
    }
}

impl Recorder {
    /// Records what the tasks of this thread tell: those of the test and its server.
    ///
    /// A second subscriber stays for all tests: while there is one alone, `tracing` switches a
    /// place off for every thread if a thread without it comes there first.
    fn begin() -> (Self, DefaultGuard) {
        static SECOND: OnceLock<Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| Dispatch::new(tracing_subscriber::registry()));
        let recorder = Self::default();
        let subscriber = tracing_subscriber::registry().with(recorder.clone());
        (recorder, tracing::subscriber::set_default(subscriber))
    }

    fn spans(&self, name: &str) -> Vec<(u64, Span)> {
        let told = self.0.lock().unwrap();
        let named = told.spans.iter().filter(|(_, span)| span.name == name);
        named.map(|(id, span)| (*id, span.clone())).collect()
    }

    /// Returns the lines about calls, at the level `INFO` and above.
    fn lines(&self) -> Vec<(Level, Fields)> {
        let told = self.0.lock().unwrap();
        let lines = told
            .lines
            .iter()
            .filter(|(level, fields)| *level <= Level::INFO && fields.contains_key("path"));
        lines.cloned().collect()
    }
}

fn append_of_a_caller(stream: &str) -> Request<impl tokio_stream::Stream<Item = AppendReq>> {
    let options = append_req::Options {
        stream_identifier: identifier(stream),
        expected_stream_revision: Some(NO_STREAM),
    };
    let event = append_req::Content::ProposedMessage(proposed(1, "happened"));
    let contents = [append_req::Content::Options(options), event];
    let messages = contents.map(|content| AppendReq { content: Some(content) });
    let mut request = Request::new(tokio_stream::iter(messages));
    request.metadata_mut().insert("traceparent", CALLER.parse().unwrap());
    request
}

#[tokio::test]
async fn an_append_of_the_store_is_below_its_call_which_has_the_trace_of_the_caller() {
    let (recorder, _guard) = Recorder::begin();
    let scene = Scene::of_memory().await;
    let mut client = scene.client().await;
    client.append(append_of_a_caller("order-1")).await.unwrap();
    let [(call, span)] = recorder.spans("call").try_into().unwrap();
    assert_eq!(span.parent, None);
    assert_eq!(span.fields["otel.name"], "event_store.client.streams.Streams/Append");
    assert_eq!(span.fields["rpc.method"], "Append");
    assert_eq!(span.fields["traceparent"], CALLER);
    assert_eq!(span.fields["network.peer.address"], "127.0.0.1");
    let [(_, append)] = recorder.spans("append").try_into().unwrap();
    assert_eq!(append.parent, Some(call));
    assert_eq!(append.fields["gesta.stream"], "order-1");
    assert_eq!(append.fields["gesta.position"], "1");
    let all = format!("{:?}", recorder.0.lock().unwrap().spans);
    assert!(!all.contains(r#"\"n\""#), "no payload: {all}");
}

#[tokio::test]
async fn deliveries_of_a_subscription_are_below_its_call() {
    let (recorder, _guard) = Recorder::begin();
    let scene = Scene::of_memory().await;
    let mut client = scene.client().await;
    let mut messages = Read::stream("order-1").subscribing().open(&mut client).await.unwrap();
    messages.confirmed().await;
    let [(call, _)] = recorder.spans("call").try_into().unwrap();
    assert!(!recorder.0.lock().unwrap().ended.contains(&call), "the call goes on");
    let before = recorder.spans("deliver").len();
    grow(&mut scene.client().await, "order-1", 1..=1).await;
    while !matches!(messages.next().await, read_resp::Content::Event(_)) {}
    let delivered = recorder.spans("deliver");
    assert!(delivered.len() > before);
    assert!(delivered.iter().all(|(_, span)| span.parent == Some(call)));
}

#[tokio::test]
async fn a_batch_call_has_its_appends_below_it() {
    let (recorder, _guard) = Recorder::begin();
    let scene = Scene::of_memory().await;
    let mut client = scene.client().await;
    let options = batch_append_req::Options {
        stream_identifier: identifier("order-1"),
        ..batch_append_req::Options::default()
    };
    let request = BatchAppendReq {
        correlation_id: id(9),
        options: Some(batch_append_req::Options {
            expected_stream_position: Some(batch_append_req::options::ExpectedStreamPosition::Any(
                (),
            )),
            ..options
        }),
        proposed_messages: Vec::new(),
        is_final: true,
    };
    let messages = tokio_stream::iter([request]);
    let mut answers = client.batch_append(messages).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    let [(call, _)] = recorder.spans("call").try_into().unwrap();
    let [(_, append)] = recorder.spans("append").try_into().unwrap();
    assert_eq!(append.parent, Some(call));
}

#[tokio::test]
async fn a_refused_call_is_logged_once_with_its_reason_and_a_conflict_is_not() {
    let (recorder, _guard) = Recorder::begin();
    let scene = Scene::of_memory().await;
    let mut client = scene.client().await;
    grow(&mut client, "order-1", 1..=1).await;
    append(&mut client, "order-1", NO_STREAM, vec![proposed(2, "happened")]).await.unwrap();
    assert_eq!(recorder.lines().len(), 0);

    let refused = Read::stream("order-1").without_form_of_ids().run(&mut client).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    let [(level, line)] = recorder.lines().try_into().unwrap();
    assert_eq!(level, Level::INFO);
    assert_eq!(line["path"], "/event_store.client.streams.Streams/Read");
    assert_eq!((line["code"].as_str(), line["peer"].as_str()), ("InvalidArgument", "127.0.0.1"));
    assert!(!line["reason"].is_empty());
    let failed = recorder.spans("call").into_iter().filter(|(_, span)| {
        span.fields.get("otel.status_code").is_some_and(|code| code == "ERROR")
    });
    assert_eq!(failed.count(), 1);
}

#[tokio::test]
async fn a_wrong_password_is_in_no_line_and_no_span() {
    let (recorder, _guard) = Recorder::begin();
    let scene = Secured::start().await;
    let wrong = basic("admin", "wrong-password");
    let refused = scene.client_with(wrong.clone()).await.read(Read::all().request()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(recorder.lines().len(), 1);
    let told = recorder.0.lock().unwrap();
    let everything = format!("{:?} {:?}", told.spans, told.lines);
    let header = wrong.0.unwrap();
    let secret = header.to_str().unwrap().trim_start_matches("Basic ");
    assert!(!everything.contains("wrong-password") && !everything.contains(secret));
}
