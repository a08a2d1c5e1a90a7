//! Applications of several tenants behind one address.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Request},
};
use gesta::{Gesta, Registry, store::ReadAll};
use gesta_http::{
    Access, AccessRole, AccessRules, Api, ApiKeys, ApiRoute, BearerTokens, Commands, Created,
    GestaState, InvalidApiKeys, InvalidTenants, NewApiKey, Principal, Problem, RateLimit, Right,
    Tenants, TrustedProxy,
};
use gesta_tokens::{KeySet, TokenRule};
use serde_json::{Value, json};

use crate::{OpenDoor, access::signer::Signer, api, asked, send};

/// Two tenants with an actor of the same name, and an actor without a tenant.
struct TwoTenants {
    applications: [Gesta; 2],
    router: Router,
    state: GestaState,
    keys: [NewApiKey; 2],
    without_tenant: NewApiKey,
}

fn rules() -> AccessRules {
    AccessRules::new([AccessRole::named("keeper").has(Right::ALL)])
}

async fn of_tenant(tenant: &str) -> Gesta {
    Gesta::at("memory:").tenant(tenant.parse().unwrap()).open().await.unwrap()
}

impl TwoTenants {
    async fn new() -> Self {
        Self::with(rules(), api, |access| access).await
    }

    async fn with(
        rules: AccessRules,
        api: fn() -> Api,
        change: impl FnOnce(Access) -> Access,
    ) -> Self {
        let keys = [NewApiKey::random(), NewApiKey::random()];
        let without_tenant = NewApiKey::random();
        let mut lines = vec![without_tenant.line("ann", &["keeper"])];
        for (key, tenant) in keys.iter().zip(["acme", "globex"]) {
            lines.push(key.line_of_tenant(&tenant.parse().unwrap(), "ann", &["keeper"]));
        }
        let access = Access::new(rules).by(ApiKeys::parse(&lines.join("\n")).unwrap());
        let mut tenants = Tenants::new(change(access));
        let applications = [of_tenant("acme").await, of_tenant("globex").await];
        for gesta in &applications {
            let state = GestaState::new(gesta.clone());
            tenants = tenants.with(state, |state| api().router(state)).unwrap();
        }
        let (router, state) = tenants.build().unwrap();
        Self { applications, router, state, keys, without_tenant }
    }

    /// Sends a request with a key, or without any.
    async fn ask(
        &self,
        key: Option<&NewApiKey>,
        method: &str,
        path: &str,
    ) -> (u16, HeaderMap, Value) {
        let mut request = asked(method, path);
        if let Some(key) = key {
            request.headers_mut().insert("x-api-key", key.secret().parse().unwrap());
        }
        send(self.router.clone(), request).await
    }

    /// Returns the streams of domain events of an application.
    async fn streams(&self, application: usize) -> Vec<String> {
        let store = self.applications[application].store();
        let events = store.read_all(ReadAll::forwards()).collect_events().await.unwrap();
        let of_domain = events.iter().filter(|event| !gesta::is_internal(&event.stream));
        of_domain.map(|event| event.stream.as_str().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_command_reaches_the_application_of_its_callers_tenant() {
    let doors = TwoTenants::new().await;
    for (tenant, door) in [(0, 7), (1, 8)] {
        let key = Some(&doors.keys[tenant]);
        let (status, headers, _) = doors.ask(key, "POST", &format!("/doors/{door}/open")).await;
        assert_eq!(status, 200);
        assert!(headers.contains_key("x-correlation-id"));
    }
    assert_eq!(doors.streams(0).await, ["door-7"]);
    assert_eq!(doors.streams(1).await, ["door-8"]);
}

#[tokio::test]
async fn one_idempotency_key_of_one_name_in_two_tenants_is_two_commands() {
    let doors = TwoTenants::new().await;
    let mut positions = Vec::new();
    for key in [&doors.keys[0], &doors.keys[1], &doors.keys[0]] {
        let mut request = asked("POST", "/doors/7/open");
        request.headers_mut().insert("x-api-key", key.secret().parse().unwrap());
        request.headers_mut().insert("idempotency-key", "k1".parse().unwrap());
        let (status, headers, _) = send(doors.router.clone(), request).await;
        assert_eq!(status, 200);
        positions.push(headers["gesta-recorded"].to_str().unwrap().to_owned());
    }
    assert_eq!(positions, ["now", "now", "earlier"]);
    assert_eq!(doors.streams(1).await, ["door-7"]);
}

#[tokio::test]
async fn credentials_without_a_tenant_reach_nothing() {
    let doors = TwoTenants::new().await;
    for path in ["/doors/7/open", "/v1/projections", "/health/live", "/openapi.json", "/none"] {
        let method = if path.starts_with("/doors") { "POST" } else { "GET" };
        let (status, headers, problem) = doors.ask(Some(&doors.without_tenant), method, path).await;
        assert_eq!((status, &problem["code"]), (403, &"forbidden".into()), "{path}");
        assert!(headers.contains_key("x-correlation-id"), "{path}");
        assert_eq!(headers["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn a_tenant_that_does_not_exist_is_refused_like_none() {
    let proxy = TrustedProxy::new("X-User", ["10.1.0.0/16".parse().unwrap()]).unwrap();
    let proxy = proxy.roles_in("X-Roles").unwrap().tenant_in("X-Tenant").unwrap();
    let doors = TwoTenants::with(rules(), api, |access| access.by(proxy)).await;
    let ask = async |tenant: Option<&str>| {
        let mut request = asked("POST", "/doors/7/open");
        let headers = request.headers_mut();
        headers.insert("x-user", "ann".parse().unwrap());
        headers.insert("x-roles", "keeper".parse().unwrap());
        if let Some(tenant) = tenant {
            headers.insert("x-tenant", tenant.parse().unwrap());
        }
        let peer: SocketAddr = "10.1.2.3:4000".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        let (status, _, problem) = send(doors.router.clone(), request).await;
        (status, problem["detail"].clone())
    };
    assert_eq!(ask(Some("globex")).await.0, 200);
    assert_eq!(doors.streams(1).await, ["door-7"]);
    let none = ask(None).await;
    assert_eq!(none.0, 403);
    assert_eq!(ask(Some("initech")).await, none, "a caller does not learn which tenants there are");
    assert_eq!(ask(Some("Acme!")).await.0, 401);
    // Without the proxy's address the header of a client counts for nothing.
    let mut request = asked("POST", "/doors/7/open");
    request.headers_mut().insert("x-api-key", doors.keys[0].secret().parse().unwrap());
    request.headers_mut().insert("x-tenant", "globex".parse().unwrap());
    assert_eq!(send(doors.router.clone(), request).await.0, 200);
    assert_eq!(doors.streams(1).await, ["door-7"]);
    assert_eq!(doors.streams(0).await, ["door-7"]);
}

#[tokio::test]
async fn the_claim_of_a_token_is_its_tenant() {
    let signer = Signer::new();
    let rule = TokenRule::new("https://id.example", "doors").tenant_in("org.name");
    let tokens = BearerTokens::new(rule, KeySet::of([signer.key()]));
    let doors = TwoTenants::with(rules(), api, |access| access.by(tokens)).await;
    let ask = async |claims: Value| {
        let mut request = asked("POST", "/doors/7/open");
        let mut all = json!({
            "sub": "ann", "iss": "https://id.example", "aud": "doors", "exp": 9_999_999_999_u64,
            "roles": ["keeper"],
        });
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let token = format!("Bearer {}", signer.token(&all));
        request.headers_mut().insert("authorization", token.parse().unwrap());
        send(doors.router.clone(), request).await.0
    };
    assert_eq!(ask(json!({ "org": { "name": "globex" } })).await, 200);
    assert_eq!(doors.streams(1).await, ["door-7"]);
    for (claims, status) in [
        (json!({}), 403),
        (json!({ "org": "globex" }), 403),
        (json!({ "tenant": "globex" }), 403),
        (json!({ "org": { "name": ["globex"] } }), 403),
        (json!({ "org": { "name": "initech" } }), 403),
        (json!({ "org": { "name": "../globex" } }), 401),
    ] {
        assert_eq!(ask(claims.clone()).await, status, "{claims}");
    }
    assert_eq!((doors.streams(0).await.len(), doors.streams(1).await.len()), (0, 1));
}

#[tokio::test]
async fn without_credentials_only_documents_and_the_health_of_all_are_answered() {
    let doors = TwoTenants::new().await;
    for open in ["/health/live", "/health/ready", "/docs", "/openapi.json"] {
        assert_eq!(doors.ask(None, "GET", open).await.0, 200, "{open}");
    }
    let (_, _, ready) = doors.ask(None, "GET", "/health/ready").await;
    assert_eq!(ready, json!({ "status": "ready", "causes": [] }));
    for (method, path) in [
        ("GET", "/v1/events"),
        ("GET", "/v1/events/ws"),
        ("GET", "/metrics"),
        ("POST", "/doors/7/open"),
        ("POST", "/openapi.json"),
        ("GET", "/docs/a/b"),
        ("GET", "/docs/"),
        ("GET", "/none"),
    ] {
        let (status, headers, problem) = doors.ask(None, method, path).await;
        assert_eq!((status, &problem["code"]), (401, &"unauthenticated".into()), "{path}");
        assert_eq!(headers["www-authenticate"], "Bearer");
        assert!(headers.contains_key("x-correlation-id"), "{path}");
    }
    doors.applications[1].clone().close().await;
    let (status, _, problem) = doors.ask(None, "GET", "/health/ready").await;
    assert_eq!((status, &problem["code"]), (503, &"tenants-unready".into()));
    assert_eq!(problem["detail"], "1 of 2 applications cannot serve requests");
    assert!(!problem.to_string().contains("globex"), "{problem}");
}

async fn build(commands: Commands) -> Result<Created, Problem> {
    commands.create(OpenDoor { door: 1 }, 1, "/doors").await
}

fn api_of_one() -> Api {
    let build = ApiRoute::post("/doors", "Builds a door").handle(build);
    Api::new("Doors", "1.0").with("doors", [build])
}

#[tokio::test]
async fn an_operation_that_is_open_to_all_needs_a_tenant_nevertheless() {
    let open = || rules().open(["build"]);
    let doors = TwoTenants::with(open(), api_of_one, |access| access).await;
    assert_eq!(doors.ask(None, "POST", "/doors").await.0, 401);
    // Also in the application itself, were a request to reach it.
    let state = GestaState::new(of_tenant("acme").await).access(Access::new(open()));
    let (status, _, problem) = send(api_of_one().router(state), asked("POST", "/doors")).await;
    assert_eq!((status, &problem["code"]), (401, &"unauthenticated".into()));
    let state = GestaState::new(Gesta::at("memory:").open().await.unwrap());
    let state = state.access(Access::new(open()));
    assert_eq!(send(api_of_one().router(state), asked("POST", "/doors")).await.0, 201);
}

#[tokio::test]
async fn an_application_refuses_the_credentials_of_other_tenants_by_itself() {
    let (acme, none) = (NewApiKey::random(), NewApiKey::random());
    let line = acme.line_of_tenant(&"acme".parse().unwrap(), "ann", &["keeper"]);
    let lines = format!("{line}\n{}", none.line("ann", &["keeper"]));
    let access = || Access::new(rules()).by(ApiKeys::parse(&lines).unwrap());
    let globex = GestaState::new(of_tenant("globex").await).access(access());
    let without = GestaState::new(Gesta::at("memory:").open().await.unwrap()).access(access());
    for (state, key, status) in [
        (&globex, &acme, 403),
        (&globex, &none, 403),
        (&without, &acme, 403),
        (&without, &none, 200),
    ] {
        for (method, path) in [("POST", "/doors/7/open"), ("GET", "/health/live")] {
            let mut request = asked(method, path);
            request.headers_mut().insert("x-api-key", key.secret().parse().unwrap());
            let (answered, ..) = send(api().router(state.clone()), request).await;
            assert_eq!(answered, status, "{path}");
        }
    }
}

#[tokio::test]
async fn requests_of_one_tenant_leave_the_rate_of_another_alone() {
    let slow = RateLimit::every(Duration::from_secs(3_600)).burst(2);
    let doors = TwoTenants::with(rules(), api, |access| access.limit(slow)).await;
    let mut statuses = Vec::new();
    for tenant in [0, 0, 0, 1] {
        statuses.push(doors.ask(Some(&doors.keys[tenant]), "POST", "/doors/7/open").await.0);
    }
    assert_eq!(statuses, [200, 200, 429, 200]);
}

#[tokio::test]
async fn a_browser_gets_the_files_of_the_console_and_is_asked_for_credentials_by_them() {
    let api = || api().console("/v1", Registry::new());
    let doors = TwoTenants::with(rules(), api, |access| access).await;
    for (path, status) in [
        ("/console/", 200),
        ("/console/app.js", 200),
        ("/console/program", 200),
        ("/consoleapp.js", 401),
        ("/console/none.js", 401),
        ("/", 401),
    ] {
        assert_eq!(doors.ask(None, "GET", path).await.0, status, "{path}");
    }
    // The page learns how to ask, and that it may use nothing.
    let (_, _, program) = doors.ask(None, "GET", "/console/program").await;
    let said = (&program["kind"], &program["secure"], &program["operations"], &program["login"]);
    assert_eq!(said, (&json!("application"), &json!(true), &json!([]), &Value::Null));
    let mut request = asked("GET", "/");
    request.headers_mut().insert("accept", "text/html".parse().unwrap());
    let (status, headers, _) = send(doors.router.clone(), request).await;
    assert_eq!((status, &headers["location"]), (307, &"console/".parse().unwrap()));
}

#[tokio::test]
async fn requests_that_reach_no_tenant_count_for_their_address() {
    let slow = RateLimit::every(Duration::from_secs(3_600)).burst(2);
    let doors = TwoTenants::with(rules(), api, |access| access.limit(slow)).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(doors.ask(None, "POST", "/doors/7/open").await.0);
    }
    assert_eq!(statuses, [401, 401, 429]);
    assert_eq!(doors.ask(Some(&doors.keys[0]), "POST", "/doors/7/open").await.0, 200);
    assert_eq!(doors.ask(None, "GET", "/health/live").await.0, 200, "probes are not counted");
}

#[tokio::test]
async fn the_close_of_the_server_ends_the_feeds_of_all_tenants() {
    let doors = TwoTenants::new().await;
    let mut feeds = Vec::new();
    for key in &doors.keys {
        let request = Request::get("/v1/events").header("x-api-key", key.secret());
        let request = request.body(Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(doors.router.clone(), request).await.unwrap();
        assert_eq!(response.status(), 200);
        feeds.push(response.into_body());
    }
    doors.state.close();
    for feed in feeds {
        axum::body::to_bytes(feed, usize::MAX).await.unwrap();
    }
}

#[tokio::test]
async fn applications_that_cannot_be_those_of_tenants_are_refused() {
    let tenants = || Tenants::new(Access::new(rules()));
    assert!(matches!(tenants().build(), Err(InvalidTenants::None)));
    let router = |state: GestaState| api().router(state);
    let without = GestaState::new(Gesta::at("memory:").open().await.unwrap());
    let refused = tenants().with(without, router).unwrap_err();
    assert_eq!(refused, InvalidTenants::WithoutTenant);
    let one = GestaState::new(of_tenant("acme").await);
    let other = GestaState::new(of_tenant("acme").await);
    let refused = tenants().with(one, router).unwrap().with(other, router).unwrap_err();
    assert_eq!(refused, InvalidTenants::Repeated { tenant: "acme".parse().unwrap() });
}

#[test]
fn a_line_of_a_key_with_an_odd_tenant_is_refused() {
    let line = NewApiKey::random().line("ann", &["keeper"]);
    let refused = ApiKeys::parse(&format!("{line} Acme")).unwrap_err();
    assert!(matches!(refused, InvalidApiKeys::Tenant { line: 1, .. }), "{refused}");
    assert!(ApiKeys::parse(&format!("{line} acme more")).is_err());
    let acme: Principal = Principal::new("ann", ["keeper"]).unwrap();
    let acme = acme.of_tenant("acme".parse().unwrap());
    assert_eq!(acme.tenant().map(|tenant| tenant.as_str()), Some("acme"));
}
