//! Events over the years: versions, upcasters, the registry, the lock file.

use std::{fs, path::PathBuf};

use gesta::{
    Gesta, LoadError, Registry,
    prelude::*,
    testing::{assert_events_locked, stored},
};
use gesta_store::{Append, ExpectedRevision, NewEvent};

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "sent")]
struct SentV1 {
    to: String,
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "sent", version = 2, from = SentV1)]
struct SentV2 {
    to: Vec<String>,
}

impl From<SentV1> for SentV2 {
    fn from(old: SentV1) -> Self {
        Self { to: vec![old.to] }
    }
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "sent", version = 3, from = SentV2)]
#[serde(rename_all = "camelCase")]
struct Sent {
    sent_to: Vec<String>,
    by: Carrier,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
enum Carrier {
    Unknown,
    Pigeon { name: String },
}

impl From<SentV2> for Sent {
    fn from(old: SentV2) -> Self {
        Self { sent_to: old.to, by: Carrier::Unknown }
    }
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum LetterEvent {
    Sent(Sent),
}

fn by_pigeon() -> Sent {
    Sent { sent_to: vec!["ann".to_owned()], by: Carrier::Pigeon { name: "Bo".to_owned() } }
}

#[test]
fn each_version_is_read_through_the_upcasters_after_it() {
    let to_ann = || Sent { sent_to: vec!["ann".to_owned()], by: Carrier::Unknown };
    stored("sent", 1, r#"{"to":"ann"}"#).reads_as(LetterEvent::Sent(to_ann()));
    stored("sent", 2, r#"{"to":["ann"]}"#).reads_as(LetterEvent::Sent(to_ann()));
    let own = r#"{"sentTo":["ann"],"by":"Unknown"}"#;
    stored("sent", 3, own).reads_as(LetterEvent::Sent(to_ann()));
}

#[test]
fn unknown_versions_types_and_bytes_are_told_apart() {
    let refused = |event, version, json: &str| {
        LetterEvent::decode(event, version, json.into()).unwrap_err().to_string()
    };
    assert_eq!(refused("lost", 1, "{}"), "event type lost is unknown");
    let newest = "version 5 of event type sent is unknown; the newest known version is 3";
    assert_eq!(refused("sent", 5, "{}"), newest);
    assert!(refused("sent", 4, "{}").starts_with("version 4 of event type sent is unknown"));
    assert_eq!(refused("sent", 2, "{}"), "the payload is not version 2 of event type sent");
}

/// Only read: a projection's set over events that may be another crate's.
#[derive(EventSet, Clone)]
#[events(read_only)]
enum Seen {
    Sent(Sent),
}

#[test]
fn an_event_may_be_in_several_sets() {
    let registry = Registry::of::<LetterEvent>().and::<Seen>();
    assert_eq!(registry.check(), Ok(()));
    let versions: Vec<u16> = registry.versions("sent").iter().map(|shape| shape.version).collect();
    assert_eq!(versions, [1, 2, 3]);
}

#[test]
fn two_types_of_one_name_are_found() {
    #[derive(EventSet, Clone)]
    enum Old {
        Sent(SentV1),
    }
    let error = Registry::of::<LetterEvent>().and::<Old>().check().unwrap_err();
    assert!(error.first.ends_with("Sent") && error.second.ends_with("SentV1"), "{error}");
}

/// A lock file of this test's own, in the target directory.
fn lock_file(name: &str, text: &str) -> PathBuf {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.lock"));
    fs::write(&file, text).unwrap();
    file
}

fn registry() -> Registry {
    Registry::of::<LetterEvent>().example(&by_pigeon()).unwrap()
}

const LOCKED: &str = include_str!("letters.lock");

/// The problems that a check against a lock file reports.
fn complaint(name: &str, lock: &str) -> String {
    let file = lock_file(name, lock);
    let checked = std::panic::catch_unwind(|| assert_events_locked(&file, &registry()));
    *checked.unwrap_err().downcast::<String>().unwrap()
}

#[test]
fn events_that_are_as_they_were_locked_pass() {
    assert_events_locked(lock_file("same", LOCKED), &registry());
}

#[test]
fn a_changed_field_without_a_new_version_is_found() {
    let complaint = complaint("field", &LOCKED.replace("to: Vec<String>}", "to: Vec<Name>}"));
    assert!(complaint.contains("sent version 2 is {to: Vec<String>}, but is locked as"));
}

#[test]
fn a_change_deep_inside_is_found_by_the_example() {
    let complaint = complaint("deep", &LOCKED.replace("\"name\"", "\"ring\""));
    assert!(complaint.contains("sent version 3"), "{complaint}");
}

#[test]
fn an_example_that_would_lose_something_today_is_found() {
    let complaint =
        complaint("lossy", &LOCKED.replace(r#""name":"Bo""#, r#""name":"Bo","ring":1"#));
    assert!(complaint.contains("would be written as"), "{complaint}");
}

#[test]
fn a_version_that_cannot_be_read_any_more_is_found() {
    let locked = format!("{LOCKED}{}", r#"{"event":"sent","version":4,"shape":"{}"}"#);
    let complaint = complaint("gone", &locked);
    assert!(complaint.contains("sent version 4 is locked, but no longer decodes"));
}

#[test]
fn a_version_that_is_not_locked_yet_is_found() {
    let first = LOCKED.lines().next().unwrap();
    let complaint = complaint("new", first);
    assert!(complaint.contains("sent version 2 is not locked"), "{complaint}");
    assert!(complaint.contains("sent version 3 is not locked"), "{complaint}");
}

#[test]
fn a_renamed_variant_of_a_nested_enum_is_found_without_an_example() {
    let file = lock_file("grown", LOCKED);
    let types = Registry::of::<LetterEvent>().type_shapes("sent").pop().unwrap().shape;
    let line = |types: &str| {
        let last = LOCKED.lines().last().unwrap();
        let with_types = last.replace(r#""examples":"#, &format!(r#""types":{types},"examples":"#));
        format!("{}\n{with_types}\n", LOCKED.lines().take(2).collect::<Vec<_>>().join("\n"))
    };
    let locked = serde_json::to_string(&types).unwrap();
    assert!(locked.contains(r#""by::Pigeon.name":"text""#), "{locked}");
    fs::write(&file, line(&locked)).unwrap();
    assert_events_locked(&file, &registry());
    let complaint = complaint("renamed", &line(&locked.replace("by::Unknown", "by::Lost")));
    assert!(
        complaint.contains("sent version 3 no longer matches its lock: by::Lost (variant) is gone")
    );
}

#[test]
fn a_schema_that_changed_without_a_new_version_is_found() {
    let file = lock_file("schema", LOCKED);
    let known = Registry::of::<LetterEvent>().type_shapes("sent").pop().unwrap();
    let types = serde_json::to_string(&known.shape).unwrap();
    let line = |schema: &str| {
        let last = LOCKED.lines().last().unwrap();
        let locked = format!(r#""types":{types},"schema":{schema},"examples":"#);
        let last = last.replace(r#""examples":"#, &locked);
        format!("{}\n{last}\n", LOCKED.lines().take(2).collect::<Vec<_>>().join("\n"))
    };
    let schema = known.schema.to_string();
    assert!(schema.contains(r#""required":["sentTo","by"]"#), "{schema}");
    fs::write(&file, line(&schema)).unwrap();
    assert_events_locked(&file, &registry());
    let optional = schema.replace(r#""required":["sentTo","by"]"#, r#""required":["by"]"#);
    let complaint = complaint("required", &line(&optional));
    assert!(complaint.contains("sent version 3 has the JSON schema"), "{complaint}");
}

/// An event that is written in another form than its schema has: serde reads a struct from a list,
/// too.
#[derive(Event, EventSet, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "parcel-weighed")]
struct Weighed {
    scale: Scale,
}

#[derive(Deserialize, Clone, Debug, PartialEq)]
struct Scale {
    grams: u32,
}

impl Serialize for Scale {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.grams].serialize(serializer)
    }
}

#[derive(Default)]
struct WeighedParcel;

impl Aggregate for WeighedParcel {
    const CATEGORY: &'static str = "weighed";
    type Id = u8;
    type Event = Weighed;

    fn evolve(&mut self, _: &Weighed) {}
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "weigh-parcel", on = WeighedParcel, either)]
struct WeighParcel {
    #[command(id)]
    parcel: u8,
    grams: u32,
}

impl Decide for WeighParcel {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &WeighedParcel) -> Decision<Self> {
        Ok(Weighed { scale: Scale { grams: self.grams } }.into())
    }
}

fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let last = std::iter::successors(Some(error), |error| error.source()).last();
    last.unwrap().to_string()
}

#[tokio::test]
async fn an_event_with_another_schema_than_its_version_is_not_appended() {
    let weigh = || WeighParcel { parcel: 1, grams: 5 };
    let careless = Gesta::at("memory:").open().await.unwrap();
    careless.execute(weigh()).await.unwrap();
    let careful = Gesta::at("memory:").validate_events(&Registry::of::<Weighed>());
    let careful = careful.open().await.unwrap();
    let refused = careful.execute(weigh()).await.unwrap_err();
    let expected = "parcel-weighed version 1 cannot be recorded: at /scale: ";
    assert!(reason(&refused).starts_with(expected), "{refused}");
    assert_eq!(careful.store().head().await.unwrap().position, gesta::Position::START);
    let unknown = Gesta::at("memory:").validate_events(&Registry::of::<LetterEvent>());
    let refused = unknown.open().await.unwrap().execute(weigh()).await.unwrap_err();
    assert!(reason(&refused).contains("the registry has no such version"), "{refused}");
    let known = Gesta::at("memory:").validate_events(&Registry::of::<Lost>());
    known.open().await.unwrap().execute(LoseParcel { parcel: 1, twice: true }).await.unwrap();
}

/// An old event that stands for two, and one that stands for none.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "sent-and-paid")]
struct SentAndPaid {
    to: String,
    cents: u64,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "paid")]
struct Paid {
    cents: u64,
}

/// The first version of it listed several payments, some of them of nothing.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "refunded")]
struct RefundedV1 {
    cents: Vec<u64>,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "refunded", version = 2, split = RefundedV1)]
struct Refunded {
    cents: u64,
}

impl From<RefundedV1> for Vec<Refunded> {
    fn from(old: RefundedV1) -> Self {
        old.cents.into_iter().filter(|cents| *cents > 0).map(|cents| Refunded { cents }).collect()
    }
}

#[derive(EventSet, Clone, Debug, PartialEq)]
#[events(ignore("noted"), replaced(SentAndPaid))]
enum PostEvent {
    Sent(Sent),
    Paid(Paid),
    Refunded(Refunded),
}

impl From<SentAndPaid> for Vec<PostEvent> {
    fn from(old: SentAndPaid) -> Self {
        let sent = Sent { sent_to: vec![old.to], by: Carrier::Unknown };
        vec![sent.into(), Paid { cents: old.cents }.into()]
    }
}

#[derive(Default, Debug, PartialEq)]
struct Post {
    sent: usize,
    cents: u64,
    refunds: usize,
}

impl Aggregate for Post {
    const CATEGORY: &'static str = "post";
    type Id = u8;
    type Event = PostEvent;

    fn evolve(&mut self, event: &PostEvent) {
        match event {
            PostEvent::Sent(_) => self.sent += 1,
            PostEvent::Paid(paid) => self.cents += paid.cents,
            PostEvent::Refunded(_) => self.refunds += 1,
        }
    }
}

/// Events appended by other programs and by older versions.
async fn append(gesta: &Gesta, event_type: &str, data: &'static str) {
    let event_type = EventType::new(event_type).unwrap();
    let event = NewEvent::json(EventId::random(), event_type, data);
    let stream = StreamName::new("post-1").unwrap();
    gesta.store().append(Append::to(stream, ExpectedRevision::Any, [event])).await.unwrap();
}

#[tokio::test]
async fn old_events_are_dropped_and_split_while_they_are_read() {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    append(&gesta, "sent-and-paid", r#"{"to":"ann","cents":5}"#).await;
    append(&gesta, "refunded", r#"{"cents":[1,0,2]}"#).await;
    append(&gesta, "refunded", r#"{"cents":[0]}"#).await;
    let post = gesta.load::<Post>(&1).await.unwrap().unwrap();
    assert_eq!(post.state, Post { sent: 1, cents: 5, refunds: 2 });
    assert_eq!(post.revision, Revision::new(2), "places are those of the stored events");
}

#[tokio::test]
async fn an_event_type_that_left_the_set_is_named_with_its_place_and_can_be_ignored() {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    append(&gesta, "noted", "not even its JSON matters").await;
    assert_eq!(gesta.load::<Post>(&1).await.unwrap().unwrap().state, Post::default());
    append(&gesta, "order-canceled", "{}").await;
    let refused = gesta.load::<Post>(&1).await.unwrap_err();
    let LoadError::Undecodable(event) = &refused else { panic!("{refused}") };
    assert_eq!(event.event_type.as_str(), "order-canceled");
    assert_eq!((event.revision, event.stream.as_str()), (Revision::new(1), "post-1"));
    assert_eq!(event.position, gesta.store().head().await.unwrap().position);
    assert!(refused.to_string().contains("order-canceled"), "{refused}");
}

#[test]
fn a_replaced_event_is_known_to_the_registry_and_its_split_versions_too() {
    let registry = Registry::of::<PostEvent>();
    assert_eq!(registry.check(), Ok(()));
    let names: Vec<_> = registry.names().collect();
    assert_eq!(names, ["paid", "refunded", "sent", "sent-and-paid"]);
    let versions: Vec<_> = registry.type_shapes("refunded").iter().map(|it| it.version).collect();
    assert_eq!(versions, [1, 2]);
    let read = registry.read("refunded", 1, r#"{"cents":[1,2]}"#.into()).unwrap();
    assert_eq!(read.to_string(), r#"[{"cents":1},{"cents":2}]"#);
}

/// An event without others: its own set.
#[derive(Event, EventSet, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "parcel-lost")]
struct Lost {
    #[event(tag)]
    to: String,
}

#[derive(Default)]
struct Parcel {
    losses: u32,
}

impl Aggregate for Parcel {
    const CATEGORY: &'static str = "parcel";
    type Id = u8;
    type Event = Lost;

    fn evolve(&mut self, _: &Lost) {
        self.losses += 1;
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "lose-parcel", on = Parcel, either)]
struct LoseParcel {
    #[command(id)]
    parcel: u8,
    twice: bool,
}

impl Decide for LoseParcel {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Parcel) -> Decision<Self> {
        let lost = Lost { to: "ann".to_owned() };
        Ok(if self.twice { Events::none().and(lost.clone()).and(lost) } else { lost.into() })
    }
}

#[tokio::test]
async fn a_single_event_is_a_set_by_itself() {
    assert_eq!(Lost::NAMES, ["parcel-lost"]);
    assert_eq!(Lost::encode(&Lost { to: "ann".to_owned() }).unwrap().tags.len(), 1);
    assert!(Lost::decode("parcel-sent", 1, r#"{"to":"ann"}"#.into()).is_err());
    let gesta = Gesta::at("memory:").open().await.unwrap();
    gesta.execute(LoseParcel { parcel: 1, twice: false }).await.unwrap();
    gesta.execute(LoseParcel { parcel: 1, twice: true }).await.unwrap();
    assert_eq!(gesta.load::<Parcel>(&1).await.unwrap().unwrap().state.losses, 3);
}
