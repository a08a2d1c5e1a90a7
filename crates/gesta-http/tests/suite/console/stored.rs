//! Stored events as they are, over HTTP.

use axum::Router;
use gesta::{
    EventId, EventType, Gesta, Registry, StreamName,
    prelude::*,
    store::{Append, ExpectedRevision, NewEvent},
};
use gesta_http::GestaState;
use serde_json::{Value, json};

use super::{Operated, with_console};
use crate::{api, asked, send};

/// Version 1 of a coat of paint.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "door-painted")]
struct DoorPaintedV1 {
    colour: String,
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "door-painted", version = 2, from = DoorPaintedV1)]
struct DoorPainted {
    colour: String,
    coats: u8,
}

impl From<DoorPaintedV1> for DoorPainted {
    fn from(old: DoorPaintedV1) -> Self {
        Self { colour: old.colour, coats: 1 }
    }
}

#[derive(EventSet, Clone)]
enum PaintEvent {
    Painted(DoorPainted),
}

async fn painted() -> (Gesta, Router) {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    let api = api().console("/v1", Registry::of::<PaintEvent>());
    (gesta.clone(), api.router(GestaState::new(gesta)))
}

async fn append(gesta: &Gesta, stream: &str, version: u16, data: &'static str) -> EventId {
    let id = EventId::random();
    let event = NewEvent::json(id, EventType::new("door-painted").unwrap(), data);
    let event = event.schema_version(version).metadata(br#"{"actor":"ann"}"#.as_slice());
    let stream = StreamName::new(stream).unwrap();
    gesta.store().append(Append::to(stream, ExpectedRevision::Any, [event])).await.unwrap();
    id
}

async fn get(router: &Router, path: &str) -> (u16, Value) {
    let (status, _, body) = send(router.clone(), asked("GET", path)).await;
    (status, body)
}

/// Returns the revisions of a page, and where the next one begins.
async fn page(router: &Router, query: &str) -> (Vec<u64>, Value, Value) {
    let (status, page) = get(router, &format!("/v1/streams/door-1?{query}")).await;
    assert_eq!(status, 200, "{page}");
    let revisions = page["events"].as_array().unwrap().iter();
    let revisions = revisions.map(|event| event["revision"].as_u64().unwrap()).collect();
    (revisions, page["next"].clone(), page["end"].clone())
}

#[tokio::test]
async fn pages_of_a_stream_lead_both_ways() {
    let (gesta, router) = painted().await;
    for _ in 0..3 {
        append(&gesta, "door-1", 2, r#"{"colour":"red","coats":2}"#).await;
    }
    assert_eq!(page(&router, "limit=2").await, (vec![0, 1], json!(2), json!(false)));
    assert_eq!(page(&router, "limit=2&from=2").await, (vec![2], json!(3), json!(true)));
    let backwards = "direction=backwards&limit=2";
    assert_eq!(page(&router, backwards).await, (vec![2, 1], json!(0), json!(false)));
    let rest = format!("{backwards}&from=0");
    assert_eq!(page(&router, &rest).await, (vec![0], json!(null), json!(true)));
    for (path, status) in [
        ("/v1/streams/door-2", 404),
        ("/v1/streams/door-1?from=-1", 400),
        ("/v1/streams/door-1?from=1&fromTime=2011-01-31T12:00:00Z", 400),
        ("/v1/streams/door-1?odd=1", 400),
    ] {
        assert_eq!(get(&router, path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn an_event_is_shown_as_stored_and_as_upcast() {
    let (gesta, router) = painted().await;
    let old = append(&gesta, "door-1", 1, r#"{"colour":"red", "more":1.10}"#).await;
    append(&gesta, "door-1", 2, r#"{"colour":"red","coats":2}"#).await;
    append(&gesta, "door-1", 2, r#"{"odd":1}"#).await;
    let (_, page) = get(&router, "/v1/streams/door-1?upcast=true").await;
    let [first, second, third] = page["events"].as_array().unwrap().as_slice() else { panic!() };
    assert_eq!(first["data"], json!({ "colour": "red", "more": 1.10 }));
    assert_eq!(first["upcast"], json!({ "colour": "red", "coats": 1 }));
    assert_eq!(first["metadata"], json!({ "actor": "ann" }));
    assert!(second.get("upcast").is_none() && second.get("unreadable").is_none(), "{second}");
    assert!(third["unreadable"].as_str().unwrap().contains("colour"), "{third}");
    let (status, found) = get(&router, &format!("/v1/events/{old}")).await;
    assert_eq!((status, &found["events"][0]["stream"]), (200, &json!("door-1")));
    assert!(found["events"][0].get("upcast").is_none(), "it was not asked for");
    let (status, _) = get(&router, &format!("/v1/events/{}", EventId::random())).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn the_whole_store_is_read_by_one_filter_both_ways() {
    let (gesta, router) = painted().await;
    for stream in ["door-1", "gate-1", "door-2"] {
        append(&gesta, stream, 2, r#"{"colour":"red","coats":2}"#).await;
    }
    let streams = async |query: &str| {
        let (status, page) = get(&router, &format!("/v1/all?{query}")).await;
        assert_eq!(status, 200, "{page}");
        let events = page["events"].as_array().unwrap().iter();
        let streams: Vec<_> = events.map(|it| it["stream"].as_str().unwrap().to_owned()).collect();
        (streams.join(" "), page["position"].clone(), page["end"].clone())
    };
    let all = ("door-1 gate-1 door-2".to_owned(), json!(3), json!(true));
    assert_eq!(streams("").await, all);
    assert_eq!(streams("limit=1").await, ("door-1".to_owned(), json!(1), json!(false)));
    assert_eq!(streams("after=1&limit=1").await.0, "gate-1");
    assert_eq!(streams("direction=backwards&limit=1").await.0, "door-2");
    assert_eq!(streams("direction=backwards&before=3&limit=1").await.0, "gate-1");
    assert_eq!(streams("category=door").await.0, "door-1 door-2");
    assert_eq!(streams("stream=door-1&stream=gate-1").await.0, "door-1 gate-1");
    assert_eq!(streams("streamPrefix=g").await.0, "gate-1");
    assert_eq!(streams("type=door-opened").await.0, "");
    for (odd, status) in [
        ("after=4", 412),
        ("before=1", 400),
        ("category=door&stream=gate-1", 400),
        ("limit=501", 400),
        ("limit=1&limit=2", 400),
        ("odd=1", 400),
        ("type=", 400),
    ] {
        assert_eq!(get(&router, &format!("/v1/all?{odd}")).await.0, status, "{odd}");
    }
}

#[tokio::test]
async fn names_counts_and_types_are_listed() {
    let (gesta, router) = painted().await;
    for stream in ["door-1", "door-2", "gate-1"] {
        append(&gesta, stream, 2, r#"{"colour":"red","coats":2}"#).await;
    }
    let (_, names) = get(&router, "/v1/streams?prefix=door-&limit=1").await;
    assert_eq!(names, json!({ "names": ["door-1"], "next": "door-1" }));
    let (_, names) = get(&router, "/v1/streams?prefix=door-&after=door-1").await;
    assert_eq!(names, json!({ "names": ["door-2"], "next": null }));
    let (_, names) = get(&router, "/v1/categories").await;
    assert_eq!(names, json!({ "names": ["door", "gate"], "next": null }));
    for (limit, streams, streams_are_all, categories, categories_are_all) in [
        ("", 3, true, 2, true),
        ("?limit=3", 3, true, 2, true),
        ("?limit=2", 2, false, 2, true),
        ("?limit=1", 1, false, 1, false),
    ] {
        let (_, counts) = get(&router, &format!("/v1/counts{limit}")).await;
        let expected = json!({ "events": 3, "streams": streams,
            "streamsAreAll": streams_are_all, "categories": categories,
            "categoriesAreAll": categories_are_all });
        assert_eq!(counts, expected, "{limit}");
    }
    for odd in ["limit=0", "limit=100001", "limit=all"] {
        assert_eq!(get(&router, &format!("/v1/counts?{odd}")).await.0, 400, "{odd}");
    }
    let (_, store) = get(&router, "/v1/store").await;
    assert_eq!(store["durability"], "volatile", "{store}");
    let (_, described) = get(&router, "/v1/streams/door-1/metadata").await;
    assert_eq!((&described["state"], &described["metadata"]), (&json!("live"), &json!({})));
    let (_, types) = get(&router, "/v1/event-types").await;
    let painted = &types["items"][0];
    assert_eq!(
        (&painted["type"], &painted["versions"][1]["version"]),
        (&json!("door-painted"), &json!(2))
    );
    let fields = painted["versions"][1]["fields"].to_string();
    assert!(fields.contains("coats") && fields.contains("colour"), "{fields}");
}

#[tokio::test]
async fn timers_of_all_instances_are_listed_by_their_times() {
    let doors = Operated::open().await;
    doors.set(|faults| &faults.timers_are_long, true);
    for door in [7, 8] {
        doors.open_door(door).await;
        gesta::testing::drain(&doors.gesta).await;
    }
    let router = with_console().router(GestaState::new(doors.gesta.clone()));
    let (_, timers) = get(&router, "/v1/processes/porter/timers").await;
    let instances = timers["items"].as_array().unwrap().iter().map(|it| it["instance"].clone());
    assert_eq!(instances.collect::<Vec<_>>(), [json!("door-7"), json!("door-8")]);
    let (_, first) = get(&router, "/v1/processes/porter/timers?limit=1").await;
    assert_eq!(first["items"], json!([timers["items"][0]]));
    assert_eq!(get(&router, "/v1/processes/none/timers").await.0, 404);
}
