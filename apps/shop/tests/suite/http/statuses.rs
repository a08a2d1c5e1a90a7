//! Every operation returns each status that the document lists, and no other.

use std::{collections::BTreeSet, time::Duration};

use axum::http::Method;
use gesta::{
    CommandIdScope, EventId, EventType, StreamName,
    store::{Append, ExpectedRevision, NewEvent},
};
use serde_json::{Value, json};
use shop::{id::UserId, users::CreateUser};

use super::{Client, account, ann, deposit, mug, operations, order};

/// Statuses that no single request can cause; 408 needs a slow body, 501 a store that lacks a
/// feature.
const OF_OUR_OWN: [u16; 4] = [408, 500, 501, 503];

/// One successful request for each operation, in an order in which all succeed.
fn successes() -> Vec<(Method, &'static str, Option<Value>)> {
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let note = json!({ "creditNoteId": "C1", "lines": [
        { "productId": "mug", "quantity": 1, "unitPrice": 2.55 },
    ] });
    let transfer = json!({ "from": "a", "to": "b", "amount": 1.5, "reference": "rent" });
    vec![
        (get.clone(), "/openapi.json", None),
        (get.clone(), "/asyncapi.json", None),
        (get.clone(), "/docs", None),
        (get.clone(), "/docs/start.js", None),
        (get.clone(), "/health/live", None),
        (get.clone(), "/health/ready", None),
        (get.clone(), "/metrics", None),
        (get.clone(), "/console/program", None),
        (post.clone(), "/v1/users", Some(ann())),
        (get.clone(), "/v1/users", None),
        (get.clone(), "/v1/accounts", None),
        (get.clone(), "/v1/credit-notes", None),
        (get.clone(), "/v1/users/ann", None),
        (put.clone(), "/v1/users/ann", Some(json!({ "firstName": "Ann", "lastName": "Li" }))),
        (post.clone(), "/v1/products", Some(mug())),
        (get.clone(), "/v1/products?text=whi", None),
        (get.clone(), "/v1/products/mug", None),
        (put, "/v1/products/mug", Some(json!({ "name": "Mug", "price": 3 }))),
        (
            post.clone(),
            "/v1/products/mug/stock",
            Some(json!({ "type": "receive", "quantity": 10 })),
        ),
        (post.clone(), "/v1/orders", Some(order("1"))),
        (get.clone(), "/v1/orders?customer=17850&status=placed", None),
        (get.clone(), "/v1/orders/1", None),
        (get.clone(), "/v1/orders/1/history", None),
        (get.clone(), "/v1/customers/17850/statistics", None),
        (post.clone(), "/v1/orders/1/pay", Some(json!({ "method": "invoice" }))),
        (post.clone(), "/v1/orders/1/ship", None),
        (post.clone(), "/v1/orders/1/deliver", Some(json!({}))),
        (post.clone(), "/v1/orders/1/refund", Some(json!({ "amount": "1" }))),
        (post.clone(), "/v1/orders", Some(order("2"))),
        (post.clone(), "/v1/orders/2/cancel", Some(json!({ "reason": "too late" }))),
        (post.clone(), "/v1/credit-notes", Some(note)),
        (get.clone(), "/v1/credit-notes/C1", None),
        (post.clone(), "/v1/accounts", Some(account("a", "GBP"))),
        (post.clone(), "/v1/accounts", Some(account("b", "GBP"))),
        (post.clone(), "/v1/accounts/a/deposit", Some(deposit("10"))),
        (post.clone(), "/v1/accounts/a/withdraw", Some(deposit("1"))),
        (post.clone(), "/v1/transfers", Some(transfer)),
        (get.clone(), "/v1/accounts/a", None),
        (get.clone(), "/v1/accounts/a/transactions", None),
        (get.clone(), "/v1/aggregates", None),
        (get.clone(), "/v1/aggregates/user/ann", None),
        (get.clone(), "/v1/aggregates/email/ann@example.org", None),
        (get.clone(), "/v1/projections", None),
        (post, "/v1/projections/users/rebuild", None),
        (get.clone(), "/v1/dead-letters", None),
        (get.clone(), "/v1/processes", None),
        (get, "/v1/reactors", None),
        (delete, "/v1/users/ann", None),
    ]
}

/// Valid requests that business rules refuse.
fn rejections() -> Vec<(Method, &'static str, Option<Value>, &'static str)> {
    let (post, put, get) = (Method::POST, Method::PUT, Method::GET);
    let name = |email: &str| json!({ "firstName": "B", "lastName": "B", "email": email });
    let item = |product: &str, price: &str| json!({ "orderItems": [{ "productId": product, "unitPrice": price, "quantity": 1 }] });
    let transfer = |to: &str, amount: &str| json!({ "from": "a", "to": to, "amount": amount, "reference": "rent" });
    let most = "999999999";
    vec![
        (put.clone(), "/v1/users/ann", Some(name("n@example.org")), "user-deleted"),
        (post.clone(), "/v1/users", Some(name("b@example.org")), ""),
        (post.clone(), "/v1/users", Some(name("B@example.org")), "email-taken"),
        (
            post.clone(),
            "/v1/products/mug/stock",
            Some(json!({ "type": "adjust", "quantity": -11 })),
            "insufficient-stock",
        ),
        (post.clone(), "/v1/orders", Some(item("jug", "1")), "unknown-product"),
        (post.clone(), "/v1/orders", Some(item("mug", "2.99")), "unit-price-differs"),
        (post.clone(), "/v1/orders", Some(item("mug", "3.00")), ""),
        (post.clone(), "/v1/orders/1/pay", Some(json!({ "method": "cash" })), "order-already-paid"),
        (post.clone(), "/v1/orders/2/ship", None, "order-cancelled"),
        (post.clone(), "/v1/orders/1/deliver", None, "order-already-delivered"),
        (post.clone(), "/v1/orders/1/cancel", None, "order-already-shipped"),
        (
            post.clone(),
            "/v1/orders/1/refund",
            Some(json!({ "amount": "12" })),
            "refund-exceeds-payment",
        ),
        (post.clone(), "/v1/accounts/a/withdraw", Some(deposit("8")), "insufficient-funds"),
        (post.clone(), "/v1/transfers", Some(transfer("b", "8")), "insufficient-funds"),
        (post.clone(), "/v1/transfers", Some(transfer("nobody", "1")), "unknown-account"),
        (post.clone(), "/v1/transfers", Some(transfer("a", "1")), "same-account"),
        (post, "/v1/accounts/a/deposit", Some(deposit(most)), ""),
        (get.clone(), "/v1/users?cursor=00", None, "unknown-cursor"),
        (get.clone(), "/v1/accounts?cursor=00", None, "unknown-cursor"),
        (get.clone(), "/v1/credit-notes?cursor=00", None, "unknown-cursor"),
        (get.clone(), "/v1/products?cursor=00", None, "unknown-cursor"),
        (get.clone(), "/v1/orders?cursor=00", None, "unknown-cursor"),
        (get.clone(), "/v1/orders/1/history?cursor=00", None, "unknown-cursor"),
        (get.clone(), "/v1/dead-letters?cursor=00", None, "unknown-cursor"),
        (get, "/v1/accounts/a/transactions?cursor=00", None, "unknown-cursor"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_answered_with_every_status_that_the_document_says() {
    let client = Client::new().await;
    succeed(&client).await;
    look_into_the_store(&client).await;
    be_rejected(&client).await;
    operate_dead_letters(&client).await;
    operations::operate_read_models(&client).await;
    make_no_sense(&client).await;

    let said: BTreeSet<_> =
        said(&client).into_iter().filter(|(_, status)| !OF_OUR_OWN.contains(status)).collect();
    let operated = super::processes::operate_everything().await;
    let reacted = super::reactors::operate_everything().await;
    let seen: BTreeSet<_> = client.seen().union(&operated.seen()).cloned().collect();
    let seen: BTreeSet<_> = seen.union(&reacted.seen()).cloned().collect();
    let missing: Vec<_> = said.difference(&seen).cloned().collect();
    // A test cannot fill an account up to its limit; the feed has tests of its own.
    let apart = ["listEvents", "showFile"];
    let missing: Vec<_> = missing.iter().filter(|(id, _)| !apart.contains(&id.as_str())).collect();
    // Each projection of this shop can be paused and compared, and no event of a dead letter is
    // deleted.
    let unseen = ["compareRebuild", "depositMoney", "pauseProjection", "tryDeadLetter"];
    let unseen = unseen.map(|id| (id.to_owned(), 422));
    // The shop of this test is the only node; gesta-http tests what another node answers.
    let of_other_nodes =
        |(id, status): &(String, u16)| *status == 409 && RUN_ON_ONE_NODE.contains(&id.as_str());
    let missing: Vec<_> =
        missing.into_iter().filter(|it| !unseen.contains(it) && !of_other_nodes(it)).collect();
    assert!(missing.is_empty(), "never answered: {missing:?}");
}

/// Operations that only the node which runs the part carries out.
const RUN_ON_ONE_NODE: [&str; 17] = [
    "cancelProcess",
    "discardDeadLetter",
    "discardEffect",
    "fireProcessTimer",
    "pauseProcess",
    "pauseProjection",
    "pauseReactor",
    "rebuildProjection",
    "resendProcessCommand",
    "resumeProcess",
    "resumeProjection",
    "resumeReactor",
    "retryDeadLetter",
    "retryEffect",
    "retryProcess",
    "skipProcessInput",
    "tryDeadLetter",
];

async fn succeed(client: &Client) {
    for (method, path, body) in successes() {
        let asking = client.ask(method.clone(), path);
        // The response must reflect all earlier requests.
        let asking = match method == Method::GET {
            true => asking.header("gesta-position", head(client).await),
            false => asking,
        };
        let asking = body.iter().fold(asking, super::Asking::json);
        let answer = asking.send().await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        if let (true, Some(etag)) = (method == Method::GET, answer.headers.get("etag")) {
            let known = client.get(path).header("if-none-match", etag.to_str().unwrap());
            assert_eq!(known.send().await.status, 304, "{path}");
        }
    }
}

/// Reads of stored events, whose ids no test knows beforehand.
async fn look_into_the_store(client: &Client) {
    let stream = client.get("/v1/streams/user-ann").ok().await.json;
    let id = stream["events"][0]["id"].as_str().unwrap().to_owned();
    for path in [
        &format!("/v1/events/{id}"),
        "/v1/streams",
        "/v1/streams/user-ann/metadata",
        "/v1/categories",
        "/v1/all",
        "/v1/counts",
        "/v1/store",
        "/v1/event-types",
    ] {
        client.get(path).ok().await;
    }
    let several = client.get("/v1/aggregates/email/ann@example.org?asOf=revision:0").send().await;
    assert_eq!(several.field(), (400, "asOf"), "it has no revisions");
    let beyond = client.get("/v1/all?after=999999").send().await;
    assert_eq!(beyond.problem(), (412, "position-beyond-head"));
}

pub(super) async fn head(client: &Client) -> u64 {
    client.shop.store().head().await.unwrap().position.number()
}

async fn be_rejected(client: &Client) {
    for (method, path, body, code) in rejections() {
        let asking = body.iter().fold(client.ask(method.clone(), path), super::Asking::json);
        let answer = asking.send().await;
        let expected = if code.is_empty() { answer.status } else { 422 };
        assert!(answer.status < 300 || !code.is_empty(), "{method} {path}: {answer:?}");
        assert_eq!(answer.status, expected, "{method} {path}: {answer:?}");
        assert_eq!(answer.json["code"].as_str().unwrap_or_default(), code, "{method} {path}");
    }
}

/// Appends two events that no command produces: one unreadable, and one out of order.
async fn operate_dead_letters(client: &Client) {
    put_by_hand(client, "user-odd", "user-updated", "{}").await;
    let early = json!({
        "accountId": "early", "amount": "1", "reference": "r", "occurredAt": "2011-01-01T00:00:00Z",
    });
    put_by_hand(client, "account-odd", "money-deposited", &early.to_string()).await;
    client.get("/v1/users").header("gesta-position", head(client).await).ok().await;
    client.get("/v1/accounts/a").header("gesta-position", head(client).await).ok().await;
    let letters = client.get("/v1/dead-letters").ok().await.json["items"].take();
    let id = |of: &str| {
        let letters = letters.as_array().unwrap().iter();
        letters.clone().find(|it| it["projection"] == of).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (lasting, early) = (id("users"), id("accounts"));
    let retry = |id: &str| format!("/v1/dead-letters/{id}/retry");
    let tried = client.post(&format!("/v1/dead-letters/{lasting}/try"), json!({ "data": "{}" }));
    let tried = tried.ok().await.json;
    assert!(tried["applies"] == false && tried["error"].is_string(), "{tried}");
    let again = client.ask(Method::POST, &retry(&lasting)).send().await;
    assert_eq!(again.problem(), (422, "still-fails"));
    client.delete(&format!("/v1/dead-letters/{lasting}")).ok().await;
    let gone = client.delete(&format!("/v1/dead-letters/{lasting}")).send().await;
    assert_eq!(gone.problem(), (404, "not-found"));

    let opened = client.post("/v1/accounts", account("early", "GBP")).ok().await;
    let asking = client.get("/v1/accounts/early");
    asking.header("gesta-position", opened.position()).ok().await;
    assert_eq!(client.ask(Method::POST, &retry(&early)).ok().await.status, 204);
    let account = client.get("/v1/accounts/early").ok().await;
    assert_eq!(account.json["balance"], "1");
}

pub(super) async fn put_by_hand(client: &Client, stream: &str, event_type: &str, data: &str) {
    let event_type = EventType::new(event_type).unwrap();
    let event = NewEvent::json(EventId::random(), event_type, data.to_owned());
    let stream = StreamName::new(stream).unwrap();
    let append = Append::to(stream, ExpectedRevision::Any, [event]);
    client.shop.store().append(append).await.unwrap();
}

/// Responses that all operations share, because their extractors do.
async fn make_no_sense(client: &Client) {
    for (path, methods) in client.document()["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            Odd { client, method, path, operation }.ask().await;
        }
    }
}

struct Odd<'c> {
    client: &'c Client,
    method: Method,
    path: &'c str,
    operation: &'c Value,
}

impl Odd<'_> {
    async fn ask(&self) {
        let expecting = self.asking("1").header("expect", "a-miracle").send().await;
        assert_eq!(expecting.problem(), (417, "expectation-failed"), "{}", self.path);
        let correlation = self.asking("1").header("x-correlation-id", "a b").send().await;
        assert_eq!(correlation.field(), (400, "X-Correlation-Id"), "{}", self.path);
        if self.method != Method::GET {
            let sent = self.asking("1").header("sec-fetch-site", "cross-site").send().await;
            assert_eq!(sent.problem(), (403, "cross-site"), "{}", self.path);
        }
        if self.path.contains('{') {
            let answer = self.asking("%20").send().await;
            let name = self.path.split(['{', '}']).nth(1).unwrap();
            // Any text may be the name of a projection, process manager, reactor, stream or
            // category; other ids have a form.
            match self.path.split('/').nth(2) {
                Some("projections" | "processes" | "reactors" | "streams" | "aggregates") => {
                    assert_eq!(answer.problem(), (404, "not-found"), "{}", self.path);
                }
                Some(_) | None => assert_eq!(answer.field(), (400, name), "{}", self.path),
            }
            self.unknown().await;
        }
        if self.path == "/v1/dead-letters" {
            self.unknown().await;
        }
        if self.has("header", "Gesta-Position") {
            let odd = self.asking("1").header("gesta-position", "x").send().await;
            assert_eq!(odd.field(), (400, "Gesta-Position"), "{}", self.path);
            let beyond = self.asking("1").header("gesta-position", 999_999).send().await;
            assert_eq!(beyond.problem(), (412, "position-beyond-head"), "{}", self.path);
        }
        if self.has("header", "If-Match") {
            let odd = self.asking("1").header("if-match", "1").send().await;
            assert_eq!(odd.field(), (400, "If-Match"), "{}", self.path);
            self.be_elsewhere().await;
        }
        if self.has("header", "If-None-Match") {
            let odd = self.asking("1").header("if-none-match", "1").send().await;
            assert_eq!(odd.field(), (400, "If-None-Match"), "{}", self.path);
        }
        if self.has("header", "If-None-Match") && self.method == Method::POST {
            let unmet = self.sensible(self.somebody());
            let unmet = unmet.header("if-match", "\"99999\"").send().await;
            assert_eq!(unmet.status, 412, "{} {}", self.method, self.path);
        }
        if self.has("header", "Idempotency-Key") {
            let odd = self.asking("1").header("idempotency-key", "").send().await;
            assert_eq!(odd.field(), (400, "Idempotency-Key"), "{}", self.path);
            self.reuse().await;
        }
        if !self.operation["requestBody"].is_null() {
            self.send_odd_bodies().await;
        }
    }

    fn has(&self, place: &str, name: &str) -> bool {
        let mut parameters = self.operation["parameters"].as_array().unwrap().iter();
        parameters.any(|it| it["in"] == place && it["name"] == name)
    }

    fn asking(&self, id: &str) -> super::Asking<'_> {
        let path = match self.path.split_once('{') {
            Some((before, rest)) => {
                format!("{before}{id}{}", rest.split_once('}').unwrap().1)
            }
            None if self.path == "/v1/dead-letters" => format!("{}?projection={id}", self.path),
            None => self.path.to_owned(),
        };
        // Later path parameters are valid, and name nothing that exists.
        let others = [
            ("{id}", "nobody"),
            ("{subject}", "instance:nobody"),
            ("{number}", "1"),
            ("{timer}", "1.0"),
            ("{command}", "1.0"),
            ("{event}", "0192d3f0-7c1e-7000-8000-3f1c5a7b9e21"),
        ];
        let path = others.iter().fold(path, |path, (name, value)| path.replace(name, value));
        self.client.ask(self.method.clone(), &path)
    }

    /// Returns the successful request with another id, which exists or not.
    fn sensible(&self, id: &str) -> super::Asking<'_> {
        let same = |path: &str| {
            let (path, template) = (path.split('?').next().unwrap(), self.path);
            let (path, template): (Vec<_>, Vec<_>) =
                (path.split('/').collect(), template.split('/').collect());
            let fits = |(part, segment): (&&str, &&str)| part.starts_with('{') || part == segment;
            path.len() == template.len() && template.iter().zip(&path).all(fits)
        };
        let known =
            successes().into_iter().find(|(method, path, _)| *method == self.method && same(path));
        let body = known.and_then(|(_, _, body)| body);
        let body = if self.path.ends_with("/try") { Some(json!({ "data": "{}" })) } else { body };
        let body = body.map(|mut body| {
            if self.path == "/v1/transfers" {
                body["from"] = json!(id);
            }
            body
        });
        body.iter().fold(self.asking(id), super::Asking::json)
    }

    async fn unknown(&self) {
        let id = match self.path.split('/').nth(2) {
            Some("dead-letters") => "users@1",
            Some("events") => "0192d3f0-7c1e-7000-8000-3f1c5a7b9e21",
            Some(_) | None => "nobody",
        };
        if self.path.starts_with("/docs") {
            return;
        }
        let answer = self.sensible(id).send().await;
        assert_eq!(answer.problem(), (404, "not-found"), "{} {}", self.method, self.path);
        if self.method == Method::GET {
            let wanted = self.sensible(id).header("if-match", "*").send().await;
            assert_eq!(wanted.problem(), (412, "precondition-failed"), "{}", self.path);
        }
    }

    async fn be_elsewhere(&self) {
        let id = self.somebody();
        let answer = self.sensible(id).header("if-match", "\"99999\"").send().await;
        let code = match self.method {
            Method::GET => "precondition-failed",
            _ => "revision-mismatch",
        };
        assert_eq!(answer.problem(), (412, code), "{} {}", self.method, self.path);
        let nobody = self.sensible("nobody").send().await;
        assert_eq!(nobody.problem(), (404, "not-found"), "{} {}", self.method, self.path);
    }

    fn somebody(&self) -> &'static str {
        match self.path.split('/').nth(2).unwrap() {
            "users" => "ann",
            "products" => "mug",
            "orders" => "1",
            _ => "a",
        }
    }

    async fn reuse(&self) {
        // Another command was executed with the command id that the key yields here.
        let scope = format!("{} {}\0anonymous\0used", self.method, self.path);
        let digest = EventId::derived_from(&scope, 0).as_uuid().simple().to_string();
        let create = CreateUser {
            user_id: UserId::from(EventId::random().as_uuid()),
            first_name: "C".to_owned(),
            last_name: "C".to_owned(),
            email: None,
        };
        let shop = &self.client.shop;
        let create = shop.execute(create).command_id(format!("used:{digest}"));
        create.scope(CommandIdScope::Store).await.unwrap();
        let asking = self.sensible(self.somebody()).header("idempotency-key", "used");
        let answer = asking.send().await;
        let place = format!("{} {}", self.method, self.path);
        assert_eq!(answer.problem(), (409, "command-id-reused"), "{place}: {answer:?}");
    }

    async fn send_odd_bodies(&self) {
        // The path is read before the body.
        let id = if self.path.contains("/dead-letters/") { "users@1" } else { "1" };
        let media = self.asking(id).header("content-type", "text/plain").body("{}").send().await;
        assert_eq!(media.problem(), (415, "unsupported-media-type"), "{}", self.path);
        let json = |body: String| {
            self.asking(id).header("content-type", "application/json").body(body).send()
        };
        let large = json(format!("{{\"{}\": 1}}", "x".repeat(1 << 20))).await;
        assert_eq!(large.problem(), (413, "too-large"), "{}", self.path);
        let unknown = json(r#"{"nobodyKnows": 1}"#.to_owned()).await;
        assert_eq!(unknown.field(), (400, "nobodyKnows"), "{}", self.path);
        let list = json("[null, null]".to_owned()).await;
        assert_eq!(list.field(), (400, "body"), "{}", self.path);
        let broken = json(r#"{"#.to_owned()).await;
        assert_eq!(broken.field(), (400, "body"), "{}", self.path);
    }
}

fn said(client: &Client) -> BTreeSet<(String, u16)> {
    let mut said = BTreeSet::new();
    for methods in client.document()["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            for status in operation["responses"].as_object().unwrap().keys() {
                said.insert((id.to_owned(), status.parse().unwrap()));
            }
        }
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nowhere_and_what_is_not_done_there_are_problems_too() {
    let client = Client::new().await;
    let nowhere = client.get("/v2/users").send().await;
    assert_eq!(nowhere.problem(), (404, "no-such-route"));
    let not_done = client.delete("/v1/users").send().await;
    assert_eq!(not_done.problem(), (405, "method-not-allowed"));
    let allowed: BTreeSet<_> = not_done.header("allow").split(',').collect();
    assert_eq!(allowed, BTreeSet::from(["GET", "HEAD", "POST"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_unknown_length_is_read_no_further_than_the_limit() {
    let client = Client::new().await;
    let chunk = || Ok::<_, std::io::Error>(vec![b' '; 1 << 16]);
    let endless = axum::body::Body::from_stream(futures_util::stream::repeat_with(chunk));
    let asking = client.ask(Method::POST, "/v1/users").header("content-type", "application/json");
    let answer = tokio::time::timeout(Duration::from_secs(10), asking.body(endless).send());
    assert_eq!(answer.await.expect("it ends").problem(), (413, "too-large"));
}
