//! Subscriptions over WebSockets, by a real handshake. The session has tests of its own.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, frame::coding::CloseCode},
    },
};

use super::http_client::Api;
use crate::{
    client::PATIENCE,
    endpoints::LOCAL,
    scene::{Scene, scenarios},
};

scenarios!(
    subscriptions_to_streams_and_selections_share_a_connection,
    a_refused_subscription_leaves_the_others,
    a_server_that_stops_closes_its_sockets_before_it_ends,
    a_page_of_another_origin_gets_no_socket,
    a_request_that_is_no_handshake_is_refused,
);

const HANDSHAKE: &str = "connection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(api: Api) -> Self {
        let mut stream = api.connect().await;
        let head = format!("GET /v1/socket HTTP/1.1\r\n{LOCAL}{HANDSHAKE}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // No byte of the first frame may be taken.
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 101 "), "{answer}");
        assert!(answer.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
        Self(WebSocketStream::from_raw_socket(stream, Role::Client, None).await)
    }

    async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    async fn message(&mut self) -> Message {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("a frame in time");
            match message.unwrap().unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    async fn next(&mut self) -> Value {
        match self.message().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Returns the next frame that has an event.
    async fn event(&mut self) -> Value {
        loop {
            let frame = self.next().await;
            if frame.get("event").is_some() {
                return frame;
            }
        }
    }

    /// Returns the next frame of a subscription that is neither a confirmation nor a checkpoint.
    async fn of(&mut self, id: &str) -> Value {
        loop {
            let frame = self.next().await;
            let passes = frame.get("subscribed").or(frame.get("checkpoint")).is_some();
            if frame["id"] == id && !passes {
                return frame;
            }
        }
    }
}

async fn subscriptions_to_streams_and_selections_share_a_connection(scene: Scene) {
    let api = Api::of(&scene);
    api.grow("order-1", "placed", &["customer:1"]).await;
    let mut socket = Socket::open(api).await;
    socket.send(json!({ "subscribe": { "id": "one", "stream": "order-1" } })).await;
    assert_eq!(socket.of("one").await["event"]["type"], "placed");
    assert_eq!(socket.of("one").await, json!({ "id": "one", "caughtUp": { "revision": 0 } }));
    let selection = json!({ "id": "all", "items": [{ "tags": ["customer:1"] }], "atEnd": true });
    socket.send(json!({ "subscribe": selection })).await;
    assert_eq!(socket.of("all").await, json!({ "id": "all", "caughtUp": { "position": 1 } }));
    api.grow("order-1", "paid", &["customer:1"]).await;
    let mut ids = [socket.event().await, socket.event().await];
    ids.sort_by_key(|frame| frame["id"].to_string());
    let events = ids.iter().map(|frame| (&frame["id"], &frame["event"]["type"]));
    let (all, one, paid) = (json!("all"), json!("one"), json!("paid"));
    assert_eq!(events.collect::<Vec<_>>(), [(&all, &paid), (&one, &paid)]);
    socket.send(json!({ "unsubscribe": { "id": "one" } })).await;
    assert_eq!(socket.of("one").await, json!({ "id": "one", "unsubscribed": {} }));
    api.grow("order-1", "shipped", &["customer:1"]).await;
    assert_eq!(socket.event().await["id"], "all");
}

async fn a_refused_subscription_leaves_the_others(scene: Scene) {
    let api = Api::of(&scene);
    let mut socket = Socket::open(api).await;
    socket.send(json!({ "subscribe": { "id": "good", "stream": "s-1" } })).await;
    assert!(socket.of("good").await.get("caughtUp").is_some());
    socket.send(json!({ "subscribe": { "id": "bad", "after": 5 } })).await;
    let problem = socket.of("bad").await;
    assert_eq!(problem["problem"]["code"], "position-beyond-head");
    // The id is free again.
    socket.send(json!({ "subscribe": { "id": "bad", "after": 0 } })).await;
    assert!(socket.of("bad").await.get("caughtUp").is_some());
    socket.send(json!({ "wish": 1 })).await;
    assert_eq!(socket.next().await["problem"]["field"], "wish");
    api.grow("s-1", "happened", &[]).await;
    assert_eq!(socket.of("good").await["event"]["revision"], 0);
    api.delete("/v1/streams/s-1?tombstone=true").await.done();
    assert_eq!(socket.of("good").await["problem"]["code"], "tombstoned");
}

async fn a_server_that_stops_closes_its_sockets_before_it_ends(mut scene: Scene) {
    let mut socket = Socket::open(Api::of(&scene)).await;
    scene.stop();
    match socket.message().await {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
    scene.ended().await;
}

async fn a_page_of_another_origin_gets_no_socket(scene: Scene) {
    let api = Api::of(&scene);
    let from = async |origin: &str| {
        api.send("GET /v1/socket", &format!("{HANDSHAKE}origin: {origin}\r\n"), b"").await
    };
    from("https://evil.example").await.refused(403, "cross-site");
    from("null").await.refused(403, "cross-site");
}

async fn a_request_that_is_no_handshake_is_refused(scene: Scene) {
    let api = Api::of(&scene);
    let refused = api.get("/v1/socket").await;
    assert_eq!(refused.header("upgrade"), Some("websocket"));
    refused.refused(426, "upgrade-required");
    let old = HANDSHAKE.replace("version: 13", "version: 8");
    let line = "GET /v1/socket";
    api.send(line, &old, b"").await.refused(426, "upgrade-required");
}
