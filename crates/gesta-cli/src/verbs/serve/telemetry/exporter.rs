//! Sends finished spans to a collector, on a thread of its own.
//!
//! Owns: [`Endpoint`], [`Exporter`] and the queue before it. Invariants:
//! - A call never waits for a collector: spans that do not fit into the queue are dropped and
//!   counted.
//! - A collector that does not answer costs one line in the log a minute.
//! - The end waits at most [`FINISH_MAX`] for the spans that are left.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use ureq::Agent;
use uuid::Uuid;

use super::{finished_span::FinishedSpan, otlp};

/// Maximum number of spans that wait.
const QUEUE_MAX: usize = 8_192;
/// Maximum number of spans in one request.
const BATCH_MAX: usize = 512;
/// Maximum time that a span waits for others.
const BATCH_WAIT_MAX: Duration = Duration::from_secs(1);
/// Time limit of one request.
const RESPONSE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Number of attempts for one batch.
const ATTEMPTS_MAX: u32 = 3;
/// Pause after a failed attempt.
const PAUSE: Duration = Duration::from_secs(1);
/// Minimum time between two log lines about failures.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum time for the last spans.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// The URL to which spans are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint(String);

impl FromStr for Endpoint {
    type Err = String;

    /// Takes the base URL of a collector, or the URL of its traces. No error repeats the URL, which
    /// may have a password.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = "the endpoint must be the http:// URL of a collector, such as \
                     http://127.0.0.1:4318";
        if text.starts_with("https://") {
            let text = "TLS to a collector is not supported; use the http:// URL of a collector on \
                        this machine, which forwards traces";
            return Err(text.to_owned());
        }
        let uri = text.parse::<ureq::http::Uri>().map_err(|_| wrong.to_owned())?;
        let authority = uri.authority().filter(|one| !one.host().is_empty());
        let has_user = uri.authority().is_some_and(|one| one.as_str().contains('@'));
        if uri.scheme_str() != Some("http") || authority.is_none() || uri.query().is_some() {
            return Err(wrong.to_owned());
        }
        if has_user {
            return Err("the endpoint must have no user and no password".to_owned());
        }
        let base = text.trim_end_matches('/');
        const PATH: &str = "/v1/traces";
        Ok(Self(if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") }))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The sending half of the queue. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct SpanQueue {
    messages: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Span(Box<FinishedSpan>),
    /// Wakes the thread, so that it sees that the end was asked for.
    Finish,
}

/// The thread that sends.
#[derive(Debug)]
pub(super) struct Exporter {
    queue: SpanQueue,
    is_ending: Arc<AtomicBool>,
    ended: Receiver<()>,
}

/// The state of the thread.
struct Sending {
    endpoint: Endpoint,
    agent: Agent,
    instance: String,
    dropped: Arc<AtomicU64>,
    logged: Option<Instant>,
    /// After the end was asked for, no attempt is repeated.
    is_ending: Arc<AtomicBool>,
}

impl SpanQueue {
    pub(super) fn push(&self, span: FinishedSpan) {
        match self.messages.try_send(Message::Span(Box::new(span))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Message {
    fn span(self) -> Option<FinishedSpan> {
        match self {
            Self::Span(span) => Some(*span),
            Self::Finish => None,
        }
    }
}

impl Exporter {
    pub(super) fn start(endpoint: Endpoint) -> Result<Self> {
        let (messages, received) = sync_channel(QUEUE_MAX);
        let (done, ended) = sync_channel(1);
        let (dropped, is_ending) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut sending = Sending {
            endpoint,
            agent: agent(),
            instance: Uuid::new_v4().to_string(),
            dropped: Arc::clone(&dropped),
            logged: None,
            is_ending: Arc::clone(&is_ending),
        };
        let thread = thread::Builder::new().name("gesta-traces".to_owned());
        let started = thread.spawn(move || {
            sending.run(&received);
            // The receiver is gone if nothing waits for the end.
            let _ = done.send(());
        });
        started.context("cannot start the thread that sends traces")?;
        Ok(Self { queue: SpanQueue { messages, dropped }, is_ending, ended })
    }

    pub(super) fn queue(&self) -> SpanQueue {
        self.queue.clone()
    }

    /// Sends what waits.
    pub(super) fn finish(self) {
        self.is_ending.store(true, Ordering::Release);
        // A thread whose queue is full does not wait for a message.
        drop(self.queue.messages.try_send(Message::Finish));
        // Spans that are not sent in time are lost.
        let _ = self.ended.recv_timeout(FINISH_MAX);
    }
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(RESPONSE_WAIT_MAX))
        // Traces go to the collector that was named, and nowhere else.
        .proxy(None)
        .max_redirects(0)
        .build();
    config.into()
}

impl Sending {
    fn run(&mut self, received: &Receiver<Message>) {
        while let Some(batch) = self.batch(received) {
            self.send(&batch);
            if self.is_ending() {
                break;
            }
        }
        loop {
            let spans = received.try_iter().filter_map(Message::span);
            let batch: Vec<_> = spans.take(BATCH_MAX).collect();
            if batch.is_empty() {
                return;
            }
            self.send(&batch);
        }
    }

    fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// Gathers spans, or returns `None` if no more can come.
    fn batch(&self, received: &Receiver<Message>) -> Option<Vec<FinishedSpan>> {
        let mut batch = Vec::new();
        let mut deadline = None;
        while batch.len() < BATCH_MAX {
            let message = match deadline {
                None => received.recv().ok()?,
                Some(deadline) => {
                    let left = Instant::saturating_duration_since(&deadline, now());
                    match received.recv_timeout(left) {
                        Ok(message) => message,
                        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                    }
                }
            };
            let Some(span) = message.span() else { break };
            batch.push(span);
            deadline.get_or_insert_with(|| now() + BATCH_WAIT_MAX);
        }
        Some(batch)
    }

    fn send(&mut self, batch: &[FinishedSpan]) {
        if batch.is_empty() {
            return;
        }
        let body = otlp::request(batch, &self.instance).to_string();
        let attempts = if self.is_ending() { 1 } else { ATTEMPTS_MAX };
        for attempt in 1..=attempts {
            let request = self.agent.post(&self.endpoint.0).content_type("application/json");
            match request.send(&body) {
                Ok(_) => return,
                Err(error) if attempt == attempts || !may_pass(&error) => {
                    self.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    self.log(&error);
                    return;
                }
                Err(_) => thread::park_timeout(PAUSE),
            }
        }
    }

    fn log(&mut self, error: &ureq::Error) {
        if self.logged.is_some_and(|logged| logged.elapsed() < LOG_INTERVAL) {
            return;
        }
        self.logged = Some(now());
        let (endpoint, dropped) = (&self.endpoint, self.dropped.swap(0, Ordering::Relaxed));
        tracing::warn!(%endpoint, %error, dropped, "the collector of traces takes no spans");
    }
}

#[expect(clippy::disallowed_methods, reason = "the waits of this thread are real")]
fn now() -> Instant {
    Instant::now()
}

/// Returns `true` for errors after which the protocol asks for another attempt.
fn may_pass(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::StatusCode(status) => matches!(status, 429 | 502 | 503 | 504),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_base_or_the_url_of_traces() {
        for text in
            ["http://127.0.0.1:4318", "http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"]
        {
            let endpoint = text.parse::<Endpoint>().unwrap();
            assert_eq!(endpoint.to_string(), "http://127.0.0.1:4318/v1/traces");
        }
    }

    #[test]
    fn an_endpoint_that_is_not_plain_http_is_refused_without_its_secrets() {
        for text in ["https://a:secret@b", "127.0.0.1:4318", "http://a:secret@b/", "grpc://secret"]
        {
            let refused = text.parse::<Endpoint>().unwrap_err();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
