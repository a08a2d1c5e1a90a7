//! Traces and log lines of the shop: one request's trace arrives whole at a real collector, and
//! each line about it has its correlation id.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use gesta_services::OwnServer;
use serde_json::Value;
use tempfile::TempDir;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const CORRELATION: &str = "conversation-7";
/// Parts of payloads, which are in no line and no span.
const PERSONAL: [&str; 3] = ["Personal-First", "Personal-Last", "personal@mail.example"];

/// The line of the reactor, the last one of a new user.
const MAILED: &str = "the welcome mail is written";

/// Looks for the last span of a trace, or the last line, for a minute.
const POLLS_MAX: usize = 3_000;
const POLL: Duration = Duration::from_millis(20);

/// A span, as the collector prints it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: String,
    attributes: Vec<(String, String)>,
}

impl Span {
    fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads the spans that the collector has printed.
fn spans(output: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut is_attribute = false;
    for line in output.lines() {
        if line.starts_with("Span #") {
            spans.push(Span::default());
            is_attribute = false;
            continue;
        }
        let Some(span) = spans.last_mut() else { continue };
        match line.trim().split_once(": ") {
            Some((name, value)) if is_attribute && line.trim().starts_with("-> ") => {
                let name = name.trim_start_matches("-> ").to_owned();
                // The value is printed with its type: `Str(…)`.
                let value = value.split_once('(').map_or("", |(_, value)| value);
                let value = value.strip_suffix(')').unwrap_or(value).to_owned();
                span.attributes.push((name, value));
            }
            Some((name, value)) => match name.trim() {
                "Trace ID" => span.trace = value.to_owned(),
                "Parent ID" => span.parent = value.to_owned(),
                "ID" => span.id = value.to_owned(),
                "Name" => span.name = value.to_owned(),
                "Kind" => span.kind = value.to_owned(),
                _ => {}
            },
            None if line.starts_with("Attributes:") => is_attribute = true,
            None if line.starts_with("Links:") => is_attribute = false,
            None => {}
        }
    }
    spans
}

/// A shop that sends its traces to a collector and logs JSON to a file.
struct TracedShop {
    child: Child,
    address: String,
    directory: TempDir,
}

impl TracedShop {
    fn start(collector: &str, more: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
        // A store in memory has no directory for the mails that a reactor writes.
        command.args(["serve", "--store", "gesta:./data", "--listen", "127.0.0.1:0"]);
        command.args(["--welcome-after", "0", "--log-format", "json"]).args(more);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
        command.env("RUST_LOG", "gesta=trace,shop=trace").current_dir(&directory);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let mut listening = lines.map_while(Result::ok).filter_map(|line| {
            let rest = line.strip_prefix("listening on http://")?.to_owned();
            Some(rest.split(',').next()?.to_owned())
        });
        let address = listening.next().expect("it says where it listens");
        Self { child, address, directory }
    }

    fn post(&self, path: &str, headers: &str, body: &str) -> String {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        write!(
            connection,
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\
             x-correlation-id: {CORRELATION}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Waits until the log has this text.
    fn until_logged(&self, text: &str) {
        until(text, || {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap();
            log.contains(text).then_some(())
        });
    }

    /// Ends the shop, which sends the spans that wait. Returns the lines of its log.
    fn end(mut self) -> Vec<Value> {
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(self.child.wait().unwrap().success());
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap();
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        log.lines().map(line).collect()
    }
}

impl Drop for TracedShop {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Looks again and again until something is there.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..POLLS_MAX {
        if let Some(found) = look() {
            return found;
        }
        thread::park_timeout(POLL);
    }
    panic!("{what} does not come in time");
}

/// Waits until the collector has printed spans with these names in one trace.
fn until_arrived(collector: &OwnServer, names: &[&str]) -> Vec<Span> {
    until(&names.join(", "), || {
        let mut spans = spans(&collector.output());
        spans.retain(|span| span.trace == TRACE);
        let has = |name: &&str| spans.iter().any(|span| span.name == *name);
        names.iter().all(has).then_some(spans)
    })
}

/// The names of a span and of those above it, up to the caller.
fn path<'s>(spans: &'s [Span], span: &'s Span) -> Vec<&'s str> {
    let mut names = vec![span.name.as_str()];
    let mut parent = &span.parent;
    while parent != CALLER {
        let above = spans.iter().find(|span| span.id == *parent);
        let above = above.unwrap_or_else(|| panic!("{parent} of {names:?} is in no span"));
        names.push(&above.name);
        parent = &above.parent;
    }
    names.reverse();
    names
}

fn user() -> String {
    let [first, last, mail] = PERSONAL;
    format!(r#"{{"userId":"u7","firstName":"{first}","lastName":"{last}","email":"{mail}"}}"#)
}

/// The names of all spans of a new user's trace, besides those of the request.
const OF_A_NEW_USER: [&str; 6] = [
    "command create-user",
    "append",
    "projection users",
    "process welcome",
    "command welcome-user",
    "reactor welcome-mail",
];

/// Checks the trace of a new user, below the span of the last request in `request`.
fn check_trace(spans: &[Span], request: &[&str]) {
    let below = |more: &[&'static str]| -> Vec<String> {
        request.iter().chain(more).map(|name| (*name).to_owned()).collect()
    };
    let paths: Vec<Vec<String>> = spans
        .iter()
        .map(|span| path(spans, span).into_iter().map(str::to_owned).collect())
        .collect();
    let created = ["command create-user", "append"];
    // The timer of the welcome is set and fires.
    let welcome = ["process welcome", "process welcome", "command welcome-user", "append"];
    let welcomed = [created.as_slice(), welcome.as_slice()].concat();
    for more in [
        &created[..],
        &[&created[..], &["projection users"]].concat(),
        &welcomed,
        &[&welcomed[..], &["reactor welcome-mail"]].concat(),
    ] {
        assert!(paths.contains(&below(more)), "{:?} is not in {paths:#?}", below(more));
    }
    let kind = |name: &str| spans.iter().find(|span| span.name == name).unwrap().kind.clone();
    assert_eq!(kind(request[0]), "SPAN_KIND_SERVER");
    assert_eq!(kind("append"), "SPAN_KIND_PRODUCER");
    assert_eq!(kind("projection users"), "SPAN_KIND_CONSUMER");
    for span in spans.iter().filter(|span| span.name.starts_with("command")) {
        assert_eq!(span.attribute("gesta.correlation_id"), Some(CORRELATION), "{span:?}");
        assert_eq!(span.attribute("gesta.outcome"), Some("executed"), "{span:?}");
    }
    let all = format!("{spans:?}");
    assert!(PERSONAL.iter().all(|personal| !all.contains(personal)), "{all}");
}

#[test]
fn the_trace_of_a_request_arrives_whole_from_http_to_the_next_command_of_a_process() {
    let Some(collector) = OwnServer::start_or_skip("rotel") else { return };
    let shop = TracedShop::start(&collector.url(), &[]);
    let headers = format!("traceparent: 00-{TRACE}-{CALLER}-01\r\n");
    let answer = shop.post("/v1/users", &headers, &user());
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let spans = until_arrived(&collector, &OF_A_NEW_USER);
    check_trace(&spans, &["POST /v1/users"]);
    assert!(collector.output().contains("service.name: Str(shop)"));
    shop.end();
}

#[cfg(feature = "graphql")]
#[test]
fn the_trace_of_a_mutation_arrives_whole_below_its_request() {
    let Some(collector) = OwnServer::start_or_skip("rotel") else { return };
    let shop = TracedShop::start(&collector.url(), &[]);
    let headers = format!("traceparent: 00-{TRACE}-{CALLER}-01\r\n");
    let [first, last, mail] = PERSONAL;
    let mutation = format!(
        r#"mutation {{ createUser(input: {{ userId: "u7", firstName: "{first}", lastName: "{last}", email: "{mail}" }}) {{ __typename }} }}"#
    );
    let body = serde_json::json!({ "query": mutation }).to_string();
    let answer = shop.post("/graphql", &headers, &body);
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("errors"), "{answer}");
    let spans = until_arrived(&collector, &OF_A_NEW_USER);
    check_trace(&spans, &["POST /graphql", "POST /v1/users"]);
    shop.end();
}

#[test]
fn a_trace_that_its_caller_does_not_sample_is_not_sent() {
    let Some(collector) = OwnServer::start_or_skip("rotel") else { return };
    let shop = TracedShop::start(&collector.url(), &[]);
    let headers = format!("traceparent: 00-{}-{CALLER}-00\r\n", TRACE.replace('4', "5"));
    shop.post("/v1/users", &headers, &user());
    let headers = format!("traceparent: 00-{TRACE}-{CALLER}-01\r\n");
    shop.post("/v1/users", &headers, &user().replace("u7", "u8").replace("personal@", "other@"));
    until_arrived(&collector, &OF_A_NEW_USER);
    shop.end();
    let spans = spans(&collector.output());
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
}

#[test]
fn lines_within_a_request_have_its_correlation_id_and_trace_and_no_payload() {
    let collector = "http://127.0.0.1:9";
    let shop = TracedShop::start(collector, &["--trace-ratio", "0"]);
    let headers = format!("traceparent: 00-{TRACE}-{CALLER}-01\r\n");
    let answer = shop.post("/v1/users", &headers, &user());
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let answer = shop.post("/v1/users", &headers, &user());
    assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
    shop.until_logged(MAILED);
    let lines = shop.end();
    let all = format!("{lines:?}");
    assert!(PERSONAL.iter().all(|personal| !all.contains(personal)), "{all}");
    let mailed = lines.iter().find(|line| line["message"] == MAILED).unwrap();
    assert_eq!(
        (&mailed["correlation_id"], &mailed["trace_id"]),
        (&CORRELATION.into(), &TRACE.into())
    );
    let serving = lines.iter().find(|line| line["message"] == "serving").unwrap();
    assert_eq!(serving.get("correlation_id"), None, "it is about no request");
}

#[test]
fn options_of_traces_are_shown_with_their_origin_and_refused_without_their_secrets() {
    let directory = TempDir::new().unwrap();
    let shop = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
        command.current_dir(&directory);
        command
    };
    fs::write(directory.path().join("shop.toml"), "trace-ratio = \"0.25\"").unwrap();
    let mut config = shop();
    config.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    let shown = config.args(["serve", "--print-config", "--log-format", "json"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    for row in [
        "log-format = \"json\"  # option --log-format",
        "otlp-endpoint = \"http://127.0.0.1:4318\"  # environment OTEL_EXPORTER_OTLP_ENDPOINT",
        "service-name = \"shop\"  # default",
        "trace-ratio = \"0.25\"  # shop.toml",
    ] {
        assert!(shown.contains(row), "{row} is not in {shown}");
    }
    for (option, value, reason) in [
        ("--trace-ratio", "2", "must be a number between 0 and 1"),
        ("--otlp-endpoint", "http://ann:secret@collector", "no user and no password"),
        ("--otlp-endpoint", "https://collector", "TLS to a collector"),
    ] {
        let refused = shop().args(["serve", "--print-config", option, value]).output().unwrap();
        let error = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{error}");
        assert!(error.contains(reason), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
