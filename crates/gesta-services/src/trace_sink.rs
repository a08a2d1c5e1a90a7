//! A receiver of traces in the test's own process, which takes OTLP over HTTP as JSON.
//!
//! Not here: a collector that someone else has written; that is the service `rotel`.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// A receiver of traces, for tests that look at every field of a span.
#[derive(Debug)]
pub struct TraceSink {
    url: String,
    spans: Receiver<Vec<Value>>,
}

impl TraceSink {
    /// Starts a receiver on a free loopback port.
    ///
    /// # Errors
    /// If the system gives no port.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("http://{}", listener.local_addr()?);
        let (sender, spans) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                // A client that breaks off ends its thread. The test misses its spans.
                thread::spawn(move || drop(receive(stream, &sender)));
            }
        });
        Ok(Self { url, spans })
    }

    /// Returns the base URL for exporters.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits for the spans of the next request.
    ///
    /// # Errors
    /// If none comes in time.
    pub fn next(&self, patience: Duration) -> Result<Vec<Value>> {
        self.spans.recv_timeout(patience).context("no spans are sent in time")
    }

    /// Returns the spans that have arrived and were not returned before.
    #[must_use]
    pub fn received(&self) -> Vec<Value> {
        self.spans.try_iter().flatten().collect()
    }
}

/// Takes the requests of a connection.
fn receive(stream: TcpStream, sender: &Sender<Vec<Value>>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        ensure!(line.starts_with("POST /v1/traces "), "{line}");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line)?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let spans = spans_of(&serde_json::from_slice(&body)?);
        // Before the answer: an exporter that has finished has been received.
        sender.send(spans)?;
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")?;
    }
}

fn spans_of(body: &Value) -> Vec<Value> {
    let list = |value: &Value, name: &str| -> Vec<Value> {
        value.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let scopes = list(body, "resourceSpans").into_iter().flat_map(|one| list(&one, "scopeSpans"));
    scopes.flat_map(|scope| list(&scope, "spans")).collect()
}
