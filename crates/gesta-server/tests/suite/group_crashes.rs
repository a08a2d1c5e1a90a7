//! Consumer groups after a crash of the server: its tasks end in the middle, without last writes.

use std::{future::pending, net::SocketAddr, sync::Arc};

use gesta_server::Server;
use gesta_store::memory::MemoryStore;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};
use tonic::transport::Endpoint;

use crate::{
    client::{Client, Credentials, Read, event, groups::*, grow, streams_client::StreamsClient},
    group_client::*,
};

const MAIL: (&str, &str) = ("order-1", "mail");
const PARKED: &str = "$persistentsubscription-order-1::mail-parked";

/// A server on a runtime of its own, which a crash takes away.
struct CrashingServer {
    runtime: Option<Runtime>,
    address: SocketAddr,
}

impl CrashingServer {
    async fn start(store: &MemoryStore) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (told, address) = oneshot::channel();
        let store = Arc::new(store.clone());
        runtime.spawn(async move {
            let listener = Server::bind_loopback("127.0.0.1:0".parse().unwrap()).await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            Server::insecure(store).run(listener, pending()).await
        });
        Self { runtime: Some(runtime), address: address.await.unwrap() }
    }

    async fn clients(&self) -> (GroupClient, Client) {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        let channel = endpoint.connect().await.unwrap();
        (
            GroupClient::new(channel.clone()),
            StreamsClient::with_interceptor(channel, Credentials::default()),
        )
    }

    fn crash(self) {
        drop(self);
    }
}

impl Drop for CrashingServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A plain drop would wait for its threads.
            runtime.shutdown_background();
        }
    }
}

/// Settings with which no checkpoint is due.
fn rare_checkpoints() -> create_req::Settings {
    create_req::Settings { max_checkpoint_count: 1_000, ..settings() }
}

#[tokio::test]
async fn after_a_crash_open_events_come_again_and_parked_ones_stay_parked() {
    let store = MemoryStore::new();
    let server = CrashingServer::start(&store).await;
    let (mut groups, mut client) = server.clients().await;
    groups.create(of_stream("order-1", "mail", rare_checkpoints())).await.unwrap();
    grow(&mut client, "order-1", 1..=4).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let (first, second) = (consumer.next().await, consumer.next().await);
    consumer.ack(&[&first]).await;
    consumer.nack(&second, read_req::nack::Action::Park).await;
    let parked = |info: &SubscriptionInfo| info.parked_message_count == 1;
    info_when(&mut groups, MAIL, parked).await;
    server.crash();

    let server = CrashingServer::start(&store).await;
    let (mut groups, mut client) = server.clients().await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    // No checkpoint was written, so the acknowledged event comes again; the parked one does not.
    assert_eq!(consumer.places(3).await, ["0@order-1", "2@order-1", "3@order-1"]);
    let read = Read::stream(PARKED).resolving().run(&mut client).await.unwrap();
    assert_eq!(read.len(), 1, "parked once");
    assert_eq!(event(&read[0]).event.as_ref().unwrap().id, second.event.unwrap().id);
}

#[tokio::test]
async fn after_a_crash_during_a_replay_the_unfinished_stay_parked_and_are_parked_anew() {
    let store = MemoryStore::new();
    let server = CrashingServer::start(&store).await;
    let (mut groups, mut client) = server.clients().await;
    groups.create(of_stream("order-1", "mail", rare_checkpoints())).await.unwrap();
    grow(&mut client, "order-1", 1..=3).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    // The first event stays open, so the checkpoint stays before the parked ones.
    consumer.places(1).await;
    for number in 1..=2 {
        let event = consumer.next().await;
        consumer.nack(&event, read_req::nack::Action::Park).await;
        info_when(&mut groups, MAIL, |info| info.parked_message_count == number).await;
    }
    replay(&mut groups, MAIL, None).await.unwrap();
    let (finished, open) = (consumer.next().await, consumer.next().await);
    assert_eq!([place(&finished), place(&open)], ["1@order-1", "2@order-1"]);
    consumer.ack(&[&finished]).await;
    info_when(&mut groups, MAIL, |info| info.parked_message_count == 1).await;
    server.crash();

    let server = CrashingServer::start(&store).await;
    let (mut groups, _) = server.clients().await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    // The finished one is no longer parked and was not checkpointed: it comes again from the
    // source. It can be parked again, though its link was recorded before.
    let (first, again) = (consumer.next().await, consumer.next().await);
    assert_eq!([place(&first), place(&again)], ["0@order-1", "1@order-1"]);
    consumer.nack(&again, read_req::nack::Action::Park).await;
    info_when(&mut groups, MAIL, |info| info.parked_message_count == 2).await;
    replay(&mut groups, MAIL, None).await.unwrap();
    assert_eq!(consumer.places(2).await, ["2@order-1", "1@order-1"]);
}
