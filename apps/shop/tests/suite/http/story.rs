//! The story of an order in the console: everything that the order caused, as the log has it.
//!
//! A test without Chromium says so on standard error, and fails under `CI=true`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use gesta::{
    Begin, EffectContext, EffectError, EventMetadata, Gesta, Reactor,
    prelude::*,
    sqlite::Sqlite,
    store::{MemoryReadModels, ReadAll, RecordedEvent, Rows},
    testing::drain,
};
use gesta_http::GestaState;
use gesta_services::chromium::Page;
use serde_json::{Value, json};
use shop::{
    orders::{OrderEvent, ShipOrder},
    processes, read_side,
    samples::faults,
};
use tokio::{net::TcpListener, sync::oneshot};

use super::{Client, account, deposit};

/// A projection that cannot apply the cancellation of an order.
struct Moody;

impl Projection for Moody {
    const NAME: &'static str = "moody";
    type Event = OrderEvent;
}

impl<Tx: Rows> Apply<Tx> for Moody {
    async fn apply(&self, _: &mut Tx, events: &[Recorded<OrderEvent>]) -> Result<(), ApplyError> {
        match events.iter().any(|one| matches!(one.event, OrderEvent::Cancelled(_))) {
            true => Err(ApplyError::because("it does not like cancellations")),
            false => Ok(()),
        }
    }
}

/// A process manager that cannot handle the cancellation of an order.
#[derive(Clone)]
struct Stubborn;

impl ProcessManager for Stubborn {
    const NAME: &'static str = "stubborn";
    type Event = OrderEvent;
    type Timer = ();
    type Commands = (ShipOrder,);

    fn route(event: &Recorded<OrderEvent>) -> Routing {
        Routing::start(&event.stream)
    }

    fn evolve(&mut self, _: &Input<Self>) {}

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        let is_cancelled = matches!(input, Input::Event(OrderEvent::Cancelled(_)));
        assert!(!is_cancelled, "it does not budge");
        Effects::none()
    }
}

/// A reactor whose effect fails for every placed order.
struct Mute;

impl Reactor for Mute {
    const NAME: &'static str = "mute";
    type Event = OrderEvent;

    async fn react(
        &self,
        event: &Recorded<OrderEvent>,
        _: &EffectContext,
    ) -> Result<(), EffectError> {
        match event.event {
            OrderEvent::Placed(_) => Err(EffectError::permanent("it says nothing")),
            _ => Ok(()),
        }
    }
}

async fn opened() -> Gesta {
    let (rows, models) = (Sqlite::temporary().await.unwrap(), MemoryReadModels::new());
    let builder =
        read_side::project_all(Gesta::at("memory:"), &rows.into()).project(Moody, &models);
    let builder = processes::run_all(builder, faults::DELAYS).process_with(Stubborn);
    builder.react(Mute, Begin::AtTheStart).open().await.unwrap()
}

/// A line of a story: the position of its event, its kind, and what it is about.
type Line = (u64, String, String);

/// Returns all events of a conversation, by position, and those that they have caused.
async fn conversation(shop: &Gesta, correlation: &str) -> Vec<RecordedEvent> {
    let events = shop.store().read_all(ReadAll::forwards()).collect_events().await.unwrap();
    let is_of_it = |event: &RecordedEvent| {
        event.correlation_id.as_ref().is_some_and(|it| it.as_str() == correlation)
    };
    let mut found: BTreeMap<_, _> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    // Effects come after their causes in the log.
    for event in events {
        let cause = event.causation_id.as_ref().map(ToString::to_string);
        let is_caused = cause.is_some_and(|cause| ids.contains(&cause));
        if is_of_it(&event) || is_caused {
            assert!(is_of_it(&event), "{} was caused and has another conversation", event.position);
            ids.insert(event.id.to_string());
            found.insert(event.position, event);
        }
    }
    found.into_values().collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Returns the lines that the events of a conversation make, from their data alone.
fn lines_of_events(events: &[RecordedEvent]) -> Vec<Line> {
    let mut commands = BTreeSet::new();
    let mut lines = Vec::new();
    for event in events {
        let position = event.position.number();
        let mut add = |kind: &str, what: String| lines.push((position, kind.to_owned(), what));
        let Some(process) = event.stream.as_str().strip_prefix("process:") else {
            let metadata = EventMetadata::from_json(&event.metadata);
            let cause = event.causation_id.clone();
            if let Some(command) = metadata.command
                && commands.insert((command.clone(), cause))
            {
                add("command", command);
            }
            add("event", event.event_type.to_string());
            continue;
        };
        let data: Value = serde_json::from_slice(&event.data).unwrap();
        match event.event_type.as_str() {
            "process-reacted" => {
                let input = data["input"].as_object().unwrap().keys().next().unwrap().clone();
                let kind = match input.as_str() {
                    "event" => "process",
                    "timer" => "timer",
                    "rejected" => "rejection",
                    other => panic!("an input of another kind: {other}"),
                };
                add(kind, process.to_owned());
                for effect in data["effects"].as_array().into_iter().flatten() {
                    if let Some(sent) = effect.get("send") {
                        add("command", text(&sent["command"]));
                    } else if effect.get("setTimer").is_some() {
                        add("timer", "is set".to_owned());
                    } else if effect.get("cancelTimer").is_some() {
                        add("timer", "is cancelled".to_owned());
                    } else {
                        assert_eq!(effect, "end");
                        add("process", "ends".to_owned());
                    }
                }
            }
            "process-command-settled" if data["outcome"].is_object() => {
                add("rejection", process.to_owned());
            }
            "process-command-settled" => add("process", process.to_owned()),
            other => panic!("an event of another kind: {other}"),
        }
    }
    lines
}

/// Returns the lines that dead letters and set-aside inputs add.
async fn lines_of_trouble(shop: &Gesta, events: &[RecordedEvent]) -> Vec<Line> {
    let positions: BTreeSet<_> = events.iter().map(|event| event.position.number()).collect();
    let mut lines = Vec::new();
    for (id, letter) in shop.dead_letters().await.unwrap() {
        lines.push((letter.position.number(), "dead letter".to_owned(), id.projection));
    }
    for letter in shop.reactor_dead_letters(Mute::NAME).await.unwrap() {
        lines.push((letter.position.number(), "dead letter".to_owned(), Mute::NAME.to_owned()));
    }
    for set_aside in shop.process_set_aside(Stubborn::NAME).await.unwrap() {
        for input in set_aside.inputs {
            let gesta::WaitingInput::Event { position, .. } = input.input else {
                panic!("{input:?}")
            };
            lines.push((position.number(), "set aside".to_owned(), Stubborn::NAME.to_owned()));
        }
    }
    lines.retain(|(position, ..)| positions.contains(position));
    lines
}

/// Places an order whose payment is refused, and another one in a conversation of its own.
async fn place_orders(client: &Client, correlation: &str) {
    let added = json!({ "productId": "mug", "name": "Mug", "price": "2.5" });
    client.post("/v1/products", added).ok().await;
    client.post("/v1/accounts", account("poor", "GBP")).ok().await;
    client.post("/v1/accounts/poor/deposit", deposit("1")).ok().await;
    let item = json!({ "productId": "mug", "unitPrice": "2.5", "quantity": 1 });
    let order =
        |id: &str| json!({ "orderId": id, "paymentAccountId": "poor", "orderItems": [item] });
    client.post("/v1/orders", order("other")).ok().await;
    let placed = client.post("/v1/orders", order("told")).header("x-correlation-id", correlation);
    placed.ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_an_order_misses_nothing_that_the_order_caused() {
    let (shop, correlation) = (opened().await, "the-told-order");
    let client = Client::over(shop.clone());
    place_orders(&client, correlation).await;
    drain(&shop).await;
    let events = conversation(&shop, correlation).await;
    let mut expected = lines_of_events(&events);
    expected.extend(lines_of_trouble(&shop, &events).await);
    for kind in ["command", "event", "process", "timer", "rejection", "dead letter", "set aside"] {
        assert!(expected.iter().any(|(_, one, _)| one == kind), "no {kind}: {expected:?}");
    }
    let letters = expected.iter().filter(|(_, kind, _)| kind == "dead letter").count();
    assert_eq!(letters, 2, "of the projection and of the reactor: {expected:?}");

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let state = GestaState::new(shop.clone());
    let router = shop::http::api().router(state.clone());
    let (_end, ended) = oneshot::channel::<()>();
    tokio::spawn(gesta_http::serve(listener, router, state, async { drop(ended.await) }));
    let Some(mut page) = Page::open(&url).await else { return };
    page.load(&format!("#/story?correlation={correlation}")).await;
    let cells = "[...document.querySelectorAll('tbody tr')].map((row) => \
                 [...row.cells].slice(1, 4).map((cell) => cell.innerText))";
    let shown = page.value(cells).await;
    let shown = shown.as_array().unwrap().iter();
    let mut shown: Vec<Line> = shown
        .map(|row| (text(&row[0]).replace(',', "").parse().unwrap(), text(&row[1]), text(&row[2])))
        .collect();
    let positions: Vec<_> = shown.iter().map(|(position, ..)| *position).collect();
    assert!(positions.is_sorted(), "in the order of the log: {positions:?}");
    expected.sort();
    shown.sort();
    assert_eq!(shown, expected);
    page.picture("story-of-an-order").await;
    page.assert_clean();
}
