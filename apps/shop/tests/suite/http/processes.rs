//! Operation of process managers over HTTP: list, retry, skip and cancel dead letters.

use std::time::Duration;

use axum::http::Method;
use gesta::{
    EventId, EventType, Gesta, Recorded, StreamName,
    audit::{self, AuditEvent},
    sqlite::Sqlite,
    store::{Append, DeleteStream, ExpectedRevision, NewEvent, ReadStream},
    testing::drain,
};
use serde_json::{Value, json};
use shop::{
    processes::{self, ProcessDelays},
    read_side,
};

use super::{Client, ann};

/// Opens a shop with its processes, and one delay for all timers.
async fn client(wait: Duration) -> Client {
    let models = Sqlite::temporary().await.unwrap().into();
    let builder = read_side::project_all(Gesta::at("memory:"), &models);
    let waits = ProcessDelays { welcome: wait, payment: wait };
    Client::over(processes::run_all(builder, waits).open().await.unwrap())
}

const HOUR: Duration = Duration::from_secs(3_600);

/// Appends an event as `gesta append` does.
async fn append(client: &Client, stream: &str, event_type: &str, data: Value) {
    let event_type = EventType::new(event_type).unwrap();
    let event = NewEvent::json(EventId::random(), event_type, data.to_string());
    let stream = StreamName::new(stream).unwrap();
    let append = Append::to(stream, ExpectedRevision::Any, [event]);
    client.shop.store().append(append).await.unwrap();
}

async fn settled(client: &Client) {
    drain(&client.shop).await;
}

async fn post(client: &Client, path: &str) -> super::Answer {
    client.ask(Method::POST, path).send().await
}

/// Returns the operations in the audit stream, with their reasons or errors.
async fn audited(client: &Client) -> Vec<(String, String, Option<String>)> {
    let read = ReadStream::forwards(audit::stream());
    let events = client.shop.store().read_stream(read).collect_events().await.unwrap();
    let ordered = events.iter().map(|event| {
        let read = Recorded::<AuditEvent>::read(event).unwrap().event;
        match read {
            AuditEvent::Ordered(it) => (it.operation, it.target, it.reason),
            AuditEvent::Failed(it) => (it.operation, it.target, Some(it.error)),
            other => panic!("{other:?}"),
        }
    });
    ordered.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_welcomed_although_another_ones_event_cannot_be_read() {
    let client = client(Duration::ZERO).await;
    append(&client, "user-poison", "user-created", json!({ "nope": 1 })).await;
    client.post("/v1/users", ann()).ok().await;
    settled(&client).await;
    let read = ReadStream::forwards(StreamName::new("process:welcome-ann").unwrap());
    let welcome = client.shop.store().read_stream(read).collect_events().await.unwrap();
    assert!(welcome.len() >= 2, "the process of the new user goes on");

    let listed = client.get("/v1/processes").ok().await.json;
    let welcome = listed["items"].as_array().unwrap().iter().find(|it| it["name"] == "welcome");
    assert_eq!(
        (&welcome.unwrap()["troubled"], &welcome.unwrap()["setAside"]),
        (&json!(1), &json!(1))
    );
    let health = client.get("/health/ready").ok().await.json;
    assert_eq!(health["status"], "degraded");
    let causes = health["causes"].as_array().unwrap();
    assert!(causes.iter().any(|it| it["name"] == "welcome stream:user-poison"), "{causes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_is_listed_by_its_stream_retried_and_skipped_and_the_audit_has_it() {
    let client = client(Duration::ZERO).await;
    append(&client, "user-poison", "user-created", json!({ "nope": 1 })).await;
    settled(&client).await;
    let listed = client.get("/v1/processes/welcome/set-aside").ok().await.json;
    let subject = &listed["items"][0];
    assert_eq!(subject["subject"], "stream:user-poison");
    let input = &subject["inputs"][0];
    assert_eq!((&input["kind"], &input["eventType"]), (&json!("event"), &json!("user-created")));
    assert!(input["error"].as_str().unwrap().contains("userId"), "it says why: {input}");

    let under = "/v1/processes/welcome/set-aside/stream:user-poison";
    let retried = post(&client, &format!("{under}/retry?reason=deployed")).await;
    assert_eq!(retried.problem(), (422, "still-fails"));
    let skip = format!("{under}/{}/skip?reason=written%20by%20hand", input["number"]);
    assert_eq!(post(&client, &skip).await.status, 204);
    assert_eq!(post(&client, &skip).await.problem(), (404, "not-found"));
    let listed = client.get("/v1/processes/welcome/set-aside").ok().await.json;
    assert_eq!(listed["items"], json!([]));

    let target = || "welcome stream:user-poison".to_owned();
    let expected = [
        ("retry-process".to_owned(), target(), Some("deployed".to_owned())),
        ("retry-process".to_owned(), target(), Some("still-fails".to_owned())),
        ("skip-process-input".to_owned(), target(), Some("written by hand".to_owned())),
    ];
    assert_eq!(audited(&client).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_that_is_none_is_named() {
    let client = client(HOUR).await;
    let cancel = "/v1/processes/welcome/instances/ann/cancel";
    assert_eq!(post(&client, &format!("{cancel}?reason=")).await.field(), (400, "reason"));
    let long = "x".repeat(1_001);
    assert_eq!(post(&client, &format!("{cancel}?reason={long}")).await.field(), (400, "reason"));
    assert_eq!(post(&client, &format!("{cancel}?because=x")).await.field(), (400, "because"));
}

/// Calls the operations until each of their own responses occurred.
pub(super) async fn operate_everything() -> Client {
    let client = client(HOUR).await;
    for user in ["ann", "anselm", "bob", "cy"] {
        let body = json!({ "userId": user, "firstName": "A", "lastName": "B" });
        client.post("/v1/users", body).ok().await;
    }
    settled(&client).await;
    find(&client).await;
    for (verb, state) in [("pause", "paused"), ("resume", "running")] {
        assert_eq!(post(&client, &format!("/v1/processes/welcome/{verb}")).await.status, 204);
        assert_eq!(client.get("/v1/processes/welcome").ok().await.json["state"], state);
    }
    fire_and_cancel(&client).await;
    set_an_instance_aside(&client).await;
    resend(&client).await;
    skip(&client).await;
    client
}

async fn skip(client: &Client) {
    append(client, "user-poison", "user-created", json!({ "nope": 1 })).await;
    settled(client).await;
    let listed = client.get("/v1/processes/welcome/set-aside").ok().await.json;
    let number = &listed["items"][0]["inputs"][0]["number"];
    let skip = format!("/v1/processes/welcome/set-aside/stream:user-poison/{number}/skip");
    assert_eq!(post(client, &skip).await.status, 204);
}

async fn find(client: &Client) {
    let instances = "/v1/processes/welcome/instances";
    let shown = client.get("/v1/processes/welcome").ok().await.json;
    assert_eq!(shown["instances"]["running"], 4);
    let mut ids = Vec::new();
    let mut path = format!("{instances}?state=running&prefix=an&limit=1");
    loop {
        let page = client.get(&path).ok().await.json;
        ids.extend(page["items"].as_array().unwrap().iter().map(|it| it["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("{instances}?state=running&prefix=an&limit=1&cursor={next}");
    }
    assert_eq!(ids, ["ann", "anselm"], "by state and prefix, page by page");
    let other = client.get(&format!("{instances}?cursor=00")).send().await;
    assert_eq!(other.problem(), (422, "unknown-cursor"));
    let other = client.get("/v1/processes/welcome/set-aside?cursor=00").send().await;
    assert_eq!(other.problem(), (422, "unknown-cursor"));
    let odd = client.get(&format!("{instances}?state=stuck")).send().await;
    assert_eq!(odd.field(), (400, "state"));
}

async fn fire_and_cancel(client: &Client) {
    let ann = "/v1/processes/welcome/instances/ann";
    let timer = client.get(ann).ok().await.json["timers"][0]["id"].as_str().unwrap().to_owned();
    client.get("/v1/processes/welcome/commands").ok().await;
    let due = client.get("/v1/processes/welcome/timers").ok().await.json;
    let is_of_ann = |due: &Value| due["instance"] == "ann" && due["id"] == *timer;
    assert!(due["items"].as_array().unwrap().iter().any(is_of_ann), "{due}");
    let fire = format!("{ann}/timers/{timer}/fire");
    assert_eq!(post(client, &fire).await.status, 204);
    settled(client).await;
    assert_eq!(client.get(ann).ok().await.json["state"], "ended", "the welcome is given");
    assert_eq!(post(client, &fire).await.problem(), (404, "not-found"));
    assert_eq!(post(client, &format!("{ann}/cancel")).await.problem(), (422, "instance-ended"));
    let bob = "/v1/processes/welcome/instances/bob";
    assert_eq!(post(client, &format!("{bob}/cancel")).await.status, 204);
    let bob = client.get(bob).ok().await.json;
    assert_eq!((&bob["state"], &bob["timers"]), (&json!("cancelled"), &json!([])));
}

/// Makes the stream of an instance unreadable, by an event of an unknown type.
async fn set_an_instance_aside(client: &Client) {
    append(client, "process:welcome-cy", "process-reacted", json!({ "nope": 1 })).await;
    client.delete("/v1/users/cy").ok().await;
    settled(client).await;
    let troubled = client.get("/v1/processes/welcome/instances?state=troubled").ok().await.json;
    assert_eq!(troubled["items"][0]["id"], "cy", "{troubled}");
    let cy = "/v1/processes/welcome/instances/cy";
    for (order, code) in
        [("timers/0.0/fire", "instance-set-aside"), ("commands/1.0/resend", "instance-unusable")]
    {
        let refused = post(client, &format!("{cy}/{order}")).await;
        assert_eq!(refused.problem(), (422, code), "{order}");
    }
    let retry = "/v1/processes/welcome/set-aside/instance:cy/retry";
    assert_eq!(post(client, retry).await.problem(), (422, "still-fails"));
    let stream = StreamName::new("process:welcome-cy").unwrap();
    let delete = DeleteStream::new(stream, ExpectedRevision::Any);
    client.shop.store().delete_stream(delete).await.unwrap();
    assert_eq!(post(client, retry).await.status, 204);
    settled(client).await;
    let left = client.get("/v1/processes/welcome/set-aside").ok().await.json;
    assert_eq!(left["items"], json!([]), "what is left of it is for no process");
}

/// Retries a payment that was refused for lack of funds.
async fn resend(client: &Client) {
    client.post("/v1/products", super::mug()).ok().await;
    let stock = json!({ "type": "receive", "quantity": 10 });
    client.post("/v1/products/mug/stock", stock).ok().await;
    client.post("/v1/accounts", super::account("a", "GBP")).ok().await;
    let mut order = super::order("1");
    order["paymentAccountId"] = json!("a");
    let placed = client.post("/v1/orders", order).send().await;
    assert_eq!(placed.status, 201, "{placed:?}");
    settled(client).await;
    let one = "/v1/processes/fulfilment/instances/1";
    let shown = client.get(one).ok().await.json;
    let refused = &shown["refused"][0];
    assert_eq!(refused["code"], "insufficient-funds", "{shown}");
    let resend = format!("{one}/commands/{}/resend", refused["id"].as_str().unwrap());
    assert_eq!(post(client, &resend).await.status, 204);
    settled(client).await;
}
