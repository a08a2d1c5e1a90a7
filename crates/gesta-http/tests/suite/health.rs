//! Health over HTTP: ready, degraded with causes, or a problem with causes.

use std::sync::Arc;

use gesta::{
    EventId, EventType, Gesta, Projection, StreamName,
    prelude::*,
    store::{
        Append, DatabaseError, ExpectedRevision, MemoryReadModels, MemoryReader, NewEvent,
        RecordedAt, Rows, memory::MemoryStore,
    },
};
use gesta_http::GestaState;
use serde_json::json;

use crate::{DoorEvent, OpenDoor, api, asked, send};

pub(crate) struct Doors;

impl Projection for Doors {
    const NAME: &'static str = "doors";
    type Event = DoorEvent;
}

impl<Tx: Rows> Apply<Tx> for Doors {
    async fn apply(&self, _: &mut Tx, _: &[Recorded<DoorEvent>]) -> Result<(), ApplyError> {
        Ok(())
    }
}

#[derive(Query)]
#[query(reads = Doors, answer = ())]
struct ReadFlippedPage;

impl Answer<MemoryReader> for ReadFlippedPage {
    async fn answer(&self, _: &mut MemoryReader) -> Result<(), QueryError> {
        let reason = "database disk image is malformed".to_owned();
        Err(DatabaseError::Corrupt { reason, source: None }.into())
    }
}

async fn doors() -> Gesta {
    let models = MemoryReadModels::new();
    Gesta::at("memory:").project(Doors, &models).open().await.unwrap()
}

#[tokio::test]
async fn an_application_without_troubles_is_ready_and_names_no_cause() {
    let router = api().router(GestaState::new(doors().await));
    let (status, _, body) = send(router, asked("GET", "/health/ready")).await;
    assert_eq!((status, body), (200, json!({ "status": "ready", "causes": [] })));
}

#[tokio::test]
async fn what_waits_for_an_operator_degrades_and_is_named() {
    let gesta = doors().await;
    let event_type = EventType::new("door-opened").unwrap();
    let odd = NewEvent::json(EventId::random(), event_type, r#"[1, 2]"#);
    let stream = StreamName::new("door-1").unwrap();
    let odd = Append::to(stream, ExpectedRevision::Any, [odd]);
    let appended = gesta.store().append(odd).await.unwrap();
    gesta.wait_for_position::<Doors>(appended.position).await.unwrap();
    let router = api().router(GestaState::new(gesta));
    let (status, _, body) = send(router, asked("GET", "/health/ready")).await;
    assert_eq!((status, &body["status"]), (200, &json!("degraded")));
    let cause = json!({
        "component": "projection", "name": "doors", "state": "dead-letters",
        "severity": "degraded", "detail": "1 event is set aside",
    });
    assert_eq!(body["causes"], json!([cause]));
}

#[tokio::test]
async fn what_keeps_requests_from_being_served_is_a_problem_with_every_cause() {
    let tomorrow = || RecordedAt::from_micros(u64::MAX / 2);
    let store = Arc::new(MemoryStore::with_clock(tomorrow));
    let models = MemoryReadModels::new();
    let gesta = Gesta::on(store).project(Doors, &models).open().await.unwrap();
    let receipt = gesta.execute(OpenDoor { door: 1 }).await.unwrap();
    gesta.wait_for::<Doors>(&receipt).await.unwrap();
    gesta.ask::<_, MemoryReader>(ReadFlippedPage).await.unwrap_err();
    let router = api().router(GestaState::new(gesta));
    let (status, _, body) = send(router, asked("GET", "/health/ready")).await;
    assert_eq!((status, &body["code"]), (503, &json!("projection-corrupt")));
    assert!(body["detail"].as_str().unwrap().starts_with("projection doors is corrupt: "));
    let states: Vec<_> = body["causes"].as_array().unwrap().iter().map(|it| &it["state"]).collect();
    assert_eq!(states, ["corrupt", "behind-store"], "the worst first, and none left out");
}
