//! The calls of operators: scavenges, the end of the server, figures.

use std::{error::Error, ops::ControlFlow, sync::Arc};

use gesta_log::{LogStore, Options, ScavengeOptions};
use gesta_server::{ScavengeFigures, ScavengeRequest, Scavenger};
use gesta_store::{
    Append, DeleteStream, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadAll,
    StreamName, memory::MemoryStore,
};
use monitoring::{StatsReq, monitoring_client::MonitoringClient};
use operations::{
    ScavengeResp, SetNodePriorityReq, StartScavengeReq, StopScavengeReq,
    operations_client::OperationsClient, scavenge_resp::ScavengeResult, start_scavenge_req,
    stop_scavenge_req,
};
use serde_json::json;
use server_features::server_features_client::ServerFeaturesClient;
use tokio::time::timeout;
use tonic::{Code, Status, transport::Channel};

use crate::{
    client::*,
    endpoints::{LOCAL, get},
    native::http_client::Api,
    scene::Scene,
};

/// A scavenge that continues until it is stopped.
pub(crate) struct Endless;

impl Scavenger for Endless {
    fn scavenge(
        &self,
        _: &ScavengeRequest,
        progress: &mut dyn FnMut(ScavengeFigures) -> ControlFlow<()>,
    ) -> Result<ScavengeFigures, Box<dyn Error + Send + Sync>> {
        let mut figures = ScavengeFigures::default();
        figures.bytes_total = u64::MAX;
        while progress(figures).is_continue() {
            std::thread::yield_now();
        }
        Ok(figures)
    }
}

/// A scavenge that cannot begin.
struct Broken;

impl Scavenger for Broken {
    fn scavenge(
        &self,
        _: &ScavengeRequest,
        _: &mut dyn FnMut(ScavengeFigures) -> ControlFlow<()>,
    ) -> Result<ScavengeFigures, Box<dyn Error + Send + Sync>> {
        Err("the disk is broken".into())
    }
}

/// The scavenge of a log.
pub(crate) struct OfLog(pub(crate) LogStore);

impl Scavenger for OfLog {
    fn scavenge(
        &self,
        _: &ScavengeRequest,
        progress: &mut dyn FnMut(ScavengeFigures) -> ControlFlow<()>,
    ) -> Result<ScavengeFigures, Box<dyn Error + Send + Sync>> {
        let mut figures = ScavengeFigures::default();
        let report = self.0.scavenge_while(ScavengeOptions::default(), &mut |done| {
            (figures.bytes_done, figures.bytes_total) = (done.bytes_done, done.bytes_total);
            progress(figures)
        })?;
        figures.events = report.events;
        Ok(figures)
    }
}

type Operations = OperationsClient<Channel>;

async fn start(client: &mut Operations) -> Result<ScavengeResp, Status> {
    let options = start_scavenge_req::Options { thread_count: 1, start_from_chunk: 0 };
    let request = StartScavengeReq { options: Some(options) };
    client.start_scavenge(request).await.map(tonic::Response::into_inner)
}

async fn stop(client: &mut Operations, id: &str) -> Result<ScavengeResp, Status> {
    let options = stop_scavenge_req::Options { scavenge_id: id.to_owned() };
    let request = StopScavengeReq { options: Some(options) };
    client.stop_scavenge(request).await.map(tonic::Response::into_inner)
}

/// Waits until no scavenge is running.
async fn scavenge_ended(scene: &Scene) {
    let ended = async {
        while !get(scene, "/stats", LOCAL).await.1.contains("\"scavenges_running\":0") {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, ended).await.expect("the scavenge ends");
}

#[tokio::test]
async fn scavenges_are_started_shown_and_stopped_over_the_http_interface() {
    let scene = Scene::scavenged(Arc::new(MemoryStore::new()), Arc::new(Endless)).await;
    let api = Api::of(&scene);
    let none = api.get("/v1/scavenge").await.done();
    assert_eq!(none, json!({ "supported": true, "last": null }));
    let wrong = api.send("POST /v1/scavenge?threshold=101", "", b"").await.refused(400, "invalid");
    assert_eq!(wrong["field"], "threshold");
    let started = api.send("POST /v1/scavenge?threshold=50", "", b"").await.done();
    let id = started["scavengeId"].as_str().unwrap();
    api.send("POST /v1/scavenge", "", b"").await.refused(409, "not-now");
    let shown = api.get("/v1/scavenge").await.done();
    assert_eq!(
        (&shown["last"]["scavengeId"], &shown["last"]["state"]),
        (&id.into(), &"running".into())
    );
    let other = "/v1/scavenge/0190a0de-7f51-7c9f-8b6b-111111111111";
    api.delete(other).await.refused(404, "not-found");
    let stopped = api.delete(&format!("/v1/scavenge/{id}")).await.done();
    assert_eq!(stopped["state"], "stopped");
    assert!(stopped["endedAt"].is_string(), "{stopped}");
}

#[tokio::test]
async fn a_store_that_is_not_scavenged_says_so() {
    let scene = Scene::of_memory().await;
    let api = Api::of(&scene);
    let answer = api.get("/v1/scavenge").await.done();
    assert_eq!(answer, json!({ "supported": false, "last": null }));
    api.send("POST /v1/scavenge", "", b"").await.refused(501, "not-supported");
}

#[tokio::test]
async fn one_scavenge_runs_at_a_time_and_is_stopped_by_its_id() {
    let scene = Scene::scavenged(Arc::new(MemoryStore::new()), Arc::new(Endless)).await;
    let mut client = OperationsClient::new(scene.channel().await);
    let started = start(&mut client).await.unwrap();
    assert_eq!(started.scavenge_result(), ScavengeResult::Started);
    let again = start(&mut client).await.unwrap();
    assert_eq!(again.scavenge_result(), ScavengeResult::InProgress);
    assert_eq!(again.scavenge_id, started.scavenge_id);
    let stopped = stop(&mut client, &started.scavenge_id).await.unwrap();
    assert_eq!(stopped.scavenge_result(), ScavengeResult::Stopped);
    // A stop that is sent again, because its answer was lost, is answered alike.
    assert_eq!(stop(&mut client, &started.scavenge_id).await.unwrap(), stopped);
    let next = start(&mut client).await.unwrap();
    assert_eq!(next.scavenge_result(), ScavengeResult::Started);
    assert_ne!(next.scavenge_id, started.scavenge_id);
}

#[tokio::test]
async fn a_scavenge_ends_with_the_server() {
    let mut scene = Scene::scavenged(Arc::new(MemoryStore::new()), Arc::new(Endless)).await;
    let mut client = OperationsClient::new(scene.channel().await);
    start(&mut client).await.unwrap();
    scene.stop();
    scene.ended().await;
}

#[tokio::test]
async fn a_scavenge_that_nobody_started_is_not_found() {
    let scene = Scene::scavenged(Arc::new(MemoryStore::new()), Arc::new(Endless)).await;
    let mut client = OperationsClient::new(scene.channel().await);
    for id in ["4f6f2f4c-8f3b-4d3e-9d5e-0c5d6f1f2a3b", "the last one"] {
        let refused = stop(&mut client, id).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        let trailer = |key| refused.metadata().get(key).unwrap().to_str().unwrap().to_owned();
        assert_eq!(trailer("exception"), "scavenge-not-found");
        assert_eq!(trailer("scavenge-id"), id);
    }
}

#[tokio::test]
async fn a_scavenge_removes_the_events_of_a_deleted_stream_while_the_store_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let store = LogStore::open(directory.path(), Options::default()).unwrap();
    let stream = StreamName::new("session-1").unwrap();
    let event = NewEvent::json(EventId::random(), EventType::new("opened").unwrap(), "{}");
    store.append(Append::to(stream.clone(), ExpectedRevision::NoStream, [event])).await.unwrap();
    store.delete_stream(DeleteStream::new(stream, ExpectedRevision::Any)).await.unwrap();
    // The end seals the segment, and only sealed ones are scavenged.
    store.close().await.unwrap();
    drop(store);
    let store = LogStore::open_async(directory.path(), Options::default()).await.unwrap();
    let scavenger = Arc::new(OfLog(store.clone()));
    let scene = Scene::scavenged(Arc::new(store.clone()), scavenger).await;
    let raw = || async {
        let events = store.read_all(ReadAll::forwards()).collect_events().await.unwrap();
        events.iter().filter(|event| event.event_type.as_str() == "opened").count()
    };
    assert_eq!(raw().await, 1);
    let mut client = OperationsClient::new(scene.channel().await);
    start(&mut client).await.unwrap();
    scavenge_ended(&scene).await;
    assert_eq!(raw().await, 0);
}

#[tokio::test]
async fn a_scavenge_that_fails_makes_room_for_the_next_one() {
    let scene = Scene::scavenged(Arc::new(MemoryStore::new()), Arc::new(Broken)).await;
    let mut client = OperationsClient::new(scene.channel().await);
    let first = start(&mut client).await.unwrap();
    scavenge_ended(&scene).await;
    let second = start(&mut client).await.unwrap();
    assert_eq!(second.scavenge_result(), ScavengeResult::Started);
    assert_ne!(first.scavenge_id, second.scavenge_id);
}

async fn listed(scene: &Scene) -> bool {
    let mut client = ServerFeaturesClient::new(scene.channel().await);
    let methods = client.get_supported_methods(Empty {}).await.unwrap().into_inner().methods;
    methods.iter().any(|method| method.method_name == "startscavenge")
}

#[tokio::test]
async fn scavenges_are_listed_only_if_the_store_can_be_scavenged() {
    let scene = Scene::of_memory().await;
    assert!(!listed(&scene).await);
    let mut client = OperationsClient::new(scene.channel().await);
    let refused = start(&mut client).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("a store in a directory"), "{refused}");
    let scene = Scene::scavenged(Arc::new(MemoryStore::new()), Arc::new(Endless)).await;
    assert!(listed(&scene).await);
}

#[tokio::test]
async fn the_server_ends_when_an_operator_asks_for_it() {
    let mut scene = Scene::of_memory().await;
    let mut client = OperationsClient::new(scene.channel().await);
    client.shutdown(Empty {}).await.unwrap();
    scene.ended().await;
}

#[tokio::test]
async fn calls_for_a_cluster_are_answered_by_a_lone_node() {
    let scene = Scene::of_memory().await;
    let mut client = OperationsClient::new(scene.channel().await);
    client.merge_indexes(Empty {}).await.unwrap();
    client.resign_node(Empty {}).await.unwrap();
    client.restart_persistent_subscriptions(Empty {}).await.unwrap();
    client.set_node_priority(SetNodePriorityReq { priority: 7 }).await.unwrap();
    let (status, body) = get(&scene, "/gossip", LOCAL).await;
    assert_eq!(status, 200);
    assert!(body.contains("\"nodePriority\":7"), "{body}");
    assert!(body.contains("\"state\":\"Leader\""), "{body}");
}

#[tokio::test]
async fn figures_come_at_once_and_again_until_the_server_ends() {
    let mut scene = Scene::of_memory().await;
    grow(&mut scene.client().await, "order-1", [1, 2, 3]).await;
    let mut client = MonitoringClient::new(scene.channel().await);
    let request = |period| StatsReq { use_metadata: false, refresh_time_period_in_ms: period };
    let refused = client.stats(request(0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let mut stats = client.stats(request(1)).await.unwrap().into_inner();
    for _ in 0..2 {
        let next = timeout(PATIENCE, stats.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(next.stats["head_position"], "3");
    }
    scene.stop();
    let end = loop {
        match timeout(PATIENCE, stats.message()).await.unwrap() {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert_eq!(end.unwrap_err().code(), Code::Unavailable);
}
