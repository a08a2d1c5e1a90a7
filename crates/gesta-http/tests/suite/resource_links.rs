//! Links from the objects of answers to other operations, and lists that find several resources.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gesta::Gesta;
use gesta_http::{
    Api, ApiRoute, GestaState, Link, Paged, PathOf, Problem, Queries, QueryOf, QueryResponse,
    Repeated, RequestFields, Resource, Schema,
};
use serde::Serialize;
use serde_json::{Value, json};

/// A key of a door.
#[derive(Schema, Serialize)]
struct KeyDetails {
    /// Number of the door.
    door: u8,
}

/// A door.
#[derive(Schema, Serialize)]
struct DoorDetails {
    /// Its number.
    no: u8,
    /// The house.
    house: Option<String>,
    /// Its keys.
    keys: Vec<KeyDetails>,
}

/// A house.
#[derive(Schema, Serialize)]
struct HouseDetails {
    /// Its name.
    name: String,
    /// The door to the street.
    entrance: Option<DoorDetails>,
}

/// Path of a house.
#[derive(RequestFields)]
#[expect(dead_code, reason = "only described")]
struct HousePath {
    /// Name of the house.
    name: String,
}

/// Path of a door.
#[derive(RequestFields)]
#[expect(dead_code, reason = "only described")]
struct DoorPath {
    /// Number of the door.
    no: u8,
}

/// Search for doors.
#[derive(RequestFields)]
#[expect(dead_code, reason = "only described")]
struct DoorSearch {
    /// Only doors with these numbers.
    no: Option<Repeated<u8>>,
    /// Only doors of this house.
    house: Option<String>,
}

async fn find_house(_: Queries, _: PathOf<HousePath>) -> Result<Resource<HouseDetails>, Problem> {
    Err(Problem::not_found("house"))
}

async fn find_door(_: Queries, _: PathOf<DoorPath>) -> Result<Resource<DoorDetails>, Problem> {
    Err(Problem::not_found("door"))
}

async fn list_doors(
    _: Queries,
    _: QueryOf<DoorSearch>,
) -> Result<QueryResponse<Paged<DoorDetails>>, Problem> {
    Err(Problem::not_found("list"))
}

fn api(many: [&str; 2], links: impl IntoIterator<Item = Link>) -> Api {
    let routes = [
        ApiRoute::get("/houses/{name}", "Returns a house").handle(find_house),
        ApiRoute::get("/doors/{no}", "Returns a door").handle(find_door),
        ApiRoute::get("/doors", "Lists doors").handle(list_doors).finds_many(many[0], many[1]),
    ];
    links.into_iter().fold(Api::new("Doors", "1.0").with("doors", routes), Api::link)
}

fn to_house() -> Link {
    Link::of::<DoorDetails>("building").to("findHouse").parameter("name", "house")
}

fn to_door() -> Link {
    Link::of::<KeyDetails>("of").to("findDoor").parameter("no", "door")
}

fn links_of(document: &Value, path: &str) -> Value {
    document["paths"][path]["get"]["responses"]["200"]["links"].clone()
}

#[test]
fn a_link_is_in_each_answer_that_has_its_type() {
    let document = api(["findDoor", "no"], [to_house(), to_door()]).document();
    let to = |operation: &str, parameter: &str, at: &str| {
        json!({
            "operationId": operation,
            "parameters": { parameter: format!("$response.body#/{at}") },
        })
    };
    let of_door = json!({
        "building": to("findHouse", "name", "house"),
        "keys.of": to("findDoor", "no", "keys/0/door"),
    });
    assert_eq!(links_of(&document, "/doors/{no}"), of_door);
    let of_list = json!({
        "items.building": to("findHouse", "name", "items/0/house"),
        "items.keys.of": to("findDoor", "no", "items/0/keys/0/door"),
    });
    assert_eq!(links_of(&document, "/doors"), of_list);
    let of_house = json!({
        "entrance.building": to("findHouse", "name", "entrance/house"),
        "entrance.keys.of": to("findDoor", "no", "entrance/keys/0/door"),
    });
    assert_eq!(links_of(&document, "/houses/{name}"), of_house);
    let many = &document["paths"]["/doors"]["get"]["x-finds-many"];
    assert_eq!(*many, json!({ "operationId": "findDoor", "parameter": "no" }));
    let not_found = &document["paths"]["/doors/{no}"]["get"]["responses"]["404"];
    assert!(not_found.get("links").is_none(), "{not_found}");
}

/// Returns the text of a panic.
fn refusal(make: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(make)).expect_err("it is refused");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[tokio::test]
async fn links_that_do_not_fit_the_routes_are_refused_with_what_to_correct() {
    let state = GestaState::new(Gesta::at("memory:").open().await.unwrap());
    let fits = ["findDoor", "no"];
    let build = |api: Api| {
        drop(api.router(state.clone()));
    };
    build(api(fits, [to_house(), to_door()]));
    let link = |operation: &str, parameter: &str| {
        Link::of::<DoorDetails>("building").to(operation).parameter(parameter, "house")
    };
    for (api, expected) in [
        (api(fits, [link("findHut", "name")]), "names the operation `findHut`"),
        (api(fits, [link("findHouse", "no")]), "needs a parameter `no`"),
        (api(fits, [to_house(), to_house()]), "is declared twice"),
        (api(["findHut", "no"], []), "names the operation `findHut`"),
        (api(["findHouse", "no"], []), "does not find what `findHouse` finds"),
        (api(["listDoors", "no"], []), "has 0 path parameters"),
    ] {
        let text = refusal(|| build(api));
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let unanswered = Api::new("Doors", "1.0")
        .with("doors", [ApiRoute::get("/doors/{no}", "Returns a door").handle(find_door)])
        .link(Link::of::<HouseDetails>("door").to("findDoor").parameter("no", "name"));
    let text = refusal(|| build(unanswered));
    assert!(text.contains("is in no answer"), "{text}");
}

#[test]
fn links_that_do_not_fit_their_type_are_refused() {
    for (make, expected) in [
        (
            (|| drop(to_house_by("street"))) as fn(),
            "DoorDetails has no member `street` for the link `building`",
        ),
        (|| drop(Link::of::<DoorDetails>("house")), "has a member `house`"),
        (|| drop(Link::of::<DoorDetails>("a.b")), "must have letters and digits alone"),
        (|| drop(Link::of::<String>("house")), "is no object with a name"),
        (
            || drop(ApiRoute::get("/d", "").handle(list_doors).finds_many("findDoor", "house")),
            "`listDoors` has no query parameter `house` that may be repeated",
        ),
    ] {
        let text = refusal(make);
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

fn to_house_by(member: &str) -> Link {
    Link::of::<DoorDetails>("building").to("findHouse").parameter("name", member)
}
