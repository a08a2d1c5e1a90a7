//! The event feed over WebSockets.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use gesta_http::{GestaState, serve};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use crate::{api, asked, send, state};

const PATIENCE: Duration = Duration::from_secs(60);

struct Doors {
    state: GestaState,
    address: SocketAddr,
    end: oneshot::Sender<()>,
}

impl Doors {
    async fn served() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = state().await;
        let (end, ended) = oneshot::channel::<()>();
        let until = async { ended.await.unwrap_or_default() };
        tokio::spawn(serve(listener, api().router(state.clone()), state.clone(), until));
        Self { state, address, end }
    }

    /// Opens doors, one event each.
    async fn open(&self, doors: &[u8]) {
        for door in doors {
            let request = asked("POST", &format!("/doors/{door}/open"));
            assert_eq!(send(api().router(self.state.clone()), request).await.0, 200);
        }
    }

    /// Sends a handshake and returns the connection with the head of the answer.
    async fn shake_hands(&self, target: &str) -> (TcpStream, String) {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            answer.push(char::from(connection.read_u8().await.unwrap()));
        }
        (connection, answer)
    }

    async fn socket(&self) -> Socket {
        let (connection, answer) = self.shake_hands("/v1/events/ws").await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        Socket(WebSocketStream::from_raw_socket(connection, Role::Client, None).await)
    }
}

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn subscribe(&mut self, subscription: Value) {
        let id = subscription["id"].clone();
        self.say(json!({ "subscribe": subscription })).await;
        assert_eq!(self.hear().await, json!({ "id": id, "subscribed": {} }));
    }

    /// Returns the next text or close frame.
    async fn message(&mut self) -> Message {
        loop {
            match timeout(PATIENCE, self.0.next()).await.unwrap().unwrap().unwrap() {
                Message::Ping(_) => {}
                message => return message,
            }
        }
    }

    async fn hear(&mut self) -> Value {
        let message = self.message().await;
        let Message::Text(text) = &message else { panic!("{message}") };
        serde_json::from_str(text.as_str()).unwrap()
    }

    /// Returns the subscription and the position of the next event; other messages are skipped.
    async fn event(&mut self) -> (String, u64) {
        loop {
            let message = self.hear().await;
            if let Some(position) = message["event"]["position"].as_u64() {
                return (message["id"].as_str().unwrap().to_owned(), position);
            }
        }
    }
}

fn of(id: &str, position: u64) -> (String, u64) {
    (id.to_owned(), position)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_resumes_after_a_position_and_goes_on_live() {
    let doors = Doors::served().await;
    doors.open(&[1, 2]).await;
    let mut socket = doors.socket().await;
    socket.subscribe(json!({ "id": "a", "after": 1 })).await;
    let first = socket.hear().await;
    assert_eq!((&first["id"], &first["event"]["stream"]), (&json!("a"), &json!("door-2")));
    assert_eq!(first["event"]["type"], "door-opened");
    assert_eq!(socket.hear().await, json!({ "id": "a", "caughtUp": { "position": 2 } }));
    doors.open(&[3]).await;
    assert_eq!(socket.event().await, of("a", 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_subscriptions_with_filters_share_a_socket_and_end_one_by_one() {
    let doors = Doors::served().await;
    let mut socket = doors.socket().await;
    socket.subscribe(json!({ "id": "a", "streams": ["door-1"] })).await;
    assert_eq!(socket.hear().await, json!({ "id": "a", "caughtUp": { "position": 0 } }));
    socket.subscribe(json!({ "id": "b", "types": ["door-opened"], "categories": ["door"] })).await;
    assert_eq!(socket.hear().await, json!({ "id": "b", "caughtUp": { "position": 0 } }));
    doors.open(&[2]).await;
    assert_eq!(socket.event().await, of("b", 1));
    socket.say(json!({ "unsubscribe": { "id": "b" } })).await;
    loop {
        let message = socket.hear().await;
        if message == json!({ "id": "b", "unsubscribed": {} }) {
            break;
        }
        assert!(message.get("event").is_none(), "{message}");
    }
    doors.open(&[3, 1]).await;
    assert_eq!(socket.event().await, of("a", 3), "the other goes on, and `b` says nothing more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_holds_events_back_until_they_are_acknowledged() {
    let doors = Doors::served().await;
    doors.open(&[1, 2, 3, 4, 5]).await;
    let mut socket = doors.socket().await;
    socket.subscribe(json!({ "id": "a", "window": 2 })).await;
    assert_eq!((socket.event().await, socket.event().await), (of("a", 1), of("a", 2)));
    // Another subscription is answered, so the first one had its turns and waits.
    socket.subscribe(json!({ "id": "b" })).await;
    for position in 1..=5 {
        assert_eq!(socket.event().await, of("b", position), "`a` sends nothing beyond its window");
    }
    socket.say(json!({ "acknowledge": { "id": "a", "position": 1 } })).await;
    assert_eq!(socket.event().await, of("a", 3));
    socket.say(json!({ "acknowledge": { "id": "a", "position": 3 } })).await;
    assert_eq!((socket.event().await, socket.event().await), (of("a", 4), of("a", 5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_message_is_a_problem_and_what_runs_goes_on() {
    let doors = Doors::served().await;
    let mut socket = doors.socket().await;
    socket.subscribe(json!({ "id": "a" })).await;
    assert_eq!(socket.hear().await, json!({ "id": "a", "caughtUp": { "position": 0 } }));
    for (message, id) in [
        (json!({ "subscribe": { "id": "a" } }), Value::Null),
        (json!({ "subscribe": { "id": "b", "typos": [] } }), json!("b")),
        (json!({ "subscribe": { "id": "b", "types": [] } }), json!("b")),
        (json!({ "subscribe": { "id": "b", "after": 99 } }), json!("b")),
        (json!({ "unsubscribe": { "id": "b" } }), Value::Null),
        (json!({ "acknowledge": { "id": "b", "position": 1 } }), Value::Null),
        (json!("nonsense"), Value::Null),
    ] {
        socket.say(message.clone()).await;
        let answer = socket.hear().await;
        assert!(answer["problem"]["code"].is_string(), "{message}: {answer}");
        assert_eq!(answer["id"], id, "{message}: {answer}");
    }
    doors.open(&[1]).await;
    assert_eq!(socket.event().await, of("a", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_in_the_path_is_refused_and_not_ignored() {
    let doors = Doors::served().await;
    let (_connection, answer) = doors.shake_hands("/v1/events/ws?after=5").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_has_a_bounded_number_of_subscriptions() {
    let doors = Doors::served().await;
    let mut socket = doors.socket().await;
    for number in 0..20 {
        socket.say(json!({ "subscribe": { "id": number.to_string(), "types": ["never"] } })).await;
    }
    socket.say(json!({ "subscribe": { "id": "more" } })).await;
    loop {
        let message = socket.hear().await;
        if message["id"] == "more" {
            assert_eq!(message["problem"]["code"], "too-many-subscriptions", "{message}");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_the_server_is_told() {
    let doors = Doors::served().await;
    let mut socket = doors.socket().await;
    socket.subscribe(json!({ "id": "a" })).await;
    assert_eq!(socket.hear().await, json!({ "id": "a", "caughtUp": { "position": 0 } }));
    doors.end.send(()).unwrap();
    match socket.message().await {
        Message::Close(frame) => assert_eq!(u16::from(frame.unwrap().code), 1001),
        other => panic!("{other}"),
    }
}
