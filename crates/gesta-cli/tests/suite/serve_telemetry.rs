//! The log of `gesta serve`, its traces, and what it tells a service manager.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixDatagram,
    time::Duration,
};

use gesta_services::TraceSink;
use serde_json::Value;

use crate::scene::{Running, Scene, program, run};

const ANYWHERE: [&str; 5] = ["serve", "--json", "--insecure", "--listen", "127.0.0.1:0"];
const PATIENCE: Duration = Duration::from_secs(60);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn get(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {request}host: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn address(server: &Running) -> String {
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    started["address"].as_str().unwrap().to_owned()
}

/// Waits for the span of this name.
fn span(sink: &TraceSink, name: &str) -> Value {
    loop {
        let spans = sink.next(PATIENCE).unwrap();
        if let Some(span) = spans.into_iter().find(|span| span["name"] == name) {
            return span;
        }
    }
}

#[test]
fn a_call_is_sent_to_the_collector_in_the_trace_of_its_caller() {
    let (scene, sink) = (Scene::of_two_orders(), TraceSink::start().unwrap());
    let mut command = scene.command(&ANYWHERE);
    command.args(["--otlp-endpoint", sink.url()]);
    let mut server = Running::start(command);
    let address = address(&server);
    get(&address, &format!("/ping HTTP/1.1\r\ntraceparent: 00-{TRACE}-{CALLER}-01\r\n"));
    let ping = span(&sink, "GET /ping");
    assert_eq!((&ping["traceId"], &ping["parentSpanId"]), (&TRACE.into(), &CALLER.into()));
    assert_eq!(ping["kind"], 2);
    let number = |name: &str| ping[name].as_str().unwrap().parse::<u64>().unwrap();
    assert!(number("startTimeUnixNano") <= number("endTimeUnixNano"));
    let attributes = ping["attributes"].as_array().unwrap();
    let has = |key: &str, value: Value| {
        attributes.contains(&serde_json::json!({ "key": key, "value": value }))
    };
    assert!(has("http.route", serde_json::json!({ "stringValue": "/ping" })), "{ping}");
    assert!(has("http.response.status_code", serde_json::json!({ "intValue": "200" })), "{ping}");

    // A call whose caller does not sample it is left out; the end sends what waits.
    get(&address, &format!("/info HTTP/1.1\r\ntraceparent: 00-{TRACE}-{CALLER}-00\r\n"));
    get(&address, "/gossip HTTP/1.1\r\n");
    assert_eq!(server.terminate(), Some(0));
    let names: Vec<_> = sink.received().into_iter().map(|span| span["name"].clone()).collect();
    assert_eq!(names, ["GET /gossip"]);
}

#[test]
fn a_collector_that_is_gone_holds_up_neither_calls_nor_the_end() {
    let scene = Scene::of_two_orders();
    let mut command = scene.command(&ANYWHERE);
    command.args(["--otlp-endpoint", "http://127.0.0.1:1"]);
    let mut server = Running::start(command);
    assert!(get(&address(&server), "/ping HTTP/1.1\r\n").starts_with("HTTP/1.1 200"));
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn the_log_is_json_with_the_start_failed_calls_and_the_end() {
    let scene = Scene::of_two_orders();
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut command = scene.command(&ANYWHERE);
    command.args(["--log", "gesta=debug", "--log-format", "json"]);
    let mut server = Running::start_logged(command, &log);
    let address = address(&server);
    let url = format!("kurrentdb://{address}?tls=false");
    let users = run(program(&["server", "--server", &url, "users", "enable", "ann"]));
    users.fails_with(1, "has no users");
    assert_eq!(server.terminate(), Some(0));
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = lines.iter().find(|line| line["message"] == "serving").expect(&text);
    assert_eq!((&first["level"], &first["address"]), (&"INFO".into(), &address.into()));
    let failed = lines.iter().find(|line| line["message"] == "a call failed").expect(&text);
    assert_eq!(failed["path"], "/event_store.client.users.Users/Enable");
    assert!(failed["reason"].as_str().unwrap().contains("has no users"), "{failed}");
    assert_eq!(lines.last().unwrap()["message"], "the server has ended");
}

#[test]
fn wrong_options_of_log_and_traces_are_refused_before_the_store_is_opened() {
    let scene = Scene::of_two_orders();
    for (option, value, reason) in [
        ("--log", "loud", "--log must be levels"),
        ("--trace-ratio", "2", "between 0 and 1"),
        ("--otlp-endpoint", "https://collector.example", "TLS to a collector"),
        ("--advertise", "events", "a host and a port"),
    ] {
        let refused = scene.run(&["serve", "--insecure", "--check-config", option, value]);
        refused.fails_with(2, reason);
    }
}

#[test]
fn a_service_manager_is_told_that_the_server_is_ready_and_that_it_stops() {
    let scene = Scene::of_two_orders();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut message = [0; 64];
        let length = manager.recv(&mut message).expect("a message comes in time");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let mut command = scene.command(&ANYWHERE);
    command.env("NOTIFY_SOCKET", &path);
    let mut server = Running::start(command);
    assert_eq!(told(), "READY=1\n");
    assert!(get(&address(&server), "/ping HTTP/1.1\r\n").starts_with("HTTP/1.1 200"));
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(told(), "STOPPING=1\n");
}
