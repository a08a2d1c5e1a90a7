//! A raw HTTP client: requests and answers as text, and readers of server-sent events.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
        BufReader,
    },
    net::TcpStream,
    time::timeout,
};

use crate::{client::PATIENCE, endpoints::LOCAL, scene::Scene};

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let start = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(start.as_str()))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of a successful answer.
    pub(crate) fn done(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// Checks status and code of a problem, and returns it.
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()));
        problem
    }
}

/// Sends a request over a connection and reads the answer to its end.
pub(crate) async fn send_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    line: &str,
    headers: &str,
    body: &[u8],
) -> Answer {
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    // In one write: a server that refuses a request may close before the body comes.
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    read_answer(stream).await
}

/// Reads an answer to its end.
pub(crate) async fn read_answer(mut stream: impl AsyncRead + Unpin) -> Answer {
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time").unwrap();
    Answer::read(&String::from_utf8(answer).unwrap())
}

/// A client of the interface of an insecure server.
#[derive(Clone, Copy)]
pub(crate) struct Api(SocketAddr);

impl Api {
    pub(crate) fn of(scene: &Scene) -> Self {
        Self(scene.address)
    }

    pub(crate) async fn connect(self) -> TcpStream {
        TcpStream::connect(self.0).await.unwrap()
    }

    pub(crate) async fn send(self, line: &str, headers: &str, body: &[u8]) -> Answer {
        send_over(self.connect().await, line, &format!("{LOCAL}{headers}"), body).await
    }

    pub(crate) async fn get(self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), "", b"").await
    }

    pub(crate) async fn delete(self, path: &str) -> Answer {
        self.send(&format!("DELETE {path}"), "", b"").await
    }

    pub(crate) async fn json(self, line: &str, body: &Value) -> Answer {
        self.send(line, JSON, body.to_string().as_bytes()).await
    }

    pub(crate) async fn append(self, body: &Value) -> Answer {
        self.json("POST /v1/append", body).await
    }

    /// Appends an event of this type and with these tags, and returns its position.
    pub(crate) async fn grow(self, stream: &str, event_type: &str, tags: &[&str]) -> u64 {
        let event = serde_json::json!({ "type": event_type, "data": {}, "tags": tags });
        let body = serde_json::json!({ "streams": [{ "stream": stream, "events": [event] }] });
        self.append(&body).await.done()["position"].as_u64().unwrap()
    }

    /// Begins to read server-sent events.
    pub(crate) async fn events(self, path: &str, headers: &str) -> Result<SseReader, Answer> {
        let mut stream = self.connect().await;
        // The answer to HTTP/1.0 is not chunked.
        let head = format!("GET {path} HTTP/1.0\r\n{LOCAL}{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut reader = SseReader(BufReader::new(stream));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.line(&mut head).await, "{head}");
        }
        if head.contains("text/event-stream") {
            return Ok(reader);
        }
        reader.0.read_to_string(&mut head).await.unwrap();
        Err(Answer::read(&head))
    }
}

/// The header of a body in JSON.
pub(crate) const JSON: &str = "content-type: application/json\r\n";

/// A server-sent event.
#[derive(Debug, Default)]
pub(crate) struct SseEvent {
    pub(crate) name: String,
    pub(crate) id: Option<u64>,
    pub(crate) data: Value,
}

/// A reader of server-sent events.
pub(crate) struct SseReader(BufReader<TcpStream>);

impl SseReader {
    /// Adds the next line to a text. Returns `false` at the end.
    pub(crate) async fn line(&mut self, text: &mut String) -> bool {
        let read = timeout(PATIENCE, self.0.read_line(text)).await;
        read.expect("a line in time").unwrap() > 0
    }

    /// Returns the next event, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<SseEvent> {
        let (mut event, mut is_begun) = (SseEvent::default(), false);
        loop {
            let mut line = String::new();
            if !self.line(&mut line).await {
                return None;
            }
            match line.trim_end().split_once(':') {
                Some(("event", name)) => event.name = name.trim().to_owned(),
                Some(("id", id)) => event.id = Some(id.trim().parse().unwrap()),
                Some(("data", data)) => {
                    event.data = serde_json::from_str(data).unwrap();
                    is_begun = true;
                }
                None if is_begun => return Some(event),
                // Comments, the pause before a reconnect, and the lines after them.
                _ => {}
            }
        }
    }

    /// Returns the data of the next event, which has no name.
    pub(crate) async fn event(&mut self) -> Value {
        let event = self.next().await.expect("an event");
        assert_eq!(event.name, "", "{event:?}");
        event.data
    }

    /// Returns the id and the data of the next event, which has this name.
    pub(crate) async fn named(&mut self, name: &str) -> (Option<u64>, Value) {
        let event = self.next().await.expect("an event");
        assert_eq!(event.name, name, "{event:?}");
        (event.id, event.data)
    }
}
