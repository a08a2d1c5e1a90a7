//! HTTP behaviour around an application's own routes.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops where it fails")]

mod access;
mod assets;
mod bodies;
mod connections;
mod console;
mod cross_origin;
mod cross_site;
mod declared;
mod feed_sockets;
mod guide;
mod health;
mod layers;
mod messages;
mod metrics;
mod nodes;
mod operators;
mod outage;
mod own_router;
mod payloads;
mod personal;
mod prometheus;
mod resource_links;
mod serving;
mod sockets;
mod tenants;
#[cfg(feature = "tls")]
mod tls;
mod traces;
mod unread;
mod upgrades;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, request::Parts},
};
use gesta::{Gesta, prelude::*};
use gesta_http::{
    Api, ApiRoute, Commands, Created, GestaState, JsonBody, PathOf, Problem, RequestFields,
    UpdateCommands, Updated,
};
use serde_json::Value;
use tower::ServiceExt as _;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "door-opened")]
struct DoorOpened;

#[derive(EventSet, Clone)]
enum DoorEvent {
    Opened(DoorOpened),
}

#[derive(Default, Serialize)]
struct Door {
    opened: u32,
}

impl Aggregate for Door {
    const CATEGORY: &'static str = "door";
    type Id = u8;
    type Event = DoorEvent;

    fn evolve(&mut self, event: &DoorEvent) {
        match event {
            DoorEvent::Opened(_) => self.opened += 1,
        }
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "open-door", on = Door, either)]
struct OpenDoor {
    #[command(id)]
    door: u8,
}

impl Decide for OpenDoor {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Door) -> Decision<Self> {
        Ok(DoorOpened.into())
    }
}

/// The path of a door.
#[derive(RequestFields, Clone, Debug)]
struct DoorPath {
    /// Its number.
    door: u8,
}

async fn open_door(commands: UpdateCommands, path: PathOf<DoorPath>) -> Result<Updated, Problem> {
    commands.execute(OpenDoor { door: path.door }).await
}

async fn build_door(commands: Commands) -> Result<Created, Problem> {
    commands.create(OpenDoor { door: 1 }, 1, "/doors").await
}

/// A new door.
#[derive(RequestFields, Clone, Debug)]
struct NewDoor {
    /// Its number.
    door: u8,
    /// Text on the door.
    #[expect(dead_code, reason = "only read")]
    sign: Option<String>,
}

async fn order_door(commands: Commands, door: JsonBody<NewDoor>) -> Result<Created, Problem> {
    let JsonBody(NewDoor { door, .. }) = door;
    commands.create(OpenDoor { door }, door, "/doors").await
}

async fn fall_over(_: Commands) -> Result<Created, Problem> {
    panic!("a bug")
}

async fn open_some_door(
    commands: UpdateCommands,
    JsonBody(which): JsonBody<DoorPath>,
) -> Result<Updated, Problem> {
    commands.execute(OpenDoor { door: which.door }).await
}

fn api() -> Api {
    Api::new("Doors", "1.0").operated_under("/v1").with(
        "doors",
        [
            ApiRoute::post("/doors/{door}/open", "Opens a door").handle(open_door),
            ApiRoute::post("/doors/open", "Opens a door that the body names")
                .handle(open_some_door),
            ApiRoute::post("/doors", "Builds a door").handle(build_door),
            ApiRoute::post("/orders", "Orders a door").handle(order_door),
            ApiRoute::get("/bug", "Has a bug").handle(fall_over),
        ],
    )
}

async fn state() -> GestaState {
    GestaState::new(Gesta::at("memory:").open().await.unwrap())
}

async fn send(router: Router, request: Request<Body>) -> (u16, HeaderMap, Value) {
    let response = router.oneshot(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn asked(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_bug_in_a_handler_is_a_problem_and_not_the_end() {
    let router = api().router(state().await);
    let (status, headers, problem) = send(router.clone(), asked("GET", "/bug")).await;
    assert_eq!((status, &problem["code"]), (500, &"internal".into()));
    assert!(headers.contains_key("x-correlation-id"), "by which it is found in the log");
    let (status, _, _) = send(router, asked("GET", "/health/live")).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn the_actor_of_a_request_is_recorded_with_its_events() {
    let state = state().await;
    let shift = |parts: &Parts| {
        let name = parts.headers.get("x-shift").and_then(|value| value.to_str().ok());
        name.map(str::to_owned).ok_or_else(|| Problem::invalid("X-Shift", "is missing"))
    };
    let router = api().router(state.clone().actor(shift));
    let (status, _, problem) = send(router.clone(), asked("POST", "/doors")).await;
    assert_eq!((status, &problem["field"]), (400, &"X-Shift".into()));
    let mut request = asked("POST", "/doors");
    request.headers_mut().insert("x-shift", "night".parse().unwrap());
    let (status, headers, _) = send(router, request).await;
    assert_eq!((status, &headers["location"]), (201, &"/doors/1".parse().unwrap()));
    let read = gesta::store::ReadAll::forwards();
    let events = state.gesta().store().read_all(read).collect_events().await.unwrap();
    let metadata = gesta::EventMetadata::from_json(&events[0].metadata);
    assert_eq!(metadata.actor.as_deref(), Some("night"));
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Opens a door with these headers. Returns the trace context in the metadata of its event.
async fn traced(headers: &[(&'static str, &str)]) -> [Option<String>; 2] {
    let state = state().await;
    let mut request = asked("POST", "/doors/7/open");
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let (status, ..) = send(api().router(state.clone()), request).await;
    assert_eq!(status, 200, "a trace context never refuses a request");
    let read = gesta::store::ReadAll::forwards();
    let events = state.gesta().store().read_all(read).collect_events().await.unwrap();
    let custom = gesta::EventMetadata::from_json(&events[0].metadata).custom;
    ["traceparent", "tracestate"].map(|key| custom.get(key))
}

#[tokio::test]
async fn events_have_the_trace_context_of_their_request() {
    let state = || Some("shop=1,bank=2".to_owned());
    let headers = [("traceparent", TRACE), ("tracestate", "shop=1"), ("tracestate", "bank=2")];
    assert_eq!(traced(&headers).await, [Some(TRACE.to_owned()), state()]);
    assert_eq!(traced(&headers[..1]).await, [Some(TRACE.to_owned()), None]);
}

#[tokio::test]
async fn a_trace_context_that_is_none_is_ignored() {
    let upper = TRACE.to_uppercase();
    assert_eq!(traced(&[("traceparent", &upper), ("tracestate", "shop=1")]).await, [None, None]);
    let odd = [("traceparent", TRACE), ("tracestate", "SHOP")];
    assert_eq!(traced(&odd).await, [Some(TRACE.to_owned()), None]);
    assert_eq!(traced(&[("tracestate", "shop=1")]).await, [None, None]);
}

#[tokio::test]
async fn a_number_in_a_path_that_does_not_fit_is_named() {
    let router = api().router(state().await);
    for odd in ["256", "-1", "x", "+1", "%20"] {
        let (status, _, problem) =
            send(router.clone(), asked("POST", &format!("/doors/{odd}/open"))).await;
        assert_eq!((status, &problem["field"]), (400, &"door".into()), "{odd}");
    }
    let (status, headers, changed) = send(router, asked("POST", "/doors/7/open")).await;
    assert_eq!((status, &changed["revision"]), (200, &0.into()));
    assert!(headers["etag"].to_str().unwrap().starts_with("\"0-"), "{headers:?}");
}
