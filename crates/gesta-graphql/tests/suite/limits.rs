//! Limits of documents.

use axum::{body::Body, http::Request};
use gesta_graphql::GraphQlLimits;
use serde_json::json;

use crate::Client;

async fn code(client: &Client, query: &str) -> serde_json::Value {
    client.error(query).await["extensions"]["code"].clone()
}

#[tokio::test]
async fn a_query_of_depth_50_is_refused() {
    let client = Client::new().await;
    let deep = format!(
        "{{ __type(name: \"Query\") {} {{ name }} {} }}",
        "{ ofType ".repeat(50),
        "}".repeat(50)
    );
    assert_eq!(code(&client, &deep).await, "query-too-deep");
    let nested = format!("{{ book(book: \"x\") {} title {} }}", "{ ...".repeat(50), "}".repeat(50));
    assert_eq!(code(&client, &nested).await, "query-too-deep");
}

#[tokio::test]
async fn brackets_without_end_are_refused_before_they_are_parsed() {
    let client = Client::new().await;
    for open in ["{a", "[", "{a(b:{c:"] {
        let answer = client.ask(&open.repeat(100_000), json!({}), &[]).await;
        assert_eq!(answer.json["errors"][0]["extensions"]["code"], "query-too-deep", "{open}");
    }
}

#[tokio::test]
async fn fragments_that_refer_to_each_other_are_refused() {
    let client = Client::new().await;
    let circle = "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }";
    assert_eq!(code(&client, circle).await, "query-too-deep");
    let mut doubling = "{ ...F0 }".to_owned();
    for number in 0..15 {
        let next = number + 1;
        doubling += &format!(" fragment F{number} on Query {{ ...F{next} ...F{next} }}");
    }
    doubling += " fragment F15 on Query { books { next } }";
    assert_eq!(code(&client, &doubling).await, "query-too-costly");
}

#[tokio::test]
async fn the_cost_of_a_page_is_that_of_its_entries() {
    let client = Client::limited(GraphQlLimits::DEFAULT.cost_max(1_000)).await;
    let books = |arguments: &str| format!("{{ books{arguments} {{ items {{ book title }} }} }}");
    client.ok(&books("")).await;
    assert_eq!(code(&client, &books("(limit: 500)")).await, "query-too-costly");
    let by_variable = "query ($n: Int = 500) { books(limit: $n) { items { book title } } }";
    assert_eq!(code(&client, by_variable).await, "query-too-costly");
    let answer = client.ask(by_variable, json!({ "n": 5 }), &[]).await;
    assert!(answer.json.get("errors").is_none(), "{answer:?}");
    let many: String = (0..10).map(|number| format!("a{number}: isLive {{ status }} ")).collect();
    assert_eq!(code(&client, &format!("{{ {many} }}")).await, "query-too-costly");
}

#[tokio::test]
async fn the_schema_is_shown_to_nobody_unless_it_is_asked_for() {
    let hidden = Client::with(|graphql| graphql).await;
    assert_eq!(code(&hidden, "{ __schema { types { name } } }").await, "query-invalid");
    assert_eq!(code(&hidden, "{ __type(name: \"Query\") { name } }").await, "query-invalid");
    let message = hidden.error("{ boks { next } }").await["message"].to_string();
    assert!(!message.contains("books"), "no suggestion: {message}");
    assert_eq!(hidden.ok("{ __typename }").await["data"]["__typename"], "Query");
}

#[tokio::test]
async fn the_operations_of_a_document_are_measured_together() {
    let client = Client::limited(GraphQlLimits::DEFAULT.cost_max(1_000)).await;
    let operations = |number: usize| {
        let all: String = (0..number).map(|one| format!("query A{one} {{ ...F }} ")).collect();
        let fields = "__typename ".repeat(100);
        let query = format!("{all} fragment F on Query {{ {fields} }}");
        let body = json!({ "query": query, "operationName": "A1" }).to_string();
        let request = Request::post("/graphql").header("content-type", "application/json");
        request.body(Body::from(body)).unwrap()
    };
    let few = client.send(operations(10)).await;
    assert_eq!(few.json["data"]["__typename"], "Query");
    let many = client.send(operations(11)).await;
    assert_eq!(many.json["errors"][0]["extensions"]["code"], "query-too-costly");
}

#[tokio::test]
async fn the_size_of_all_errors_is_bounded() {
    let client = Client::new().await;
    let unknown: String = (0..20_000).map(|number| format!("x{number}: 1 ")).collect();
    let query = format!("{{ book(book: \"emma\", {unknown}) {{ title }} }}");
    let errors = client.ask(&query, json!({}), &[]).await.json["errors"].clone();
    let errors = errors.as_array().unwrap();
    assert_eq!(errors.len(), 501);
    let last = errors.last().unwrap();
    assert_eq!(last["message"], "19500 other errors are not listed");
    assert_eq!(last["extensions"]["code"], "query-invalid");
    let name = "x".repeat(100_000);
    for unknown_or_unreadable in [format!("{{ {name} }}"), format!("{{ book(book {name}) }}")] {
        let long = client.error(&unknown_or_unreadable).await;
        assert!(long["message"].as_str().unwrap().chars().count() <= 1_001, "it is cut");
    }
}

#[tokio::test]
async fn a_subscription_has_one_field() {
    let client = Client::new().await;
    let two = "subscription { a: events { position } ...B } fragment B on Subscription { \
               b: events { position } }";
    assert_eq!(code(&client, two).await, "query-invalid");
}

#[tokio::test]
async fn an_argument_that_makes_no_address_is_the_clients_fault() {
    let client = Client::new().await;
    let query = format!("{{ book(book: \"{}\") {{ title }} }}", "a".repeat(66_000));
    let error = client.error(&query).await;
    assert_eq!(error["extensions"]["status"], 400, "{error}");
    assert!(error["message"].as_str().unwrap().contains("too long"), "{error}");
}
