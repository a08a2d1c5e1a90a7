//! The feed of events.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream},
    http::Request,
};
use futures_util::StreamExt as _;
use gesta_http::GestaState;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Client, ann, mug};

/// A reader of a feed.
struct Reader {
    body: BodyDataStream,
    text: String,
}

/// Returns the part that is sent at once.
#[derive(Debug, Default)]
struct Said {
    name: Option<String>,
    id: Option<u64>,
    data: Option<Value>,
}

impl Reader {
    async fn of(client: &Client, path: &str, last_seen: Option<u64>) -> Self {
        let request = Request::get(path);
        let request = match last_seen {
            Some(id) => request.header("last-event-id", id.to_string()),
            None => request,
        };
        let response = client.raw(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// Returns the next message, or `None` at the end.
    async fn next(&mut self) -> Option<Said> {
        while !self.text.contains("\n\n") {
            let chunk = tokio::time::timeout(Duration::from_secs(10), self.body.next());
            let bytes = chunk.await.expect("something is said in time")?.unwrap();
            self.text.push_str(str::from_utf8(&bytes).unwrap());
        }
        let (block, rest) = self.text.split_once("\n\n").unwrap();
        let mut said = Said::default();
        for line in block.lines() {
            match line.split_once(": ").unwrap() {
                ("event", name) => said.name = Some(name.to_owned()),
                ("id", id) => said.id = Some(id.parse().unwrap()),
                ("data", data) => said.data = Some(serde_json::from_str(data).unwrap()),
                _ => {}
            }
        }
        self.text = rest.to_owned();
        Some(said)
    }

    /// Returns the next event and its position.
    async fn event(&mut self) -> (u64, Value) {
        loop {
            let said = self.next().await.expect("it goes on");
            if !said.is_progress() {
                let data = said.data.unwrap();
                assert_eq!(said.name.as_deref(), data["type"].as_str(), "named by its type");
                return (said.id.unwrap(), data);
            }
        }
    }
}

impl Said {
    /// Returns whether the message says only how far the reader is.
    fn is_progress(&self) -> bool {
        ["caught-up", "checkpoint"].contains(&self.name.as_deref().unwrap_or_default())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_does_not_follow_ends_when_it_has_caught_up() {
    let client = Client::new().await;
    client.post("/v1/users", ann()).ok().await;
    client.post("/v1/products", mug()).ok().await;
    let mut reader = Reader::of(&client, "/v1/events?follow=false&category=user", None).await;
    let mut events = 0;
    while let Some(said) = reader.next().await {
        events += usize::from(said.data.is_some() && !said.is_progress());
    }
    assert_eq!(events, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_catches_up_and_stays_live() {
    let client = Client::new().await;
    let created = client.post("/v1/users", ann()).header("x-correlation-id", "c1").ok().await;
    let mut reader = Reader::of(&client, "/v1/events", None).await;
    let (id, event) = reader.event().await;
    assert_eq!(id, created.position());
    assert_eq!((&event["type"], &event["stream"]), (&json!("user-created"), &json!("user-ann")));
    assert_eq!((&event["correlationId"], &event["actor"]), (&json!("c1"), &json!("anonymous")));
    assert_eq!(event["data"]["firstName"], "Ann");

    let added = client.post("/v1/products", mug()).ok().await;
    assert_eq!(reader.event().await.0, added.position());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_goes_on_after_the_last_event_that_its_reader_saw() {
    let client = Client::new().await;
    client.post("/v1/users", ann()).ok().await;
    client.post("/v1/products", mug()).ok().await;
    let (seen, _) = Reader::of(&client, "/v1/events", None).await.event().await;
    let (_, next) = Reader::of(&client, "/v1/events?after=0", Some(seen)).await.event().await;
    assert_eq!(next["type"], "product-added");
    let path = format!("/v1/events?after={seen}");
    assert_eq!(Reader::of(&client, &path, None).await.event().await.1["type"], "product-added");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_has_only_what_is_asked_for() {
    let client = Client::new().await;
    client.post("/v1/users", ann()).ok().await;
    client.post("/v1/products", mug()).ok().await;
    client.put("/v1/products/mug", json!({ "name": "Mug", "price": "3" })).ok().await;
    for (path, first) in [
        ("?category=product", "product-added"),
        ("?type=product-repriced&type=product-renamed", "product-renamed"),
        ("?stream=product-mug", "product-added"),
        ("?tag=email:ann@example.org", "user-created"),
        ("?category=product&type=product-repriced", "product-repriced"),
        ("?stream=user-ann&stream=product-mug&category=product", "product-added"),
    ] {
        let (_, event) =
            Reader::of(&client, &format!("/v1/events{path}"), None).await.event().await;
        assert_eq!(event["type"], first, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_filter_holds_back_moves_the_reader_on() {
    let client = Client::new().await;
    client.post("/v1/users", ann()).ok().await;
    let added = client.post("/v1/products", mug()).ok().await;
    let mut reader = Reader::of(&client, "/v1/events?stream=user-ann&category=product", None).await;
    let mut id = None;
    while id < Some(added.position()) {
        let said = reader.next().await.expect("it goes on");
        assert!(said.is_progress(), "{said:?}");
        assert_eq!(said.data.unwrap()["position"].as_u64(), said.id);
        id = id.max(said.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_holds_nobody_up() {
    let client = Client::new().await;
    let slow = Reader::of(&client, "/v1/events", None).await;
    let mut quick = Reader::of(&client, "/v1/events", None).await;
    for number in 0..200 {
        let name = json!({ "firstName": "A", "lastName": format!("{number}") });
        client.post("/v1/users", name).ok().await;
        assert_eq!(quick.event().await.1["data"]["lastName"], number.to_string());
    }
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn feeds_end_when_serving_is_to_end() {
    let shop = crate::opened::in_memory().await;
    let state = GestaState::new(shop);
    let router = shop::http::api().router(state.clone());
    let request = Request::get("/v1/events").body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let body = response.into_body().into_data_stream();
    let mut reader = Reader { body, text: String::new() };
    assert!(reader.next().await.is_some(), "it says that it is live");
    state.close();
    assert!(reader.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_to_a_feed_is_named() {
    let client = Client::new().await;
    for (path, status, what) in [
        ("/v1/events?after=x", 400, "after"),
        ("/v1/events?after=1&after=2", 400, "after"),
        ("/v1/events?follow=perhaps", 400, "follow"),
        ("/v1/events?follow=true&follow=true", 400, "follow"),
        ("/v1/events?kind=x", 400, "kind"),
        ("/v1/events?category=a-b", 400, "category"),
        ("/v1/events?stream=", 400, "stream"),
    ] {
        assert_eq!(client.get(path).send().await.field(), (status, what), "{path}");
    }
    let odd = client.get("/v1/events").header("last-event-id", "x").send().await;
    assert_eq!(odd.field(), (400, "Last-Event-ID"));
    let beyond = client.get("/v1/events?after=999").send().await;
    assert_eq!(beyond.problem(), (412, "position-beyond-head"));
}
