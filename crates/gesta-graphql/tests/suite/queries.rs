//! Queries.

use axum::body::to_bytes;
use serde_json::json;

use crate::{Client, posted};

#[tokio::test]
async fn a_resource_is_found_by_its_id_with_its_revision() {
    let client = Client::new().await;
    let position = client.add("emma").await;
    let find = format!(
        "{{ book(book: \"emma\", atLeast: {position}) {{ title state lentTo revision }} }}"
    );
    let found = client.ok(&find).await;
    let emma = json!({ "title": "emma!", "state": "on_the_shelf", "lentTo": null, "revision": 0 });
    assert_eq!(found["data"]["book"], emma);
    assert_eq!(found["extensions"]["position"], position);
}

#[tokio::test]
async fn a_missing_resource_is_null_with_an_error_and_others_are_answered() {
    let client = Client::new().await;
    let position = client.add("emma").await;
    let find = "{ a: book(book: \"x\") { title } b: book(book: \"emma\") { title } }";
    let position = position.to_string();
    let answer = client.ask(find, json!({}), &[("gesta-position", &position)]).await.json;
    assert_eq!(answer["data"], json!({ "a": null, "b": { "title": "emma!" } }));
    assert_eq!(answer["errors"][0]["extensions"]["code"], "not-found");
    assert_eq!(answer["errors"][0]["path"], json!(["a"]));
}

#[tokio::test]
async fn a_position_that_the_store_has_not_reached_is_refused() {
    let client = Client::new().await;
    for find in ["{ books(atLeast: 7) { next } }", "{ books(atLeast: \"7\") { next } }"] {
        assert_eq!(client.error(find).await["extensions"]["code"], "position-beyond-head");
    }
}

#[tokio::test]
async fn a_list_comes_in_pages_and_takes_enums() {
    let client = Client::new().await;
    for book in ["dracula", "emma", "faust"] {
        client.add(book).await;
    }
    let list = "query List($cursor: String, $state: BookDetailsState) {
        books(limit: 2, cursor: $cursor, state: $state, atLeast: 3) { items { book } next } }";
    let variables = json!({ "state": "on_the_shelf" });
    let first = client.ask(list, variables, &[]).await.json["data"]["books"].clone();
    assert_eq!(first["items"], json!([{ "book": "dracula" }, { "book": "emma" }]));
    let rest = client.ask(list, json!({ "cursor": first["next"] }), &[]).await.json;
    assert_eq!(rest["data"]["books"], json!({ "items": [{ "book": "faust" }], "next": null }));
    let lent = client.ask(list, json!({ "state": "lent" }), &[]).await.json;
    assert_eq!(lent["data"]["books"]["items"], json!([]));
}

#[tokio::test]
async fn an_invalid_argument_is_named_as_over_http() {
    let client = Client::new().await;
    let error = client.error("{ books(limit: 501) { next } }").await;
    assert_eq!(error["extensions"]["field"], "limit");
    assert_eq!(error["extensions"]["code"], "invalid");
    let error = client.error("{ books(limit: \"x\") { next } }").await;
    assert_eq!(error["extensions"]["code"], "query-invalid");
}

#[tokio::test]
async fn ids_may_have_any_characters() {
    let client = Client::new().await;
    let error = client.error("{ book(book: \"a/b c?d\") { title } }").await;
    assert_eq!(error["extensions"]["code"], "not-found", "{error}");
}

#[tokio::test]
async fn a_request_that_is_no_graphql_is_a_problem() {
    let client = Client::new().await;
    let request = |body: &'static str| {
        let request = axum::http::Request::post("/graphql");
        request.header("content-type", "application/json").body(body.into()).unwrap()
    };
    for body in ["", "[]", "{}", "{\"query\":1}", "{\"query\":\"{a}\",\"variables\":[]}"] {
        let answer = client.send(request(body)).await;
        assert_eq!((answer.status, &answer.json["code"]), (400, &json!("invalid")), "{body}");
    }
    let get = axum::http::Request::get("/graphql").body("".into()).unwrap();
    let answer = client.send(get).await;
    assert_eq!((answer.status, &answer.json["code"]), (405, &json!("method-not-allowed")));
}

#[tokio::test]
async fn a_refused_document_has_the_status_of_the_standard() {
    let client = Client::new().await;
    let standard = [("accept", "application/graphql-response+json")];
    let answer = client.ask("{ nothing }", json!({}), &standard).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.headers["content-type"], "application/graphql-response+json");
    let answer = client.ask("{ nothing", json!({}), &[]).await;
    assert_eq!(answer.status, 200, "for clients from before the standard");
    assert_eq!(answer.json["errors"][0]["extensions"]["code"], "query-invalid");
}

#[tokio::test]
async fn a_query_whose_fields_are_all_skipped_has_an_empty_answer() {
    let client = Client::new().await;
    let answer = client.ok("{ book(book: \"emma\") @skip(if: true) { title } }").await;
    assert_eq!(answer["data"], json!({}));
}

#[tokio::test]
async fn a_position_below_zero_is_refused() {
    let client = Client::new().await;
    let error = client.error("{ book(book: \"emma\", atLeast: -1) { title } }").await;
    assert_eq!(error["extensions"]["status"], 400, "{error}");
}

#[tokio::test]
async fn an_answer_has_the_order_of_its_query() {
    let client = Client::new().await;
    client.add("emma").await;
    let fields: String = (0..30)
        .rev()
        .map(|one| format!("f{one}: book(book: \"emma\", atLeast: 1) {{ title }} "))
        .collect();
    let query = format!(
        "{{ a: books(atLeast: 1) {{ ...P next }} {fields} z: __typename ...Q }} \
         fragment P on BooksPage {{ items {{ title book }} }} fragment Q on Query {{ b: __typename }}"
    );
    let request = posted(&query, json!({}), &[]);
    let response = client.raw(request).await;
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let names = (0..30).rev().map(|one| format!("\"f{one}\":"));
    let names = ["\"a\":", "\"items\":", "\"title\":", "\"book\":", "\"next\":"]
        .into_iter()
        .map(str::to_owned)
        .chain(names)
        .chain(["\"z\":".to_owned(), "\"b\":".to_owned()]);
    let places: Vec<_> = names.map(|name| text.find(&name).expect(&name)).collect();
    assert!(places.is_sorted(), "{text}");
}
