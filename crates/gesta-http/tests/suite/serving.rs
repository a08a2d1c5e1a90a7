//! Serving on a real socket.

use std::time::Duration;

use gesta_http::{Limits, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::timeout,
};

use crate::{api, state};

const SOON: Duration = Duration::from_secs(10);

async fn connect(address: std::net::SocketAddr, path: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    connection
}

async fn read_until(connection: &mut TcpStream, wanted: &str) -> String {
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains(wanted) {
        let mut part = [0; 1_024];
        let read = timeout(SOON, connection.read(&mut part)).await.unwrap().unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&said));
        said.extend(&part[..read]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_the_server_and_its_feeds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let until = async { ended.await.unwrap_or_default() };
    let state = state().await;
    let serving = tokio::spawn(serve(listener, api().router(state.clone()), state, until));
    let mut feed = connect(address, "/v1/events").await;
    read_until(&mut feed, "id: 0").await;
    end.send(()).unwrap();
    timeout(SOON, serving).await.expect("it ends").unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "no more connections are accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_feed_says_that_it_is_still_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits::DEFAULT.keep_alive(Duration::from_millis(10));
    let state = state().await.limits(limits);
    let serving =
        tokio::spawn(serve(listener, api().router(state.clone()), state, std::future::pending()));
    let mut feed = connect(address, "/v1/events").await;
    read_until(&mut feed, ": keep-alive").await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_expects_100_continue_gets_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = state().await;
    let serving =
        tokio::spawn(serve(listener, api().router(state.clone()), state, std::future::pending()));
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = "POST /orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 11\r\nexpect: 100-continue\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut connection, "100 Continue").await;
    connection.write_all(br#"{"door": 7}"#).await.unwrap();
    read_until(&mut connection, "201 Created").await;
    serving.abort();
}
