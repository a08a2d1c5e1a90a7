//! Parts of an application over HTTP, on a node that does not run them.

use std::sync::Arc;

use gesta::{
    Apply, ApplyError, Gesta, Nodes, Projection, Recorded,
    store::{EventStore, MemoryLeases, MemoryReadModels, Rows, memory::MemoryStore},
};
use gesta_http::GestaState;
use serde_json::{Value, json};

use crate::{DoorEvent, api, asked, health::Doors, send};

/// A projection in partitions.
struct DividedDoors;

impl Projection for DividedDoors {
    const NAME: &'static str = "divided-doors";
    const PARTITIONS: u32 = 3;
    type Event = DoorEvent;
}

impl<Tx: Rows> Apply<Tx> for DividedDoors {
    async fn apply(&self, _: &mut Tx, _: &[Recorded<DoorEvent>]) -> Result<(), ApplyError> {
        Ok(())
    }
}

/// Two nodes of one application. The first one runs everything.
async fn two_nodes() -> (Gesta, Gesta) {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let (models, leases) = (MemoryReadModels::new(), Arc::new(MemoryLeases::new()));
    let start = async |label: &str| {
        let nodes = Nodes::new(leases.clone(), label).unwrap();
        let builder = Gesta::on(Arc::clone(&store)).nodes(nodes);
        builder.project(Doors, &models).open().await.unwrap()
    };
    let one = start("one").await;
    until(&one, "running").await;
    let two = start("two").await;
    until(&two, "waiting").await;
    (one, two)
}

/// Waits until the projection has this state.
async fn until(gesta: &Gesta, state: &str) {
    let router = api().router(GestaState::new(gesta.clone()));
    loop {
        let (_, _, body) = send(router.clone(), asked("GET", "/v1/projections")).await;
        if body["items"][0]["state"] == state {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn projections_show_the_node_that_runs_them_and_its_lease() {
    let (one, two) = two_nodes().await;
    let name = one.node().unwrap().as_str();
    let router = api().router(GestaState::new(two.clone()));
    let (_, _, body) = send(router.clone(), asked("GET", "/v1/projections")).await;
    let doors = &body["items"][0];
    assert_eq!((&doors["state"], &doors["node"]), (&json!("waiting"), &json!(name)));
    assert_eq!(doors["lease"]["name"], "projection:doors");
    assert_eq!((&doors["lease"]["node"], &doors["lease"]["token"]), (&json!(name), &json!(1)));
    assert!(doors["lease"]["remainingSeconds"].as_f64().unwrap() > 0.0);

    let (status, _, body) = send(router, asked("GET", "/health/ready")).await;
    assert_eq!((status, &body["status"]), (200, &json!("ready")));
    assert_eq!(body["causes"][0]["severity"], "notice");
    assert_eq!(body["causes"][0]["detail"], format!("runs on {name}"));
}

#[tokio::test]
async fn partitions_show_the_node_that_runs_each_and_its_lease() {
    let nodes = Nodes::new(Arc::new(MemoryLeases::new()), "one").unwrap();
    let builder = Gesta::on(Arc::new(MemoryStore::new())).nodes(nodes);
    let gesta = builder.project(DividedDoors, &MemoryReadModels::new()).open().await.unwrap();
    let router = api().router(GestaState::new(gesta.clone()));
    let is_settled = |partition: &Value| partition["lease"].is_object();
    let partitions = loop {
        let (_, _, mut body) = send(router.clone(), asked("GET", "/v1/projections")).await;
        let partitions = body["items"][0]["partitions"].take();
        let all = partitions.as_array().unwrap();
        if all.iter().all(|one| is_settled(one) && one["position"].is_u64()) {
            break all.clone();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(partitions.len(), 3);
    let name = gesta.node().unwrap().as_str();
    for (index, partition) in partitions.iter().enumerate() {
        assert_eq!((&partition["index"], &partition["node"]), (&json!(index), &json!(name)));
        let lease = format!("projection:divided-doors#{index}-of-3");
        assert_eq!(partition["lease"]["name"], lease);
    }
}

#[tokio::test]
async fn an_operation_on_a_waiting_node_answers_409_with_the_node_that_runs_it() {
    let (one, two) = two_nodes().await;
    let router = api().router(GestaState::new(two));
    let (status, _, body) = send(router, asked("POST", "/v1/projections/doors/rebuild")).await;
    assert_eq!((status, &body["code"]), (409, &json!("runs-elsewhere")));
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains(one.node().unwrap().as_str()), "{detail}");
}
