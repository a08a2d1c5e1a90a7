//! Access: a field is allowed to whom its route is.

use std::{collections::BTreeSet, time::SystemTime};

use axum::http::request::Parts;
use futures_util::StreamExt as _;
use gesta_graphql::{GraphQl, Introspection};
use gesta_http::{
    Access, AccessRole, AccessRules, Authenticate, GestaState, Principal, Problem, Right,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{Client, library, posted};

/// Time for the first response of a subscription.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The role in the header `X-Role`.
struct ByRole;

impl Authenticate for ByRole {
    async fn authenticate(
        &self,
        request: &Parts,
        _: SystemTime,
    ) -> Result<Option<Principal>, Problem> {
        let role = request.headers.get("x-role").and_then(|role| role.to_str().ok());
        Ok(role.and_then(|role| Principal::new("ann", [role]).ok()))
    }
}

/// A library with a role for each right, which has the right's name.
async fn guarded() -> Client {
    let roles = Right::ALL.map(|right| AccessRole::named(right.as_str()).has([right]));
    let access = Access::new(AccessRules::new(roles)).by(ByRole);
    let state = GestaState::new(library::open().await).access(access);
    let graphql = GraphQl::over(library::api()).introspection(Introspection::On);
    Client { router: graphql.router(state.clone()), state }
}

/// A field of a root type, with values for its required arguments.
struct RootField {
    name: String,
    arguments: String,
}

/// Returns all fields of a root type.
async fn fields(client: &Client, type_name: &str) -> Vec<RootField> {
    let of_type = "type { kind name ofType { kind name } }";
    let query = format!(
        "{{ __type(name: \"{type_name}\") {{ fields {{ name args {{ name {of_type} }} }} }} }}"
    );
    let answer = client.ok(&query).await;
    let mut fields = Vec::new();
    for field in answer["data"]["__type"]["fields"].as_array().unwrap() {
        let mut arguments = Vec::new();
        for argument in field["args"].as_array().unwrap() {
            if argument["type"]["kind"] == "NON_NULL" {
                let value = value_of(client, &argument["type"]["ofType"]).await;
                arguments.push(format!("{}: {value}", argument["name"].as_str().unwrap()));
            }
        }
        let joined = arguments.join(", ");
        let arguments = if joined.is_empty() { joined } else { format!("({joined})") };
        fields.push(RootField { name: field["name"].as_str().unwrap().to_owned(), arguments });
    }
    assert!(!fields.is_empty(), "{type_name}");
    fields
}

/// Returns a value of an input type, whose members are texts.
async fn value_of(client: &Client, of: &Value) -> String {
    if of["kind"] != "INPUT_OBJECT" {
        return if of["name"] == "Long" || of["name"] == "Int" { "1" } else { "\"x\"" }.to_owned();
    }
    let name = of["name"].as_str().unwrap();
    let query = format!("{{ __type(name: \"{name}\") {{ inputFields {{ name }} }} }}");
    let members = client.ok(&query).await["data"]["__type"]["inputFields"].clone();
    let members = members.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap());
    format!("{{ {} }}", members.map(|name| format!("{name}: \"x\"")).collect::<Vec<_>>().join(", "))
}

/// Asks for a field as this role, and returns the code of its error.
async fn code(
    client: &Client,
    kind: &str,
    field: &RootField,
    role: Option<&str>,
) -> Option<String> {
    let headers = role.map(|role| ("x-role", role));
    let selected = format!("{}{}", field.name, field.arguments);
    let mut answer = Value::Null;
    // A field of an object needs a selection, and one of a scalar has none.
    for selection in [" { __typename }", ""] {
        let query = format!("{kind} {{ {selected}{selection} }}");
        answer = match kind {
            "subscription" => first(client, &query, headers).await,
            _ => {
                let headers: Vec<_> = headers.into_iter().collect();
                client.ask(&query, json!({}), &headers).await.json
            }
        };
        if answer["errors"][0]["extensions"]["code"] != "query-invalid" {
            break;
        }
    }
    let code = &answer["errors"][0]["extensions"]["code"];
    assert_ne!(code, "query-invalid", "{selected}: {answer}");
    code.as_str().map(str::to_owned)
}

/// Returns the first response of a subscription, or null if it only waits.
async fn first(client: &Client, query: &str, header: Option<(&str, &str)>) -> Value {
    let mut headers = vec![("accept", "text/event-stream")];
    headers.extend(header);
    let mut body =
        client.raw(posted(query, json!({}), &headers)).await.into_body().into_data_stream();
    let mut text = String::new();
    while !text.contains("\n\n") {
        match timeout(PATIENCE, body.next()).await {
            Ok(Some(chunk)) => text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap()),
            Ok(None) => break,
            Err(_) => panic!("{query} has neither a response nor an end"),
        }
    }
    let data = text.lines().find_map(|line| line.strip_prefix("data: "));
    data.map_or(Value::Null, |data| serde_json::from_str(data).unwrap())
}

/// Returns the right of the operation that a field stands for.
fn right_of(name: &str) -> Right {
    let api = library::api();
    let is_meant = |id: &str| {
        let rest = ["find", "list", "show"].iter().find_map(|prefix| id.strip_prefix(prefix));
        rest.unwrap_or(id).eq_ignore_ascii_case(name)
    };
    let mut routes = api.routes().iter().filter(|route| is_meant(route.id()));
    routes.next().unwrap_or_else(|| panic!("{name} has no operation")).kind()
}

#[tokio::test]
async fn every_field_is_allowed_to_the_role_with_the_right_of_its_route_alone() {
    let client = guarded().await;
    client.state.gesta().execute(library::book("emma")).await.unwrap();
    let mut rights = BTreeSet::new();
    for (kind, type_name) in [("query", "Query"), ("mutation", "Mutation")] {
        for field in fields(&client, type_name).await {
            let right = right_of(&field.name);
            rights.insert(right);
            let nobody = code(&client, kind, &field, None).await;
            let is_refused = |code: &Option<String>| {
                ["unauthenticated", "forbidden"].contains(&code.as_deref().unwrap_or_default())
            };
            if right == Right::Open {
                assert!(!is_refused(&nobody), "{}", field.name);
                continue;
            }
            assert_eq!(nobody.as_deref(), Some("unauthenticated"), "{}", field.name);
            for role in Right::ALL {
                let code = code(&client, kind, &field, Some(role.as_str())).await;
                let place = format!("{} as {role}: {code:?}", field.name);
                match role == right {
                    true => assert!(!is_refused(&code), "{place}"),
                    false => assert_eq!(code.as_deref(), Some("forbidden"), "{place}"),
                }
            }
        }
    }
    assert!(rights.len() > 4, "{rights:?}");
}

#[tokio::test]
async fn every_subscription_is_refused_without_the_right_of_its_route() {
    let client = guarded().await;
    for field in fields(&client, "Subscription").await {
        let right = right_of(&field.name);
        let nobody = code(&client, "subscription", &field, None).await;
        assert_eq!(nobody.as_deref(), Some("unauthenticated"), "{}", field.name);
        for role in Right::ALL.into_iter().filter(|role| *role != right) {
            let code = code(&client, "subscription", &field, Some(role.as_str())).await;
            assert_eq!(code.as_deref(), Some("forbidden"), "{} as {role}", field.name);
        }
    }
}

#[tokio::test]
async fn the_actor_of_a_mutation_is_in_its_events() {
    let client = guarded().await;
    let add = "mutation { addBook(input: { book: \"emma\", title: \"Emma\" }) { __typename } }";
    let answer = client.ask(add, json!({}), &[("x-role", "command")]).await;
    assert!(answer.json.get("errors").is_none(), "{answer:?}");
    let read = gesta::store::ReadAll::forwards();
    let events = client.state.gesta().store().read_all(read).collect_events().await.unwrap();
    let actors: Vec<_> = events
        .iter()
        .map(|event| gesta::EventMetadata::from_json(&event.metadata).actor.unwrap())
        .collect();
    assert_eq!(actors, ["ann"]);
}
