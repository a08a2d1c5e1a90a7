//! The span of a request, and the lines of the log within it.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock},
};

use gesta::SPAN_TARGET;
use gesta_services::TraceSink;
use gesta_telemetry::{JsonLog, SampleRatio, Service, TraceExporter};
use serde_json::Value;
use tracing::{Dispatch, Level, subscriber::DefaultGuard};
use tracing_subscriber::{Layer as _, filter::Targets, layer::SubscriberExt as _};

use crate::{TRACE, api, asked, send, state};

/// The lines that a log has written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A subscriber of this thread's tasks that exports spans and keeps lines.
struct Traced {
    sink: TraceSink,
    exporter: TraceExporter,
    written: Written,
    _guard: DefaultGuard,
}

impl Traced {
    /// A second subscriber stays for all tests: while there is one alone, `tracing` switches a
    /// place off for every thread if a thread without it comes there first.
    fn begin() -> Self {
        static SECOND: OnceLock<Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| Dispatch::new(tracing_subscriber::registry()));
        let sink = TraceSink::start().unwrap();
        let service = Service::new("doors", "1.0");
        let exporter = TraceExporter::start(sink.url().parse().unwrap(), service).unwrap();
        let of_gesta = || Targets::new().with_target(SPAN_TARGET, Level::INFO);
        let spans = exporter.layer(SampleRatio::ALL).with_filter(of_gesta());
        let written = Written::default();
        let writer = written.clone();
        let lines = of_gesta().with_target("gesta_http", Level::INFO);
        let log = JsonLog::new(move || writer.clone()).with_filter(lines);
        let subscriber = tracing_subscriber::registry().with(log).with(spans);
        let guard = tracing::subscriber::set_default(subscriber);
        Self { sink, exporter, written, _guard: guard }
    }

    /// Returns all spans and lines so far, and ends the export.
    fn end(self) -> (Vec<Value>, Vec<Value>) {
        let Self { sink, exporter, written, _guard } = self;
        exporter.finish();
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (sink.received(), lines)
    }
}

fn named<'s>(spans: &'s [Value], name: &str) -> &'s Value {
    let found = spans.iter().find(|span| span["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {spans:#?}"))
}

/// The value of a span's attribute.
fn attribute(span: &Value, name: &str) -> Option<Value> {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == name)?;
    found["value"].as_object().unwrap().values().next().cloned()
}

#[tokio::test]
async fn a_request_has_a_span_below_its_caller_with_its_command_below_it() {
    let traced = Traced::begin();
    let router = api().router(state().await);
    let mut request = asked("POST", "/doors/77/open");
    request.headers_mut().insert("traceparent", TRACE.parse().unwrap());
    request.headers_mut().insert("x-correlation-id", "talk-1".parse().unwrap());
    assert_eq!(send(router, request).await.0, 200);
    let (spans, _) = traced.end();
    let span = named(&spans, "POST /doors/{door}/open");
    assert_eq!(
        (&span["traceId"], &span["parentSpanId"]),
        (&TRACE[3..35].into(), &TRACE[36..52].into())
    );
    assert_eq!(span["kind"], 2);
    assert_eq!(attribute(span, "http.response.status_code"), Some("200".into()));
    assert_eq!(attribute(span, "gesta.correlation_id"), Some("talk-1".into()));
    assert_eq!(named(&spans, "command open-door")["parentSpanId"], span["spanId"]);
    assert!(!span["attributes"].to_string().contains("77"), "paths may name people: {span}");
}

#[tokio::test]
async fn a_request_to_no_route_is_named_by_its_method() {
    let traced = Traced::begin();
    let router = api().router(state().await);
    assert_eq!(send(router.clone(), asked("GET", "/secret")).await.0, 404);
    assert_eq!(send(router, asked("BREW", "/doors")).await.0, 405);
    let (spans, _) = traced.end();
    assert_eq!(attribute(named(&spans, "GET"), "http.route"), None);
    let brewed = attribute(named(&spans, "_OTHER /doors"), "http.request.method");
    assert_eq!(brewed, Some("_OTHER".into()));
}

#[tokio::test]
async fn a_bug_is_an_error_of_the_span_and_a_line_with_the_correlation_id_of_the_response() {
    let traced = Traced::begin();
    let router = api().router(state().await);
    let (status, headers, _) = send(router, asked("GET", "/bug")).await;
    assert_eq!(status, 500);
    let (spans, lines) = traced.end();
    let span = named(&spans, "GET /bug");
    assert_eq!(span["status"]["code"], 2);
    assert_eq!(attribute(span, "error.type"), Some("500".into()));
    let line = lines.iter().find(|line| line["message"] == "a request failed").unwrap();
    let id = headers["x-correlation-id"].to_str().unwrap();
    assert_eq!((&line["correlation_id"], &line["trace_id"]), (&id.into(), &span["traceId"]));
}
