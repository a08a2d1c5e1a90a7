//! Limits of documents.

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
