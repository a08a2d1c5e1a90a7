//! WebSockets of handlers.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use futures_util::{SinkExt as _, StreamExt as _};
use gesta_http::{GestaState, HttpRules, Limits, SocketEnd, SocketRequest, TextSocket, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use crate::state;

const PATIENCE: Duration = Duration::from_secs(60);

/// Returns each text, until the client asks for the end.
async fn echo(mut socket: TextSocket) {
    let end = loop {
        let text = match socket.receive().await {
            Ok(text) if text == "end" => break SocketEnd::told(4001, "as you wish".repeat(20)),
            Ok(text) => text,
            Err(end) => break end,
        };
        if let Err(end) = socket.send(text).await {
            break end;
        }
    };
    socket.end(end).await;
}

async fn open_echo(request: SocketRequest) -> axum::response::Response {
    match request.protocol("echo") {
        Ok(request) => request.open(echo),
        Err(problem) => axum::response::IntoResponse::into_response(problem),
    }
}

async fn served_with(state: GestaState) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/echo", get(open_echo)).layer(HttpRules::new(&state));
    let router = router.with_state(state.clone());
    tokio::spawn(serve(listener, router, state, std::future::pending()));
    address
}

async fn served(limits: Limits) -> SocketAddr {
    served_with(state().await.limits(limits)).await
}

/// Sends a handshake with further headers, and returns the connection with the head of the answer.
async fn shake_hands(address: SocketAddr, further: &str) -> (TcpStream, String) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET /echo HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{further}\r\n"
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\n") {
        answer.push(char::from(connection.read_u8().await.unwrap()));
    }
    (connection, answer)
}

const OF_ECHO: &str = "sec-websocket-protocol: other, echo\r\n";

async fn opened(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let (connection, answer) = shake_hands(address, OF_ECHO).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    assert!(answer.contains("sec-websocket-protocol: echo\r\n"), "{answer}");
    WebSocketStream::from_raw_socket(connection, Role::Client, None).await
}

/// Reads to the close frame and returns its code and text.
async fn closed(socket: &mut WebSocketStream<TcpStream>) -> (u16, String) {
    loop {
        let message = timeout(PATIENCE, socket.next()).await.unwrap();
        if let Message::Close(frame) = message.expect("a close frame comes first").unwrap() {
            let frame = frame.unwrap();
            return (frame.code.into(), frame.reason.as_str().to_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_reach_the_session_and_its_end_reaches_the_client() {
    let mut socket = opened(served(Limits::DEFAULT).await).await;
    for text in ["one", "zwölf"] {
        socket.send(Message::text(text)).await.unwrap();
        let heard = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(heard, Message::text(text));
    }
    socket.send(Message::text("end")).await.unwrap();
    let (code, reason) = closed(&mut socket).await;
    assert_eq!(code, 4001);
    assert!(reason.len() <= 123 && reason.starts_with("as you wish"), "{reason}");
    assert!(timeout(PATIENCE, socket.next()).await.unwrap().is_none(), "the connection is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_is_answered() {
    let mut socket = opened(served(Limits::DEFAULT).await).await;
    socket.close(None).await.unwrap();
    let answer = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(answer, Message::Close(_)), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_opens_nothing_is_a_problem_that_says_why() {
    let address = served(Limits::DEFAULT).await;
    let (_connection, answer) = shake_hands(address, "").await;
    assert!(answer.starts_with("HTTP/1.1 426"), "{answer}");
    assert!(answer.contains("upgrade: websocket\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/problem+json\r\n"), "{answer}");
    let mut plain = TcpStream::connect(address).await.unwrap();
    let head = "GET /echo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    plain.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426"), "{answer}");
    assert!(answer.contains(r#""code":"upgrade-required""#), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_opens_no_socket() {
    let allowed = ["https://shop.example".parse().unwrap()];
    let address = served_with(state().await.allow_origins(allowed)).await;
    for (headers, status) in [
        ("origin: https://evil.example\r\n", "403"),
        ("origin: http://localhost\r\nsec-fetch-site: cross-site\r\n", "403"),
        ("origin: null\r\n", "403"),
        ("origin: http://localhost\r\n", "101"),
        ("origin: https://shop.example\r\nsec-fetch-site: cross-site\r\n", "101"),
    ] {
        let (_connection, answer) = shake_hands(address, &format!("{OF_ECHO}{headers}")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{headers}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_no_small_text_ends_the_socket_with_the_reason() {
    let address = served(Limits::DEFAULT.body_bytes_max(1 << 10)).await;
    for (message, expected) in
        [(Message::text("x".repeat(1 << 20)), 1009), (Message::binary(vec![1, 2, 3]), 1003)]
    {
        let mut socket = opened(address).await;
        // The server may close before all of it was written.
        let _ = socket.send(message).await;
        assert_eq!(closed(&mut socket).await.0, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_answers_no_ping_is_told_and_cut() {
    let address = served(Limits::DEFAULT.keep_alive(Duration::from_millis(20))).await;
    // Without a library, which would answer the pings.
    let (mut connection, answer) = shake_hands(address, OF_ECHO).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    let mut frames = Vec::new();
    timeout(PATIENCE, connection.read_to_end(&mut frames)).await.unwrap().unwrap();
    let ping = [0x89, 0x00];
    assert!(frames.starts_with(&[ping, ping].concat()), "{frames:?}");
    let close = frames.iter().position(|byte| *byte == 0x88).expect("a close frame");
    let code = u16::from_be_bytes([frames[close + 2], frames[close + 3]]);
    assert_eq!(code, 4008, "{}", String::from_utf8_lossy(&frames[close + 4..]));
}
