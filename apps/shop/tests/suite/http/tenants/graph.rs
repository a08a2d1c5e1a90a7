//! Every field of GraphQL, as the second tenant.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    http::{Request, Response},
};
use futures_util::StreamExt as _;
use gesta::testing::drain;
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::{
    super::graphql::{OF_HTTP_ALONE, expected_field},
    ALPHA, OF_ALPHA, Tenant, World,
    calls::{Call, Words, calls},
    feeds::{Served, head},
    has_nothing_of_alpha,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Levels of objects that are selected below a field.
const DEPTH: usize = 4;

/// The types of the schema, by name.
struct GraphTypes(BTreeMap<String, Value>);

/// A document that asks for one field.
struct Document {
    text: String,
    variables: Value,
}

impl GraphTypes {
    async fn of(world: &World, tenant: &Tenant) -> Self {
        let reference = "kind name ofType { kind name ofType { kind name ofType { kind name } } }";
        let query = format!(
            "{{ __schema {{ types {{ kind name possibleTypes {{ name }} fields {{ name \
             type {{ {reference} }} args {{ name type {{ {reference} }} }} }} }} }} }}"
        );
        let answer = world.ask_graph(tenant, &Document { text: query, variables: json!({}) }).await;
        let types = answer["data"]["__schema"]["types"].as_array();
        let types = types.unwrap_or_else(|| panic!("{answer}")).iter();
        Self(types.map(|it| (it["name"].as_str().unwrap().to_owned(), it.clone())).collect())
    }

    fn fields(&self, type_name: &str) -> impl Iterator<Item = &Value> {
        self.0[type_name]["fields"].as_array().into_iter().flatten()
    }

    /// Returns the field of an operation in a root type.
    fn field(&self, root: &str, operation: &str) -> Option<&Value> {
        let names = [expected_field(operation), operation.to_owned()];
        self.fields(root).find(|field| names.iter().any(|name| field["name"] == name.as_str()))
    }

    /// Returns the selection of everything below a type.
    fn selection(&self, type_name: &str, depth: usize, alias: &str) -> String {
        match self.0[type_name]["kind"].as_str().unwrap() {
            "OBJECT" | "INTERFACE" => {
                let mut parts = vec![format!("{alias}_typename: __typename")];
                for field in self.fields(type_name) {
                    let inner = named(&field["type"]);
                    let is_leaf =
                        ["SCALAR", "ENUM"].contains(&self.0[inner]["kind"].as_str().unwrap());
                    if is_leaf || depth > 0 {
                        let name = field["name"].as_str().unwrap();
                        let below = self.selection(inner, depth.saturating_sub(1), "");
                        // A link to a list has pages, whose default would cost too much here.
                        let arguments = field["args"].as_array().into_iter().flatten();
                        let is_page = arguments.into_iter().any(|it| it["name"] == "limit");
                        let page = if is_page { "(limit: 2)" } else { "" };
                        parts.push(format!("{alias}{name}: {name}{page} {below}"));
                    }
                }
                format!("{{ {} }}", parts.join(" "))
            }
            "UNION" => {
                let members = self.0[type_name]["possibleTypes"].as_array().unwrap().iter();
                let members = members.map(|member| {
                    let member = member["name"].as_str().unwrap();
                    // Members may have one name for fields of two types.
                    format!("... on {member} {}", self.selection(member, depth, member))
                });
                format!("{{ {} }}", members.collect::<Vec<_>>().join(" "))
            }
            _ => String::new(),
        }
    }

    /// Returns the document for a call by a field.
    fn document(&self, root: &str, field: &Value, call: &Call, at_least: u64) -> Document {
        let mut variables = Map::new();
        let (mut declared, mut given) = (Vec::new(), Vec::new());
        for argument in field["args"].as_array().unwrap() {
            let name = argument["name"].as_str().unwrap();
            let of_path = call.parameters.iter().find(|(known, _)| *known == name);
            let value = match (name, of_path) {
                (_, Some((_, text))) => of_type(named(&argument["type"]), text),
                ("input", None) if call.body.is_null() => json!({}),
                ("input", None) => call.body.clone(),
                ("atLeast", None) => json!(at_least),
                ("after", None) => json!(0),
                _ => continue,
            };
            declared.push(format!("${name}: {}", rendered(&argument["type"])));
            given.push(format!("{name}: ${name}"));
            variables.insert(name.to_owned(), value);
        }
        let in_brackets = |parts: Vec<String>| match parts.is_empty() {
            true => String::new(),
            false => format!("({})", parts.join(", ")),
        };
        let kind = root.to_lowercase();
        let name = field["name"].as_str().unwrap();
        let selection = self.selection(named(&field["type"]), DEPTH, "");
        let (declared, given) = (in_brackets(declared), in_brackets(given));
        let text = format!("{kind} {declared} {{ {name}{given} {selection} }}");
        Document { text, variables: Value::Object(variables) }
    }
}

/// Returns the name of a type without lists and `!`.
fn named(reference: &Value) -> &str {
    reference["name"].as_str().unwrap_or_else(|| named(&reference["ofType"]))
}

fn rendered(reference: &Value) -> String {
    match reference["kind"].as_str().unwrap() {
        "NON_NULL" => format!("{}!", rendered(&reference["ofType"])),
        "LIST" => format!("[{}]", rendered(&reference["ofType"])),
        _ => reference["name"].as_str().unwrap().to_owned(),
    }
}

fn of_type(type_name: &str, text: &str) -> Value {
    match ["Int", "Long"].contains(&type_name) {
        true => text.parse::<u64>().unwrap().into(),
        false => text.into(),
    }
}

impl World {
    async fn graph(&self, tenant: &Tenant, document: &Document, accept: &str) -> Response<Body> {
        let body = json!({ "query": document.text, "variables": document.variables }).to_string();
        let request = Request::post("/graphql").header("content-type", "application/json");
        let request = request.header("accept", accept).header("x-api-key", tenant.key.secret());
        self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
    }

    async fn ask_graph(&self, tenant: &Tenant, document: &Document) -> Value {
        let response = self.graph(tenant, document, "application/json").await;
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// Returns what a subscription says until a text of it satisfies a condition.
    async fn follow(
        &self,
        tenant: &Tenant,
        document: &Document,
        is_last: impl Fn(&str) -> bool,
    ) -> String {
        let response = self.graph(tenant, document, "text/event-stream").await;
        let (mut chunks, mut text) = (response.into_body().into_data_stream(), String::new());
        while !is_last(&text) {
            let chunk = timeout(PATIENCE, chunks.next()).await.expect("it is said in time");
            let Some(chunk) = chunk else { break };
            text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
        text
    }
}

/// Asks for each field, one after another. Returns the outcome of each: its answer, and the kind of
/// the answer, which does not depend on times and random ids.
async fn ask_everything(
    world: &World,
    tenant: &Tenant,
    prefix: &str,
    words: &Words,
) -> Vec<(String, String, Value)> {
    let types = GraphTypes::of(world, tenant).await;
    let mut outcomes = Vec::new();
    for call in calls(prefix, words) {
        if OF_HTTP_ALONE.contains(&&*call.operation) {
            continue;
        }
        let root = if call.method == "GET" { "Query" } else { "Mutation" };
        let field = types.field(root, &call.operation);
        let field = field.unwrap_or_else(|| panic!("{} has no field", call.operation));
        let document = types.document(root, field, &call, head(tenant).await);
        let answer = world.ask_graph(tenant, &document).await;
        let code = &answer["errors"][0]["extensions"]["code"];
        let message = &answer["errors"][0]["message"];
        assert!(answer["errors"].is_null() || code.is_string(), "{}: {message}", document.text);
        let data = answer["data"].as_object().and_then(|data| data.values().next());
        let member = data.and_then(|data| data.as_object());
        let member = member.and_then(|it| it.iter().find(|(name, _)| name.ends_with("_typename")));
        let kind =
            json!([code, member.map(|(_, name)| name), data.is_some_and(|it| !it.is_null())]);
        outcomes.push((call.operation.clone(), answer.to_string(), kind));
        drain(&tenant.shop).await;
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread")]
async fn no_field_of_the_second_tenant_depends_on_the_first_one() {
    let (full, empty) = (World::with_first_tenant().await, World::new().await);
    let before = super::events_of(&full.first.shop).await;
    let words = Words::of_beta(ALPHA);
    let seen = ask_everything(&full, &full.second, ALPHA, &words).await;
    let expected = ask_everything(&empty, &empty.second, ALPHA, &words).await;
    for ((operation, answer, kind), (_, other, expected)) in seen.iter().zip(&expected) {
        assert_eq!(kind, expected, "{operation}: {answer} {other}");
        has_nothing_of_alpha(operation, answer, true);
    }
    let asked: BTreeSet<_> = seen.iter().map(|(operation, ..)| operation).collect();
    assert!(asked.len() >= 50 && seen.len() == expected.len(), "{} fields", asked.len());
    let good = seen.iter().filter(|(.., kind)| kind[0].is_null()).count();
    assert!(good >= 40, "{good} fields were answered");
    assert_eq!(
        super::events_of(&full.first.shop).await,
        before,
        "nothing reached the first tenant"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_tenant_finds_its_own_by_the_same_fields() {
    let world = World::new().await;
    let seen = ask_everything(&world, &world.first, ALPHA, &Words::of_alpha()).await;
    let has_own = |answer: &str| OF_ALPHA.iter().any(|word| answer.contains(word));
    for operation in ["listUsers", "findUser", "listProducts", "findOrder", "listTransactions"] {
        let found = seen.iter().any(|(it, answer, _)| it == operation && has_own(answer));
        assert!(found, "{operation}: {seen:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_subscription_has_anything_of_another_tenant() {
    let world = World::with_first_tenant().await;
    let types = GraphTypes::of(&world, &world.second).await;
    let of_alpha = calls(ALPHA, &Words::of_alpha());
    let mut followed = 0;
    for field in types.fields("Subscription") {
        let name = field["name"].as_str().unwrap();
        let call = of_alpha.iter().find(|call| expected_field(&call.operation) == name);
        let call = match call {
            Some(call) => call.clone(),
            // The feed is no call of these.
            None if name == "events" => Call { body: Value::Null, ..of_alpha[0].clone() },
            None => panic!("no call has the field {name}"),
        };
        for tenant in [&world.second, &world.first] {
            let head = head(tenant).await;
            let document = types.document("Subscription", field, &call, head);
            let position = format!("\"position\":{head}");
            let said = world.follow(tenant, &document, |text| match name {
                "events" => text.contains(&position),
                _ => text.contains("data: ") && text.ends_with("\n\n"),
            });
            let said = said.await;
            assert!(said.contains("data: "), "{name}: {said}");
            if std::ptr::eq(tenant, &raw const world.second) {
                has_nothing_of_alpha(name, &said, true);
            } else if ["events", "users", "user"].contains(&name) {
                assert!(OF_ALPHA.iter().any(|word| said.contains(word)), "{name}: {said}");
            }
        }
        followed += 1;
    }
    assert!(followed >= 10, "{followed} fields");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_graphql_has_the_events_of_its_openers_tenant_alone() {
    let world = World::with_first_tenant().await;
    let served = Served::of(&world).await;
    let protocol = Some("graphql-transport-ws");
    let mut nobody = served.socket("/graphql/ws", None, protocol).await.unwrap();
    nobody.say(json!({ "type": "connection_init" })).await;
    assert_eq!(nobody.close_code().await, 4403, "a socket needs credentials");
    let tenants = [&world.first, &world.second];
    for (tenant, is_late) in tenants.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let key = tenant.key.secret();
        let early = Some(key).filter(|_| !is_late);
        let mut socket = served.socket("/graphql/ws", early, protocol).await.unwrap();
        // A page in a browser sends its key in the first message.
        let payload = is_late.then(|| json!({ "x-api-key": key }));
        socket.say(json!({ "type": "connection_init", "payload": payload })).await;
        let query = "subscription { events(after: 0) { position stream data } }";
        let payload = json!({ "query": query });
        socket.hear_until(|message| message["type"] == "connection_ack").await;
        socket.say(json!({ "type": "subscribe", "id": "a", "payload": payload })).await;
        let head = head(tenant).await;
        let heard = socket.hear_until(|message| {
            message["payload"]["data"]["events"]["position"].as_u64() >= Some(head)
        });
        let heard = heard.await;
        match std::ptr::eq(tenant, &raw const world.first) {
            true => assert!(OF_ALPHA.iter().all(|word| heard.contains(word)), "{heard}"),
            false => has_nothing_of_alpha("a socket of GraphQL", &heard, false),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_explorer_is_shown_without_credentials_and_answers_nothing_without_them() {
    let world = World::with_first_tenant().await;
    let ask = async |request: Request<Body>| {
        world.router.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    for path in ["/graphiql", "/graphiql/explorer.js", "/graphiql/explorer.css"] {
        assert_eq!(ask(Request::get(path).body(Body::empty()).unwrap()).await, 200, "{path}");
    }
    let body = json!({ "query": "{ __schema { queryType { name } } }" }).to_string();
    let request = Request::post("/graphql").header("content-type", "application/json");
    assert_eq!(ask(request.body(Body::from(body)).unwrap()).await, 401);
}
