//! The session of a WebSocket: any number of subscriptions over one connection.
//!
//! Invariants: at most [`SUBSCRIPTIONS_MAX`] subscriptions, whose pages share the memory of one
//! connection, and [`FRAMES_WAITING`] frames that the client has not taken, one of them large; a
//! subscription waits for its turn. A client that takes no frame is told so by the code of the
//! close frame, as far as it reads, and is cut. So is a client that answers no ping. Nothing of a
//! subscription is sent after its end was confirmed.
//!
//! Not here: the handshake ([`socket`](super::socket)), frames ([`frames`](super::frames)).

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{
    feed::{Feed, FeedItem, FeedPage, FeedStart, FeedTarget},
    frames::{RefusedWish, Wish, confirmation_frame, item_frame, problem_frame},
    page::event_bytes,
    problem::Problem,
};
use crate::{
    access::Caller,
    large_work::LargeWork,
    node::Node,
    outgoing::{OutgoingPart, ReaderRoom},
};

/// Maximum number of subscriptions of one connection.
const SUBSCRIPTIONS_MAX: usize = 20;
/// Number of frames that wait for the client, of all subscriptions.
const FRAMES_WAITING: usize = 4;
/// Maximum size of a client's frame.
const FRAME_BYTES_MAX: usize = 256 << 10;
const READ_BUFFER_BYTES: usize = 4 << 10;
/// Interval of pings.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Time without anything from the client after which it is gone.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Time for a close frame and its answer.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// Code of the close frame for a client that takes nothing; 4000 to 4999 are free for use.
const SLOW: CloseCode = CloseCode::Library(4008);

/// A frame of a subscription.
struct Outgoing {
    id: String,
    /// Tells subscriptions apart that have the same id one after the other.
    number: u64,
    text: String,
    is_last: bool,
    held: Held,
}

/// The memory of a frame, until it is sent.
#[derive(Default)]
struct Held {
    _part: Option<Arc<OutgoingPart>>,
    /// The turn of a large frame.
    _large: Option<OwnedSemaphorePermit>,
}

/// A running subscription.
struct RunningFeed {
    number: u64,
    task: AbortHandle,
}

struct Session {
    node: Node,
    caller: Caller,
    running: HashMap<String, RunningFeed>,
    /// Dropping the set ends the subscriptions.
    tasks: JoinSet<()>,
    outgoing: mpsc::Sender<Outgoing>,
    room: ReaderRoom,
    /// The turn of a large frame: the others wait unrendered.
    large: Arc<Semaphore>,
    begun: u64,
}

/// The reason for which a session ends.
enum SessionEnd {
    /// The client has closed, or is gone.
    Left,
    /// The server closes, with this code and text.
    Closed(CloseCode, &'static str),
}

/// Serves a connection until it ends.
pub(super) async fn run<Connection>(connection: Connection, node: Node, caller: Caller)
where
    Connection: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    let mut socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
    let (outgoing, waiting) = mpsc::channel(FRAMES_WAITING);
    let session = Session {
        room: node.outgoing().of_reader(),
        large: Arc::new(Semaphore::new(1)),
        node,
        caller,
        running: HashMap::new(),
        tasks: JoinSet::new(),
        outgoing,
        begun: 0,
    };
    let frame = match session.serve(&mut socket, waiting).await {
        SessionEnd::Closed(code, reason) => Some(CloseFrame { code, reason: reason.into() }),
        SessionEnd::Left => None,
    };
    // The client may take nothing more, and answer nothing.
    let _ = timeout(CLOSE_MAX, end(&mut socket, frame)).await;
}

/// Ends the protocol, so that the client reads the close frame before the connection is gone.
async fn end<Connection>(socket: &mut WebSocketStream<Connection>, frame: Option<CloseFrame>)
where
    Connection: AsyncRead + AsyncWrite + Unpin,
{
    let sent = match frame {
        Some(frame) => socket.close(Some(frame)).await,
        // The answer to the client's close frame waits for a write.
        None => socket.flush().await,
    };
    if sent.is_ok() {
        while let Some(Ok(_)) = socket.next().await {}
    }
}

impl Session {
    async fn serve<Connection>(
        mut self,
        socket: &mut WebSocketStream<Connection>,
        mut waiting: mpsc::Receiver<Outgoing>,
    ) -> SessionEnd
    where
        Connection: AsyncRead + AsyncWrite + Unpin,
    {
        let mut pings = interval(PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let stopped = self.node.stopped();
        tokio::pin!(stopped);
        loop {
            let reply = tokio::select! {
                message = socket.next() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => self.take(&text).map(unheld),
                        Some(Ok(Message::Binary(_))) => {
                            return SessionEnd::Closed(CloseCode::Unsupported, "send JSON as text");
                        }
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return SessionEnd::Left,
                        // Pings are answered by the next write.
                        Some(Ok(_)) => None,
                    }
                }
                Some(frame) = waiting.recv() => self.current(frame),
                _ = pings.tick() => {
                    if heard.elapsed() >= SILENCE_MAX {
                        return SessionEnd::Closed(CloseCode::Policy, "no ping was answered");
                    }
                    Some((Message::Ping(Vec::new().into()), Held::default()))
                }
                () = &mut stopped => {
                    return SessionEnd::Closed(CloseCode::Away, "the server is shutting down");
                }
            };
            let Some((message, _held)) = reply else { continue };
            match self.room.taken(socket.send(message)).await {
                Some(Ok(())) => {}
                Some(Err(_)) => return SessionEnd::Left,
                None => return SessionEnd::Closed(SLOW, "no frame was taken for too long"),
            }
        }
    }

    /// Carries out a frame of the client; the answer is a frame, if there is one at once.
    fn take(&mut self, text: &str) -> Option<String> {
        match Wish::read(text) {
            Ok(Wish::Subscribe { id, target, start }) => match self.check_new(&id) {
                Ok(()) => {
                    self.begin(id, target, start);
                    None
                }
                Err(problem) => Some(self.refusal(&id, problem)),
            },
            Ok(Wish::Unsubscribe { id }) => match self.running.remove(&id) {
                Some(running) => {
                    running.task.abort();
                    Some(confirmation_frame(&id, "unsubscribed"))
                }
                None => {
                    let problem = Problem::invalid("id", "names no subscription of this socket");
                    Some(problem_frame(Some(&id), &problem))
                }
            },
            Err(RefusedWish { id, problem }) => Some(match id {
                Some(id) => self.refusal(&id, problem),
                None => problem_frame(None, &problem),
            }),
        }
    }

    /// Returns the problem of a frame about a subscription. An `id` beside the problem says that
    /// the subscription has ended, so the id of one that continues is within the problem.
    fn refusal(&self, id: &str, problem: Problem) -> String {
        match self.running.contains_key(id) {
            true => problem_frame(None, &problem.with("subscription", id)),
            false => problem_frame(Some(id), &problem),
        }
    }

    fn check_new(&mut self, id: &str) -> Result<(), Problem> {
        // Frees the tasks that have ended.
        while self.tasks.try_join_next().is_some() {}
        if self.running.contains_key(id) {
            let reason = format!("must be new; the subscription `{id}` is running");
            return Err(Problem::invalid("id", reason));
        }
        if self.running.len() >= SUBSCRIPTIONS_MAX {
            let reason = format!("exceeds the limit of {SUBSCRIPTIONS_MAX} subscriptions");
            return Err(Problem::invalid("subscribe", reason));
        }
        Ok(())
    }

    fn begin(&mut self, id: String, target: FeedTarget, start: FeedStart) {
        self.begun += 1;
        let lane = FeedLane {
            id: id.clone(),
            number: self.begun,
            node: self.node.clone(),
            outgoing: self.outgoing.clone(),
            room: self.room.clone(),
            large: Arc::clone(&self.large),
        };
        let task = lane.run(self.caller.clone(), target, start);
        let task = self.tasks.spawn(task);
        self.running.insert(id, RunningFeed { number: self.begun, task });
    }

    /// Returns the message of a frame whose subscription has not ended.
    fn current(&mut self, frame: Outgoing) -> Option<(Message, Held)> {
        let running = self.running.get(&frame.id)?;
        if running.number != frame.number {
            return None;
        }
        if frame.is_last {
            self.running.remove(&frame.id);
        }
        Some((Message::text(frame.text), frame.held))
    }
}

/// Makes a message that is small.
fn unheld(text: String) -> (Message, Held) {
    (Message::text(text), Held::default())
}

/// The way of one subscription's frames.
struct FeedLane {
    id: String,
    number: u64,
    node: Node,
    outgoing: mpsc::Sender<Outgoing>,
    room: ReaderRoom,
    large: Arc<Semaphore>,
}

/// The session has ended.
struct SessionOver;

impl FeedLane {
    async fn run(self, caller: Caller, target: FeedTarget, start: FeedStart) {
        let is_of_stream = matches!(target, FeedTarget::Stream(_));
        let room = self.room.clone();
        let ended = match Feed::begin(self.node.clone(), caller, room, (target, start)).await {
            Ok(mut feed) => {
                let confirmation = confirmation_frame(&self.id, "subscribed");
                if self.send(confirmation, false).await.is_err() {
                    return;
                }
                loop {
                    match feed.next().await {
                        Ok(page) => {
                            if self.send_page(page, is_of_stream).await.is_err() {
                                return;
                            }
                        }
                        Err(problem) => break problem,
                    }
                }
            }
            Err(problem) => problem,
        };
        // The session may have ended, too.
        let _ = self.send(problem_frame(Some(&self.id), &ended), true).await;
    }

    async fn send_page(&self, page: FeedPage, is_of_stream: bool) -> Result<(), SessionOver> {
        let part = page.part.map(Arc::new);
        for item in page.items {
            let bytes = match &item {
                FeedItem::Event(event) => event_bytes(event),
                FeedItem::CaughtUp(_) | FeedItem::Checkpoint(_) => 0,
            };
            // No event is rendered before there is room for its frame.
            let large = match LargeWork::is_large(bytes) {
                true => Arc::clone(&self.large).acquire_owned().await.ok(),
                false => None,
            };
            let room = self.outgoing.reserve().await.map_err(|_| SessionOver)?;
            let id = self.id.clone();
            let make = move || item_frame(&id, &item, is_of_stream);
            let text = self.node.large_work().run(bytes, make).await;
            let held = Held { _part: part.clone(), _large: large };
            room.send(self.frame(text, false, held));
        }
        Ok(())
    }

    /// Hands a frame on, after those before it.
    async fn send(&self, text: String, is_last: bool) -> Result<(), SessionOver> {
        let frame = self.frame(text, is_last, Held::default());
        self.outgoing.send(frame).await.map_err(|_| SessionOver)
    }

    fn frame(&self, text: String, is_last: bool, held: Held) -> Outgoing {
        Outgoing { id: self.id.clone(), number: self.number, text, is_last, held }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use futures_util::stream;
    use gesta_store::{
        Append, Appended, Capabilities, Delivery, EventId, EventStore, EventType, ExpectedRevision,
        Head, NewEvent, Pages, ReadAll, ReadStream, StoreFuture, StreamDescription, StreamName,
        Subscribe, Subscription, memory::MemoryStore,
    };
    use serde_json::Value;
    use tokio::{io::DuplexStream, task::JoinHandle, time::sleep};

    use super::*;
    use crate::{access::Access, native::feed::PAGE_BYTES_MIN, outgoing::READER_BYTES_MAX};

    struct Scene {
        store: MemoryStore,
        node: Node,
        socket: WebSocketStream<DuplexStream>,
        session: JoinHandle<()>,
    }

    impl Scene {
        async fn new() -> Self {
            let store = MemoryStore::new();
            Self::of(store.clone(), Arc::new(store), 1 << 10).await
        }

        /// A session over a store that may be another view of the same events.
        async fn of(store: MemoryStore, view: Arc<dyn EventStore>, pipe_bytes: usize) -> Self {
            let node = Node::new(view, Access::Open);
            let (client, server) = tokio::io::duplex(pipe_bytes);
            let session = tokio::spawn(run(server, node.clone(), Caller::Anonymous));
            let socket = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
            Self { store, node, socket, session }
        }

        async fn grow(&self, data: &str) {
            let event_type = EventType::new("happened").unwrap();
            let event = NewEvent::json(EventId::random(), event_type, format!("\"{data}\""));
            let stream = StreamName::new("order-1").unwrap();
            let append = Append::to(stream, ExpectedRevision::Any, [event]);
            self.store.append(append).await.unwrap();
        }

        async fn send(&mut self, text: &str) {
            self.socket.send(Message::text(text)).await.unwrap();
        }

        /// Returns the next text or close frame.
        async fn next(&mut self) -> Message {
            loop {
                match self.socket.next().await.unwrap().unwrap() {
                    Message::Ping(_) | Message::Pong(_) => {}
                    message => return message,
                }
            }
        }

        async fn json(&mut self) -> Value {
            match self.next().await {
                Message::Text(text) => serde_json::from_str(&text).unwrap(),
                other => panic!("{other:?}"),
            }
        }

        async fn closed_with(&mut self) -> CloseCode {
            match self.next().await {
                Message::Close(Some(frame)) => frame.code,
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn subscriptions_share_a_socket_and_end_one_by_one() {
        let mut scene = Scene::new().await;
        scene.grow("one").await;
        scene.send(r#"{"subscribe":{"id":"a","stream":"order-1"}}"#).await;
        assert_eq!(scene.json().await["subscribed"], Value::Object(Default::default()));
        assert_eq!(scene.json().await["event"]["data"], "one");
        assert_eq!(scene.json().await["caughtUp"]["revision"], 0);
        scene.send(r#"{"subscribe":{"id":"a","stream":"order-1"}}"#).await;
        let refused = scene.json().await;
        assert!(refused["problem"]["detail"].as_str().unwrap().contains("running"));
        // An `id` would say that the running one has ended.
        assert_eq!((refused.get("id"), &refused["problem"]["subscription"]), (None, &"a".into()));
        scene.send(r#"{"unsubscribe":{"id":"a"}}"#).await;
        assert!(scene.json().await.get("unsubscribed").is_some());
        scene.grow("two").await;
        scene.send(r#"{"subscribe":{"id":"a","types":["happened"],"after":1}}"#).await;
        assert!(scene.json().await.get("subscribed").is_some());
        assert_eq!(scene.json().await["event"]["position"], 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_frame_is_answered_and_a_binary_one_closes() {
        let mut scene = Scene::new().await;
        scene.send("{").await;
        assert_eq!(scene.json().await["problem"]["code"], "invalid");
        scene.socket.send(Message::binary(vec![1])).await.unwrap();
        assert_eq!(scene.closed_with().await, CloseCode::Unsupported);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_closes_is_answered() {
        let mut scene = Scene::new().await;
        scene.socket.close(None).await.unwrap();
        assert!(matches!(scene.next().await, Message::Close(_)));
        scene.session.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stops_says_so() {
        let mut scene = Scene::new().await;
        scene.node.stop();
        assert_eq!(scene.closed_with().await, CloseCode::Away);
        scene.session.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_no_frame_is_told_and_cut() {
        let mut scene = Scene::new().await;
        for _ in 0..10 {
            scene.grow(&"x".repeat(1_000)).await;
        }
        scene.send(r#"{"subscribe":{"id":"a","stream":"order-1"}}"#).await;
        // The client reads nothing. The clock moves by itself while everything waits.
        (&mut scene.session).await.unwrap();
        let mut last = None;
        while let Some(Ok(message)) = scene.socket.next().await {
            last = Some(message);
        }
        assert!(!matches!(last, Some(Message::Close(_))), "the pipe was full");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_no_ping_is_cut() {
        let scene = Scene::new().await;
        // Pings wait unread in the pipe.
        scene.session.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_has_a_limit_of_subscriptions() {
        let mut scene = Scene::new().await;
        for number in 0..SUBSCRIPTIONS_MAX {
            scene.send(&format!(r#"{{"subscribe":{{"id":"{number}","stream":"s-1"}}}}"#)).await;
            assert!(scene.json().await.get("subscribed").is_some());
            assert!(scene.json().await.get("caughtUp").is_some());
        }
        scene.send(r#"{"subscribe":{"id":"more","stream":"s-1"}}"#).await;
        let refused = scene.json().await;
        assert!(refused.to_string().contains("the limit of 20"), "{refused}");
        assert_eq!(refused["id"], "more");
        scene.send(r#"{"unsubscribe":{"id":"more"}}"#).await;
        assert_eq!(scene.json().await["id"], "more");
    }

    /// A store that reads each event into memory of its own, and knows how much is held.
    #[derive(Clone)]
    struct MeteredStore {
        store: MemoryStore,
        held: Arc<HeldBytes>,
    }

    #[derive(Default)]
    struct HeldBytes {
        now: AtomicUsize,
        peak: AtomicUsize,
    }

    /// The payload of an event that was read.
    struct Payload(Bytes, Arc<HeldBytes>);

    impl Payload {
        fn of(data: &Bytes, held: &Arc<HeldBytes>) -> Bytes {
            let now = held.now.fetch_add(data.len(), Ordering::Relaxed) + data.len();
            held.peak.fetch_max(now, Ordering::Relaxed);
            Bytes::from_owner(Self(data.clone(), Arc::clone(held)))
        }
    }

    impl AsRef<[u8]> for Payload {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Payload {
        fn drop(&mut self) {
            self.1.now.fetch_sub(self.0.len(), Ordering::Relaxed);
        }
    }

    impl EventStore for MeteredStore {
        fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
            self.store.append(append)
        }

        fn read_stream(&self, read: ReadStream) -> Pages {
            self.store.read_stream(read)
        }

        fn read_all(&self, read: ReadAll) -> Pages {
            self.store.read_all(read)
        }

        /// Delivers one event at a time.
        fn subscribe(&self, subscribe: Subscribe) -> Subscription {
            let held = Arc::clone(&self.held);
            let deliveries = self.store.subscribe(subscribe).flat_map(move |delivery| {
                let parts = match delivery {
                    Ok(Delivery::Events(events)) => {
                        events.into_iter().map(|event| Ok(Delivery::Events(vec![event]))).collect()
                    }
                    other => vec![other],
                };
                let held = Arc::clone(&held);
                stream::iter(parts.into_iter().map(move |mut part| {
                    if let Ok(Delivery::Events(events)) = &mut part {
                        for event in events {
                            event.data = Payload::of(&event.data, &held);
                        }
                    }
                    part
                }))
            });
            Subscription::new(deliveries)
        }

        fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
            self.store.describe_stream(stream)
        }

        fn head(&self) -> StoreFuture<'_, Head> {
            self.store.head()
        }

        fn capabilities(&self) -> Capabilities {
            self.store.capabilities()
        }
    }

    /// Size of a large event.
    const LARGE_BYTES: usize = 256 << 10;
    /// Size of one that all subscriptions get at the same moment.
    const LIVE_BYTES: usize = 2 << 20;
    const LARGE_EVENTS: usize = 3;

    async fn begin_all(scene: &mut Scene) {
        for number in 0..SUBSCRIPTIONS_MAX {
            scene.send(&format!(r#"{{"subscribe":{{"id":"{number}","stream":"order-1"}}}}"#)).await;
        }
        // The clock moves when everything waits for the client.
        sleep(Duration::from_secs(4)).await;
    }

    /// Takes frames until each subscription has had this number of events.
    async fn take_all(scene: &mut Scene, events: usize) {
        let mut counts = HashMap::<String, usize>::new();
        while counts.values().sum::<usize>() < SUBSCRIPTIONS_MAX * events {
            let Message::Text(text) = scene.next().await else { panic!("the session has ended") };
            // A whole event takes long to parse.
            if let Some((id, _)) = text.split_once(r#"","event":"#) {
                *counts.entry(id.to_owned()).or_default() += 1;
            }
        }
        assert!(counts.values().all(|count| *count == events), "{counts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn subscriptions_of_a_client_that_reads_nothing_hold_a_few_pages_and_lose_nothing() {
        let store = MemoryStore::new();
        let view = MeteredStore { store: store.clone(), held: Arc::default() };
        let held = Arc::clone(&view.held);
        let mut scene = Scene::of(store, Arc::new(view), 64 << 10).await;
        for _ in 0..LARGE_EVENTS {
            scene.grow(&"x".repeat(LARGE_BYTES)).await;
        }
        begin_all(&mut scene).await;
        // The memory of a page has room for the one that the store reads ahead.
        let pages_max = READER_BYTES_MAX / PAGE_BYTES_MIN;
        assert!(held.peak.load(Ordering::Relaxed) <= pages_max * (LARGE_BYTES + 2));
        assert!(held.now.load(Ordering::Relaxed) > 0, "the client is not stalled");
        take_all(&mut scene, LARGE_EVENTS).await;
        assert!(held.peak.load(Ordering::Relaxed) <= pages_max * (LARGE_BYTES + 2));

        // Subscriptions at the head get an event at the same moment.
        scene.grow(&"y".repeat(LIVE_BYTES)).await;
        sleep(Duration::from_secs(4)).await;
        assert!(held.peak.load(Ordering::Relaxed) <= READER_BYTES_MAX + LIVE_BYTES);
        take_all(&mut scene, 1).await;
    }
}
