//! The feeds of events: server-sent, and over WebSockets.

use std::time::Duration;

use axum::{body::Body, http::Request};
use futures_util::{SinkExt as _, StreamExt as _};
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
use tower::ServiceExt as _;

use super::{
    ALPHA, BETA, OF_ALPHA, Tenant, World,
    calls::{Words, calls},
    has_nothing_of_alpha,
};

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn head(tenant: &Tenant) -> u64 {
    tenant.shop.store().head().await.unwrap().position.number()
}

/// Returns what a feed says up to the head of the tenant's store.
async fn said_by_feed(world: &World, tenant: &Tenant, path: &str) -> String {
    let head = head(tenant).await;
    let request = Request::get(path).header("x-api-key", tenant.key.secret());
    let request = request.body(Body::empty()).unwrap();
    let response = world.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    let (mut chunks, mut text) = (response.into_body().into_data_stream(), String::new());
    let is_there = |text: &str| {
        let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
        ids.filter_map(|id| id.trim().parse::<u64>().ok()).any(|id| id >= head)
    };
    while !is_there(&text) {
        let chunk = timeout(PATIENCE, chunks.next()).await.expect("it is said in time");
        text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_has_the_events_of_the_readers_tenant_alone() {
    let world = World::with_first_tenant().await;
    world.walk(&world.second, &calls(BETA, &Words::of_beta(BETA))).await;
    let own = said_by_feed(&world, &world.first, "/v1/events?after=0").await;
    for word in OF_ALPHA {
        assert!(own.contains(word), "{word}: {own}");
    }
    for path in [
        "/v1/events?after=0".to_owned(),
        format!("/v1/events?after=0&stream=user-{ALPHA}-user&stream=user-{BETA}-user"),
        "/v1/events?after=0&category=user&category=order&category=account".to_owned(),
        "/v1/events?after=0&tag=email:a@example.org".to_owned(),
        "/v1/events?after=0&stream=tenants:store-owner&stream=audit-operations".to_owned(),
    ] {
        let said = said_by_feed(&world, &world.second, &path).await;
        has_nothing_of_alpha(&path, &said, false);
        let is_of_address = path.contains("email");
        assert_eq!(said.contains("\"schemaVersion\":"), !is_of_address, "{path}: {said}");
    }
}

/// A served world.
pub(super) struct Served {
    address: std::net::SocketAddr,
    /// Ends the server when it is dropped.
    _end: oneshot::Sender<()>,
}

impl Served {
    pub(super) async fn of(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let until = async { ended.await.unwrap_or_default() };
        let served = gesta_http::serve(listener, world.router.clone(), world.state.clone(), until);
        tokio::spawn(served);
        Self { address, _end: end }
    }

    /// Opens a WebSocket with this key, or returns the first line of the refusal.
    pub(super) async fn socket(
        &self,
        path: &str,
        key: Option<&str>,
        protocol: Option<&str>,
    ) -> Result<Socket, String> {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        let mut head = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for (name, value) in [("x-api-key", key), ("sec-websocket-protocol", protocol)] {
            if let Some(value) = value {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        connection.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            answer.push(char::from(connection.read_u8().await.unwrap()));
        }
        if !answer.starts_with("HTTP/1.1 101") {
            return Err(answer.lines().next().unwrap_or_default().to_owned());
        }
        Ok(Socket(WebSocketStream::from_raw_socket(connection, Role::Client, None).await))
    }
}

pub(super) struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    pub(super) async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Returns the texts up to one that satisfies a condition.
    pub(super) async fn hear_until(&mut self, is_last: impl Fn(&Value) -> bool) -> String {
        let mut heard = String::new();
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("it is said in time");
            let Message::Text(text) = message.unwrap().unwrap() else { continue };
            heard.push_str(text.as_str());
            heard.push('\n');
            if is_last(&serde_json::from_str(text.as_str()).unwrap()) {
                return heard;
            }
        }
    }

    /// Returns the code of the close frame, which comes next.
    #[cfg(feature = "graphql")]
    pub(super) async fn close_code(&mut self) -> u16 {
        match timeout(PATIENCE, self.0.next()).await.expect("it is closed in time") {
            Some(Ok(Message::Close(Some(frame)))) => frame.code.into(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_has_the_events_of_its_openers_tenant_alone() {
    let world = World::with_first_tenant().await;
    world.walk(&world.second, &calls(BETA, &Words::of_beta(BETA))).await;
    let served = Served::of(&world).await;
    let refused = served.socket("/v1/events/ws", None, None).await.err();
    assert!(refused.is_some_and(|line| line.contains("401")), "a socket needs credentials");
    for tenant in [&world.first, &world.second] {
        let key = tenant.key.secret();
        let mut socket = served.socket("/v1/events/ws", Some(key), None).await.unwrap();
        let head = head(tenant).await;
        socket.say(json!({ "subscribe": { "id": "a", "after": 0 } })).await;
        let is_last = |message: &Value| message["event"]["position"].as_u64() >= Some(head);
        let heard = socket.hear_until(is_last).await;
        match std::ptr::eq(tenant, &raw const world.first) {
            true => assert!(OF_ALPHA.iter().all(|word| heard.contains(word)), "{heard}"),
            false => has_nothing_of_alpha("a WebSocket", &heard, false),
        }
        assert!(heard.contains("\"event\""), "{heard}");
    }
}
