//! The session of a WebSocket: any number of subscriptions over one connection.
//!
//! Invariants: at most [`SUBSCRIPTIONS_MAX`] subscriptions, and [`FRAMES_WAITING`] frames that the
//! client has not taken; a subscription waits for its turn. A client that takes no frame for
//! [`STALL_MAX`] is told so by the code of the close frame, as far as it reads, and is cut. So is a
//! client that answers no ping. Nothing of a subscription is sent after its end was confirmed.
//!
//! Not here: the handshake ([`socket`](super::socket)), frames ([`frames`](super::frames)).

use std::{collections::HashMap, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
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
    feed::{Feed, FeedStart, FeedTarget},
    frames::{RefusedWish, Wish, confirmation_frame, item_frame, problem_frame},
    problem::Problem,
    sse::STALL_MAX,
};
use crate::{access::Caller, node::Node};

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
                        Some(Ok(Message::Text(text))) => self.take(&text).map(Message::text),
                        Some(Ok(Message::Binary(_))) => {
                            return SessionEnd::Closed(CloseCode::Unsupported, "send JSON as text");
                        }
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return SessionEnd::Left,
                        // Pings are answered by the next write.
                        Some(Ok(_)) => None,
                    }
                }
                Some(frame) = waiting.recv() => self.current(frame).map(Message::text),
                _ = pings.tick() => {
                    if heard.elapsed() >= SILENCE_MAX {
                        return SessionEnd::Closed(CloseCode::Policy, "no ping was answered");
                    }
                    Some(Message::Ping(Vec::new().into()))
                }
                () = &mut stopped => {
                    return SessionEnd::Closed(CloseCode::Away, "the server is shutting down");
                }
            };
            let Some(reply) = reply else { continue };
            match timeout(STALL_MAX, socket.send(reply)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return SessionEnd::Left,
                Err(_) => return SessionEnd::Closed(SLOW, "no frame was taken for a minute"),
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
                Err(problem) => Some(problem_frame(None, &problem)),
            },
            Ok(Wish::Unsubscribe { id }) => match self.running.remove(&id) {
                Some(running) => {
                    running.task.abort();
                    Some(confirmation_frame(&id, "unsubscribed"))
                }
                None => {
                    let problem = Problem::invalid("id", "names no subscription of this socket");
                    Some(problem_frame(None, &problem))
                }
            },
            Err(RefusedWish { id, problem }) => {
                // A running subscription continues: the problem is about the frame.
                let id = id.filter(|id| !self.running.contains_key(id));
                Some(problem_frame(id.as_deref(), &problem))
            }
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
        let lane = FeedLane { id: id.clone(), number: self.begun, outgoing: self.outgoing.clone() };
        let task = lane.run(self.node.clone(), self.caller.clone(), target, start);
        let task = self.tasks.spawn(task);
        self.running.insert(id, RunningFeed { number: self.begun, task });
    }

    /// Returns the text of a frame whose subscription has not ended.
    fn current(&mut self, frame: Outgoing) -> Option<String> {
        let running = self.running.get(&frame.id)?;
        if running.number != frame.number {
            return None;
        }
        if frame.is_last {
            self.running.remove(&frame.id);
        }
        Some(frame.text)
    }
}

/// The way of one subscription's frames.
struct FeedLane {
    id: String,
    number: u64,
    outgoing: mpsc::Sender<Outgoing>,
}

impl FeedLane {
    async fn run(self, node: Node, caller: Caller, target: FeedTarget, start: FeedStart) {
        let is_of_stream = matches!(target, FeedTarget::Stream(_));
        let ended = match Feed::begin(node, caller, target, start).await {
            Ok(mut feed) => {
                if !self.send(confirmation_frame(&self.id, "subscribed"), false).await {
                    return;
                }
                loop {
                    match feed.next().await {
                        Ok(items) => {
                            for item in &items {
                                // No event is rendered before there is room for its frame.
                                let Ok(room) = self.outgoing.reserve().await else { return };
                                let text = item_frame(&self.id, item, is_of_stream);
                                room.send(self.frame(text, false));
                            }
                        }
                        Err(problem) => break problem,
                    }
                }
            }
            Err(problem) => problem,
        };
        self.send(problem_frame(Some(&self.id), &ended), true).await;
    }

    /// Hands a frame on, after those before it. Returns `false` if the session has ended.
    async fn send(&self, text: String, is_last: bool) -> bool {
        self.outgoing.send(self.frame(text, is_last)).await.is_ok()
    }

    fn frame(&self, text: String, is_last: bool) -> Outgoing {
        Outgoing { id: self.id.clone(), number: self.number, text, is_last }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gesta_store::{
        Append, EventId, EventStore as _, EventType, ExpectedRevision, NewEvent, StreamName,
        memory::MemoryStore,
    };
    use serde_json::Value;
    use tokio::{io::DuplexStream, task::JoinHandle};

    use super::*;
    use crate::access::Access;

    struct Scene {
        store: MemoryStore,
        node: Node,
        socket: WebSocketStream<DuplexStream>,
        session: JoinHandle<()>,
    }

    impl Scene {
        async fn new() -> Self {
            let store = MemoryStore::new();
            let node = Node::new(Arc::new(store.clone()), Access::Open);
            let (client, server) = tokio::io::duplex(1 << 10);
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
        assert!(scene.json().await["problem"]["detail"].as_str().unwrap().contains("running"));
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
        let text = scene.json().await.to_string();
        assert!(text.contains("the limit of 20"), "{text}");
    }
}
