//! Subscriptions as server-sent events (HTML standard, section 9.2).
//!
//! Invariants: a reader that reconnects with `Last-Event-ID` gets every later event once; the
//! server holds one delivery that a slow reader has not taken, and cuts a reader that takes nothing
//! for [`STALL_MAX`]; a quiet feed has a comment every [`HEARTBEAT`]. Not here: what a feed
//! delivers ([`feed`](super::feed)).

use std::{convert::Infallible, fmt::Write as _, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream::unfold;
use gesta_store::Incarnation;
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    event_json::EventJson,
    feed::{Feed, FeedItem, FeedStart, FeedTarget},
    native_call::NativeCall,
    parameters::{AFTER_PLACE, AT_END, FROM_TIME, INCARNATION, LAST_EVENT_ID, NUMBER_MAX},
    problem::Problem,
    selection::EventSelection,
};

/// Interval of comments in a quiet feed. Proxies close silent connections, and only a write shows
/// that the reader is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Time after which a reader that takes nothing is cut.
pub(super) const STALL_MAX: Duration = Duration::from_secs(60);
/// Size of text after which it is handed to the connection.
const CHUNK_BYTES: usize = 256 << 10;
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
    let feed = Feed::begin(call.node, call.caller, target, start).await?;
    let (chunks, taken) = mpsc::channel(1);
    tokio::spawn(write(feed, is_of_stream, chunks));
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

/// Writes a feed until it ends or the reader is gone.
async fn write(mut feed: Feed, is_of_stream: bool, chunks: mpsc::Sender<Bytes>) {
    let mut text = RETRY.to_owned();
    loop {
        if timeout(STALL_MAX, chunks.send(text.into())).await != Ok(Ok(())) {
            return;
        }
        text = String::new();
        let items = tokio::select! {
            items = feed.next() => items,
            () = sleep(HEARTBEAT) => {
                text.push_str(COMMENT);
                continue;
            }
            () = chunks.closed() => return,
        };
        match items {
            Ok(items) => {
                for item in &items {
                    push(&mut text, item, is_of_stream);
                    if text.len() >= CHUNK_BYTES {
                        let chunk = std::mem::take(&mut text).into();
                        if timeout(STALL_MAX, chunks.send(chunk)).await != Ok(Ok(())) {
                            return;
                        }
                    }
                }
            }
            Err(problem) => {
                let text = format!("event: problem\ndata: {}\n\n", problem.to_json());
                // The reader may be gone, or slow; nothing comes after it.
                let _ = timeout(STALL_MAX, chunks.send(text.into())).await;
                return;
            }
        }
    }
}

/// Adds one item. Its id is the place that comes back as `Last-Event-ID`.
fn push(text: &mut String, item: &FeedItem, is_of_stream: bool) {
    let place = if is_of_stream { "revision" } else { "position" };
    // Writing to a text does not fail.
    let _ = match item {
        FeedItem::Event(event) => {
            let id = if is_of_stream { event.revision.number() } else { event.position.number() };
            let json = serde_json::to_string(&EventJson::of(event));
            let json = json.expect("an event has a form in JSON");
            write!(text, "id: {id}\ndata: {json}\n\n")
        }
        FeedItem::CaughtUp(Some(id)) => {
            write!(text, "event: caught-up\nid: {id}\ndata: {}\n\n", json!({ place: id }))
        }
        FeedItem::CaughtUp(None) => {
            write!(text, "event: caught-up\ndata: {}\n\n", json!({ place: null }))
        }
        FeedItem::Checkpoint(id) => {
            write!(text, "event: checkpoint\nid: {id}\ndata: {}\n\n", json!({ place: id }))
        }
    };
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

    async fn feed(store: &MemoryStore) -> Feed {
        let node = Node::new(Arc::new(store.clone()), Access::Open);
        let selected = EventSelection::default().select().unwrap();
        let target = FeedTarget::All { selected, incarnation: None };
        Feed::begin(node, Caller::Anonymous, target, FeedStart::Beginning).await.unwrap()
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
        tokio::spawn(write(feed(&store).await, false, chunks));
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
        let writing = tokio::spawn(write(feed(&store).await, false, chunks));
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
