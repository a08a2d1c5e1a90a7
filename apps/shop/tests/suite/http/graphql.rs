//! The shop over GraphQL: each route as a field, and round trips through its domains.

use std::collections::BTreeSet;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use gesta_http::GestaState;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Client, ann, mug, order};
use crate::opened;

/// Operations without a counterpart, because they show the HTTP interface itself.
pub(super) const OF_HTTP_ALONE: [&str; 5] =
    ["showAsyncDocument", "showDocument", "showFile", "showMetrics", "showPage"];

/// A client of both interfaces of one shop.
struct BothClients {
    http: Client,
    router: Router,
}

impl BothClients {
    async fn new() -> Self {
        let shop = opened::in_memory().await;
        let state = GestaState::new(shop.clone());
        let router = shop::http::graphql(shop::http::api()).router(state);
        Self { http: Client::over(shop), router }
    }

    /// Sends a document with variables, and returns its answer, which has no errors.
    async fn ask(&self, query: &str, variables: Value) -> Value {
        let answer = self.answer(query, variables).await;
        assert!(answer.get("errors").is_none(), "{query}: {answer}");
        answer
    }

    async fn answer(&self, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let request = Request::post("/graphql").header("content-type", "application/json");
        let request = request.body(Body::from(body)).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// Runs a command with this input, and returns its result, a success of this type or a
    /// rejection.
    async fn command(&self, call: &str, [input, success]: [&str; 2], value: Value) -> Value {
        let query = format!(
            "mutation ($input: {input}!) {{ done: {call} {{ __typename \
             ... on {success} {{ position revision }} ... on Rejection {{ code message }} }} }}"
        );
        self.ask(&query, json!({ "input": value })).await["data"]["done"].take()
    }
}

/// Returns the fields of a root type with the names of their arguments.
async fn fields(shop: &BothClients, type_name: &str) -> BTreeSet<(String, BTreeSet<String>)> {
    let query =
        format!("{{ __type(name: \"{type_name}\") {{ fields {{ name args {{ name }} }} }} }}");
    let answer = shop.ask(&query, json!({})).await;
    let name = |it: &Value| it["name"].as_str().unwrap().to_owned();
    let fields = answer["data"]["__type"]["fields"].as_array().unwrap().iter();
    let with_arguments = |field: &Value| {
        let arguments = field["args"].as_array().unwrap().iter().map(name).collect();
        (name(field), arguments)
    };
    fields.map(with_arguments).collect()
}

/// Returns the field that an operation should have: `findUser` is `user`.
pub(super) fn expected_field(id: &str) -> String {
    let rest = ["find", "list", "show"].iter().find_map(|prefix| id.strip_prefix(prefix));
    match rest.filter(|rest| rest.starts_with(|first: char| first.is_ascii_uppercase())) {
        Some(rest) => rest[..1].to_lowercase() + &rest[1..],
        None => id.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_has_its_field_with_the_same_parameters() {
    let shop = BothClients::new().await;
    let (queries, mutations) = (fields(&shop, "Query").await, fields(&shop, "Mutation").await);
    let subscriptions = fields(&shop, "Subscription").await;
    let document = shop.http.document();
    let mut compared = 0;
    for methods in document["paths"].as_object().unwrap().values() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            if OF_HTTP_ALONE.contains(&id) {
                continue;
            }
            let wanted = expected_field(id);
            let streams = operation.pointer("/responses/200/content/text~1event-stream").is_some();
            let root = match method.as_str() {
                _ if streams => &subscriptions,
                "get" => &queries,
                _ => &mutations,
            };
            let found = root.iter().find(|(name, _)| *name == wanted || name == id);
            let (_, arguments) = found.unwrap_or_else(|| panic!("`{id}` has no field `{wanted}`"));
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            for parameter in parameters.filter(|parameter| parameter["in"] != "header") {
                let name = parameter["name"].as_str().unwrap();
                assert!(arguments.contains(name), "`{wanted}` has no argument `{name}`");
            }
            if operation.get("requestBody").is_some() {
                assert!(arguments.contains("input"), "`{wanted}` has no `input`");
            }
            compared += 1;
        }
    }
    assert!(compared >= 50, "{compared} operations");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_is_created_over_graphql_is_found_at_both_interfaces() {
    let shop = BothClients::new().await;
    let created =
        shop.command("createUser(input: $input)", ["NewUserInput", "Created"], ann()).await;
    assert_eq!((&created["__typename"], &created["revision"]), (&json!("Created"), &json!(0)));
    let position = &created["position"];
    let query = format!("{{ user(userId: \"ann\", atLeast: {position}) {{ firstName }} }}");
    let found = shop.ask(&query, json!({})).await;
    assert_eq!(found["data"], json!({ "user": { "firstName": "Ann" } }));
    assert!(found["extensions"]["position"].as_u64() >= position.as_u64(), "{found}");
    assert_eq!(shop.http.get("/v1/users/ann").ok().await.json["firstName"], "Ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_placed_and_paid_and_a_rejection_is_a_result() {
    let shop = BothClients::new().await;
    let added =
        shop.command("addProduct(input: $input)", ["NewProductInput", "Created"], mug()).await;
    assert_eq!(added["__typename"], "Created");
    let placed =
        shop.command("placeOrder(input: $input)", ["NewOrderInput", "Created"], order("o1")).await;
    assert_eq!(placed["__typename"], "Created");
    let pay = "payOrder(orderId: \"o1\", input: $input, idempotencyKey: \"k1\")";
    let invoice = json!({ "method": "invoice" });
    let paid = shop.command(pay, ["OrderPaymentInput", "Changed"], invoice.clone()).await;
    assert_eq!(paid["__typename"], "Changed");
    let repeated = shop.command(pay, ["OrderPaymentInput", "Changed"], invoice.clone()).await;
    assert_eq!(repeated["position"], paid["position"], "the same payment");
    let again = "payOrder(orderId: \"o1\", input: $input)";
    let again = shop.command(again, ["OrderPaymentInput", "Changed"], invoice).await;
    let rejected = (&again["__typename"], &again["code"]);
    assert_eq!(rejected, (&json!("OrderAlreadyPaid"), &json!("order-already-paid")));
    let query = "query ($at: Long) { orders(atLeast: $at, limit: 5) { items { orderId status total } next } }";
    let listed = shop.ask(query, json!({ "at": paid["position"] })).await;
    let over_http = shop.http.get("/v1/orders?limit=5").header("gesta-position", &paid["position"]);
    let over_http = over_http.ok().await.json;
    let entry = &listed["data"]["orders"]["items"][0];
    assert_eq!((&entry["orderId"], &entry["status"]), (&json!("o1"), &json!("paid")));
    assert_eq!(entry["total"], over_http["items"][0]["total"], "an amount keeps its form");
}

#[tokio::test(flavor = "multi_thread")]
async fn money_moves_between_accounts_in_one_request() {
    let shop = BothClients::new().await;
    let open = "mutation { a: openAccount(input: { accountId: \"a\", currency: \"GBP\" }) { __typename } \
                b: openAccount(input: { accountId: \"b\", currency: \"GBP\" }) { __typename } \
                in: depositMoney(accountId: \"a\", input: { amount: \"12.50\", reference: \"wages\" }) { \
                ... on Changed { revision } } \
                move: transferMoney(input: { from: \"a\", to: \"b\", amount: 2.5, reference: \"rent\" }) { \
                ... on Changed { position } ... on Rejection { code } } }";
    let moved = shop.ask(open, json!({})).await;
    let position = &moved["data"]["move"]["position"];
    assert!(position.is_u64(), "{moved}");
    let both = format!(
        "{{ a: account(accountId: \"a\", atLeast: {position}) {{ balance currency }} \
         b: account(accountId: \"b\", atLeast: {position}) {{ balance }} \
         transactions(accountId: \"b\", atLeast: {position}) {{ items {{ type amount }} }} }}"
    );
    let both = shop.ask(&both, json!({})).await["data"].take();
    assert_eq!(both["a"], json!({ "balance": "10", "currency": "GBP" }), "{both}");
    assert_eq!(both["b"]["balance"], "2.5", "{both}");
    assert_eq!(both["transactions"]["items"][0]["amount"], "2.5", "{both}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_an_error_with_the_code_of_http() {
    let shop = BothClients::new().await;
    let answer = shop.answer("{ user(userId: \"nobody\") { firstName } }", json!({})).await;
    assert_eq!(answer["data"]["user"], Value::Null);
    let extensions = &answer["errors"][0]["extensions"];
    assert_eq!((&extensions["code"], &extensions["status"]), (&json!("not-found"), &json!(404)));
}
