//! Subscriptions as server-sent events (HTML standard, section 9.2).
//!
//! Invariants: a reader that reconnects with `Last-Event-ID` gets every later event once; the
//! server holds one page that a slow reader has not taken, in its share of the memory, and cuts a
//! reader that takes nothing; a quiet feed has a comment every [`HEARTBEAT`]. Not here: what a feed
//! delivers ([`feed`](super::feed)).

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream::unfold;
use gesta_store::Incarnation;
use serde_json::json;
use tokio::{sync::mpsc, time::sleep};

use super::{
    event_json::EventJson,
    feed::{Feed, FeedItem, FeedPage, FeedStart, FeedTarget},
    native_call::NativeCall,
    page::event_bytes,
    parameters::{AFTER_PLACE, AT_END, FROM_TIME, INCARNATION, LAST_EVENT_ID, NUMBER_MAX},
    problem::Problem,
    selection::EventSelection,
};
use crate::{node::Node, outgoing::ReaderRoom};

/// Interval of comments in a quiet feed. Proxies close silent connections, and only a write shows
/// that the reader is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Size of text after which it is handed to the connection, and of the pieces of larger text.
const CHUNK_BYTES: usize = 64 << 10;
/// First line of each feed: the pause of a browser before it reconnects, in milliseconds.
const RETRY: &str = "retry: 2000\n\n";
const COMMENT: &str = ":\n\n";

pub(super) async fn subscribe_to_stream(call: NativeCall) -> Result<Response, Problem> {
    let target = FeedTarget::Stream(call.arguments.stream()?);
    begin(call, target).await
}

pub(super) async fn subscribe_to_all(call: NativeCall) -> Result<Response, Problem> {
    let selected = EventSelection::of_arguments(&call.arguments)?.select()?;
    let incarnation = call.arguments.uuid(&INCARNATION)?.map(Incarnation::new);
    begin(call, FeedTarget::All { selected, incarnation }).await
}

async fn begin(call: NativeCall, target: FeedTarget) -> Result<Response, Problem> {
    let start = start(&call)?;
    let is_of_stream = matches!(target, FeedTarget::Stream(_));
    let room = call.node.outgoing().of_reader();
    let feed = Feed::begin(call.node.clone(), call.caller, room.clone(), (target, start)).await?;
    let (chunks, taken) = mpsc::channel(1);
    let writer = EventWriter { node: call.node, room, is_of_stream, chunks };
    tokio::spawn(writer.write(feed));
    let chunks = unfold(taken, |mut taken| async move {
        let chunk: Bytes = taken.recv().await?;
        Some((Ok::<_, Infallible>(chunk), taken))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Some proxies collect a body before they pass it on.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((StatusCode::OK, headers, Body::from_stream(chunks)).into_response())
}

/// Reads the start of a subscription. The last event of a reader that reconnects is stronger.
fn start(call: &NativeCall) -> Result<FeedStart, Problem> {
    if let Some(last) = last_event_id(&call.headers)? {
        return Ok(FeedStart::After(last));
    }
    let arguments = &call.arguments;
    let after = arguments.number(&AFTER_PLACE)?;
    match (after, arguments.time(&FROM_TIME)?, arguments.is_set(&AT_END)?) {
        (None, None, false) => Ok(FeedStart::Beginning),
        (Some(after), None, false) => Ok(FeedStart::After(after)),
        (None, Some(time), false) => Ok(FeedStart::Time(time)),
        (None, None, true) => Ok(FeedStart::End),
        _ => Err(Problem::invalid("after", "`fromTime` and `atEnd` exclude each other")),
    }
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID.name) else { return Ok(None) };
    let number = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.and_then(|text| text.parse().ok()).filter(|number| *number <= NUMBER_MAX);
    let refused = || Problem::invalid(LAST_EVENT_ID.name, "must be the `id` of an event");
    number.map(Some).ok_or_else(refused)
}

/// The reader of a feed is gone, or too slow.
struct ReaderGone;

/// Writes a feed to one reader.
struct EventWriter {
    node: Node,
    room: ReaderRoom,
    is_of_stream: bool,
    chunks: mpsc::Sender<Bytes>,
}

impl EventWriter {
    /// Writes until the feed ends, or the reader is gone.
    async fn write(self, mut feed: Feed) {
        let mut text = RETRY.to_owned();
        while self.send(std::mem::take(&mut text)).await.is_ok() {
            let page = tokio::select! {
                page = feed.next() => page,
                () = sleep(HEARTBEAT) => {
                    text.push_str(COMMENT);
                    continue;
                }
                () = self.chunks.closed() => return,
            };
            match page {
                Ok(page) => match self.send_page(page).await {
                    Ok(rest) => text = rest,
                    Err(ReaderGone) => return,
                },
                Err(problem) => {
                    let text = format!("event: problem\ndata: {}\n\n", problem.to_json());
                    // The reader may be gone, or slow; nothing comes after it.
                    let _ = self.send(text).await;
                    return;
                }
            }
        }
    }

    /// Sends the items of a page but for a rest, which is small.
    async fn send_page(&self, page: FeedPage) -> Result<String, ReaderGone> {
        // The page has its part of the memory until its text is handed on.
        let FeedPage { items, part: _part } = page;
        let mut text = String::new();
        for item in items {
            let bytes = match &item {
                FeedItem::Event(event) => event_bytes(event),
                FeedItem::CaughtUp(_) | FeedItem::Checkpoint(_) => 0,
            };
            let is_of_stream = self.is_of_stream;
            let made = self.node.large_work().run(bytes, move || item_text(&item, is_of_stream));
            text.push_str(&made.await);
            if text.len() >= CHUNK_BYTES {
                self.send(std::mem::take(&mut text)).await?;
            }
        }
        Ok(text)
    }

    /// Hands text to the connection, in pieces that are small enough to wait there.
    async fn send(&self, text: String) -> Result<(), ReaderGone> {
        let text = Bytes::from(text);
        if text.len() < 2 * CHUNK_BYTES {
            return self.send_chunk(text).await;
        }
        for piece in text.chunks(CHUNK_BYTES) {
            // A slice would keep the whole text in memory.
            self.send_chunk(Bytes::copy_from_slice(piece)).await?;
        }
        Ok(())
    }

    async fn send_chunk(&self, chunk: Bytes) -> Result<(), ReaderGone> {
        match self.room.taken(self.chunks.send(chunk)).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(ReaderGone),
        }
    }
}

/// Returns the text of one item. Its id is the place that comes back as `Last-Event-ID`.
fn item_text(item: &FeedItem, is_of_stream: bool) -> String {
    let place = if is_of_stream { "revision" } else { "position" };
    match item {
        FeedItem::Event(event) => {
            let id = if is_of_stream { event.revision.number() } else { event.position.number() };
            let mut text = format!("id: {id}\ndata: ").into_bytes();
            serde_json::to_writer(&mut text, &EventJson::of(event))
                .expect("an event has a form in JSON");
            text.extend_from_slice(b"\n\n");
            String::from_utf8(text).expect("JSON is UTF-8")
        }
        FeedItem::CaughtUp(Some(id)) => {
            format!("event: caught-up\nid: {id}\ndata: {}\n\n", json!({ place: id }))
        }
        FeedItem::CaughtUp(None) => {
            format!("event: caught-up\ndata: {}\n\n", json!({ place: null }))
        }
        FeedItem::Checkpoint(id) => {
            format!("event: checkpoint\nid: {id}\ndata: {}\n\n", json!({ place: id }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gesta_store::{
        Append, EventId, EventStore as _, EventType, ExpectedRevision, NewEvent, StreamName,
        memory::MemoryStore,
    };

    use super::*;
    use crate::{
        access::{Access, Caller},
        node::Node,
    };

    /// Writes the feed of a whole store.
    async fn write(store: &MemoryStore, chunks: mpsc::Sender<Bytes>) {
        let node = Node::new(Arc::new(store.clone()), Access::Open);
        let selected = EventSelection::default().select().unwrap();
        let begin = (FeedTarget::All { selected, incarnation: None }, FeedStart::Beginning);
        let room = node.outgoing().of_reader();
        let feed = Feed::begin(node.clone(), Caller::Anonymous, room.clone(), begin).await.unwrap();
        EventWriter { node, room, is_of_stream: false, chunks }.write(feed).await;
    }

    async fn grow(store: &MemoryStore) {
        let event_type = EventType::new("happened").unwrap();
        let event = NewEvent::json(EventId::random(), event_type, "{}");
        let stream = StreamName::new("order-1").unwrap();
        store.append(Append::to(stream, ExpectedRevision::Any, [event])).await.unwrap();
    }

    async fn chunk(taken: &mut mpsc::Receiver<Bytes>) -> String {
        String::from_utf8(taken.recv().await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_feed_has_comments_and_goes_on() {
        let store = MemoryStore::new();
        let (chunks, mut taken) = mpsc::channel(1);
        let written = store.clone();
        tokio::spawn(async move { write(&written, chunks).await });
        assert_eq!(chunk(&mut taken).await, RETRY);
        assert!(chunk(&mut taken).await.starts_with("event: caught-up\nid: 0\n"));
        assert_eq!(chunk(&mut taken).await, COMMENT);
        assert_eq!(chunk(&mut taken).await, COMMENT);
        grow(&store).await;
        assert!(chunk(&mut taken).await.starts_with("id: 1\ndata: {\"position\":1,"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_cut() {
        let store = MemoryStore::new();
        let (chunks, taken) = mpsc::channel(1);
        let writing = tokio::spawn(async move { write(&store, chunks).await });
        // The clock moves by itself while everything waits.
        writing.await.unwrap();
        assert_eq!(taken.len(), 1);
    }

    #[test]
    fn the_id_of_the_last_event_is_a_number() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(LAST_EVENT_ID.name, HeaderValue::from_static(value));
            last_event_id(&headers).ok()
        };
        assert_eq!(of("17"), Some(Some(17)));
        for odd in ["", "-1", "a", "9007199254740992"] {
            assert_eq!(of(odd), None, "{odd}");
        }
        assert!(last_event_id(&HeaderMap::new()).unwrap().is_none());
    }
}
