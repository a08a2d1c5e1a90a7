//! Recorded events decode again: events that would not are rejected with their name.

use std::collections::BTreeMap;

use gesta::{EncodeError, ExecuteError, Gesta, JsonFault, prelude::*};
use gesta_store::{ContentType, NewEvent};

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "measured")]
struct Measured {
    readings: Vec<Reading>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
struct Reading {
    exact: f64,
    single: f32,
    /// Without the check, `null` would become `None`.
    maybe: Option<f64>,
    rule: Option<Box<Rule>>,
    cells: BTreeMap<Cell, u8>,
}

/// A map key that is not a text.
type Cell = (u8, u8);

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
enum Rule {
    Not(Box<Rule>),
    Is(bool),
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum GaugeEvent {
    Measured(Measured),
}

#[derive(Default, Debug)]
struct Gauge {
    measured: usize,
}

impl Aggregate for Gauge {
    const CATEGORY: &'static str = "gauge";
    type Id = u8;
    type Event = GaugeEvent;

    fn evolve(&mut self, _: &GaugeEvent) {
        self.measured += 1;
    }
}

/// The decision creates the reading, since a command that contains it would be rejected itself.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "measure", on = Gauge, either)]
struct Measure {
    #[command(id)]
    gauge: u8,
    wrong: String,
}

impl Decide for Measure {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Gauge) -> Decision<Self> {
        let mut reading = Reading::default();
        match self.wrong.as_str() {
            "exact" => reading.exact = f64::NAN,
            "single" => reading.single = f32::NEG_INFINITY,
            "maybe" => reading.maybe = Some(f64::INFINITY),
            "cells" => drop(reading.cells.insert((1, 2), 3)),
            "rule" => {
                let deep = (0..130).fold(Rule::Is(true), |rule, _| Rule::Not(Box::new(rule)));
                reading.rule = Some(Box::new(deep));
            }
            _ => {}
        }
        Ok(Measured { readings: vec![Reading::default(), reading] }.into())
    }
}

fn measure(wrong: &str) -> Measure {
    Measure { gauge: 1, wrong: wrong.to_owned() }
}

#[tokio::test]
async fn an_event_that_could_not_be_read_back_is_refused_and_its_aggregate_goes_on() {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    for wrong in ["exact", "single", "maybe", "cells", "rule"] {
        let refused = gesta.execute(measure(wrong)).await.unwrap_err();
        let ExecuteError::Unencodable(EncodeError::Json { what, field, .. }) = &refused else {
            panic!("{wrong}: {refused}");
        };
        assert_eq!(what, "measured");
        assert!(field.starts_with(&format!("readings[1].{wrong}")), "{wrong}: {field}");
        assert!(refused.is_definite());
    }
    assert!(gesta.load::<Gauge>(&1).await.unwrap().is_none(), "nothing was appended");
    gesta.execute(measure("nothing")).await.unwrap();
    assert_eq!(gesta.load::<Gauge>(&1).await.unwrap().unwrap().state.measured, 1);
}

#[test]
fn an_event_whose_type_does_not_read_what_it_writes_is_refused() {
    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(name = "priced")]
    struct Priced {
        #[serde(rename(serialize = "cents"))]
        price: u32,
    }
    let refused = EncodedEvent::of(&Priced { price: 110 }).unwrap_err();
    let EncodeError::Json { reason, .. } = &refused else { panic!("{refused}") };
    assert!(matches!(reason, JsonFault::NotReadable(_)));
    let told = "priced cannot be recorded: would not decode again: missing field `price`";
    assert!(refused.to_string().starts_with(told), "{refused}");
}

#[test]
fn numbers_of_any_length_come_back_as_they_were_written() {
    #[derive(Event, Serialize, Deserialize, Clone, Debug)]
    #[event(name = "counted")]
    struct Counted {
        long: u64,
        longer: i128,
        exact: f64,
        price: Box<serde_json::value::RawValue>,
    }
    let price = serde_json::from_str("1.10").unwrap();
    let counted = Counted { long: u64::MAX, longer: i128::MIN, exact: 0.1 + 0.2, price };
    let stored = EncodedEvent::of(&counted).unwrap();
    let read = Counted::upcast(1, gesta::EventData::json(&stored.data)).unwrap();
    assert_eq!((read.long, read.longer, read.exact), (u64::MAX, i128::MIN, 0.1 + 0.2));
    assert_eq!(read.price.get(), "1.10");
}

/// A recorded event whose data another program wrote.
fn foreign(content_type: &str, data: &'static [u8]) -> gesta_store::RecordedEvent {
    let event_type = EventType::new("measured").unwrap();
    let content_type = ContentType::new(content_type).unwrap();
    let id = EventId::derived_from("foreign", 0);
    let event = NewEvent::new(id, event_type, content_type, data);
    let stream = StreamName::new("gauge-1").unwrap();
    let (position, recorded_at) = (Position::new(1), RecordedAt::from_micros(0));
    gesta_store::RecordedEvent::new(event, stream, Revision::FIRST, position, recorded_at)
}

#[test]
fn data_that_are_not_the_events_json_are_refused_each_in_its_way() {
    let read = |content_type, data| {
        let event = foreign(content_type, data);
        gesta::Recorded::<GaugeEvent>::read(&event).map_err(|error| error.source.to_string())
    };
    let payload = "the payload is not version 1 of event type measured";
    for odd in [&b""[..], b"\xef\xbb\xbf{\"readings\":[]}", b"{\"readings\":[],\"readings\":[]}"] {
        assert!(read("application/json", odd).unwrap_err().starts_with(payload), "{odd:?}");
    }
    let not_json = read("text/plain", b"{\"readings\":[]}").unwrap_err();
    assert!(not_json.contains("is written as text/plain"), "{not_json}");
    for json in ["application/json", "application/json; charset=utf-8", "application/x+json"] {
        assert!(read(json, b"{\"readings\":[]}").is_ok(), "{json}");
    }
}
