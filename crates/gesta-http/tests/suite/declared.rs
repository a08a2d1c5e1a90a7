//! Derived request and response types, and declared routes.

use axum::{Router, body::Body, http::Request};
use gesta::{
    Answer, Apply, ApplyError, Gesta, Projection, Query, QueryError, Revision,
    prelude::*,
    store::{MemoryReadModels, MemoryReader, Rows},
};
use gesta_http::{
    Api, ApiRoute, Fields, GestaState, ListPage, Problem, RequestFields, Schema, Schemas, Time,
};
use serde_json::{Value, json};

use crate::{DoorEvent, OpenDoor, asked, send};

/// A door's kind.
#[derive(Schema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum DoorKind {
    Sliding,
    FrenchDoor,
}

/// A door, with its
/// frame.
#[derive(Schema, Serialize)]
#[serde(rename_all = "camelCase")]
struct DoorRow {
    /// Its number.
    #[serde(rename = "no")]
    door_number: u8,
    /// Its kind.
    door_kind: Option<DoorKind>,
    #[serde(skip)]
    revision: Revision,
}

#[test]
fn a_response_has_the_names_and_descriptions_of_its_struct() {
    let mut schemas = Schemas::default();
    let fields = DoorRow::fields(&mut schemas);
    let listed: Vec<_> =
        fields.iter().map(|it| (it.name.as_str(), it.description, it.required)).collect();
    assert_eq!(listed, [("no", "Its number.", true), ("doorKind", "Its kind.", false)]);
    assert_eq!(DoorRow::DESCRIPTION, "A door, with its frame.");
    let row = DoorRow { door_number: 7, door_kind: None, revision: Revision::FIRST };
    let written = serde_json::to_value(row).unwrap();
    assert_eq!(written, json!({ "no": 7, "doorKind": null }));
    let kind = DoorKind::schema(&mut schemas);
    assert_eq!(kind, json!({ "type": "string", "enum": ["sliding", "french-door"] }));
    assert_eq!(serde_json::to_value(DoorKind::FrenchDoor).unwrap(), "french-door");
}

/// A value that a request converts into.
#[derive(Debug, PartialEq)]
struct Plan {
    door: u64,
    kind: Option<DoorKind>,
}

/// A plan.
#[derive(RequestFields)]
#[request(into = Plan)]
struct PlanBody {
    /// Number of the door.
    #[serde(rename = "no")]
    door: u32,
    /// Kind of the door.
    kind: Option<DoorKind>,
}

#[test]
fn a_request_is_read_from_closed_objects_only_and_converts_by_its_fields() {
    let plan: PlanBody = serde_json::from_value(json!({ "no": 7, "kind": "sliding" })).unwrap();
    assert_eq!(Plan::from(plan), Plan { door: 7, kind: Some(DoorKind::Sliding) });
    for odd in [json!({ "door": 7 }), json!({ "no": 7, "width": 1 }), json!([7, null])] {
        assert!(serde_json::from_value::<PlanBody>(odd.clone()).is_err(), "{odd}");
    }
}

/// The door to open.
#[derive(RequestFields)]
#[request(command = OpenDoor)]
struct DoorToOpen {
    /// Number of the door.
    door: u8,
}

/// Details of an opening.
#[derive(RequestFields)]
struct Opening {
    /// Time of the opening.
    at: Option<Time>,
}

struct Doors;

impl Projection for Doors {
    const NAME: &'static str = "doors";
    type Event = DoorEvent;
}

impl<Tx: Rows> Apply<Tx> for Doors {
    async fn apply(&self, tx: &mut Tx, events: &[Recorded<DoorEvent>]) -> Result<(), ApplyError> {
        for event in events {
            tx.put("doors", event.stream.as_str(), &event.revision.number()).await?;
        }
        Ok(())
    }
}

#[derive(Query)]
#[query(reads = Doors, answer = Option<DoorRow>)]
struct FindDoor {
    door: u8,
}

impl Answer<MemoryReader> for FindDoor {
    async fn answer(&self, rows: &mut MemoryReader) -> Result<Self::Answer, QueryError> {
        let revision: Option<u64> = rows.get("doors", &format!("door-{}", self.door)).await?;
        Ok(revision.map(|revision| DoorRow {
            door_number: self.door,
            door_kind: Some(DoorKind::Sliding),
            revision: Revision::new(revision),
        }))
    }
}

/// The numbers of doors after a number.
struct Numbers(Vec<u8>, bool);

impl ListPage for Numbers {
    type Item = u8;

    fn into_items(self) -> (Vec<u8>, Option<String>) {
        let last = self.0.last().filter(|_| self.1).map(ToString::to_string);
        (self.0, last)
    }
}

#[derive(Query)]
#[query(reads = Doors, answer = Numbers)]
struct ListDoors {
    after: u8,
    limit: u16,
    odd: bool,
}

impl Answer<MemoryReader> for ListDoors {
    async fn answer(&self, _: &mut MemoryReader) -> Result<Self::Answer, QueryError> {
        let step = if self.odd { 2 } else { 1 };
        let mut numbers = (1..=9).step_by(step).filter(|number| *number > self.after);
        let page: Vec<u8> = numbers.by_ref().take(self.limit.into()).collect();
        Ok(Numbers(page, numbers.next().is_some()))
    }
}

/// Search for doors.
#[derive(RequestFields)]
struct DoorSearch {
    /// Only doors with an odd number.
    odd: Option<bool>,
}

fn routes() -> [ApiRoute; 4] {
    [
        ApiRoute::post("/doors", "Opens a new door").create(DoorToOpen::into_command),
        ApiRoute::post("/doors/{no}/open", "Opens a door").update(|opening: Opening, door, _| {
            match opening.at {
                Some(_) => Err(Problem::rejected("not-now", "doors open now")),
                None => Ok(OpenDoor { door }),
            }
        }),
        ApiRoute::get("/doors/{no}", "Returns a door").find_versioned(
            "door",
            |door| FindDoor { door },
            |door| door.revision,
        ),
        ApiRoute::get("/doors", "Lists doors").list("doors", |search: DoorSearch, (), page| {
            ListDoors {
                after: page.after.unwrap_or(0),
                limit: page.limit.number(),
                odd: search.odd.unwrap_or(false),
            }
        }),
    ]
}

async fn router() -> Router {
    let gesta = Gesta::at("memory:").project(Doors, &MemoryReadModels::new()).open().await.unwrap();
    let api = Api::new("Doors", "1.0").with("doors", routes());
    Router::new().nest("/house/{house}", api.nested(GestaState::new(gesta)))
}

fn json_request(path: &str, body: &Value) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

#[tokio::test]
async fn a_command_and_a_query_are_a_declaration_each() {
    let router = router().await;
    let create = json_request("/house/a%20b/doors", &json!({ "door": 7 }));
    let (status, headers, _) = send(router.clone(), create).await;
    let location = "/house/a%20b/doors/7";
    assert_eq!((status, &headers["location"]), (201, &location.parse().unwrap()));
    let (status, _, changed) =
        send(router.clone(), asked("POST", &format!("{location}/open"))).await;
    assert_eq!((status, &changed["revision"]), (200, &1.into()), "the body may be absent");
    let at = json_request(&format!("{location}/open"), &json!({ "at": "2011-01-31T12:00:00Z" }));
    let (status, _, problem) = send(router.clone(), at).await;
    assert_eq!((status, &problem["code"]), (422, &"not-now".into()));
    let mut find = asked("GET", location);
    find.headers_mut().insert("gesta-position", "2".parse().unwrap());
    let (status, headers, door) = send(router.clone(), find).await;
    assert_eq!((status, &door["no"]), (200, &7.into()));
    assert!(headers["etag"].to_str().unwrap().starts_with("\"1-"), "{headers:?}");
    assert_eq!(send(router.clone(), asked("GET", "/house/1/doors/8")).await.0, 404);
    let (status, _, problem) = send(router, asked("GET", "/house/1/doors/x")).await;
    assert_eq!((status, &problem["field"]), (400, &"no".into()));
}

#[tokio::test]
async fn a_list_goes_on_at_its_own_cursor() {
    let router = router().await;
    let (_, _, page) = send(router.clone(), asked("GET", "/house/1/doors?odd=true&limit=2")).await;
    assert_eq!(page["items"], json!([1, 3]));
    let next = page["next"].as_str().unwrap();
    let path = format!("/house/1/doors?odd=true&limit=3&cursor={next}");
    let (_, _, page) = send(router.clone(), asked("GET", &path)).await;
    assert_eq!((&page["items"], &page["next"]), (&json!([5, 7, 9]), &Value::Null));
    let other = gesta_http::Cursor::new("windows", "3");
    let other = serde_json::to_value(other).unwrap();
    let path = format!("/house/1/doors?cursor={}", other.as_str().unwrap());
    let (status, _, problem) = send(router, asked("GET", &path)).await;
    assert_eq!((status, &problem["code"]), (422, &"unknown-cursor".into()));
}

#[tokio::test]
async fn a_parameter_that_a_list_does_not_have_is_told_those_that_it_has() {
    let router = router().await;
    let (status, _, problem) = send(router.clone(), asked("GET", "/house/1/doors?even=true")).await;
    assert_eq!((status, &problem["field"]), (400, &"even".into()));
    let detail = problem.to_string();
    assert!(detail.contains("expected one of `odd`, `cursor`, `limit`"), "{detail}");
    for (twice, field) in [("limit=1&limit=2", "limit"), ("odd=true&odd=true", "odd")] {
        let path = format!("/house/1/doors?{twice}");
        let (status, _, problem) = send(router.clone(), asked("GET", &path)).await;
        assert_eq!((status, &problem["field"]), (400, &field.into()));
    }
}

#[test]
fn a_declared_route_documents_itself() {
    let document = Api::new("Doors", "1.0").with("doors", routes()).document();
    let create = &document["paths"]["/doors"]["post"];
    assert_eq!(create["operationId"], "openDoor");
    assert_eq!(create["requestBody"]["required"], true);
    let open = &document["paths"]["/doors/{no}/open"]["post"];
    assert_eq!(open["requestBody"]["required"], false);
    let list = &document["paths"]["/doors"]["get"];
    let names: Vec<_> =
        list["parameters"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    for name in ["odd", "cursor", "limit"] {
        assert!(names.contains(&&name.into()), "{names:?}");
    }
    assert_eq!(list["responses"]["422"]["description"], "rejected: unknown-cursor");
}
