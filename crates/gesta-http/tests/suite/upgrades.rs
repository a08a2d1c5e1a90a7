//! Connections that a handler upgrades to a protocol of its own.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use gesta_http::{GestaState, HttpRules, Limits, ServeError, serve};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{api, state};

const SOON: Duration = Duration::from_secs(10);

/// A stream that a handler has taken over.
type Taken = TokioIo<hyper::upgrade::Upgraded>;

struct Server {
    address: SocketAddr,
    state: GestaState,
    end: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

/// Serves the doors, and `/tunnel`, whose streams `session` takes over.
async fn served<S, F>(limits: Limits, session: S) -> Server
where
    S: FnOnce(Taken) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = state().await.limits(limits);
    let tunnel = Router::new()
        .route("/tunnel", get(move |request| upgrade(request, session)))
        .layer(HttpRules::new(&state));
    let router = api().nested(state.clone()).merge(tunnel);
    let (end, ended) = oneshot::channel::<()>();
    let until = async { ended.await.unwrap_or_default() };
    let serving = tokio::spawn(serve(listener, router, state.clone(), until));
    Server { address, state, end, serving }
}

async fn upgrade<S, F>(request: Request<Body>, session: S) -> Response
where
    S: FnOnce(Taken) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move { session(TokioIo::new(upgraded.await.unwrap())).await });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Returns what it gets, in capitals.
async fn echo(mut stream: Taken) {
    let mut part = [0; 1_024];
    while let Ok(read @ 1..) = stream.read(&mut part).await {
        let said = part[..read].to_ascii_uppercase();
        stream.write_all(&said).await.unwrap();
    }
}

/// Upgrades a connection, sending the first bytes of the new protocol along.
async fn upgraded(address: SocketAddr, first: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head =
        "GET /tunnel HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    connection.write_all(format!("{head}{first}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    // Byte by byte: what follows the head is of the new protocol.
    while !answer.ends_with("\r\n\r\n") {
        answer.push(char::from(connection.read_u8().await.unwrap()));
    }
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    connection
}

async fn hear(connection: &mut TcpStream, wanted: &str) {
    let mut heard = vec![0; wanted.len()];
    timeout(SOON, connection.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), wanted);
}

/// Asks on a new connection and returns the status line.
async fn ask(address: SocketAddr) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut line = [0; 12];
    let read = connection.read_exact(&mut line).await;
    read.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&line).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_the_new_protocol_reach_both_sides_also_those_sent_with_the_head() {
    let server = served(Limits::DEFAULT, echo).await;
    let mut tunnel = upgraded(server.address, "early ").await;
    hear(&mut tunnel, "EARLY ").await;
    // These bytes would be those of hyper's own refusals if the connection were still of HTTP.
    tunnel.write_all(b"HTTP/1.1 400 is a text here").await.unwrap();
    hear(&mut tunnel, "HTTP/1.1 400 IS A TEXT HERE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_counts_as_one_until_it_ends() {
    let server = served(Limits::DEFAULT.connections_max(1), echo).await;
    let mut tunnel = upgraded(server.address, "here").await;
    hear(&mut tunnel, "HERE").await;
    assert_eq!(ask(server.address).await, "HTTP/1.1 503");
    drop(tunnel);
    let again = async { while ask(server.address).await != "HTTP/1.1 200" {} };
    timeout(SOON, again).await.expect("there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_silent_upgraded_connection_has_no_deadline_of_heads() {
    let late = |mut stream: Taken| async move {
        tokio::time::sleep(10 * Limits::DEFAULT.head_wait_max).await;
        stream.write_all(b"still here").await.unwrap();
    };
    let server = served(Limits::DEFAULT, late).await;
    let begun = Instant::now();
    let mut tunnel = upgraded(server.address, "").await;
    let mut said = String::new();
    tunnel.read_to_string(&mut said).await.unwrap();
    assert_eq!((said.as_str(), begun.elapsed().as_secs()), ("still here", 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_whose_peer_reads_nothing_fails_its_writer() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let flood = move |mut stream: Taken| async move {
        let error = loop {
            if let Err(error) = stream.write_all(&[0; 64 << 10]).await {
                break error;
            }
        };
        tell.send(error.kind()).unwrap();
    };
    let limits = Limits::DEFAULT.write_wait_max(Duration::from_millis(50));
    let server = served(limits, flood).await;
    let _unread = upgraded(server.address, "").await;
    let kind = timeout(SOON, told.recv()).await.expect("the writer is freed").unwrap();
    assert_eq!(kind, std::io::ErrorKind::TimedOut);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_upgraded_connections_that_end_themselves() {
    let (tell, told) = std::sync::mpsc::channel();
    let server = served(Limits::DEFAULT, |stream| async move {
        echo(stream).await;
        tell.send("ended by itself").unwrap();
    })
    .await;
    let mut tunnel = upgraded(server.address, "here").await;
    hear(&mut tunnel, "HERE").await;
    server.end.send(()).unwrap();
    timeout(SOON, server.state.closed()).await.expect("its handlers learn of the stop");
    tunnel.write_all(b"last").await.unwrap();
    hear(&mut tunnel, "LAST").await;
    drop(tunnel);
    timeout(SOON, server.serving).await.expect("it ends").unwrap().unwrap();
    assert_eq!(told.try_recv(), Ok("ended by itself"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_cuts_upgraded_connections_that_do_not_end() {
    let server = served(Limits::DEFAULT.closing_max(Duration::from_millis(50)), echo).await;
    let mut tunnel = upgraded(server.address, "here").await;
    hear(&mut tunnel, "HERE").await;
    server.end.send(()).unwrap();
    timeout(SOON, server.serving).await.expect("it ends").unwrap().unwrap();
    let mut rest = Vec::new();
    let end = timeout(SOON, tunnel.read_to_end(&mut rest)).await.expect("the connection is closed");
    assert!(end.is_err() || rest.is_empty(), "{rest:?}");
}
