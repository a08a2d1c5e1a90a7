//! Events in another form than JSON: CBOR.

use std::sync::Arc;

use gesta::{
    CodecError, Effects, EventCodec, EventData, Gesta, Input, LoadError, ProcessManager, Recorded,
    Registry, Routing, SnapshotPolicy,
    prelude::*,
    stream_of,
    testing::{assert_events_locked, assert_snapshots_hold, drain},
};
use gesta_store::{
    Append, ContentType, EventStore, ExpectedRevision, MemoryReadModels, NewEvent, ReadStream,
    RecordedEvent,
};
use serde::de::DeserializeOwned;

use crate::bank::new_store;

struct Cbor;

impl EventCodec for Cbor {
    const CONTENT_TYPE: &'static str = "application/cbor";

    fn encode<E: Serialize>(event: &E) -> Result<Vec<u8>, CodecError> {
        let mut data = Vec::new();
        ciborium::into_writer(event, &mut data)?;
        Ok(data)
    }

    fn decode<E: DeserializeOwned>(data: EventData<'_>) -> Result<E, CodecError> {
        Ok(ciborium::from_reader(data.bytes)?)
    }
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "meter-read")]
struct MeterReadV1 {
    kwh: u32,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "meter-read", version = 2, from = MeterReadV1, codec = Cbor)]
struct MeterRead {
    #[event(tag = "meter")]
    meter: u32,
    /// JSON has no such number.
    watt_hours: f64,
}

impl From<MeterReadV1> for MeterRead {
    fn from(old: MeterReadV1) -> Self {
        Self { meter: 1, watt_hours: f64::from(old.kwh) * 1_000.0 }
    }
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum MeterEvent {
    Read(MeterRead),
}

#[derive(Default, Debug, PartialEq, Serialize, Deserialize)]
struct Meter {
    readings: u32,
    watt_hours: f64,
}

impl Aggregate for Meter {
    const CATEGORY: &'static str = "meter";
    type Id = u32;
    type Event = MeterEvent;

    fn evolve(&mut self, event: &MeterEvent) {
        let MeterEvent::Read(read) = event;
        self.readings += 1;
        self.watt_hours = read.watt_hours;
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "read-meter", on = Meter, either)]
struct ReadMeter {
    #[command(id)]
    meter: u32,
    watt_hours: f64,
}

impl Decide for ReadMeter {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Meter) -> Decision<Self> {
        let watt_hours = if self.watt_hours < 0.0 { f64::NAN } else { self.watt_hours };
        Ok(MeterRead { meter: self.meter, watt_hours }.into())
    }
}

async fn stored(store: &dyn EventStore) -> Vec<RecordedEvent> {
    let read = ReadStream::forwards(stream_of::<Meter>(&1).unwrap());
    store.read_stream(read).collect_events().await.unwrap()
}

async fn append(store: &dyn EventStore, version: u16, content_type: &str, data: &'static [u8]) {
    let content_type = ContentType::new(content_type).unwrap();
    let event_type = EventType::new("meter-read").unwrap();
    let event = NewEvent::new(EventId::random(), event_type, content_type, data);
    let event = event.schema_version(version);
    let meter = stream_of::<Meter>(&1).unwrap();
    store.append(Append::to(meter, ExpectedRevision::Any, [event])).await.unwrap();
}

async fn watt_hours(gesta: &Gesta) -> f64 {
    gesta.load::<Meter>(&1).await.unwrap().unwrap().state.watt_hours
}

async fn read_meter(gesta: &Gesta, watt_hours: f64) {
    gesta.execute(ReadMeter { meter: 1, watt_hours }).await.unwrap();
}

#[tokio::test]
async fn an_event_is_recorded_and_read_in_the_form_of_its_codec() {
    let store = new_store();
    let gesta = Gesta::on(Arc::clone(&store)).open().await.unwrap();
    read_meter(&gesta, 2.5).await;
    assert_eq!(watt_hours(&gesta).await.to_string(), "2.5");
    let event = stored(store.as_ref()).await.remove(0);
    assert_eq!(event.content_type.as_str(), "application/cbor");
    assert_eq!(event.tags, [Tag::of("meter", "1").unwrap()]);
    let (meter, watt_hours) = (1, 2.5);
    let read: MeterRead = ciborium::from_reader(&event.data[..]).unwrap();
    assert_eq!(read, MeterRead { meter, watt_hours });
    let recorded = Recorded::<MeterEvent>::read(&event).unwrap();
    assert_eq!(recorded.event, MeterRead { meter: 1, watt_hours: 2.5 }.into());
}

#[tokio::test]
async fn the_content_type_decides_how_an_event_is_decoded() {
    let store = new_store();
    let gesta = Gesta::on(Arc::clone(&store)).open().await.unwrap();
    append(store.as_ref(), 1, "application/json", br#"{"kwh":3}"#).await;
    assert_eq!(watt_hours(&gesta).await.to_string(), "3000");
    append(store.as_ref(), 2, "application/json", br#"{"meter":1,"watt_hours":4.5}"#).await;
    assert_eq!(watt_hours(&gesta).await.to_string(), "4.5");
    // JSON could not record this value.
    read_meter(&gesta, -1.0).await;
    assert!(watt_hours(&gesta).await.is_nan());
}

#[tokio::test]
async fn data_that_no_codec_reads_is_refused_with_its_content_type() {
    let refusal = async |version, content_type, data| {
        let store = new_store();
        append(store.as_ref(), version, content_type, data).await;
        let gesta = Gesta::on(store).open().await.unwrap();
        let loaded = gesta.load::<Meter>(&1).await;
        let Err(LoadError::Undecodable(event)) = loaded else { panic!("{loaded:?}") };
        event.source.to_string()
    };
    assert_eq!(
        refusal(2, "text/csv", b"1;2.5").await,
        "version 2 of event type meter-read is written as text/csv; it needs a codec that reads \
         this, as in #[event(codec = …)]"
    );
    // The type of version 1 has no codec.
    let old = refusal(1, "application/cbor", b"\xa0").await;
    assert!(old.starts_with("version 1 of event type meter-read is written as"), "{old}");
    assert_eq!(
        refusal(2, "application/cbor", b"\xa0").await,
        "the payload, application/cbor, is not version 2 of event type meter-read"
    );
}

#[tokio::test]
async fn snapshots_and_replays_of_events_with_a_codec_are_equal() {
    let (store, snapshots) = (new_store(), MemoryReadModels::new());
    let policy = SnapshotPolicy::every(2).fold_version(1);
    let builder = Gesta::on(Arc::clone(&store)).snapshots::<Meter>(&snapshots, policy);
    let gesta = builder.open().await.unwrap();
    for reading in [1.5, 2.5, 3.5] {
        read_meter(&gesta, reading).await;
    }
    assert_eq!(watt_hours(&gesta).await.to_string(), "3.5");
    assert_snapshots_hold(&gesta).await;
}

#[test]
fn the_registry_lists_every_version_of_an_event_with_a_codec() {
    let registry = Registry::of::<MeterEvent>();
    let versions: Vec<_> =
        registry.versions("meter-read").iter().map(|shape| shape.version).collect();
    assert_eq!(versions, [1, 2]);
    let read = registry.read("meter-read", 1, r#"{"kwh":3}"#.into()).unwrap();
    assert_eq!(read["watt_hours"], 3_000.0);
}

/// Reads a meter again until it shows 3 watt hours.
#[derive(Clone, Default)]
struct ReadAgain {
    last: f64,
}

impl ProcessManager for ReadAgain {
    const NAME: &'static str = "again";
    type Event = MeterEvent;
    type Timer = ();
    type Commands = (ReadMeter,);

    fn route(read: &Recorded<MeterEvent>) -> Routing {
        let MeterEvent::Read(read) = &read.event;
        Routing::start(read.meter)
    }

    fn evolve(&mut self, input: &Input<Self>) {
        if let Input::Event(MeterEvent::Read(read)) = input {
            // The state is folded from all readings, so each must have been decoded.
            self.last += read.watt_hours;
        }
    }

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        match input {
            Input::Event(MeterEvent::Read(read)) if read.watt_hours < 3.0 => {
                Effects::none().send(ReadMeter { meter: read.meter, watt_hours: self.last + 1.0 })
            }
            Input::Event(_) | Input::Timer(()) | Input::Rejected(_) => Effects::none(),
        }
    }
}

#[tokio::test]
async fn a_process_handles_events_with_a_codec() {
    let store = new_store();
    let open = || Gesta::on(Arc::clone(&store)).process_with(ReadAgain::default()).open();
    let gesta = open().await.unwrap();
    read_meter(&gesta, 0.5).await;
    drain(&gesta).await;
    gesta.close().await;
    // The state is read from the stored inputs.
    let gesta = open().await.unwrap();
    drain(&gesta).await;
    let recorded = stored(store.as_ref()).await;
    let readings = recorded.iter().map(|event| {
        let MeterEvent::Read(read) = Recorded::<MeterEvent>::read(event).unwrap().event;
        read.watt_hours.to_string()
    });
    assert_eq!(readings.collect::<Vec<_>>(), ["0.5", "1.5", "3"]);
}

/// A lock file of the meter's events: of the current version with an example, and of both with
/// these content types.
fn locked(content_types: [&[&str]; 2], example: serde_json::Value) -> String {
    let registry = Registry::of::<MeterEvent>();
    let [first, second] = registry.versions("meter-read") else { panic!("two versions") };
    let lines = [(first, content_types[0], None), (second, content_types[1], Some(example))];
    let lines = lines.map(|(known, content_types, example)| {
        let line = serde_json::json!({
            "event": "meter-read",
            "version": known.version,
            "shape": known.shape,
            "contentTypes": content_types,
            "examples": example.as_slice(),
        });
        format!("{line}\n")
    });
    lines.concat()
}

/// The problems that a check against a lock file reports.
fn complaint(lock: &str, registry: &Registry) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lock).unwrap();
    let check = std::panic::AssertUnwindSafe(|| assert_events_locked(file.path(), registry));
    let refused = std::panic::catch_unwind(check);
    refused.map_or_else(|refused| *refused.downcast::<String>().unwrap(), |()| String::new())
}

#[test]
fn the_lock_file_holds_the_content_types_and_examples_of_an_event_with_a_codec() {
    let reading = || MeterRead { meter: 1, watt_hours: 2.5 };
    let registry = Registry::of::<MeterEvent>().example(&reading()).unwrap();
    let example = || serde_json::to_value(reading()).unwrap();
    let cbor: &[&str] = &["application/cbor"];
    assert_eq!(complaint(&locked([&[], cbor], example()), &registry), "");

    let new = complaint(&locked([&[], &[]], example()), &registry);
    assert!(new.contains("meter-read version 2 is not locked"), "{new}");
    let mut longer = example();
    longer["phase"] = 1.into();
    let changed = complaint(&locked([&[], cbor], longer), &registry);
    assert!(changed.contains("would be written as"), "{changed}");
    let unread = complaint(&locked([cbor, cbor], example()), &registry);
    let expected = "meter-read version 1 was written as application/cbor, which no codec reads";
    assert!(unread.contains(expected), "{unread}");
}

#[test]
fn an_event_that_loses_its_codec_is_found_by_its_lock_file() {
    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(name = "meter-read", version = 2, from = MeterReadV1)]
    struct MeterRead {
        #[event(tag = "meter")]
        meter: u32,
        watt_hours: f64,
    }

    impl From<MeterReadV1> for MeterRead {
        fn from(old: MeterReadV1) -> Self {
            Self { meter: 1, watt_hours: f64::from(old.kwh) * 1_000.0 }
        }
    }

    let example = serde_json::json!({ "meter": 1, "watt_hours": 2.5 });
    let mut registry = Registry::new();
    registry.add::<MeterRead>();
    let lost = complaint(&locked([&[], &["application/cbor"]], example), &registry);
    let expected = "meter-read version 2 was written as application/cbor, which no codec reads";
    assert!(lost.contains(expected), "{lost}");
}
