//! A store with a conversation, a parked event and two projections.

use serde_json::{Value, json};

use crate::{
    client::groups::read_req::nack::Action,
    group_client::{GroupConsumer, info_when, of_stream, settings},
    native::http_client::Api,
    projections::driver::Driver,
    scene::Scene,
};

/// The group that has parked an event.
const MAIL: (&str, &str) = ("order-1", "mail");

/// An event of the conversation `checkout-42`, with its number as its id.
fn event(number: u64, event_type: &str, cause: &str) -> Value {
    json!({
        "id": id(number),
        "type": event_type,
        "data": { "number": number, "amount": 12.5 },
        "metadata": { "actor": "ann" },
        "tags": ["customer:17850"],
        "correlationId": "checkout-42",
        "causationId": cause,
    })
}

/// Returns the id of an event of the conversation.
fn id(number: u64) -> String {
    format!("7b0a1f0e-51cb-4c1c-9d0c-{number:012}")
}

/// Returns the appends of the conversation `checkout-42`, each caused by the one before.
pub(super) fn conversation() -> [Value; 5] {
    [
        ("cart-7", event(1, "cart-checked-out", "check-out-7")),
        ("order-1", event(2, "order-placed", &id(1))),
        ("payment-9", event(3, "payment-requested", &id(2))),
        ("payment-9", event(4, "payment-received", &id(3))),
        ("order-1", event(5, "order-confirmed", &id(4))),
    ]
    .map(|(stream, event)| json!({ "streams": [{ "stream": stream, "events": [event] }] }))
}

/// Serves a store in which every screen has something to show.
pub(super) async fn filled() -> Scene {
    let scene = Scene::of_log().await;
    let api = Api::of(&scene);
    for append in conversation() {
        api.append(&append).await.done();
    }
    for number in 0..120 {
        api.grow("ticks-1", &format!("tick-{}", number % 3), &[]).await;
    }
    let mut groups = scene.groups().await;
    groups.create(of_stream(MAIL.0, MAIL.1, settings())).await.unwrap();
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let (first, second) = (consumer.next().await, consumer.next().await);
    consumer.nack(&first, Action::Park).await;
    consumer.ack(&[&second]).await;
    info_when(&mut groups, MAIL, |info| info.parked_message_count == 1).await;
    let mut projections = Driver::of(&scene).await;
    projections.create("totals", "fromCategory('order').when({ $any: s => s })").await;
    let failing = "fromAll().when({ $any: () => { throw new Error('no price'); } })";
    projections.create("broken", failing).await;
    scene
}
