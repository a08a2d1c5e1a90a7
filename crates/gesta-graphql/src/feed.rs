//! Feeds as subscriptions: the server-sent events of the HTTP interface, one value each.
//!
//! Invariants:
//! - The next event is read only when the last one was taken, so a slow client holds up nothing but
//!   its own feed.
//! - A feed ends when the server shuts down, as it does over HTTP.

use std::sync::Arc;

use async_graphql::Result;
use axum::body::{BodyDataStream, to_bytes};
use futures_util::{StreamExt as _, stream::BoxStream, stream::unfold};
use serde_json::Value;

use crate::{
    caller::{CallAnswer, CallParts, Caller},
    failure::Failure,
    loader::Loader,
};

/// The end of a server-sent event.
const END: &[u8] = b"\n\n";
/// Names of messages that are no events.
const PROGRESS: [&str; 2] = ["caught-up", "checkpoint"];

/// Values of a subscription.
pub(crate) type LiveValues = BoxStream<'static, Result<Value>>;

/// A server-sent event.
#[derive(Debug, Default, PartialEq)]
struct ServerSentEvent {
    id: Option<u64>,
    kind: String,
    data: String,
}

struct FeedReader {
    caller: Arc<Caller>,
    loader: Arc<Loader>,
    body: BodyDataStream,
    buffer: Vec<u8>,
    has_failed: bool,
}

/// Opens a feed.
///
/// # Errors
/// The problem that the HTTP interface answers with.
pub(crate) async fn events(
    caller: Arc<Caller>,
    loader: Arc<Loader>,
    call: CallParts,
) -> Result<LiveValues, Failure> {
    let response = caller.open(call).await?;
    let status = response.status().as_u16();
    if status != 200 {
        let headers = response.headers().clone();
        let body = to_bytes(response.into_body(), usize::MAX).await.map_err(Failure::internal)?;
        let body = serde_json::from_slice(&body).map_err(Failure::internal)?;
        return Err(CallAnswer { status, headers, body }.failure());
    }
    let body = response.into_body().into_data_stream();
    let reader = FeedReader { caller, loader, body, buffer: Vec::new(), has_failed: false };
    Ok(unfold(reader, FeedReader::next).boxed())
}

impl FeedReader {
    /// Returns the next event, or `None` at the end of the feed.
    async fn next(mut self) -> Option<(Result<Value>, Self)> {
        loop {
            if self.has_failed {
                return None;
            }
            let event = match self.next_event().await? {
                Ok(event) => event,
                Err(failure) => return Some(self.failed(failure)),
            };
            // A comment has no data.
            if event.data.is_empty() || PROGRESS.contains(&event.kind.as_str()) {
                continue;
            }
            let value = match serde_json::from_str::<Value>(&event.data) {
                Ok(value) => value,
                Err(error) => return Some(self.failed(Failure::internal(error))),
            };
            if event.kind == "problem" {
                return Some(self.failed(Failure::of_problem(&value)));
            }
            self.loader.begin_answer(event.id);
            if let Some(position) = event.id {
                self.caller.reached(position, false);
            }
            return Some((Ok(value), self));
        }
    }

    fn failed(mut self, failure: Failure) -> (Result<Value>, Self) {
        self.has_failed = true;
        (Err(failure.into_error()), self)
    }

    async fn next_event(&mut self) -> Option<Result<ServerSentEvent, Failure>> {
        let mut searched = 0;
        loop {
            let rest = self.buffer.get(searched..).unwrap_or_default();
            if let Some(at) = rest.windows(END.len()).position(|bytes| bytes == END) {
                let block: Vec<_> = self.buffer.drain(..searched + at + END.len()).collect();
                return Some(Ok(ServerSentEvent::of(&String::from_utf8_lossy(&block))));
            }
            // The end may be split between two chunks.
            searched = self.buffer.len().saturating_sub(1);
            match self.body.next().await? {
                Ok(chunk) => self.buffer.extend_from_slice(&chunk),
                Err(error) => return Some(Err(Failure::internal(error))),
            }
        }
    }
}

impl ServerSentEvent {
    /// Parses the lines of one event (HTML standard, section 9.2.6).
    fn of(block: &str) -> Self {
        let mut event = Self::default();
        for line in block.lines() {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "id" => event.id = value.parse().ok(),
                "event" => value.clone_into(&mut event.kind),
                "data" => {
                    if !event.data.is_empty() {
                        event.data.push('\n');
                    }
                    event.data.push_str(value);
                }
                // Comments, whose name is empty.
                _ => {}
            }
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_its_lines_and_a_comment_is_none() {
        let event = ServerSentEvent::of("event: problem\nid: 7\ndata: {\ndata: }\n\n");
        let (kind, data) = ("problem".to_owned(), "{\n}".to_owned());
        assert_eq!(event, ServerSentEvent { id: Some(7), kind, data });
        assert_eq!(ServerSentEvent::of(": keep-alive\n\n"), ServerSentEvent::default());
    }
}
