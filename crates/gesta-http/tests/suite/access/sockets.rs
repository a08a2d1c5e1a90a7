//! The credentials of WebSockets: headers, or a subprotocol for pages in browsers.

use std::{fs, net::SocketAddr, time::Duration};

use futures_util::StreamExt as _;
use gesta_http::{
    Access, AccessRole, AccessRules, ApiKeyFile, GestaState, NewApiKey, Right, serve,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use super::{Guarded, Signer, claims, log, tokens};
use crate::api;

const PATIENCE: Duration = Duration::from_secs(60);

/// Served doors with an API key for each right, whose role has this right alone.
struct Served {
    doors: Guarded,
    address: SocketAddr,
    keys: Vec<(Right, NewApiKey)>,
    /// Has the file `keys`.
    folder: TempDir,
    signer: Signer,
}

impl Served {
    async fn new() -> Self {
        let keys: Vec<_> =
            Right::ALL.into_iter().map(|right| (right, NewApiKey::random())).collect();
        let lines: Vec<_> =
            keys.iter().map(|(right, key)| key.line(right.as_str(), &[right.as_str()])).collect();
        let roles = Right::ALL.map(|right| AccessRole::named(right.as_str()).has([right]));
        let signer = Signer::new();
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, lines.join("\n")).unwrap();
        let access = Access::new(AccessRules::new(roles))
            .by(ApiKeyFile::open(path).unwrap())
            .by(tokens(&signer));
        let doors = Guarded::by(access.clone()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = GestaState::new(doors.gesta.clone()).access(access);
        tokio::spawn(serve(listener, api().router(state.clone()), state, std::future::pending()));
        Self { doors, address, keys, folder, signer }
    }

    /// Sends a handshake with further headers and returns the connection with the answer's head.
    async fn shake_hands(&self, further: &str) -> (TcpStream, String) {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "GET /v1/events/ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
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

    /// Lets time pass until a socket is closed. Returns the code of the close frame.
    async fn close_code(&self, connection: TcpStream) -> u16 {
        let mut socket = WebSocketStream::from_raw_socket(connection, Role::Client, None).await;
        let closed = async {
            loop {
                // The session may not have begun when the time advances.
                self.doors.clock.advance(Duration::from_secs(90));
                tokio::select! {
                    message = socket.next() => {
                        if let Message::Close(frame) = message.unwrap().unwrap() {
                            return u16::from(frame.unwrap().code);
                        }
                    }
                    () = tokio::task::yield_now() => {}
                }
            }
        };
        timeout(PATIENCE, closed).await.unwrap()
    }

    fn token_of_reader(&self) -> String {
        let mut claims = claims();
        claims["roles"] = json!(["feed"]);
        self.signer.token(&claims)
    }
}

fn offering(protocols: &str) -> String {
    format!("sec-websocket-protocol: {protocols}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_opens_for_its_right_alone_by_a_header_and_by_a_subprotocol() {
    let served = Served::new().await;
    let (_connection, nobody) = served.shake_hands("").await;
    assert!(nobody.starts_with("HTTP/1.1 401"), "{nobody}");
    for (right, key) in &served.keys {
        let status = if *right == Right::Feed { "HTTP/1.1 101" } else { "HTTP/1.1 403" };
        let secret = key.secret();
        for credentials in [
            format!("x-api-key: {secret}\r\n"),
            format!("authorization: Bearer {secret}\r\n"),
            offering(&format!("gesta-events, bearer.{secret}")),
        ] {
            let (_connection, answer) = served.shake_hands(&credentials).await;
            assert!(answer.starts_with(status), "{right}: {answer}");
            assert!(!answer.contains(secret), "{right}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_offers_a_token_gets_the_protocol_of_the_feed() {
    let served = Served::new().await;
    let token = served.token_of_reader();
    let offered = offering(&format!("bearer.{token}, gesta-events"));
    let (_connection, answer) =
        served.shake_hands(&format!("{offered}origin: http://localhost\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.contains("sec-websocket-protocol: gesta-events\r\n"), "{answer}");
    let (_connection, foreign) =
        served.shake_hands(&format!("{offered}origin: https://evil.example\r\n")).await;
    assert!(foreign.starts_with("HTTP/1.1 403"), "a page of another site: {foreign}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_in_the_list_are_refused_and_not_shown() {
    let served = Served::new().await;
    let mut expired = claims();
    expired["exp"] = json!(1);
    let (expired, token) = (served.signer.token(&expired), served.token_of_reader());
    for (protocols, status) in [
        (format!("gesta-events, bearer.{expired}"), 401),
        ("gesta-events, bearer.gesta_unknown".to_owned(), 401),
        (format!("bearer.{token}"), 400),
        ("gesta-events, bearer.".to_owned(), 400),
        (format!("gesta-events, bearer.{token}, bearer.{token}"), 400),
        (format!("other, bearer.{token}"), 426),
    ] {
        let (mut connection, head) = served.shake_hands(&offering(&protocols)).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{protocols}: {head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        connection.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        for secret in [&token, &expired] {
            assert!(!head.contains(secret) && !body.contains(secret), "{body}");
        }
    }
    let log = log::text();
    assert!(!log.contains(&token) && !log.contains(&expired), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_with_the_token_of_its_page() {
    let served = Served::new().await;
    let offered = offering(&format!("gesta-events, bearer.{}", served.token_of_reader()));
    let (connection, answer) = served.shake_hands(&offered).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert_eq!(served.close_code(connection).await, 4401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_soon_after_its_key_is_withdrawn() {
    let served = Served::new().await;
    let (_, key) = served.keys.iter().find(|(right, _)| *right == Right::Feed).unwrap();
    let header = format!("x-api-key: {}\r\n", key.secret());
    let (connection, answer) = served.shake_hands(&header).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    fs::write(served.folder.path().join("keys"), "").unwrap();
    assert_eq!(served.close_code(connection).await, 4401);
}
