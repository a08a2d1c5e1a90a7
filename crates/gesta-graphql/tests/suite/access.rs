//! Access: a field is allowed to whom its route is.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use axum::http::request::Parts;
use futures_util::StreamExt as _;
use gesta::{Clock as _, Gesta, testing::VirtualClock};
use gesta_graphql::{GraphQl, Introspection};
use gesta_http::{
    Access, AccessRole, AccessRules, Authenticate, GestaState, Principal, Problem, RateLimit, Right,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{Client, library, posted, sockets::Server};

/// Time for the first response of a subscription.
const PATIENCE: Duration = Duration::from_secs(60);

const HALF: Duration = Duration::from_secs(30);

/// The role in the header `X-Role`, or in `X-Api-Key`, which pages send with a WebSocket.
struct ByRole;

impl Authenticate for ByRole {
    async fn authenticate(
        &self,
        request: &Parts,
        now: SystemTime,
    ) -> Result<Option<Principal>, Problem> {
        let text = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
        let Some(role) = text("x-role").or(text("x-api-key")) else { return Ok(None) };
        // A key that is withdrawn half a minute after the beginning of virtual time.
        let is_withdrawn = role.ends_with(" withdrawn") && now > VirtualClock::new().now() + HALF;
        if role == "unknown" || is_withdrawn {
            return Err(Problem::unauthenticated("the API key is not known"));
        }
        let name = role.split(' ').next().unwrap_or_default();
        let principal = Principal::new("ann", [name]).ok();
        let ends = now + Duration::from_secs(60);
        Ok(principal.map(|it| if role.ends_with(" brief") { it.until(ends) } else { it }))
    }
}

/// A library with a role for each right, which has the right's name.
async fn guarded() -> Client {
    guarded_over(library::open().await)
}

fn guarded_over(library: Gesta) -> Client {
    let roles = Right::ALL.map(|right| AccessRole::named(right.as_str()).has([right]));
    let access = Access::new(AccessRules::new(roles)).by(ByRole);
    let state = GestaState::new(library).access(access);
    let graphql = GraphQl::over(library::api()).introspection(Introspection::On);
    Client { router: graphql.router(state.clone()), state }
}

/// A field of a root type, with values for its required arguments.
struct RootField {
    name: String,
    arguments: String,
}

/// Returns all fields of a root type.
async fn fields(client: &Client, type_name: &str) -> Vec<RootField> {
    let of_type = "type { kind name ofType { kind name } }";
    let query = format!(
        "{{ __type(name: \"{type_name}\") {{ fields {{ name args {{ name {of_type} }} }} }} }}"
    );
    let answer = client.ok(&query).await;
    let mut fields = Vec::new();
    for field in answer["data"]["__type"]["fields"].as_array().unwrap() {
        let mut arguments = Vec::new();
        for argument in field["args"].as_array().unwrap() {
            if argument["type"]["kind"] == "NON_NULL" {
                let value = value_of(client, &argument["type"]["ofType"]).await;
                arguments.push(format!("{}: {value}", argument["name"].as_str().unwrap()));
            }
        }
        let joined = arguments.join(", ");
        let arguments = if joined.is_empty() { joined } else { format!("({joined})") };
        fields.push(RootField { name: field["name"].as_str().unwrap().to_owned(), arguments });
    }
    assert!(!fields.is_empty(), "{type_name}");
    fields
}

/// Returns a value of an input type, whose members are texts.
async fn value_of(client: &Client, of: &Value) -> String {
    if of["kind"] != "INPUT_OBJECT" {
        return if of["name"] == "Long" || of["name"] == "Int" { "1" } else { "\"x\"" }.to_owned();
    }
    let name = of["name"].as_str().unwrap();
    let query = format!("{{ __type(name: \"{name}\") {{ inputFields {{ name }} }} }}");
    let members = client.ok(&query).await["data"]["__type"]["inputFields"].clone();
    let members = members.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap());
    format!("{{ {} }}", members.map(|name| format!("{name}: \"x\"")).collect::<Vec<_>>().join(", "))
}

/// Asks for a field as this role, and returns the code of its error.
async fn code(
    client: &Client,
    kind: &str,
    field: &RootField,
    role: Option<&str>,
) -> Option<String> {
    let headers = role.map(|role| ("x-role", role));
    let selected = format!("{}{}", field.name, field.arguments);
    let mut answer = Value::Null;
    // A field of an object needs a selection, and one of a scalar has none.
    for selection in [" { __typename }", ""] {
        let query = format!("{kind} {{ {selected}{selection} }}");
        answer = match kind {
            "subscription" => first(client, &query, headers).await,
            _ => {
                let headers: Vec<_> = headers.into_iter().collect();
                client.ask(&query, json!({}), &headers).await.json
            }
        };
        if answer["errors"][0]["extensions"]["code"] != "query-invalid" {
            break;
        }
    }
    let code = &answer["errors"][0]["extensions"]["code"];
    assert_ne!(code, "query-invalid", "{selected}: {answer}");
    code.as_str().map(str::to_owned)
}

/// Returns the first response of a subscription, or null if it only waits.
async fn first(client: &Client, query: &str, header: Option<(&str, &str)>) -> Value {
    let mut headers = vec![("accept", "text/event-stream")];
    headers.extend(header);
    let mut body =
        client.raw(posted(query, json!({}), &headers)).await.into_body().into_data_stream();
    let mut text = String::new();
    while !text.contains("\n\n") {
        match timeout(PATIENCE, body.next()).await {
            Ok(Some(chunk)) => text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap()),
            Ok(None) => break,
            Err(_) => panic!("{query} has neither a response nor an end"),
        }
    }
    let data = text.lines().find_map(|line| line.strip_prefix("data: "));
    data.map_or(Value::Null, |data| serde_json::from_str(data).unwrap())
}

/// Returns the right of the operation that a field stands for.
fn right_of(name: &str) -> Right {
    let api = library::api();
    let is_meant = |id: &str| {
        let rest = ["find", "list", "show"].iter().find_map(|prefix| id.strip_prefix(prefix));
        rest.unwrap_or(id).eq_ignore_ascii_case(name)
    };
    let mut routes = api.routes().iter().filter(|route| is_meant(route.id()));
    routes.next().unwrap_or_else(|| panic!("{name} has no operation")).kind()
}

#[tokio::test]
async fn every_field_is_allowed_to_the_role_with_the_right_of_its_route_alone() {
    let client = guarded().await;
    client.state.gesta().execute(library::book("emma")).await.unwrap();
    let mut rights = BTreeSet::new();
    for (kind, type_name) in [("query", "Query"), ("mutation", "Mutation")] {
        for field in fields(&client, type_name).await {
            let right = right_of(&field.name);
            rights.insert(right);
            let nobody = code(&client, kind, &field, None).await;
            let is_refused = |code: &Option<String>| {
                ["unauthenticated", "forbidden"].contains(&code.as_deref().unwrap_or_default())
            };
            if right == Right::Open {
                assert!(!is_refused(&nobody), "{}", field.name);
                continue;
            }
            assert_eq!(nobody.as_deref(), Some("unauthenticated"), "{}", field.name);
            for role in Right::ALL {
                let code = code(&client, kind, &field, Some(role.as_str())).await;
                let place = format!("{} as {role}: {code:?}", field.name);
                match role == right {
                    true => assert!(!is_refused(&code), "{place}"),
                    false => assert_eq!(code.as_deref(), Some("forbidden"), "{place}"),
                }
            }
        }
    }
    assert!(rights.len() > 4, "{rights:?}");
}

#[tokio::test]
async fn every_subscription_is_refused_without_the_right_of_its_route() {
    let client = guarded().await;
    for field in fields(&client, "Subscription").await {
        let right = right_of(&field.name);
        let nobody = code(&client, "subscription", &field, None).await;
        assert_eq!(nobody.as_deref(), Some("unauthenticated"), "{}", field.name);
        for role in Right::ALL.into_iter().filter(|role| *role != right) {
            let code = code(&client, "subscription", &field, Some(role.as_str())).await;
            assert_eq!(code.as_deref(), Some("forbidden"), "{} as {role}", field.name);
        }
    }
}

#[tokio::test]
async fn the_actor_of_a_mutation_is_in_its_events() {
    let client = guarded().await;
    let add = "mutation { addBook(input: { book: \"emma\", title: \"Emma\" }) { __typename } }";
    let answer = client.ask(add, json!({}), &[("x-role", "command")]).await;
    assert!(answer.json.get("errors").is_none(), "{answer:?}");
    let read = gesta::store::ReadAll::forwards();
    let events = client.state.gesta().store().read_all(read).collect_events().await.unwrap();
    let actors: Vec<_> = events
        .iter()
        .map(|event| gesta::EventMetadata::from_json(&event.metadata).actor.unwrap())
        .collect();
    assert_eq!(actors, ["ann"]);
}

/// Asks for a field over a WebSocket that has sent these credentials, and returns the code of its
/// error.
async fn code_over_socket(
    server: &Server,
    kind: &str,
    field: &RootField,
    credentials: &Value,
) -> Option<String> {
    let mut socket = server.raw("").await;
    socket.say(json!({ "type": "connection_init", "payload": credentials })).await;
    assert_eq!(socket.hear().await, json!({ "type": "connection_ack" }));
    let mut code = None;
    for (id, selection) in [" { __typename }", ""].into_iter().enumerate() {
        let query = format!("{kind} {{ {}{}{selection} }}", field.name, field.arguments);
        socket.begin(&id.to_string(), &query).await;
        let message = socket.hear().await;
        let errors = message["payload"].get("errors").unwrap_or(&message["payload"]);
        code = errors[0]["extensions"]["code"].as_str().map(str::to_owned);
        if code.as_deref() != Some("query-invalid") {
            break;
        }
    }
    assert_ne!(code.as_deref(), Some("query-invalid"), "{}", field.name);
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn the_payload_of_connection_init_opens_each_field_to_the_right_of_its_route_alone() {
    let client = guarded().await;
    client.state.gesta().execute(library::book("emma")).await.unwrap();
    let server = Server::over(client.clone()).await;
    for (kind, type_name) in
        [("query", "Query"), ("mutation", "Mutation"), ("subscription", "Subscription")]
    {
        for field in fields(&client, type_name).await {
            let right = right_of(&field.name);
            if right == Right::Open {
                continue;
            }
            for nobody in [Value::Null, json!({}), json!({ "x-role": right.as_str() })] {
                let code = code_over_socket(&server, kind, &field, &nobody).await;
                assert_eq!(code.as_deref(), Some("unauthenticated"), "{} {nobody}", field.name);
            }
            let other = Right::ALL.into_iter().find(|role| *role != right).unwrap();
            let of = |role: Right| json!({ "X-Api-Key": role.as_str() });
            let refused = code_over_socket(&server, kind, &field, &of(other)).await;
            assert_eq!(refused.as_deref(), Some("forbidden"), "{} as {other}", field.name);
            // A subscription may have nothing to say.
            if kind != "subscription" {
                let code = code_over_socket(&server, kind, &field, &of(right)).await;
                let is_refused =
                    ["unauthenticated", "forbidden"].contains(&code.as_deref().unwrap_or_default());
                assert!(!is_refused, "{} as {right}: {code:?}", field.name);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_actor_of_a_socket_is_that_of_its_first_message() {
    let client = guarded().await;
    let server = Server::over(client.clone()).await;
    let mut socket = server.raw("").await;
    let payload = json!({ "x-api-key": "command" });
    socket.say(json!({ "type": "connection_init", "payload": payload })).await;
    assert_eq!(socket.hear().await, json!({ "type": "connection_ack" }));
    let add = "mutation { addBook(input: { book: \"emma\", title: \"Emma\" }) { __typename } }";
    assert_eq!(socket.ask("1", add).await["addBook"]["__typename"], "Created");
    let read = gesta::store::ReadAll::forwards();
    let events = client.state.gesta().store().read_all(read).collect_events().await.unwrap();
    let actor = gesta::EventMetadata::from_json(&events[0].metadata).actor;
    assert_eq!(actor.as_deref(), Some("ann"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_in_the_first_message_end_the_socket() {
    let server = Server::over(guarded().await).await;
    for (payload, code) in [
        (json!({ "x-api-key": "unknown" }), 4403),
        (json!({ "x-api-key": 7 }), 4400),
        (json!([]), 4400),
    ] {
        let mut socket = server.raw("").await;
        socket.say(json!({ "type": "connection_init", "payload": payload.clone() })).await;
        assert_eq!(socket.close_code().await, code, "{payload}");
    }
}

/// Lets time pass in steps until something has happened.
async fn over_time<T>(clock: &VirtualClock, step: Duration, happens: impl Future<Output = T>) -> T {
    let passing = async {
        loop {
            clock.advance(step);
            tokio::task::yield_now().await;
        }
    };
    let either = async {
        tokio::select! {
            outcome = happens => outcome,
            () = passing => unreachable!("time does not end"),
        }
    };
    timeout(PATIENCE, either).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_with_its_credentials_and_soon_after_they_are_withdrawn() {
    for key in ["query brief", "query withdrawn"] {
        let clock = VirtualClock::new();
        let client = guarded_over(library::open_at(clock.clone()).await);
        let server = Server::over(client).await;
        let mut socket = server.raw("").await;
        let payload = json!({ "x-api-key": key });
        socket.say(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(socket.hear().await, json!({ "type": "connection_ack" }));
        // The session answers, so its timer runs. Messages do not set it back.
        for _ in 0..3 {
            socket.say(json!({ "type": "ping" })).await;
            assert_eq!(socket.hear().await, json!({ "type": "pong" }));
            clock.advance(Duration::from_secs(9));
        }
        let code = over_time(&clock, Duration::from_secs(60), socket.close_code()).await;
        assert_eq!(code, 4401, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_ends_with_its_credentials_and_soon_after_they_are_withdrawn() {
    for (subscription, role) in [
        ("subscription { events { position } }", "feed"),
        ("subscription { books { items { title } } }", "query"),
    ] {
        for end in ["brief", "withdrawn"] {
            let clock = VirtualClock::new();
            let client = guarded_over(library::open_at(clock.clone()).await);
            let key = format!("{role} {end}");
            let headers = [("accept", "text/event-stream"), ("x-role", &*key)];
            let answer = client.raw(posted(subscription, json!({}), &headers)).await;
            let chunks = answer.into_body().into_data_stream();
            let text = chunks.map(|chunk| String::from_utf8(chunk.unwrap().to_vec()).unwrap());
            let text = over_time(&clock, Duration::from_secs(10), text.collect::<String>()).await;
            let ends = text.matches("\"code\":\"unauthenticated\"").count();
            assert_eq!(ends, 1, "{subscription} by {key}: {text}");
            assert!(text.trim_end().ends_with("event: complete"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_request_counts_as_its_calls_and_at_least_once() {
    let every = || RateLimit::every(Duration::from_secs(3_600)).burst(2);
    let limited = async || {
        let roles = Right::ALL.map(|right| AccessRole::named(right.as_str()).has([right]));
        let access = Access::new(AccessRules::new(roles)).by(ByRole).limit(every());
        let state = GestaState::new(library::open().await).access(access);
        let router = GraphQl::over(library::api()).router(state.clone());
        Client { router, state }
    };
    let role = [("x-role", "query")];
    let one_call = "{ books { next } }";
    for (query, allowed) in [("{ __typename }", 2), (one_call, 2), ("{ nonsense }", 2)] {
        let client = limited().await;
        for _ in 0..allowed {
            let answer = client.ask(query, json!({}), &role).await;
            assert!(!answer.json.to_string().contains("too-many-requests"), "{query}: {answer:?}");
        }
        assert_eq!(client.ask(query, json!({}), &role).await.status, 429, "{query}");
    }
    let client = limited().await;
    let two_calls = "{ a: books { next } b: books { next } }";
    client.ask(two_calls, json!({}), &role).await;
    assert_eq!(client.ask(one_call, json!({}), &role).await.status, 429, "both were counted");
}
