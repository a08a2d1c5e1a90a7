//! Several servers on one store: one of them at a time runs the consumer groups.

use std::sync::Arc;

use gesta_server::admin::AdminClient;
use gesta_store::{MemoryLeases, memory::MemoryStore};
use tonic::Code;

use crate::{
    client::{Empty, grow, operations::operations_client::OperationsClient, trailer},
    endpoints::{LOCAL, get},
    group_client::*,
    scene::Scene,
};

const MAIL: (&str, &str) = ("order-1", "mail");

/// Waits until a server has the right to run groups.
async fn runs_groups(scene: &Scene) -> GroupClient {
    let mut groups = scene.groups().await;
    let waited = tokio::time::timeout(crate::client::PATIENCE, async {
        loop {
            match info(&mut groups, "nothing", "nobody").await {
                Err(status) if status.code() == Code::Unavailable => tokio::task::yield_now().await,
                _ => return,
            }
        }
    });
    waited.await.expect("the server takes over in time");
    groups
}

#[tokio::test]
async fn a_second_server_refuses_groups_and_takes_over_after_the_first() {
    let (store, leases) = (MemoryStore::new(), MemoryLeases::new());
    let mut first = Scene::sharing(store.clone(), Arc::new(leases.clone())).await;
    let mut groups = runs_groups(&first).await;
    let second = Scene::sharing(store, Arc::new(leases)).await;
    groups.create(of_stream("order-1", "mail", settings())).await.unwrap();
    grow(&mut second.client().await, "order-1", 1..=2).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let event = consumer.next().await;
    consumer.ack(&[&event]).await;
    info_when(&mut groups, MAIL, |info| info.last_checkpointed_event_position == "0").await;
    let refused = GroupConsumer::connect(&mut second.groups().await, MAIL, 10).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");

    first.stop();
    assert_eq!(consumer.error().await.code(), Code::Unavailable);
    first.ended().await;
    let mut groups = runs_groups(&second).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    assert_eq!(consumer.places(1).await, ["1@order-1"]);
}

#[tokio::test]
async fn a_server_that_was_replaced_cannot_move_the_checkpoint() {
    let store = MemoryStore::new();
    // Neither knows of the other, like a server that was paused while another took over.
    let paused = Scene::beside_others(store.clone()).await;
    let mut groups = paused.groups().await;
    groups.create(of_stream("order-1", "mail", settings())).await.unwrap();
    grow(&mut paused.client().await, "order-1", 1..=3).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let first = consumer.next().await;

    let other = Scene::beside_others(store).await;
    let mut others = other.groups().await;
    let mut successor = GroupConsumer::connect(&mut others, MAIL, 10).await.unwrap();
    let (zero, one) = (successor.next().await, successor.next().await);
    successor.ack(&[&zero, &one]).await;
    info_when(&mut others, MAIL, |info| info.last_checkpointed_event_position == "1").await;

    consumer.ack(&[&first]).await;
    assert_of_group(&consumer.error().await, Code::Cancelled, "persistent-subscription-dropped");
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    assert_eq!(consumer.places(1).await, ["2@order-1"]);
}

#[tokio::test]
async fn a_server_that_resigns_leaves_groups_to_the_other_and_serves_everything_else() {
    let (store, leases) = (MemoryStore::new(), MemoryLeases::new());
    let first = Scene::sharing(store.clone(), Arc::new(leases.clone())).await;
    let mut groups = runs_groups(&first).await;
    groups.create(of_stream("order-1", "mail", settings())).await.unwrap();
    grow(&mut first.client().await, "order-1", 1..=2).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let event = consumer.next().await;
    consumer.ack(&[&event]).await;
    info_when(&mut groups, MAIL, |info| info.last_checkpointed_event_position == "0").await;
    let second = Scene::sharing(store, Arc::new(leases)).await;

    let mut operations = OperationsClient::new(first.channel().await);
    operations.resign_node(Empty {}).await.unwrap();
    consumer.error().await;
    let mut others = runs_groups(&second).await;
    let mut consumer = GroupConsumer::connect(&mut others, MAIL, 10).await.unwrap();
    assert_eq!(consumer.places(1).await, ["1@order-1"]);
    let refused = GroupConsumer::connect(&mut groups, MAIL, 10).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert_eq!(grow(&mut first.client().await, "order-1", [3]).await, 2);

    // The second one resigns, too, and nothing keeps the first one from taking over again.
    let mut operations = OperationsClient::new(second.channel().await);
    operations.resign_node(Empty {}).await.unwrap();
    runs_groups(&first).await;
}

/// Two servers on a store that know each other. The first one runs the groups.
async fn two_servers() -> (Scene, Scene) {
    let (store, leases) = (MemoryStore::new(), MemoryLeases::new());
    let first = Scene::advertised(store.clone(), Arc::new(leases.clone())).await;
    runs_groups(&first).await;
    let second = Scene::advertised(store, Arc::new(leases)).await;
    (first, second)
}

#[tokio::test]
async fn a_server_without_the_groups_names_the_one_that_runs_them_and_the_client_goes_there() {
    let (first, second) = two_servers().await;
    runs_groups(&first).await.create(of_stream("order-1", "mail", settings())).await.unwrap();
    // It answers `UNAVAILABLE` until it has looked at the lease.
    let mut groups = runs_groups(&second).await;
    let refused = info(&mut groups, "order-1", "mail").await.unwrap_err();
    assert_of_leader(&refused, &first);

    let client = AdminClient::insecure(second.address.to_string().parse().unwrap());
    let listed = client.groups().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].source.as_str(), listed[0].name.as_str()), MAIL);
}

fn assert_of_leader(refused: &tonic::Status, leader: &Scene) {
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    assert_eq!(trailer(refused, "exception"), "not-leader");
    assert_eq!(trailer(refused, "leader-endpoint-host"), leader.address.ip().to_string());
    assert_eq!(trailer(refused, "leader-endpoint-port"), leader.address.port().to_string());
}

/// Returns the ports and states that a server lists.
async fn members(scene: &Scene) -> Vec<(u16, String)> {
    let (_, body) = get(scene, "/gossip", LOCAL).await;
    let listed: serde_json::Value = serde_json::from_str(&body).unwrap();
    let members = listed["members"].as_array().unwrap().iter().map(|member| {
        let port = member["httpEndPointPort"].as_u64().unwrap();
        (u16::try_from(port).unwrap(), member["state"].as_str().unwrap().to_owned())
    });
    members.collect()
}

#[tokio::test]
async fn each_server_lists_all_with_the_one_that_runs_the_groups_as_the_leader() {
    let (mut first, second) = two_servers().await;
    let mut expected = vec![
        (first.address.port(), "Leader".to_owned()),
        (second.address.port(), "Follower".to_owned()),
    ];
    expected.sort_by_key(|(port, _)| format!("127.0.0.1:{port}"));
    for scene in [&first, &second] {
        let listed = tokio::time::timeout(crate::client::PATIENCE, async {
            while members(scene).await != expected {}
        });
        listed.await.expect("both servers announce themselves");
    }

    first.stop();
    first.ended().await;
    let left = [(second.address.port(), "Leader".to_owned())];
    assert_eq!(members(&second).await, left);
}
