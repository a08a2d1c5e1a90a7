//! The code of `docs/guide/changing-events.md`.

use gesta::{
    Registry,
    prelude::*,
    store::{Append, ExpectedRevision, NewEvent},
    testing::{assert_events_locked, stored},
};

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "parcel-sent")]
struct ParcelSentV1 {
    to: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "parcel-sent", version = 2, from = ParcelSentV1)]
struct ParcelSent {
    to: Vec<String>,
    weight: Option<u32>,
}

impl From<ParcelSentV1> for ParcelSent {
    fn from(old: ParcelSentV1) -> Self {
        Self { to: vec![old.to], weight: None }
    }
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "parcels-lost")]
struct ParcelsLostV1 {
    parcels: Vec<String>,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "parcels-lost", version = 2, split = ParcelsLostV1)]
struct ParcelLost {
    parcel: String,
}

impl From<ParcelsLostV1> for Vec<ParcelLost> {
    fn from(old: ParcelsLostV1) -> Self {
        old.parcels.into_iter().map(|parcel| ParcelLost { parcel }).collect()
    }
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "parcel-sent-and-paid")]
struct ParcelSentAndPaid {
    to: String,
    cents: u64,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "parcel-paid")]
struct ParcelPaid {
    cents: u64,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
#[events(replaced(ParcelSentAndPaid), ignore("parcel-photographed"))]
enum ParcelEvent {
    Sent(ParcelSent),
    Paid(ParcelPaid),
    Lost(ParcelLost),
}

impl From<ParcelSentAndPaid> for Vec<ParcelEvent> {
    fn from(old: ParcelSentAndPaid) -> Self {
        let sent = ParcelSent { to: vec![old.to], weight: None };
        vec![sent.into(), ParcelPaid { cents: old.cents }.into()]
    }
}

#[test]
fn a_parcel_of_the_first_version_has_one_receiver() {
    let sent = ParcelSent { to: vec!["ann".into()], weight: None };
    stored("parcel-sent", 1, r#"{"to":"ann"}"#).reads_as(ParcelEvent::Sent(sent));
    stored("parcel-sent", 3, r#"{"to":["ann"]}"#).is_refused_by::<ParcelEvent>();
}

#[test]
fn the_events_are_locked() {
    let heavy = ParcelSent { to: vec!["ann".into()], weight: Some(900) };
    let registry = Registry::of::<ParcelEvent>().example(&heavy).unwrap();
    assert_events_locked("tests/parcels.lock", &registry);
}

#[derive(EventSet, Clone, Debug, PartialEq)]
#[events(ignore("order-canceled"))]
enum PaymentEvent {
    Paid(ParcelPaid),
}

#[derive(Default)]
struct Parcel {
    sent: usize,
    cents: u64,
    lost: Vec<String>,
}

impl Aggregate for Parcel {
    const CATEGORY: &'static str = "parcel";
    type Id = u32;
    type Event = ParcelEvent;

    fn evolve(&mut self, event: &ParcelEvent) {
        match event {
            ParcelEvent::Sent(_) => self.sent += 1,
            ParcelEvent::Paid(paid) => self.cents += paid.cents,
            ParcelEvent::Lost(lost) => self.lost.push(lost.parcel.clone()),
        }
    }
}

#[derive(Default)]
struct Payment {
    cents: u64,
}

impl Aggregate for Payment {
    const CATEGORY: &'static str = "payment";
    type Id = u32;
    type Event = PaymentEvent;

    fn evolve(&mut self, event: &PaymentEvent) {
        let PaymentEvent::Paid(paid) = event;
        self.cents += paid.cents;
    }
}

async fn append(gesta: &Gesta, stream: &str, event_type: &str, data: &'static str) {
    let event_type = EventType::new(event_type).unwrap();
    let event = NewEvent::json(EventId::random(), event_type, data);
    let stream = StreamName::new(stream).unwrap();
    gesta.store().append(Append::to(stream, ExpectedRevision::Any, [event])).await.unwrap();
}

#[tokio::test]
async fn old_events_are_read_as_current_ones() {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    append(&gesta, "parcel-1", "parcel-sent-and-paid", r#"{"to":"ann","cents":5}"#).await;
    append(&gesta, "parcel-1", "parcels-lost", r#"{"parcels":["a","b"]}"#).await;
    append(&gesta, "parcel-1", "parcel-photographed", "{}").await;
    let parcel = gesta.load::<Parcel>(&1).await.unwrap().unwrap().state;
    assert_eq!((parcel.sent, parcel.cents, parcel.lost), (1, 5, vec!["a".into(), "b".into()]));
}

#[tokio::test]
async fn an_event_that_left_the_set_is_ignored() {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    append(&gesta, "payment-1", "order-canceled", "{}").await;
    append(&gesta, "payment-1", "parcel-paid", r#"{"cents":5}"#).await;
    assert_eq!(gesta.load::<Payment>(&1).await.unwrap().unwrap().state.cents, 5);
}
