//! Floods of connections, idle ones and slow ones.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream as Blocking},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use gesta::Gesta;
use gesta_http::{GestaState, Limits, serve};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, timeout},
};

use crate::{api, state};

const SOON: Duration = Duration::from_secs(10);

async fn served(limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = state().await.limits(limits);
    tokio::spawn(serve(listener, api().router(state.clone()), state, std::future::pending()));
    address
}

/// Sends a request on a kept connection and returns the status line.
async fn ask(connection: &mut TcpStream) -> String {
    connection.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut part = [0; 2_048];
    let read = connection.read(&mut part).await.unwrap();
    String::from_utf8_lossy(&part[..read.min(12)]).into_owned()
}

/// Reads until the server closes the connection.
async fn rest(connection: &mut TcpStream) -> String {
    let mut said = Vec::new();
    connection.read_to_end(&mut said).await.unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_excess_connection_gets_a_503_and_others_continue() {
    let address = served(Limits::DEFAULT.connections_max(2)).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(&mut first).await, "HTTP/1.1 200");
    assert_eq!(ask(&mut second).await, "HTTP/1.1 200");
    let mut third = TcpStream::connect(address).await.unwrap();
    third.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let refused = timeout(SOON, rest(&mut third)).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("retry-after: 1"), "{refused}");
    assert!(refused.contains(r#""code":"too-many-connections""#), "{refused}");
    assert_eq!(ask(&mut first).await, "HTTP/1.1 200", "it continues");
    drop(second);
    let again = async {
        loop {
            let mut again = TcpStream::connect(address).await.unwrap();
            if ask(&mut again).await == "HTTP/1.1 200" {
                break;
            }
        }
    };
    timeout(SOON, again).await.expect("there is room again");
}

/// Connects from an address of this machine's loopback network.
async fn connect_from(source: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    socket.connect(address).await.unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_all_of_its_connections_is_told_so_and_others_are_served() {
    let address = served(Limits::DEFAULT.connections_max(4).connections_per_peer_max(2)).await;
    let mut greedy = Vec::new();
    for _ in 0..2 {
        let mut connection = connect_from("127.0.0.2", address).await;
        assert_eq!(ask(&mut connection).await, "HTTP/1.1 200");
        greedy.push(connection);
    }
    let mut excess = connect_from("127.0.0.2", address).await;
    let refused = timeout(SOON, rest(&mut excess)).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("your address has 2 connections"), "{refused}");
    let mut other = connect_from("127.0.0.3", address).await;
    assert_eq!(ask(&mut other).await, "HTTP/1.1 200");
    assert_eq!(ask(&mut greedy[0]).await, "HTTP/1.1 200", "its connections go on");
    drop(greedy.pop());
    let again = async {
        let mut connection = connect_from("127.0.0.2", address).await;
        while ask(&mut connection).await != "HTTP/1.1 200" {
            connection = connect_from("127.0.0.2", address).await;
        }
    };
    timeout(SOON, again).await.expect("there is room again");
}

/// Sends bytes and returns the time until the server closes the connection, and its response.
async fn closed_after(sent: &[u8]) -> (Duration, String) {
    let address = served(Limits::DEFAULT).await;
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(sent).await.unwrap();
    let begun = Instant::now();
    let said = rest(&mut connection).await;
    (begun.elapsed(), said)
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_too_slowly_is_answered_and_ends_its_connection() {
    let (after, said) = closed_after(b"GET /health/live HTTP/1.1\r\nhost: do").await;
    assert!((20..=21).contains(&after.as_secs()), "{after:?}");
    assert!(said.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{said}");
    assert!(said.contains("connection: close\r\n"), "{said}");
    assert!(said.contains(r#""code":"head-too-late""#), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_second_head_that_comes_too_slowly_is_answered_after_the_first() {
    let both =
        b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\nGET /health/live HTTP/1.1\r\nh";
    let (_, said) = closed_after(both).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert!(said.contains("HTTP/1.1 408"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed() {
    let (after, said) = closed_after(b"").await;
    assert_eq!(after.as_secs(), Limits::DEFAULT.head_wait_max.as_secs());
    assert_eq!(said, "", "an answer would be taken for that to the next request");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_kept_and_not_used_is_closed() {
    let (after, said) = closed_after(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 200") && !said.contains(" 408 "), "{said}");
    assert_eq!(after.as_secs(), Limits::DEFAULT.head_wait_max.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_too_slowly_is_answered_and_ends_its_connection() {
    let head = "POST /doors/open HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{\"half\":";
    let (after, said) = closed_after(head.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    assert!(said.contains(r#""code":"body-too-late""#), "{said}");
    assert_eq!(after.as_secs(), Limits::DEFAULT.body_wait_max.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_cannot_be_read_is_answered_with_a_problem() {
    let fields = |fields: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(fields));
    for (head, status, code) in [
        ("GET / HTTP/1.1\r\nno field\r\n\r\n".to_owned(), "400 Bad Request", "unreadable-head"),
        ("nonsense\r\n\r\n".to_owned(), "400 Bad Request", "unreadable-head"),
        (fields(200), "431 Request Header Fields Too Large", "head-too-large"),
        (fields(20_000), "431 Request Header Fields Too Large", "head-too-large"),
    ] {
        let (_, said) = closed_after(head.as_bytes()).await;
        let start = &head[..head.len().min(20)];
        assert!(said.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{start}: {said}");
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["code"], code, "{start}: {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_is_as_large_as_the_limits_allow() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = state().await.limits(Limits::DEFAULT.head_bytes_max(16 << 10));
    tokio::spawn(serve(listener, api().router(state.clone()), state, std::future::pending()));
    for (bytes, status) in [(12 << 10, "HTTP/1.1 200"), (20 << 10, "HTTP/1.1 431")] {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let field = "x".repeat(bytes);
        let head = format!(
            "GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: {field}\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        let said = rest(&mut connection).await;
        assert!(said.starts_with(status), "{bytes}: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_too_long_is_answered_with_a_problem() {
    let head = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000));
    let (_, said) = closed_after(head.as_bytes()).await;
    // The parts in which the head arrives decide which of its limits it exceeds first.
    let (is_target, is_head) =
        (said.starts_with("HTTP/1.1 414 "), said.starts_with("HTTP/1.1 431 "));
    assert!(is_target || is_head, "{said}");
    let code = if is_target { "target-too-long" } else { "head-too-large" };
    assert!(said.contains(&format!(r#""code":"{code}""#)), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_second_head_that_cannot_be_read_is_answered_after_the_first() {
    let first = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let (_, said) = closed_after(format!("{first}nonsense\r\n\r\n").as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert!(said.contains("HTTP/1.1 400 Bad Request\r\n"), "{said}");
    assert!(said.contains(r#""code":"unreadable-head""#), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_the_application_stays_as_it_is() {
    let request = "GET /v1/nowhere HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let (_, said) = closed_after(request.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 404"), "{said}");
    assert!(said.contains(r#""code":"no-such-route""#), "{said}");
}

const CHILD: &str = "GESTA_TEST_FLOODED_SERVER";
const FLOOD: usize = 2_000;
const DESCRIPTORS: u64 = 200;

/// Runs the server in a child process: the limit of descriptors is per process.
#[test]
fn a_flood_of_idle_connections_does_not_keep_clients_from_appending() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return serve_with_few_descriptors(Path::new(&directory));
    }
    let most = Rlimit { current: Some(20_000), maximum: Some(20_000) };
    // With a lower hard limit there are fewer connections, but still far too many.
    let _ = setrlimit(Resource::Nofile, most);
    let directory = tempfile::tempdir().unwrap();
    let mut server = start(directory.path());
    let mut said = BufReader::new(server.stdout.take().unwrap()).lines();
    let address: SocketAddr = said
        .find_map(|line| line.unwrap().strip_prefix("listening on ").map(|at| at.parse().unwrap()))
        .unwrap();
    let mut kept = Blocking::connect(address).unwrap();
    assert_eq!(open_door(&mut kept), "HTTP/1.1 200");
    let flood: Vec<_> = (0..FLOOD).map_while(|_| Blocking::connect(address).ok()).collect();
    assert!(flood.len() as u64 > 2 * DESCRIPTORS, "{} connections", flood.len());
    for _ in 0..50 {
        assert_eq!(open_door(&mut kept), "HTTP/1.1 200", "appends go on");
    }
    drop(flood);
    let mut tries = 0;
    while open_door(&mut Blocking::connect(address).unwrap()) != "HTTP/1.1 200" {
        tries += 1;
        assert!(tries < 10_000, "a new request is never answered");
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

fn start(directory: &Path) -> Child {
    let name = "connections::\
                a_flood_of_idle_connections_does_not_keep_clients_from_appending";
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Appends on a connection and returns the status, which may be that of a refusal.
fn open_door(connection: &mut Blocking) -> String {
    let body = "{}";
    let request = format!(
        "POST /doors/7/open HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let sent = connection.write_all(request.as_bytes());
    let mut part = [0; 4_096];
    let read = sent.and_then(|()| connection.read(&mut part)).unwrap_or(0);
    String::from_utf8_lossy(&part[..read.min(12)]).into_owned()
}

#[expect(clippy::print_stdout, reason = "whoever started it reads where it listens")]
fn serve_with_few_descriptors(directory: &Path) {
    let limit = Some(DESCRIPTORS);
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let gesta = Gesta::at(format!("gesta:{}", directory.display())).open().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("listening on {}", listener.local_addr().unwrap());
        let state = GestaState::new(gesta);
        serve(listener, api().router(state.clone()), state, std::future::pending()).await.unwrap();
    });
}
