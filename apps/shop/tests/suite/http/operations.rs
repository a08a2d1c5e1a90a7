//! Operation of projections over HTTP: rebuilds, old versions, names, audit records.

use axum::http::{Method, request::Parts};
use gesta::{
    EventMetadata, Gesta,
    audit::{self, AuditEvent},
    prelude::*,
    sqlite::Sqlite,
    store::{MemoryReadModels, ReadStream, Rows},
};
use gesta_http::{GestaState, Problem};
use serde_json::{Value, json};
use shop::read_side;

use super::{
    Client, ann,
    statuses::{head, put_by_hand},
};

async fn projection(client: &Client, name: &str) -> Value {
    let mut all = client.get("/v1/projections").ok().await.json["items"].take();
    let all = all.as_array_mut().unwrap();
    all.iter_mut().find(|one| one["name"] == name).unwrap().take()
}

async fn until(client: &Client, name: &str, state: &str) -> Value {
    loop {
        let now = projection(client, name).await;
        if now["state"] == state {
            return now;
        }
        tokio::task::yield_now().await;
    }
}

async fn order(client: &Client, operation: &str) -> (u16, String) {
    let answer = client.ask(Method::POST, &format!("/v1/projections/{operation}")).send().await;
    (answer.status, answer.problem().1.to_owned())
}

fn done(status: u16) -> (u16, String) {
    (status, String::new())
}

fn conflict(code: &str) -> (u16, String) {
    (409, code.to_owned())
}

/// Calls every operation on the versions of a projection, with success and failure.
pub(super) async fn operate_read_models(client: &Client) {
    until(client, "users", "running").await;
    assert_eq!(order(client, "users/pause").await, done(204));
    until(client, "users", "paused").await;
    assert_eq!(order(client, "users/resume").await, done(204));
    until(client, "users", "running").await;
    put_by_hand(client, "user-broken", "user-updated", "{}").await;
    client.get("/v1/users").header("gesta-position", head(client).await).ok().await;
    assert_eq!(order(client, "users/confirm-switch").await, conflict("nothing-to-confirm"));
    assert_eq!(order(client, "users/compare").await, conflict("nothing-to-compare"));
    order(client, "users/drop-old-rows").await;
    assert_eq!(order(client, "users/roll-back").await, conflict("no-old-rows"));
    assert_eq!(order(client, "users/drop-old-rows").await, conflict("no-old-rows"));
    assert_eq!(order(client, "users/rebuild").await, done(202));
    let awaiting = until(client, "users", "awaiting-confirmation").await;
    assert_eq!(awaiting["pendingSwitch"]["deadLetters"], awaiting["deadLetters"]);
    let compared = client.post("/v1/projections/users/compare", json!({})).ok().await.json;
    assert_eq!(compared["equal"], true, "{compared}");
    assert_eq!(order(client, "users/confirm-switch").await, done(204));
    let running = until(client, "users", "running").await;
    assert_eq!(running["oldRows"]["version"], running["version"]);
    assert_eq!(order(client, "users/roll-back").await, done(202));
    until(client, "users", "running").await;
    assert_eq!(order(client, "users/drop-old-rows").await, done(204));
    assert!(projection(client, "users").await.get("oldRows").is_none());
}

#[tokio::test]
async fn a_rebuild_without_dead_letters_takes_over_by_itself_and_can_be_rolled_back() {
    let client = Client::new().await;
    client.post("/v1/users", ann()).ok().await;
    client.get("/v1/users").header("gesta-position", head(&client).await).ok().await;
    assert_eq!(order(&client, "users/rebuild").await, done(202));
    let running = until(&client, "users", "running").await;
    assert!(running["oldRows"]["build"].is_u64(), "{running}");
    assert_eq!(order(&client, "users/roll-back").await, done(202));
    until(&client, "users", "running").await;
    assert_eq!(client.get("/v1/users/ann").ok().await.json["firstName"], "Ann");
}

#[tokio::test]
async fn a_rebuild_without_dead_letters_that_is_held_waits_until_it_is_accepted() {
    let client = Client::new().await;
    client.post("/v1/users", ann()).ok().await;
    client.get("/v1/users").header("gesta-position", head(&client).await).ok().await;
    assert_eq!(order(&client, "users/rebuild?hold=true").await, done(202));
    let waits = until(&client, "users", "awaiting-confirmation").await;
    let pending = &waits["pendingSwitch"];
    assert_eq!((&pending["held"], &pending["deadLetters"]), (&json!(true), &json!(0)));
    let compared = client.post("/v1/projections/users/compare", json!({})).ok().await.json;
    assert_eq!(compared["equal"], true, "{compared}");
    let rows = compared["tables"].as_array().unwrap().iter().map(|it| it["liveRows"].as_u64());
    assert!(rows.flatten().sum::<u64>() >= 1, "{compared}");
    assert_eq!(order(&client, "users/confirm-switch?reason=fine").await, done(204));
    until(&client, "users", "running").await;
    assert_eq!(client.get("/v1/users/ann").ok().await.json["firstName"], "Ann");
}

/// Returns the actor of a header.
fn actor(request: &Parts) -> Result<String, Problem> {
    let actor = request.headers.get("x-actor").and_then(|value| value.to_str().ok());
    Ok(actor.unwrap_or("nobody").to_owned())
}

#[tokio::test]
async fn an_order_over_http_is_recorded_with_actor_and_reason() {
    let client = Client::new().await;
    let client = client.with_state(GestaState::new(client.shop.clone()).actor(actor));
    let rebuild = "/v1/projections/users/rebuild?reason=a%20fixed%20bug";
    client.ask(Method::POST, rebuild).header("x-actor", "ben").ok().await;
    let unknown = client.ask(Method::POST, "/v1/projections/nobody/rebuild").send().await;
    assert_eq!(unknown.problem(), (404, "not-found"));
    let read = ReadStream::forwards(audit::stream());
    let events = client.shop.store().read_stream(read).collect_events().await.unwrap();
    let [event] = &events[..] else { panic!("one order is recorded: {events:?}") };
    let read = Recorded::<AuditEvent>::read(event).unwrap().event;
    let AuditEvent::Ordered(ordered) = read else { panic!("{read:?}") };
    let recorded = (ordered.operation.as_str(), ordered.target.as_str(), ordered.reason.as_deref());
    assert_eq!(recorded, ("rebuild-projection", "users", Some("a fixed bug")));
    assert_eq!(EventMetadata::from_json(&event.metadata).actor.as_deref(), Some("ben"));
}

macro_rules! failing {
    ($($type:ident $name:expr),+ $(,)?) => {
        $(
            struct $type;

            impl Projection for $type {
                const NAME: &'static str = $name;
                type Event = AuditEvent;
            }

            impl<Tx: Rows> Apply<Tx> for $type {
                async fn apply(
                    &self,
                    _: &mut Tx,
                    _: &[Recorded<AuditEvent>],
                ) -> Result<(), ApplyError> {
                    Err(ApplyError::because("it always fails"))
                }
            }
        )+
    };
}

failing!(
    Underscore "order_totals",
    Dotted "orders.v2",
    Umlaut "größen",
    Slash "orders/by day@noon",
    Percent "100%2F",
    Long "an-orders-projection-with-a-name-of-one-hundred-and-twenty-characters-which-is-more-\
          than-any-rule-of-the-edge-allowed",
);

/// Percent-encodes every byte that needs it in a path.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[tokio::test]
async fn every_name_that_is_listed_can_be_operated() {
    let (rows, models) = (Sqlite::temporary().await.unwrap(), MemoryReadModels::new());
    let shop = read_side::project_all(Gesta::at("memory:"), &rows.into())
        .project(Underscore, &models)
        .project(Dotted, &models)
        .project(Umlaut, &models)
        .project(Slash, &models)
        .project(Percent, &models)
        .project(Long, &models);
    let client = Client::over(shop.open().await.unwrap());
    // Every projection fails on the event of this record.
    assert_eq!(order(&client, "users/rebuild").await, done(202));
    for name in
        [Underscore::NAME, Dotted::NAME, Umlaut::NAME, Slash::NAME, Percent::NAME, Long::NAME]
    {
        let id = loop {
            let letters = format!("/v1/dead-letters?projection={}", encoded(name));
            let letters = client.get(&letters).ok().await.json["items"].take();
            if let Some(letter) = letters.as_array().unwrap().first() {
                assert_eq!(letter["projection"], name);
                break letter["id"].as_str().unwrap().to_owned();
            }
            tokio::task::yield_now().await;
        };
        let retry = format!("/v1/dead-letters/{}/retry", encoded(&id));
        let again = client.ask(Method::POST, &retry).send().await;
        assert_eq!(again.problem(), (422, "still-fails"), "{name}");
        let letter = format!("/v1/dead-letters/{}", encoded(&id));
        assert_eq!(client.delete(&letter).ok().await.status, 204, "{name}");
        assert_eq!(order(&client, &format!("{}/rebuild", encoded(name))).await, done(202));
    }
}
