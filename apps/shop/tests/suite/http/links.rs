//! Links between the shop's resources over GraphQL, and the lists that find several at once.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use gesta::Gesta;
use gesta_http::{
    Access, AccessRole, AccessRules, ApiKeys, GestaState, NewApiKey, OwnedRequest, Ownership,
    Problem, Right,
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Client, mug, order};
use crate::opened;

/// Records each query, and lets `ann` look up herself alone.
struct Recorder {
    queries: Arc<Mutex<Vec<String>>>,
    is_strict: bool,
}

impl Ownership for Recorder {
    async fn owns(&self, _: &Gesta, request: &OwnedRequest) -> Result<bool, Problem> {
        let operation = request.operation();
        self.queries.lock().unwrap().push(operation.to_owned());
        Ok(!self.is_strict
            || match operation {
                "findUser" => request.path("userId") == Some("ann"),
                "listUsers" => false,
                _ => true,
            })
    }
}

/// A shop whose queries are recorded.
struct Recorded {
    http: Client,
    router: Router,
    queries: Arc<Mutex<Vec<String>>>,
    key: NewApiKey,
}

impl Recorded {
    async fn new(is_strict: bool) -> Self {
        let (shop, key, queries) = (opened::in_memory().await, NewApiKey::random(), Arc::default());
        let reader = AccessRole::named("reader")
            .may_own(["listOrders", "findOrder", "listUsers", "findUser"])
            .may_own(["listProducts", "findProduct"]);
        let staff = AccessRole::named("staff").has(Right::ALL);
        let recorder = Recorder { queries: Arc::clone(&queries), is_strict };
        let access = Access::new(AccessRules::new([reader, staff])).ownership(recorder);
        let access = access.by(ApiKeys::parse(&key.line("ann", &["reader"])).unwrap());
        let state = GestaState::new(shop.clone()).access(access);
        let router = shop::http::graphql(shop::http::api()).router(state);
        Self { http: Client::over(shop), router, queries, key }
    }

    /// Places orders of customers who are users. Returns the position of the last one.
    async fn place(&self, customers: impl IntoIterator<Item = String>) -> u64 {
        self.http.post("/v1/products", mug()).ok().await;
        let mut position = 0;
        for (number, customer) in customers.into_iter().enumerate() {
            let user = json!({ "userId": customer, "firstName": customer, "lastName": "Lee" });
            self.http.post("/v1/users", user).ok().await;
            let mut order = order(&format!("o{number:02}"));
            order["customerId"] = json!(customer);
            position = self.http.post("/v1/orders", order).ok().await.position();
        }
        position
    }

    async fn ask(&self, query: &str) -> Value {
        let body = json!({ "query": query }).to_string();
        let request = Request::post("/graphql").header("content-type", "application/json");
        let request = request.header("x-api-key", self.key.secret()).body(Body::from(body));
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    fn queries(&self) -> Vec<String> {
        std::mem::take(&mut self.queries.lock().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_orders_and_their_customers_are_two_queries() {
    let shop = Recorded::new(false).await;
    let position = shop.place((0..50).map(|number| format!("u{number:02}"))).await;
    let query = format!(
        "{{ orders(limit: 50, atLeast: {position}) {{ items {{ customerId \
         customer {{ userId firstName }} }} }} }}"
    );
    let answer = shop.ask(&query).await;
    assert!(answer["errors"].is_null(), "{answer}");
    let items = answer["data"]["orders"]["items"].as_array().unwrap();
    assert_eq!(items.len(), 50);
    for item in items {
        assert_eq!(item["customer"]["userId"], item["customerId"]);
        assert_eq!(item["customer"]["firstName"], item["customerId"]);
    }
    assert_eq!(shop.queries(), ["listOrders", "listUsers"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_leads_to_its_products_and_a_user_to_the_orders() {
    let shop = Recorded::new(false).await;
    let position = shop.place(["ann".to_owned()]).await;
    let query = format!(
        "{{ user(userId: \"ann\", atLeast: {position}) {{ orders(limit: 5) {{ items {{ \
         orderId customer {{ userId }} }} }} }} \
         order(orderId: \"o00\", atLeast: {position}) {{ orderItems {{ product {{ name }} }} }} }}"
    );
    let answer = shop.ask(&query).await;
    assert!(answer["errors"].is_null(), "{answer}");
    let order = json!({ "orderId": "o00", "customer": { "userId": "ann" } });
    assert_eq!(answer["data"]["user"]["orders"]["items"], json!([order]));
    let line = json!({ "product": { "name": "White mug" } });
    assert_eq!(answer["data"]["order"]["orderItems"], json!([line]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_may_not_see_another_one_gets_the_refusal_of_http() {
    let shop = Recorded::new(true).await;
    let position = shop.place(["ann".to_owned(), "bob".to_owned()]).await;
    let query =
        format!("{{ orders(atLeast: {position}) {{ items {{ customer {{ firstName }} }} }} }}");
    let answer = shop.ask(&query).await;
    let expected = json!([{ "customer": null }, { "customer": { "firstName": "ann" } }]);
    assert_eq!(answer["data"]["orders"]["items"], expected, "newest first");
    let [error] = &answer["errors"].as_array().unwrap()[..] else { panic!("{answer}") };
    assert_eq!(error["path"], json!(["orders", "items", 0, "customer"]));
    assert_eq!(error["extensions"]["code"], "forbidden");
    assert_eq!(error["extensions"]["status"], 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_find_several_by_their_ids_in_pages() {
    let client = Client::new().await;
    for id in ["a", "b", "c", "d"] {
        let user = json!({ "userId": id, "firstName": "A", "lastName": "B" });
        client.post("/v1/users", user).ok().await;
        let product = json!({ "productId": id, "name": format!("Mug {id}"), "price": "1" });
        client.post("/v1/products", product).ok().await;
    }
    let head = client.shop.store().head().await.unwrap().position;
    for (list, name) in [("users", "userId"), ("products", "productId")] {
        let path = format!("/v1/{list}?{name}=d&{name}=a&{name}=x&{name}=c&{name}=a&limit=2");
        let first = client.get(&path).header("gesta-position", head).ok().await.json;
        let ids = |page: &Value| -> Vec<String> {
            let items = page["items"].as_array().unwrap().iter();
            items.map(|item| item[name].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(ids(&first), ["a", "c"], "{list}");
        let rest = format!("{path}&cursor={}", first["next"].as_str().unwrap());
        let rest = client.get(&rest).ok().await.json;
        assert_eq!((ids(&rest), &rest["next"]), (vec!["d".to_owned()], &Value::Null), "{list}");
        let odd = client.get(&format!("/v1/{list}?{name}=a&{name}=%20")).send().await;
        assert_eq!(odd.field(), (400, &*format!("{name}[1]")));
    }
    let found = client.get("/v1/products?productId=a&productId=b&text=b").ok().await.json;
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
}
