//! Two tenants of the shop: no answer of one has anything of the other.
//!
//! Owns: [`World`], two shops behind one address, of which the first one may be full or empty. What
//! the second tenant sees and does must not depend on that.

mod calls;
mod feeds;
#[cfg(feature = "graphql")]
mod graph;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, request::Builder},
};
use gesta::{EventMetadata, Gesta, is_internal, sqlite::Sqlite, store::ReadAll, testing::drain};
use gesta_http::{Access, ApiKeys, GestaState, NewApiKey};
use serde_json::Value;
use shop::{
    access::{Customers, rules},
    outbox::Outbox,
    processes::{self, ProcessDelays},
    reactors, read_side,
};
use tempfile::TempDir;
use tower::ServiceExt as _;

use self::calls::{Call, Words, calls};

/// The ids of the first tenant's resources begin with this, and nothing else does.
const ALPHA: &str = "alpha";
/// The ids of the second tenant's own resources.
const BETA: &str = "beta";

/// Words that only the first tenant's resources contain.
const OF_ALPHA: [&str; 5] = ["Alphonsine", "Zuckerbrot", "Obsidian lamp", "Xanadu", "zebra wages"];

/// Subdirectory of a tenant's mails.
const OUTBOX: &str = "outbox";

/// Operations whose outcome depends on how far a rebuild of the second tenant's own has come.
const OF_A_REBUILD: [&str; 5] =
    ["rebuildProjection", "compareRebuild", "confirmSwitch", "rollBackProjection", "dropOldRows"];

/// A tenant with its shop and the key of a caller who may do everything.
struct Tenant {
    shop: Gesta,
    key: NewApiKey,
    /// The outbox and the indexes.
    directory: TempDir,
}

/// The shops of both tenants, behind one address.
struct World {
    first: Tenant,
    second: Tenant,
    router: Router,
    state: GestaState,
}

/// The answer to a call, as text.
#[derive(Clone, Debug)]
struct Said {
    status: u16,
    body: String,
    position: Option<u64>,
}

async fn open(tenant: &str) -> Tenant {
    let directory = tempfile::tempdir().unwrap();
    let models = Sqlite::temporary().await.unwrap().into();
    let builder = Gesta::at("memory:").tenant(tenant.parse().unwrap());
    let delays = ProcessDelays { welcome: Duration::ZERO, payment: Duration::from_secs(3_600) };
    let builder = processes::run_all(read_side::project_all(builder, &models), delays);
    let outbox = Outbox::open(directory.path().join(OUTBOX)).unwrap();
    let builder = reactors::run_all(builder, outbox);
    #[cfg(feature = "cache")]
    let builder = builder.query_cache(std::sync::Arc::new(gesta::MemoryQueryCache::new()));
    #[cfg(feature = "search")]
    let builder = {
        let indexes = directory.path().join("indexes");
        let indexes = gesta::search::SearchStore::tantivy(&indexes).await.unwrap();
        read_side::project_search(builder, &indexes)
    };
    Tenant { shop: builder.open().await.unwrap(), key: NewApiKey::random(), directory }
}

impl World {
    async fn new() -> Self {
        let (first, second) = (open("acme").await, open("globex").await);
        // Both callers have the same name and roles.
        let line = |tenant: &Tenant| {
            let id = tenant.shop.tenant().unwrap();
            tenant.key.line_of_tenant(id, "cleo", &["clerk", "operator"])
        };
        let keys = ApiKeys::parse(&format!("{}\n{}", line(&first), line(&second))).unwrap();
        let mut tenants = shop::http::tenants(Access::new(rules()).ownership(Customers).by(keys));
        for tenant in [&first, &second] {
            let state = GestaState::new(tenant.shop.clone());
            tenants = tenants.with(state, interface).unwrap();
        }
        let (router, state) = tenants.build().unwrap();
        Self { first, second, router, state }
    }

    /// Returns a world in which the first tenant has data of every kind.
    async fn with_first_tenant() -> Self {
        let world = Self::new().await;
        let mut calls = calls(ALPHA, &Words::of_alpha());
        calls.retain(|call| call.operation != "deleteUser");
        world.walk(&world.first, &calls).await;
        world
    }

    async fn send(&self, tenant: &Tenant, request: Builder, body: Body) -> Said {
        let request = request.header("x-api-key", tenant.key.secret()).body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let position = response.headers().get("gesta-position");
        let position = position.map(|value| value.to_str().unwrap().parse().unwrap());
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Said { status, body: String::from_utf8_lossy(&body).into_owned(), position }
    }

    /// Makes calls one after another. Returns each answer by its operation, with the number of the
    /// call.
    async fn walk(&self, tenant: &Tenant, calls: &[Call]) -> BTreeMap<(usize, String), Said> {
        let (mut answers, mut position) = (BTreeMap::new(), None);
        for (number, call) in calls.iter().enumerate() {
            let mut request = Request::builder().method(call.method.as_str()).uri(&call.path);
            if let (Some(position), "GET") = (position, call.method.as_str()) {
                // Read models have everything that the caller has changed.
                request = request.header("gesta-position", u64::to_string(&position));
            }
            if call.takes_key {
                request = request.header("idempotency-key", format!("{number}-{}", call.prefix));
            }
            let body = match &call.body {
                Value::Null => Body::empty(),
                body => {
                    request = request.header("content-type", "application/json");
                    Body::from(body.to_string())
                }
            };
            let said = self.send(tenant, request, body).await;
            position = position.max(said.position);
            answers.insert((number, call.operation.clone()), said);
            // Processes and reactors have done what follows from it.
            drain(&tenant.shop).await;
        }
        answers
    }
}

fn interface(state: GestaState) -> Router {
    #[cfg(feature = "search")]
    let api = shop::http::api_with_search();
    #[cfg(not(feature = "search"))]
    let api = shop::http::api();
    #[cfg(feature = "graphql")]
    let api = shop::http::graphql(api);
    api.router(state)
}

/// Fails if a text has anything that only the first tenant has. The ids of its resources may be in
/// answers to a caller who has named them.
fn has_nothing_of_alpha(place: &str, text: &str, are_ids_named: bool) {
    for word in OF_ALPHA {
        assert!(!text.contains(word), "{place}: {text}");
    }
    assert!(are_ids_named || !text.contains(ALPHA), "{place}: {text}");
}

/// Returns all events of a shop, as texts.
async fn events_of(shop: &Gesta) -> Vec<String> {
    let events = shop.store().read_all(ReadAll::forwards()).collect_events().await.unwrap();
    events.iter().map(|event| format!("{} {event:?}", event.stream.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_called() {
    let called: BTreeSet<_> =
        calls(ALPHA, &Words::of_alpha()).into_iter().map(|call| call.operation).collect();
    let routed = shop::http::api();
    let routed: BTreeSet<_> = routed.routes().iter().map(|it| it.id().to_owned()).collect();
    let feed = BTreeSet::from(["listEvents".to_owned()]);
    assert_eq!(&called | &feed, routed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_tenant_finds_what_the_second_one_must_not() {
    let world = World::new().await;
    let answers = world.walk(&world.first, &calls(ALPHA, &Words::of_alpha())).await;
    let has_own = |said: &Said| OF_ALPHA.iter().any(|word| said.body.contains(word));
    let found: BTreeSet<_> = answers
        .iter()
        .filter(|(_, said)| said.status < 300 && (has_own(said) || said.body.contains(ALPHA)))
        .map(|((_, operation), _)| operation.as_str())
        .collect();
    let of_text = |((_, operation), said): &(&(usize, String), &Said)| {
        operation == "listProducts" && said.body.contains("Obsidian lamp")
    };
    assert_eq!(answers.iter().filter(of_text).count(), 2, "by its list, and by a search");
    for operation in [
        "listUsers",
        "findUser",
        "listProducts",
        "findProduct",
        "findAccount",
        "listTransactions",
        "listOrders",
        "findOrder",
        "listHistory",
        "findCustomerStatistics",
        "findCreditNote",
        "listInstances",
        "showInstance",
    ] {
        assert!(found.contains(operation), "{operation}: {answers:#?}");
    }
    let commands = ["createUser", "placeOrder", "payOrder", "shipOrder", "depositMoney"];
    for ((_, operation), said) in &answers {
        let is_done = (200..300).contains(&said.status);
        assert!(is_done || !commands.contains(&operation.as_str()), "{operation}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_to_the_second_tenant_depends_on_the_first_one() {
    let (full, empty) = (World::with_first_tenant().await, World::new().await);
    let before = events_of(&full.first.shop).await;
    // First with ids of its own, then with those of the first tenant, and with its e-mail address.
    for prefix in [BETA, ALPHA] {
        let calls = calls(prefix, &Words::of_beta(prefix));
        let seen = full.walk(&full.second, &calls).await;
        let expected = empty.walk(&empty.second, &calls).await;
        for (call, said) in &seen {
            let expected = &expected[call];
            if !OF_A_REBUILD.contains(&call.1.as_str()) {
                assert_eq!(
                    said.status, expected.status,
                    "{prefix} {call:?}: {said:?} {expected:?}"
                );
            }
            has_nothing_of_alpha(&format!("{call:?}"), &said.body, prefix == ALPHA);
        }
        let done = seen.values().filter(|said| (200..300).contains(&said.status)).count();
        assert!(done >= 40, "{done} of {} calls were answered", seen.len());
    }
    assert_eq!(events_of(&full.first.shop).await, before, "nothing reached the first tenant");
    for text in events_of(&full.second.shop).await {
        has_nothing_of_alpha("an event", &text, true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_processes_and_reactors_do_stays_with_the_tenant() {
    let world = World::with_first_tenant().await;
    let of_domain = |text: &&String| text.contains("user-welcomed");
    let welcomed = events_of(&world.first.shop).await;
    assert_eq!(welcomed.iter().filter(of_domain).count(), 1, "{welcomed:?}");
    let second = world.second.shop.store().read_all(ReadAll::forwards());
    let second = second.collect_events().await.unwrap();
    assert!(second.iter().all(|event| is_internal(&event.stream)), "{second:?}");
    let outbox = |tenant: &Tenant| tenant.directory.path().join(OUTBOX);
    let mails = |tenant: &Tenant| std::fs::read_dir(outbox(tenant)).unwrap().count();
    assert_eq!((mails(&world.first), mails(&world.second)), (1, 0));
    for (tenant, id) in [(&world.first, "acme"), (&world.second, "globex")] {
        let events = tenant.shop.store().read_all(ReadAll::forwards()).collect_events().await;
        for event in events.unwrap().iter().filter(|event| !event.stream.is_system()) {
            let marked = EventMetadata::from_json(&event.metadata).tenant;
            assert_eq!(marked, Some(id.parse().unwrap()), "{event:?}");
        }
    }
}
