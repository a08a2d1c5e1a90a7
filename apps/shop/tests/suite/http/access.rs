//! Access to the shop: every route for every role, and what a customer owns.

use std::collections::BTreeSet;

use axum::{body::Body, http::Request};
use gesta::{EventMetadata, Gesta, store::ReadAll};
use gesta_http::{Access, ApiKeys, GestaState, NewApiKey};
use serde_json::{Value, json};
use shop::access::{Customers, rules};

use super::{Answer, Client, ann, mug, order};
use crate::opened;

/// The operations that each role may use, and those that need no credentials.
///
/// `own` stands for operations that customers may use for their own only.
const MATRIX: [(&str, &str); 9] = [
    ("open", "showAsyncDocument showDocument showPage showFile isLive isReady showProgram"),
    ("customer clerk", "listProducts findProduct"),
    (
        "own clerk",
        "findUser updateUser placeOrder listOrders findOrder cancelOrder findCustomerStatistics \
         listCreditNotes findCreditNote",
    ),
    (
        "clerk",
        "createUser listUsers deleteUser addProduct updateProduct changeStock payOrder shipOrder \
         deliverOrder refundOrder issueCreditNote openAccount listAccounts findAccount depositMoney \
         withdrawMoney transferMoney listTransactions listHistory",
    ),
    ("clerk operator auditor", "listEvents"),
    (
        "operator auditor",
        "listProjections listDeadLetters listProcesses showProcess listInstances showInstance \
         listSetAside listReactors showReactor listReactorDeadLetters showMetrics listDueTimers \
         listOutstandingCommands \
         listEventTypes",
    ),
    (
        "operator auditor",
        "listStreams readStream describeStream listCategories readAll findEvents countEvents \
         describeStore listAggregates showAggregate",
    ),
    (
        "operator",
        "pauseProjection resumeProjection tryDeadLetter retryDeadLetter discardDeadLetter pauseProcess resumeProcess retryProcess \
         skipProcessInput cancelProcess fireProcessTimer resendProcessCommand pauseReactor \
         resumeReactor retryEffect discardEffect",
    ),
    ("operator", "rebuildProjection compareRebuild confirmSwitch rollBackProjection dropOldRows"),
];

/// A shop with an API key for each role. The customer's actor is `ann`.
struct Guarded {
    client: Client,
    shop: Gesta,
    keys: Vec<(&'static str, NewApiKey)>,
}

impl Guarded {
    async fn new() -> Self {
        let actors = [
            ("customer", "ann"),
            ("clerk", "cleo"),
            ("operator", "olga"),
            ("auditor", "ada"),
            ("stranger", "sam"),
        ];
        let lines = actors.map(|(role, actor)| (role, actor, NewApiKey::random()));
        let file: Vec<_> =
            lines.iter().map(|(role, actor, key)| key.line(actor, &[*role])).collect();
        let access = Access::new(rules()).ownership(Customers);
        let access = access.by(ApiKeys::parse(&file.join("\n")).unwrap());
        let shop = opened::in_memory().await;
        let client = Client::of(shop::http::api, shop.clone(), |state| state.access(access));
        let keys = lines.into_iter().map(|(role, _, key)| (role, key)).collect();
        Self { client, shop, keys }
    }

    fn key(&self, role: &str) -> &str {
        let (_, key) = self.keys.iter().find(|(known, _)| *known == role).unwrap();
        key.secret()
    }

    /// Sends a request as this role. The body of a feed is not read.
    async fn ask(&self, role: &str, method: &str, path: &str, body: &Value) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if role != "nobody" {
            request = request.header("x-api-key", self.key(role));
        }
        let request = match body {
            Value::Null => request.body(Body::empty()),
            body => request
                .header("content-type", "application/json")
                .body(Body::from(body.to_string())),
        };
        let response = self.client.raw(request.unwrap()).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let is_endless = headers.get("content-type").is_some_and(|it| it == "text/event-stream");
        let bytes = match is_endless {
            true => Vec::new(),
            false => axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec(),
        };
        Answer { status, headers, json: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }

    async fn status(&self, role: &str, method: &str, path: &str, body: Value) -> u16 {
        self.ask(role, method, path, &body).await.status
    }
}

/// The roles that may use an operation, by the matrix.
fn allowed(operation: &str) -> BTreeSet<&'static str> {
    let row = MATRIX.iter().find(|(_, ids)| ids.split_ascii_whitespace().any(|id| id == operation));
    row.unwrap_or_else(|| panic!("{operation} is not in the matrix")).0.split(' ').collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_for_the_roles_of_the_matrix_alone() {
    let guarded = Guarded::new().await;
    let api = shop::http::api();
    for route in api.routes() {
        let allowed = allowed(route.id());
        let (method, template) = route.place();
        let path = template.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
        let path = path.collect::<Vec<_>>().join("/");
        let body = if ["POST", "PUT"].contains(&method.as_str()) { json!({}) } else { Value::Null };
        for role in ["nobody", "stranger", "customer", "clerk", "operator", "auditor"] {
            let answer = guarded.ask(role, method.as_str(), &path, &body).await;
            let place = format!("{role}: {} {answer:?}", route.id());
            if allowed.contains("open") || allowed.contains(role) {
                assert!(![401, 403].contains(&answer.status), "{place}");
            } else if role == "nobody" {
                assert_eq!(answer.problem(), (401, "unauthenticated"), "{place}");
                assert_eq!(answer.header("www-authenticate"), "Bearer", "{place}");
            } else {
                // Also for what is allowed for the own only: nothing here is the customer's.
                assert_eq!(answer.problem(), (403, "forbidden"), "{place}");
                assert!(answer.json["right"].is_string(), "{place}");
            }
        }
    }
    let routed: BTreeSet<_> = api.routes().iter().map(|route| route.id().to_owned()).collect();
    let ruled = MATRIX.iter().flat_map(|(_, ids)| ids.split_ascii_whitespace());
    assert_eq!(ruled.map(str::to_owned).collect::<BTreeSet<_>>(), routed, "the matrix is complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_places_sees_and_cancels_own_orders_only() {
    let shop = Guarded::new().await;
    assert_eq!(shop.status("clerk", "POST", "/v1/products", mug()).await, 201);
    let of = |id: &str, customer: &str| {
        let mut order = order(id);
        order["customerId"] = json!(customer);
        order
    };
    assert_eq!(shop.status("clerk", "POST", "/v1/orders", of("bobs", "bob")).await, 201);
    assert_eq!(shop.status("customer", "POST", "/v1/orders", of("anns", "ann")).await, 201);
    for (name, value) in [
        ("customerId", json!("bob")),
        ("customerId", Value::Null),
        ("discounts", json!([{ "type": "percentage", "value": "99" }])),
        ("paymentAccountId", json!("bobs-account")),
    ] {
        let mut foreign = of("other", "ann");
        foreign[name] = value;
        let answer = shop.ask("customer", "POST", "/v1/orders", &foreign).await;
        assert_eq!(answer.problem(), (403, "forbidden"), "{name}: {answer:?}");
    }
    for (path, status) in [
        ("/v1/orders/anns", 200),
        ("/v1/orders/bobs", 403),
        ("/v1/orders/none", 403),
        ("/v1/orders/anns?at=revision:0", 403),
        ("/v1/orders/anns/history", 403),
        ("/v1/orders?customer=ann", 200),
        ("/v1/orders?customer=bob", 403),
        ("/v1/orders?customer=ann&customer=bob", 403),
        ("/v1/orders", 403),
        ("/v1/customers/bob/statistics", 403),
    ] {
        assert_eq!(shop.status("customer", "GET", path, Value::Null).await, status, "{path}");
    }
    let cancel = json!({ "reason": "too late" });
    for (id, status) in [("bobs", 403), ("anns", 200)] {
        let path = format!("/v1/orders/{id}/cancel");
        assert_eq!(shop.status("customer", "POST", &path, cancel.clone()).await, status, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_changes_the_own_user_only() {
    let shop = Guarded::new().await;
    for user in ["ann", "bob"] {
        let mut new = ann();
        new["userId"] = json!(user);
        new["email"] = json!(format!("{user}@example.org"));
        assert_eq!(shop.status("clerk", "POST", "/v1/users", new).await, 201);
    }
    let change = json!({ "firstName": "Anna", "lastName": "Lee" });
    for (user, status) in [("ann", 200), ("bob", 403), ("none", 403)] {
        let path = format!("/v1/users/{user}");
        assert_eq!(shop.status("customer", "PUT", &path, change.clone()).await, status, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_addresses_are_for_operators_and_masked_for_auditors() {
    let shop = Guarded::new().await;
    let mut user = ann();
    user["firstName"] = json!("Personal-First");
    user["lastName"] = json!("Personal-Last");
    user["email"] = json!("personal@mail.example");
    let id = user["userId"].as_str().unwrap().to_owned();
    assert_eq!(shop.status("clerk", "POST", "/v1/users", user).await, 201);
    let personal = ["Personal-First", "Personal-Last", "personal@mail.example"];
    for path in ["/v1/all".to_owned(), format!("/v1/streams/user-{id}?upcast=true")] {
        let shown = shop.ask("operator", "GET", &path, &Value::Null).await.json.to_string();
        assert!(personal.iter().all(|text| shown.contains(text)), "{path}: {shown}");
        let masked = shop.ask("auditor", "GET", &path, &Value::Null).await.json;
        let event = &masked["events"][0];
        assert_eq!(event["data"]["firstName"], "[personal]", "{path}: {masked}");
        assert_eq!(event["data"]["userId"], json!(id), "{path}: {masked}");
        assert_eq!(event["tags"], json!(["email:[personal]"]), "{path}: {masked}");
        let masked = masked.to_string();
        assert!(!personal.iter().any(|text| masked.contains(text)), "{path}: {masked}");
    }
    let state = format!("/v1/aggregates/user/{id}");
    assert_eq!(shop.status("operator", "GET", &state, Value::Null).await, 200);
    let masked = shop.ask("auditor", "GET", &state, &Value::Null).await.json;
    let shown = json!({ "profile": "[personal]", "welcomed": false, "deleted": false });
    assert_eq!(masked["data"], shown, "{masked}");
    // Its members are addresses.
    let owners = shop.ask("auditor", "GET", "/v1/aggregates/email/ann@example.org", &Value::Null);
    let refused = owners.await;
    assert_eq!((refused.status, &refused.json["right"]), (403, &json!("personal")));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_has_the_actor_of_its_credentials() {
    let shop = Guarded::new().await;
    assert_eq!(shop.status("clerk", "POST", "/v1/products", mug()).await, 201);
    let mut own = order("anns");
    own["customerId"] = json!("ann");
    assert_eq!(shop.status("customer", "POST", "/v1/orders", own).await, 201);
    let rebuild = "/v1/projections/users/rebuild?reason=test";
    assert_eq!(shop.status("operator", "POST", rebuild, Value::Null).await, 202);
    let events = shop.shop.store().read_all(ReadAll::forwards()).collect_events().await.unwrap();
    let actor = |metadata: &_| EventMetadata::from_json(metadata).actor;
    let actors: Vec<_> = events.iter().map(|event| actor(&event.metadata)).collect();
    let known = ["cleo", "ann", "olga"];
    assert!(actors.iter().all(|actor| known.contains(&&**actor.as_ref().unwrap())), "{actors:?}");
    for actor in known {
        assert!(actors.contains(&Some(actor.to_owned())), "{actor}: {actors:?}");
    }
}

#[cfg(feature = "search")]
#[test]
fn the_rules_fit_a_shop_with_search() {
    let access = Access::new(rules()).ownership(Customers);
    assert_eq!(shop::http::api_with_search().check_access(&access), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_without_access_is_open() {
    let client = Client::at(opened::in_memory().await, |state: GestaState| state);
    assert_eq!(client.get("/v1/projections").send().await.status, 200);
    assert_eq!(
        client.get("/v1/users").header("authorization", "Bearer x").send().await.status,
        200
    );
}
