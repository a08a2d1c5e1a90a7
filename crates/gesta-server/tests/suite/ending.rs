//! The end of a server: its readiness first, then subscriptions, then running calls.

use std::{sync::Arc, time::Duration};

use gesta_server::Server;
use gesta_store::memory::MemoryStore;
use tokio::{net::TcpStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::{client::*, endpoints::LOCAL, scene::Scene};

#[tokio::test]
async fn a_server_that_drains_is_not_ready_and_serves_all_the_same() {
    let listener = Server::bind_loopback("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::insecure(Arc::new(MemoryStore::new()));
    let server = server.drain_for(Duration::from_secs(3_600));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(server.run(listener, async { drop(stopped.await) }));
    let status = async |path: &str| crate::endpoints::get_at(address, path, LOCAL).await.0;
    assert_eq!(status("/health/ready").await, 204);
    drop(stop);
    let waited =
        tokio::time::timeout(PATIENCE, async { while status("/health/ready").await != 503 {} });
    waited.await.expect("the server is not ready any more");
    assert_eq!(status("/health/live").await, 204);
    assert_eq!(status("/ping").await, 200);
    running.abort();
}

#[tokio::test]
async fn a_call_that_runs_at_the_end_is_finished_and_subscriptions_end_at_once() {
    let mut scene = Scene::of_memory().await;
    let mut client = scene.client().await;
    let mut subscription = Read::all().subscribing().open(&mut client).await.unwrap();
    subscription.confirmed().await;

    let (messages, received) = mpsc::channel(4);
    let send = async |content| {
        messages.send(AppendReq { content: Some(content) }).await.unwrap();
    };
    let options = append_req::Options {
        stream_identifier: identifier("order-1"),
        expected_stream_revision: Some(NO_STREAM),
    };
    send(append_req::Content::Options(options)).await;
    let mut appending = client.clone();
    let append = tokio::spawn(async move { appending.append(ReceiverStream::new(received)).await });
    // A later call on the same connection is answered, so the server has the first one.
    grow(&mut client, "order-2", 7..=7).await;

    scene.stop();
    assert_eq!(subscription.error().await.code(), Code::Unavailable);
    while TcpStream::connect(scene.address).await.is_ok() {}
    send(append_req::Content::ProposedMessage(proposed(1, "happened"))).await;
    drop(messages);
    let answer = append.await.unwrap().unwrap().into_inner().result.unwrap();
    assert!(matches!(answer, append_resp::Result::Success(_)), "{answer:?}");
    scene.ended().await;
}
