//! The schema, as clients see it, and the explorer page.

use std::collections::BTreeSet;

use axum::http::Request;
use gesta_graphql::GraphQl;
use gesta_http::GestaState;
use serde_json::Value;

use crate::{Client, library, library::api};

async fn fields(client: &Client, type_name: &str) -> BTreeSet<String> {
    let query = format!("{{ __type(name: \"{type_name}\") {{ fields {{ name }} }} }}");
    let answer = client.ok(&query).await;
    let fields = answer["data"]["__type"]["fields"].as_array().unwrap();
    fields.iter().map(|field| field["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_operation_that_answers_with_json_is_a_field() {
    let client = Client::new().await;
    let mut all = fields(&client, "Query").await;
    all.extend(fields(&client, "Mutation").await);
    all.extend(fields(&client, "Subscription").await);
    let document = library::api().document();
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|methods| methods.as_object().unwrap().values());
    let ids: BTreeSet<_> = operations.map(|it| it["operationId"].as_str().unwrap()).collect();
    let of_http = ["showAsyncDocument", "showDocument", "showFile", "showMetrics", "showPage"];
    for id in ids.iter().filter(|id| !of_http.contains(id)) {
        let answer = ["find", "list", "show"].iter().find_map(|prefix| id.strip_prefix(prefix));
        let name = answer.unwrap_or(id);
        let name = name[..1].to_lowercase() + &name[1..];
        assert!(all.contains(&name), "{id}: {name} is not in {all:?}");
    }
    assert!(ids.len() > 30, "{ids:?}");
}

#[tokio::test]
async fn the_result_of_a_command_lists_its_rejections() {
    let client = Client::new().await;
    let query = "{ __type(name: \"LendBookResult\") { possibleTypes { name } } }";
    let result = client.ok(query).await;
    let members = result["data"]["__type"]["possibleTypes"].as_array().unwrap();
    let members: BTreeSet<_> = members.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(members, BTreeSet::from(["BookLent", "Changed", "OtherRejection"]));
}

#[tokio::test]
async fn types_and_fields_have_the_descriptions_of_the_document() {
    let client = Client::new().await;
    let query = "{ __type(name: \"BookDetails\") { description fields { name description } } }";
    let described = client.ok(query).await["data"]["__type"].clone();
    assert_eq!(described["description"], "A book on a shelf, or at a reader's.");
    let fields = described["fields"].as_array().unwrap();
    let title = fields.iter().find(|field| field["name"] == "title").unwrap();
    assert_eq!(title["description"], "Its title.");
}

/// The line of the guide's page on GraphQL.
#[tokio::test]
async fn a_router_has_the_routes_of_the_api_and_those_of_graphql() {
    let gesta = library::open().await;
    let router = GraphQl::over(api()).router(GestaState::new(gesta));
    let client = Client { router, state: GestaState::new(library::open().await) };
    for path in ["/openapi.json", "/graphiql"] {
        let request = Request::get(path).body("".into()).unwrap();
        assert_eq!(client.send(request).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_explorer_page_loads_from_this_server_alone() {
    let client = Client::new().await;
    for path in ["/graphiql", "/graphiql/explorer.css", "/graphiql/explorer.js"] {
        let response = client.raw(Request::get(path).body("".into()).unwrap()).await;
        assert_eq!(response.status(), 200, "{path}");
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'self';"), "{policy}");
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(!text.contains("http://") && !text.contains("https://"), "{path}");
    }
}

#[tokio::test]
async fn the_query_of_the_explorer_page_is_within_the_limits() {
    let client = Client::new().await;
    let script = client.raw(Request::get("/graphiql/explorer.js").body("".into()).unwrap()).await;
    let script = axum::body::to_bytes(script.into_body(), usize::MAX).await.unwrap();
    let script = String::from_utf8(script.to_vec()).unwrap();
    let query = script.split('`').nth(1).unwrap();
    let types = client.ok(query).await["data"]["__schema"]["types"].clone();
    assert!(types.as_array().is_some_and(|types: &Vec<Value>| types.len() > 20), "{types}");
}

#[tokio::test]
async fn both_interfaces_fit_into_a_router_of_the_application() {
    let state = gesta_http::GestaState::new(library::open().await);
    let nested = gesta_graphql::GraphQl::over(library::api()).nested(state.clone());
    let router = axum::Router::new().nest("/house/{house}", nested).with_state("open");
    let client = Client { router, state };
    let request = crate::posted("{ books { next } }", serde_json::json!({}), &[]);
    let (mut parts, body) = request.into_parts();
    parts.uri = "/house/a/graphql".parse().unwrap();
    let answer = client.send(Request::from_parts(parts, body)).await;
    assert_eq!(answer.json["data"]["books"]["next"], Value::Null, "{answer:?}");
}
