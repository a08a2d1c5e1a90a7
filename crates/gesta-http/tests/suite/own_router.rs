//! Extractors, layers and routes in a router of the application's own.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{FromRef, Path, Query, Request, State},
    http::StatusCode,
    middleware::{Next, from_fn},
    routing::{get, post},
};
use gesta::Gesta;
use gesta_http::{Commands, Created, GestaState, HttpRules, JsonBody, PathOf, Problem, QueryOf};
use gesta_http::{RequestFields, UpdateCommands, Updated};
use serde_json::{Value, json};

use crate::{DoorPath, NewDoor, OpenDoor, api, asked, send};

/// A state of the application's own, which has the extractors' state as a part.
#[derive(Clone)]
struct House {
    street: &'static str,
    gesta: GestaState,
}

impl FromRef<House> for GestaState {
    fn from_ref(house: &House) -> Self {
        house.gesta.clone()
    }
}

impl FromRef<House> for &'static str {
    fn from_ref(house: &House) -> Self {
        house.street
    }
}

#[derive(serde::Deserialize)]
struct Greeting {
    greeting: String,
}

/// axum's extractors together with those of this crate.
async fn open(
    commands: UpdateCommands,
    State(street): State<&'static str>,
    Path(door): Path<u8>,
    Query(Greeting { greeting }): Query<Greeting>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let _: Updated = commands.execute(OpenDoor { door }).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "greeting": format!("{greeting}, {street}") }))))
}

/// Side of a door.
#[derive(RequestFields, Clone, Debug)]
struct Side {
    /// Name of the side.
    side: String,
}

/// Extractors of this crate together with axum's state.
async fn order(
    commands: Commands,
    State(house): State<House>,
    path: PathOf<DoorPath>,
    QueryOf(Side { side }): QueryOf<Side>,
    JsonBody(door): JsonBody<NewDoor>,
) -> Result<Created, Problem> {
    assert_eq!((house.street, path.door, side.as_str()), ("Elm", 3, "east"));
    commands.create(OpenDoor { door: door.door }, door.door, "/doors").await
}

async fn house() -> House {
    House { street: "Elm", gesta: GestaState::new(Gesta::at("memory:").open().await.unwrap()) }
}

fn json_request(path: &str, body: &Value) -> Request {
    let request = Request::post(path).header("content-type", "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

#[tokio::test]
async fn extractors_stand_beside_those_of_axum() {
    let house = house().await;
    let router = Router::new()
        .route("/open/{door}", post(open))
        .route("/order/{door}", post(order))
        .layer(HttpRules::new(&house.gesta))
        .with_state(house);
    let (status, headers, body) =
        send(router.clone(), asked("POST", "/open/7?greeting=hello")).await;
    assert_eq!((status, &body["greeting"]), (202, &"hello, Elm".into()));
    assert!(headers.contains_key("x-correlation-id"), "the layer's rules hold");
    let request = json_request("/order/3?side=east", &json!({ "door": 9 }));
    let (status, headers, _) = send(router.clone(), request).await;
    assert_eq!((status, &headers["location"]), (201, &"/doors/9".parse().unwrap()));
    let request = json_request("/order/3?side=east", &json!({ "door": "9", "sigh": "" }));
    let (status, _, problem) = send(router, request).await;
    assert_eq!((status, problem["errors"].as_array().unwrap().len()), (400, 2));
}

#[tokio::test]
async fn documented_routes_nest_into_a_router_of_another_state() {
    let house = house().await;
    let router = Router::new()
        .route("/street", get(async |State(street): State<&'static str>| street))
        .nest("/house/{house}", api().nested(house.gesta.clone()))
        .with_state(house.clone());
    // The outer parameter is not one of the operation's.
    let (status, _, changed) = send(router.clone(), asked("POST", "/house/5/doors/7/open")).await;
    assert_eq!((status, &changed["revision"]), (200, &0.into()));
    let (status, _, document) = send(router.clone(), asked("GET", "/house/5/openapi.json")).await;
    assert_eq!((status, &document["info"]["title"]), (200, &"Doors".into()));
    assert_eq!(send(router, asked("GET", "/street")).await.0, 200);
}

#[tokio::test]
async fn documented_routes_merge_with_a_router_that_has_a_fallback() {
    let house = house().await;
    let router = Router::new()
        .fallback(async || StatusCode::IM_A_TEAPOT)
        .merge(api().nested(house.gesta.clone()))
        .with_state(house);
    assert_eq!(send(router.clone(), asked("GET", "/health/live")).await.0, 200);
    assert_eq!(send(router, asked("GET", "/nothing")).await.0, 418);
}

#[tokio::test]
async fn a_layer_of_the_application_wraps_documented_routes() {
    let house = house().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let count = from_fn(move |request: Request, next: Next| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move { next.run(request).await }
    });
    let router = api().router(house.gesta).layer(count);
    assert_eq!(send(router, asked("GET", "/health/live")).await.0, 200);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}
