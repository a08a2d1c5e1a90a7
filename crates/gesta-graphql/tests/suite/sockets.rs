//! Operations over WebSockets.

use std::{net::SocketAddr, time::Duration};

use axum::http::request::Parts;
use futures_util::{SinkExt as _, StreamExt as _};
use gesta_graphql::GraphQlLimits;
use gesta_http::{GestaState, Limits, Problem, ServeError, serve};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use crate::{Client, library::HELD};

/// Time for the next message, which is long for a machine under load only.
const PATIENCE: Duration = Duration::from_secs(60);
const OF_GRAPHQL: &str = "sec-websocket-protocol: graphql-transport-ws\r\n";
const EVENTS: &str = "subscription { events { position stream } }";

pub(crate) struct Server {
    client: Client,
    address: SocketAddr,
    end: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    async fn new() -> Self {
        Self::over(Client::new().await).await
    }

    async fn limited(limits: GraphQlLimits) -> Self {
        Self::over(Client::limited(limits).await).await
    }

    pub(crate) async fn over(client: Client) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let until = async { ended.await.unwrap_or_default() };
        let (router, state) = (client.router.clone(), client.state.clone());
        let serving = tokio::spawn(serve(listener, router, state, until));
        Self { client, address, end, serving }
    }

    /// Sends a handshake with further headers and returns the connection with the answer's head.
    async fn shake_hands(&self, further: &str) -> (TcpStream, String) {
        // Small, so that a client that reads nothing soon takes nothing.
        let connection = TcpSocket::new_v4().unwrap();
        connection.set_recv_buffer_size(64 << 10).unwrap();
        let mut connection = connection.connect(self.address).await.unwrap();
        let head = format!(
            "GET /graphql/ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{further}\r\n"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            answer.push(char::from(connection.read_u8().await.unwrap()));
        }
        (connection, answer)
    }

    /// Opens a socket without initialisation.
    pub(crate) async fn raw(&self, headers: &str) -> Socket {
        let (connection, answer) = self.shake_hands(&format!("{OF_GRAPHQL}{headers}")).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        Socket(WebSocketStream::from_raw_socket(connection, Role::Client, None).await)
    }

    async fn open(&self) -> Socket {
        self.open_with("").await
    }

    async fn open_with(&self, headers: &str) -> Socket {
        let mut socket = self.raw(headers).await;
        socket.say(json!({ "type": "connection_init", "payload": {} })).await;
        assert_eq!(socket.hear().await, json!({ "type": "connection_ack" }));
        socket
    }
}

/// A client's end of a WebSocket.
pub(crate) struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    pub(crate) async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    pub(crate) async fn begin(&mut self, id: &str, query: &str) {
        self.say(json!({ "type": "subscribe", "id": id, "payload": { "query": query } })).await;
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

    pub(crate) async fn hear(&mut self) -> Value {
        let message = self.message().await;
        let Message::Text(text) = &message else { panic!("{message}") };
        serde_json::from_str(text.as_str()).unwrap()
    }

    /// Returns the payload of the next message, which is a response of this operation.
    pub(crate) async fn response(&mut self, id: &str) -> Value {
        let message = self.hear().await;
        assert_eq!((&message["type"], &message["id"]), (&json!("next"), &json!(id)), "{message}");
        message["payload"].clone()
    }

    /// Runs a query or a command, and returns its data.
    pub(crate) async fn ask(&mut self, id: &str, query: &str) -> Value {
        self.begin(id, query).await;
        let response = self.response(id).await;
        assert!(response.get("errors").is_none(), "{response}");
        assert_eq!(self.hear().await, json!({ "type": "complete", "id": id }));
        response["data"].clone()
    }

    /// Reads to the close frame, and returns its code.
    pub(crate) async fn close_code(&mut self) -> u16 {
        match self.message().await {
            Message::Close(frame) => frame.unwrap().code.into(),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_commands_and_subscriptions_share_a_socket() {
    let server = Server::new().await;
    let mut socket = server.open().await;
    socket.begin("feed", EVENTS).await;
    let add = "mutation { addBook(input: { book: \"emma\", title: \"Emma\" }) { \
               ... on Created { position } } }";
    socket.begin("add", add).await;
    // The event may come before the answer to its command, or after it.
    let mut heard = Vec::new();
    for _ in 0..3 {
        heard.push(socket.hear().await);
    }
    let of = |id: &str| heard.iter().find(|message| message["id"] == id).unwrap();
    assert_eq!(of("add")["payload"]["data"]["addBook"]["position"], 1);
    let event = json!({ "position": 1, "stream": "book-emma" });
    assert_eq!(of("feed")["payload"]["data"]["events"], event);
    assert!(heard.contains(&json!({ "type": "complete", "id": "add" })), "{heard:?}");
    let title = socket.ask("find", "{ book(book: \"emma\", atLeast: 1) { title } }").await;
    assert_eq!(title["book"]["title"], "Emma");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_subprotocol_is_told_which_one_it_needs() {
    let server = Server::new().await;
    for offered in ["", "sec-websocket-protocol: graphql-ws\r\n"] {
        let (_connection, answer) = server.shake_hands(offered).await;
        assert!(answer.starts_with("HTTP/1.1 426"), "{answer}");
    }
    let both = "sec-websocket-protocol: graphql-ws, graphql-transport-ws\r\n";
    let (_connection, answer) = server.shake_hands(both).await;
    assert!(answer.contains("sec-websocket-protocol: graphql-transport-ws\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_opens_no_socket_and_changes_nothing() {
    let server = Server::new().await;
    let (_connection, answer) =
        server.shake_hands(&format!("{OF_GRAPHQL}origin: https://evil.example\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    // An own page on a site without encryption, where browsers tell the origin alone.
    let mut own = server.open_with("origin: http://localhost\r\n").await;
    let add = "mutation { addBook(input: { book: \"emma\", title: \"Emma\" }) { __typename } }";
    assert_eq!(own.ask("1", add).await["addBook"]["__typename"], "Created");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_the_handshake_hold_for_each_operation() {
    let mut client = Client::new().await;
    let reader = |parts: &Parts| {
        let name = parts.headers.get("x-reader").and_then(|value| value.to_str().ok());
        name.map(str::to_owned).ok_or_else(|| Problem::invalid("X-Reader", "is missing"))
    };
    client = Client::of_state(GestaState::new(client.state.gesta().clone()).actor(reader));
    let server = Server::over(client).await;
    let mut socket = server.open_with("x-reader: ann\r\n").await;
    for (id, book) in [("1", "emma"), ("2", "faust")] {
        let add = format!(
            "mutation {{ addBook(input: {{ book: \"{book}\", title: \"\" }}) {{ __typename }} }}"
        );
        assert_eq!(socket.ask(id, &add).await["addBook"]["__typename"], "Created");
    }
    let read = gesta::store::ReadAll::forwards();
    let store = server.client.state.gesta().store().clone();
    let events = store.read_all(read).collect_events().await.unwrap();
    for event in &events {
        let metadata = gesta::EventMetadata::from_json(&event.metadata);
        assert_eq!(metadata.actor.as_deref(), Some("ann"));
    }
    assert_ne!(events[0].correlation_id, events[1].correlation_id, "two requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_one_command_are_refused_in_the_handshake() {
    let server = Server::new().await;
    for header in ["idempotency-key: k", "if-match: \"1\""] {
        let (_connection, answer) = server.shake_hands(&format!("{OF_GRAPHQL}{header}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{header}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_not_initialised_in_time_is_closed() {
    let wait = Duration::from_millis(20);
    let server = Server::limited(GraphQlLimits::DEFAULT.socket_init_max(wait)).await;
    assert_eq!(server.raw("").await.close_code().await, 4408);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_breaks_the_protocol_is_closed_with_its_codes() {
    let server = Server::new().await;
    let subscribe = json!({ "type": "subscribe", "id": "1", "payload": { "query": EVENTS } });
    let mut early = server.raw("").await;
    early.say(subscribe.clone()).await;
    assert_eq!(early.close_code().await, 4401);
    for (said, code) in [
        (json!({ "type": "connection_init" }), 4429),
        (json!({ "type": "start", "id": "1", "payload": { "query": EVENTS } }), 4400),
        (json!({ "type": "subscribe", "id": "1" }), 4400),
        (json!("nonsense"), 4400),
    ] {
        let mut socket = server.open().await;
        socket.say(said.clone()).await;
        assert_eq!(socket.close_code().await, code, "{said}");
    }
    let mut twice = server.open().await;
    twice.say(subscribe.clone()).await;
    twice.say(subscribe).await;
    assert_eq!(twice.close_code().await, 4409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_of_the_protocol_is_answered_at_any_time() {
    let server = Server::new().await;
    let mut socket = server.raw("").await;
    socket.say(json!({ "type": "ping" })).await;
    assert_eq!(socket.hear().await, json!({ "type": "pong" }));
    socket.say(json!({ "type": "ping", "payload": { "n": 1 } })).await;
    assert_eq!(socket.hear().await, json!({ "type": "pong", "payload": { "n": 1 } }));
    socket.say(json!({ "type": "pong" })).await;
    socket.say(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.hear().await, json!({ "type": "connection_ack" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_document_is_an_error_and_the_socket_goes_on() {
    let server = Server::new().await;
    let mut socket = server.open().await;
    for (query, code) in [
        ("{ nothing }".to_owned(), "query-invalid"),
        ("{ books".to_owned(), "query-invalid"),
        (
            format!("{{ book(book: \"x\") {} title {} }}", "{ ...".repeat(50), "}".repeat(50)),
            "query-too-deep",
        ),
    ] {
        socket.begin("1", &query).await;
        let message = socket.hear().await;
        assert_eq!((&message["type"], &message["id"]), (&json!("error"), &json!("1")), "{message}");
        assert_eq!(message["payload"][0]["extensions"]["code"], code, "{message}");
    }
    let payload = json!({ "query": "{ isLive { status } }", "variables": [] });
    socket.say(json!({ "type": "subscribe", "id": "1", "payload": payload })).await;
    assert_eq!(socket.hear().await["payload"][0]["extensions"]["field"], "variables");
    assert_eq!(socket.ask("1", "{ __typename }").await["__typename"], "Query");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_runs_a_bounded_number_of_operations() {
    let server = Server::limited(GraphQlLimits::DEFAULT.socket_operations_max(2)).await;
    let mut socket = server.open().await;
    socket.begin("1", EVENTS).await;
    socket.begin("2", EVENTS).await;
    socket.begin("3", EVENTS).await;
    let message = socket.hear().await;
    assert_eq!((&message["type"], &message["id"]), (&json!("error"), &json!("3")), "{message}");
    assert_eq!(message["payload"][0]["extensions"]["code"], "too-many-operations");
    socket.say(json!({ "type": "complete", "id": "1" })).await;
    assert_eq!(socket.ask("3", "{ __typename }").await["__typename"], "Query");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_subscription_says_nothing_more_and_its_id_is_free() {
    let server = Server::new().await;
    server.client.add("emma").await;
    let mut socket = server.open().await;
    socket.begin("feed", EVENTS).await;
    assert_eq!(socket.response("feed").await["data"]["events"]["position"], 1);
    socket.say(json!({ "type": "complete", "id": "feed" })).await;
    // Each message is handled before the next, so the subscription has ended at the answer.
    assert_eq!(socket.ask("q", "{ __typename }").await["__typename"], "Query");
    server.client.add("faust").await;
    socket.begin("feed", "subscription { events(after: 1) { stream } }").await;
    assert_eq!(socket.response("feed").await["data"]["events"]["stream"], "book-faust");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_resumes_after_its_last_position_on_another_socket() {
    let server = Server::new().await;
    for book in ["dracula", "emma"] {
        server.client.add(book).await;
    }
    let mut socket = server.open().await;
    socket.begin("1", EVENTS).await;
    let last = socket.response("1").await["data"]["events"]["position"].as_u64().unwrap();
    drop(socket);
    server.client.add("faust").await;
    let mut socket = server.open().await;
    let rest = format!("subscription {{ events(after: {last}) {{ position stream }} }}");
    socket.begin("1", &rest).await;
    for (position, stream) in [(2, "book-emma"), (3, "book-faust")] {
        let event = json!({ "position": position, "stream": stream });
        assert_eq!(socket.response("1").await["data"]["events"], event);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_a_subscription_ends_it_alone() {
    let server = Server::new().await;
    let mut socket = server.open().await;
    socket.begin("1", "subscription { events(after: 99) { stream } }").await;
    let message = socket.hear().await;
    let text = message.to_string();
    assert!(text.contains("position-beyond-head"), "{text}");
    if message["type"] == "next" {
        assert_eq!(socket.hear().await, json!({ "type": "complete", "id": "1" }));
    }
    assert_eq!(socket.ask("1", "{ __typename }").await["__typename"], "Query");
}

/// Size of a title that fills the buffers of a connection soon.
const LARGE_BYTES: usize = 200 << 10;
const LARGE_BOOKS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_ended_and_holds_up_nobody() {
    let client = Client::new().await;
    let limits = Limits::DEFAULT.keep_alive(Duration::from_secs(3)).connections_max(2);
    let client = Client::of_state(client.state.limits(limits));
    let server = Server::over(client).await;
    for number in 0..LARGE_BOOKS {
        let title = "x".repeat(LARGE_BYTES);
        let add = format!(
            "mutation {{ addBook(input: {{ book: \"b{number}\", title: \"{title}\" }}) {{ \
             __typename }} }}"
        );
        server.client.ok(&add).await;
    }
    let titles = "subscription { events { position data } }";
    let mut stalled = server.open().await;
    stalled.begin("1", titles).await;
    let mut reader = server.open().await;
    reader.begin("1", titles).await;
    for number in 1..=LARGE_BOOKS {
        assert_eq!(reader.response("1").await["data"]["events"]["position"], number);
    }
    drop(reader);
    // The place of the stalled client is free once it was ended.
    let ended = async {
        let mut others = Vec::new();
        while others.len() < 2 {
            let (connection, answer) = server.shake_hands(OF_GRAPHQL).await;
            others.extend(answer.starts_with("HTTP/1.1 101").then_some(connection));
        }
    };
    timeout(PATIENCE, ended).await.expect("the stalled client is ended");
    let mut taken = 0;
    while let Some(Ok(message)) = timeout(PATIENCE, stalled.0.next()).await.unwrap() {
        taken += usize::from(message.is_text());
    }
    assert!(taken < LARGE_BOOKS, "it has missed some: {taken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_closes_sockets_and_their_clients_subscribe_again_elsewhere() {
    let server = Server::new().await;
    server.client.add("emma").await;
    let mut socket = server.open().await;
    socket.begin("1", EVENTS).await;
    socket.response("1").await;
    let mut idle = server.open().await;
    server.end.send(()).unwrap();
    assert_eq!(socket.close_code().await, 1001, "not `complete`, which would end it for good");
    assert_eq!(idle.close_code().await, 1001);
    drop((socket, idle));
    timeout(PATIENCE, server.serving).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_a_query_that_runs_and_begins_no_other() {
    let server = Server::new().await;
    server.client.add("held").await;
    let mut socket = server.open().await;
    socket.begin("slow", "{ book(book: \"held\") { title } }").await;
    timeout(PATIENCE, HELD.begun.notified()).await.unwrap();
    server.end.send(()).unwrap();
    timeout(PATIENCE, server.client.state.closed()).await.unwrap();
    // A ping is answered, so what was said before it was heard.
    socket.begin("late", "{ __typename }").await;
    socket.say(json!({ "type": "ping" })).await;
    let mut heard = socket.hear().await;
    if heard["id"] == "late" {
        // The session had not learnt of the stop yet.
        assert_eq!(socket.hear().await, json!({ "type": "complete", "id": "late" }));
        heard = socket.hear().await;
    }
    assert_eq!(heard, json!({ "type": "pong" }));
    HELD.let_go.notify_one();
    assert_eq!(socket.response("slow").await["data"]["book"]["title"], "held!");
    assert_eq!(socket.hear().await, json!({ "type": "complete", "id": "slow" }));
    assert_eq!(socket.close_code().await, 1001);
    timeout(PATIENCE, server.serving).await.expect("it ends").unwrap().unwrap();
}
