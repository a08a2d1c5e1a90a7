//! WebSockets of tenants whose credentials come in `connection_init`.

use gesta::TenantId;
use gesta_graphql::GraphQl;
use gesta_http::{Access, AccessRole, AccessRules, ApiKeys, GestaState, NewApiKey, Right, Tenants};
use serde_json::{Value, json};

use crate::{
    Client, library,
    sockets::{Server, Socket},
};

const TENANTS: [&str; 2] = ["acme", "globex"];

/// The libraries of both tenants, with a key of each, and one of a tenant that has none.
async fn served() -> (Server, [NewApiKey; 3]) {
    let keys = [NewApiKey::random(), NewApiKey::random(), NewApiKey::random()];
    let tenants = TENANTS.into_iter().chain(["initech"]);
    let lines = keys.iter().zip(tenants).map(|(key, tenant)| {
        key.line_of_tenant(&tenant.parse::<TenantId>().unwrap(), "ann", &["clerk"])
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    let clerk = AccessRole::named("clerk").has(Right::ALL);
    let access = Access::new(AccessRules::new([clerk])).by(ApiKeys::parse(&lines).unwrap());
    let mut all = Tenants::new(access).late_sockets(["/graphql/ws"]);
    for tenant in TENANTS {
        let library = library::open_for(tenant.parse().unwrap()).await;
        let graphql = GraphQl::over(library::api());
        all = all.with(GestaState::new(library), |state| graphql.router(state)).unwrap();
    }
    let (router, state) = all.build().unwrap();
    (Server::over(Client { router, state }).await, keys)
}

async fn open(server: &Server, payload: Value) -> Socket {
    let mut socket = server.raw("").await;
    socket.say(json!({ "type": "connection_init", "payload": payload })).await;
    socket
}

async fn open_as(server: &Server, key: &NewApiKey) -> Socket {
    let mut socket =
        open(server, json!({ "authorization": format!("Bearer {}", key.secret()) })).await;
    assert_eq!(socket.hear().await, json!({ "type": "connection_ack" }));
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_of_the_tenant_whose_credentials_its_first_message_has() {
    let (server, [acme, globex, _]) = served().await;
    let add = "mutation { addBook(input: { book: \"emma\", title: \"Emma\" }) { __typename } }";
    let list = "{ books { items { title } } }";
    let mut of_globex = open_as(&server, &globex).await;
    assert_eq!(of_globex.ask("1", add).await["addBook"]["__typename"], "Created");
    let mut of_acme = open_as(&server, &acme).await;
    assert_eq!(of_acme.ask("1", list).await["books"]["items"], json!([]));
    of_globex.begin("2", "subscription { events(category: [\"book\"]) { stream } }").await;
    assert_eq!(of_globex.response("2").await["data"]["events"]["stream"], "book-emma");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_without_credentials_of_a_tenant_here_gets_no_answer() {
    let (server, [_, globex, elsewhere]) = served().await;
    for payload in [
        json!({}),
        json!({ "x-api-key": "gesta_unknown" }),
        json!({ "x-api-key": elsewhere.secret() }),
    ] {
        assert_eq!(open(&server, payload.clone()).await.close_code().await, 4403, "{payload}");
    }
    // Nothing is executed before.
    let mut early = server.raw("").await;
    early.begin("1", "{ books { items { title } } }").await;
    assert_eq!(early.close_code().await, 4401);
    // A key in the handshake needs no other.
    let mut socket = server.raw(&format!("x-api-key: {}\r\n", globex.secret())).await;
    socket.say(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.hear().await, json!({ "type": "connection_ack" }));
    assert_eq!(socket.ask("1", "{ books { items { title } } }").await["books"]["items"], json!([]));
}
