//! Sends finished spans to a collector, on a thread of its own.
//!
//! Owns: [`Endpoint`] and [`TraceExporter`]. Invariants:
//! - A collector that does not answer costs one line in the log a minute.
//! - The end waits at most [`FINISH_MAX`] for the spans that are left.

use std::{
    fmt, io,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use ureq::Agent;
use uuid::Uuid;

use super::{
    finished_span::FinishedSpan,
    otlp::{self, Service},
    sample_ratio::SampleRatio,
    span_layer::SpanLayer,
    span_queue::{Message, SpanQueue},
};

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
///
/// ```
/// use gesta_telemetry::Endpoint;
///
/// let endpoint: Endpoint = "http://127.0.0.1:4318".parse()?;
/// assert_eq!(endpoint.to_string(), "http://127.0.0.1:4318/v1/traces");
/// # Ok::<(), gesta_telemetry::InvalidEndpoint>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

/// A text that is not the URL of a collector. No error repeats the text, which may have a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEndpoint {
    /// Another form.
    #[error("the endpoint must be the http:// URL of a collector, such as http://127.0.0.1:4318")]
    NotHttp,
    /// A URL that needs TLS.
    #[error(
        "TLS to a collector is not supported; use the http:// URL of a collector on this machine, \
         which forwards traces"
    )]
    NeedsTls,
    /// A URL with credentials.
    #[error("the endpoint must have no user and no password")]
    HasCredentials,
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    /// Takes the base URL of a collector, or the URL of its traces.
    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        if text.starts_with("https://") {
            return Err(InvalidEndpoint::NeedsTls);
        }
        let uri = text.parse::<ureq::http::Uri>().map_err(|_| InvalidEndpoint::NotHttp)?;
        let authority = uri.authority().filter(|one| !one.host().is_empty());
        let has_user = uri.authority().is_some_and(|one| one.as_str().contains('@'));
        if uri.scheme_str() != Some("http") || authority.is_none() || uri.query().is_some() {
            return Err(InvalidEndpoint::NotHttp);
        }
        if has_user {
            return Err(InvalidEndpoint::HasCredentials);
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

/// The thread that sends spans to a collector.
#[derive(Debug)]
pub struct TraceExporter {
    queue: SpanQueue,
    is_ending: Arc<AtomicBool>,
    ended: Receiver<()>,
}

/// The state of the thread.
struct Sending {
    endpoint: Endpoint,
    agent: Agent,
    service: Service,
    instance: String,
    dropped: Arc<AtomicU64>,
    logged: Option<Instant>,
    /// After the end was asked for, no attempt is repeated.
    is_ending: Arc<AtomicBool>,
}

impl TraceExporter {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system starts no thread.
    pub fn start(endpoint: Endpoint, service: Service) -> io::Result<Self> {
        let (queue, received) = SpanQueue::new();
        let (done, ended) = sync_channel(1);
        let is_ending = Arc::new(AtomicBool::new(false));
        let mut sending = Sending {
            endpoint,
            agent: agent(),
            service,
            instance: Uuid::new_v4().to_string(),
            dropped: queue.dropped(),
            logged: None,
            is_ending: Arc::clone(&is_ending),
        };
        let thread = thread::Builder::new().name("gesta-traces".to_owned());
        thread.spawn(move || {
            sending.run(&received);
            // The receiver is gone if nothing waits for the end.
            let _ = done.send(());
        })?;
        Ok(Self { queue, is_ending, ended })
    }

    /// Returns the layer whose spans are sent.
    #[must_use]
    pub fn layer(&self, ratio: SampleRatio) -> SpanLayer {
        SpanLayer::new(self.queue.clone(), ratio)
    }

    /// Sends the spans that wait, and ends the thread.
    ///
    /// Blocks for at most five seconds. Spans that are not sent by then are lost.
    pub fn finish(self) {
        self.is_ending.store(true, Ordering::Release);
        self.queue.wake();
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
        let body = otlp::request(batch, &self.service, &self.instance).to_string();
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
            let refused = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
