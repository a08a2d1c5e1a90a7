//! The OpenAPI document of the shop.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Client;

#[tokio::test(flavor = "multi_thread")]
async fn the_operations_of_the_document_are_those_of_the_route_table() {
    let client = Client::new().await;
    let served = client.get("/openapi.json").ok().await.json;
    let mut documented = BTreeSet::new();
    for (path, methods) in served["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            documented.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let api = shop::http::api();
    let routed: Vec<_> = api.routes().iter().map(|route| format!("{route:?}")).collect();
    assert_eq!(documented, routed.iter().cloned().collect());
    assert_eq!(documented.len(), routed.len(), "none is there twice");
    for route in ROUTES {
        assert!(documented.contains(route), "{route}");
    }
}

/// Routes that the document must have.
const ROUTES: [&str; 67] = [
    "POST /v1/users",
    "GET /v1/users",
    "GET /v1/users/{userId}",
    "PUT /v1/users/{userId}",
    "DELETE /v1/users/{userId}",
    "POST /v1/products",
    "GET /v1/products",
    "GET /v1/products/{code}",
    "PUT /v1/products/{code}",
    "POST /v1/products/{code}/stock",
    "POST /v1/orders",
    "GET /v1/orders",
    "GET /v1/orders/{orderId}",
    "POST /v1/orders/{orderId}/pay",
    "POST /v1/orders/{orderId}/ship",
    "POST /v1/orders/{orderId}/deliver",
    "POST /v1/orders/{orderId}/cancel",
    "POST /v1/orders/{orderId}/refund",
    "GET /v1/orders/{orderId}/history",
    "POST /v1/credit-notes",
    "GET /v1/credit-notes",
    "GET /v1/accounts",
    "GET /asyncapi.json",
    "GET /v1/customers/{customerId}/statistics",
    "POST /v1/accounts",
    "GET /v1/accounts/{accountId}",
    "POST /v1/accounts/{accountId}/deposit",
    "POST /v1/accounts/{accountId}/withdraw",
    "POST /v1/transfers",
    "GET /v1/accounts/{accountId}/transactions",
    "GET /v1/projections",
    "POST /v1/projections/{name}/rebuild",
    "POST /v1/projections/{name}/compare",
    "POST /v1/projections/{name}/confirm-switch",
    "POST /v1/projections/{name}/roll-back",
    "POST /v1/projections/{name}/drop-old-rows",
    "POST /v1/projections/{name}/pause",
    "POST /v1/projections/{name}/resume",
    "GET /v1/processes/{process}/commands",
    "GET /v1/dead-letters",
    "POST /v1/dead-letters/{id}/try",
    "POST /v1/dead-letters/{id}/retry",
    "DELETE /v1/dead-letters/{id}",
    "GET /v1/processes",
    "GET /v1/processes/{process}",
    "POST /v1/processes/{process}/pause",
    "POST /v1/processes/{process}/resume",
    "POST /v1/reactors/{reactor}/pause",
    "POST /v1/reactors/{reactor}/resume",
    "GET /v1/processes/{process}/instances",
    "GET /v1/processes/{process}/instances/{id}",
    "POST /v1/processes/{process}/instances/{id}/cancel",
    "POST /v1/processes/{process}/instances/{id}/timers/{timer}/fire",
    "POST /v1/processes/{process}/instances/{id}/commands/{command}/resend",
    "GET /v1/processes/{process}/set-aside",
    "POST /v1/processes/{process}/set-aside/{subject}/retry",
    "POST /v1/processes/{process}/set-aside/{subject}/{number}/skip",
    "GET /v1/aggregates",
    "GET /v1/aggregates/{category}/{id}",
    "GET /v1/events",
    "GET /metrics",
    "GET /openapi.json",
    "GET /docs",
    "GET /docs/{file}",
    "GET /health/live",
    "GET /health/ready",
    "GET /v1/credit-notes/{creditNoteId}",
];

#[test]
fn every_object_is_closed_and_every_reference_leads_somewhere() {
    let document = shop::http::api().document();
    check(&document, &document, "#");
}

#[test]
fn collections_that_can_be_created_can_be_listed() {
    let document = shop::http::api().document();
    let mut created = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        if methods["post"]["responses"].get("201").is_some() {
            created += 1;
            assert!(methods["get"].is_object(), "{path} is created and not listed");
        }
    }
    assert_eq!(created, 5);
}

#[test]
fn every_operation_has_an_example_of_all_that_it_requires() {
    let document = shop::http::api().document();
    let mut operations = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations += 1;
            for parameter in operation["parameters"].as_array().unwrap() {
                let shown = parameter.get("example").is_some();
                let required = parameter["required"] == true;
                assert!(shown || !required, "{method} {path}: {}", parameter["name"]);
            }
            if let Some(body) = operation.get("requestBody") {
                let content = &body["content"]["application/json"];
                assert!(content.get("example").is_some(), "{method} {path} has a body");
                assert_valid(&document, &content["schema"], &content["example"]);
            }
        }
    }
    assert!(operations > 60, "{operations}");
}

#[test]
fn the_examples_of_parameters_and_events_have_their_schemas() {
    let document = shop::http::api().document();
    let (mut parameters, mut events) = (0, 0);
    for methods in document["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            for parameter in operation["parameters"].as_array().unwrap() {
                if let Some(example) = parameter.get("example") {
                    parameters += 1;
                    assert_valid(&document, &parameter["schema"], example);
                }
            }
        }
    }
    let components = document["components"]["schemas"].as_object().unwrap();
    let registry = shop::registry::with_examples();
    for name in registry.names() {
        for version in registry.versions(name) {
            let schema = &components[&format!("event.{name}.v{}", version.version)];
            for example in schema["examples"].as_array().into_iter().flatten() {
                events += 1;
                assert_valid(&document, schema, example);
            }
        }
    }
    assert!(parameters > 60 && events > 20, "{parameters} {events}");
}

fn assert_valid(document: &Value, schema: &Value, value: &Value) {
    let schema = json!({ "allOf": [schema], "components": document["components"] });
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let odd: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(odd.is_empty(), "{value}: {odd:?}");
}

#[test]
fn the_business_comes_before_the_operations() {
    let document = shop::http::api().document();
    let tags = document["tags"].as_array().unwrap();
    let names: Vec<_> = tags.iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["users", "catalogue", "orders", "accounts", "operations"]);
    assert!(tags.iter().all(|tag| tag["description"].is_string()));
    assert!(document["info"]["description"].as_str().unwrap().contains("Idempotency-Key"));
    assert_eq!(document["servers"][0]["url"], ".");
}

fn check(document: &Value, part: &Value, place: &str) {
    match part {
        // Data of events is open: readers must expect fields that are added later.
        Value::Object(_) if place.contains("/schemas/event.") => {}
        Value::Object(members) => {
            if members.contains_key("properties") || part["type"] == "object" {
                assert_eq!(part["additionalProperties"], false, "{place}");
            }
            if let Some(reference) = members.get("$ref") {
                let pointer = reference.as_str().unwrap().trim_start_matches('#');
                assert!(document.pointer(pointer).is_some(), "{place}: {reference}");
            }
            for (name, part) in members {
                check(document, part, &format!("{place}/{name}"));
            }
        }
        Value::Array(parts) => {
            for (number, part) in parts.iter().enumerate() {
                check(document, part, &format!("{place}/{number}"));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_to_try_it_asks_nobody_else() {
    let client = Client::new().await;
    let page = client.get("/docs").ok().await;
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'self'"), "{policy}");
    for file in ["swagger-ui.css", "swagger-ui-bundle.js", "start.js"] {
        client.get(&format!("/docs/{file}")).ok().await;
    }
}
