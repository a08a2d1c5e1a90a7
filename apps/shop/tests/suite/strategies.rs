//! The five strategies, each as a configuration of the shop: what each one is for.
//!
//! The commands are those of `docs/guide/strategies.md`.

pub(crate) mod program;
#[cfg(feature = "redis")]
mod recorded_reads;

use std::{fs, path::Path};

use gesta::{
    postgres::PostgresReadModels,
    store::{ReadModelStore as _, Stage},
};
use gesta_services::OwnServer;
use serde_json::json;
use tempfile::TempDir;

use self::program::{Program, until};
use crate::http::{mug, order};

/// Waits until a replica has replayed everything that its primary has committed.
async fn replayed(url: &str) {
    let read_models = PostgresReadModels::connect(url).await.unwrap();
    let listed = read_models.list_read_models("products").await.unwrap();
    let live = listed.into_iter().find(|one| one.stage == Stage::Live).unwrap();
    // A reader begins on the replica once that has everything, and on the primary otherwise.
    loop {
        let mut reader = read_models.reader(&live.id).await.unwrap();
        let row = reader.find("select pg_is_in_recovery()", &[], |row| row.try_get(0)).await;
        if row.unwrap() == Some(true) {
            break;
        }
    }
    read_models.close().await;
}

/// HOST:PORT of the URL of a server.
fn authority(url: &str) -> &str {
    let (_, rest) = url.rsplit_once('@').unwrap();
    rest.split('/').next().unwrap()
}

/// Strategy 1: a database with a replica.
#[tokio::test(flavor = "multi_thread")]
async fn the_replica_answers_with_the_primary_stopped() {
    let Some(mut replica) = OwnServer::start_or_skip("postgres-replica") else { return };
    let directory = TempDir::new().unwrap();
    let primary = replica.url_of_needed("postgres-15").unwrap();
    let url = format!("{primary}?schema=shop&replica={}", authority(&replica.url()));
    let shop = Program::start(directory.path(), &["serve", "--store", &url]);
    shop.command("/v1/products", &mug());
    let placed = shop.command("/v1/orders", &order("o1"));
    let before = shop.get_after("/v1/orders", &placed);
    assert_eq!(before.json()["items"][0]["orderId"], "o1", "{before:?}");
    replayed(&url).await;

    replica.crash_needed("postgres-15").unwrap();
    for path in ["/v1/orders", "/v1/products", "/v1/orders?text=mug"] {
        let answer = shop.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.json()["items"].as_array().unwrap().len(), 1, "{path}: {answer:?}");
    }
    assert_eq!(shop.get("/v1/orders").json(), before.json());
    let refused = shop.post("/v1/orders", &order("o2"));
    assert_eq!(refused.status, 503, "only the primary takes commands: {refused:?}");

    replica.start().unwrap();
    let placed = until("commands go on", || {
        Some(shop.post("/v1/orders", &order("o2"))).filter(|reply| reply.status == 201)
    });
    let after = shop.get_after("/v1/orders", &placed);
    assert_eq!(after.json()["items"].as_array().unwrap().len(), 2, "{after:?}");
}

/// Strategy 2: a stream of events, a handler, and a key-value store.
#[cfg(feature = "dynamodb")]
#[test]
fn the_key_value_store_answers_with_the_event_store_stopped() {
    let Some(mut events) = OwnServer::start_or_skip("postgres") else { return };
    let Some(rows) = OwnServer::start_or_skip("dynamodb") else { return };
    let directory = TempDir::new().unwrap();
    let store = format!("{}?schema=shop", events.url());
    let rows = format!("dynamodb://local/shop?endpoint={}&emulator=yes", rows.url());
    let serve = ["serve", "--store", &store, "--read-models", &rows];
    let shop = Program::start(directory.path(), &serve);
    shop.command("/v1/products", &mug());
    let placed = shop.command("/v1/orders", &order("o1"));
    let lists = ["/v1/orders", "/v1/products", "/v1/customers/17850/statistics"];
    let before = lists.map(|list| shop.get_after(list, &placed).json());
    assert_eq!(before[0]["items"][0]["orderId"], "o1");

    events.crash().unwrap();
    for (list, before) in lists.iter().zip(&before) {
        let answer = shop.get(list);
        assert_eq!((answer.status, answer.json()), (200, before.clone()), "{list}");
    }
    assert_eq!(shop.post("/v1/orders", &order("o2")).status, 503);

    events.start().unwrap();
    let placed = until("the handler goes on", || {
        Some(shop.post("/v1/orders", &order("o2"))).filter(|reply| reply.status == 201)
    });
    let after = shop.get_after("/v1/orders", &placed).json();
    assert_eq!(after["items"].as_array().unwrap().len(), 2, "{after}");
}

/// Strategy 3: an event store.
#[test]
fn the_events_alone_rebuild_every_read_model_and_every_earlier_state() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join("shop-data").join(name);
    let shop = Program::start(directory.path(), &["serve"]);
    shop.command("/v1/products", &mug());
    shop.command("/v1/orders", &order("o1"));
    let cancelled = shop.command("/v1/orders/o1/cancel", &json!({ "reason": "too late" }));
    let lists = ["/v1/orders", "/v1/products", "/v1/orders?text=mug", "/v1/orders/o1/history"];
    let before = lists.map(|list| shop.get_after(list, &cancelled).json());
    assert_eq!(before[0]["items"][0]["status"], "cancelled");
    drop(shop);

    let files = |directory: &Path| fs::read_dir(directory).unwrap().count();
    assert!(files(&path("read-models")) > 0, "there is something to lose");
    fs::remove_dir_all(path("read-models")).unwrap();
    let shop = Program::start(directory.path(), &["serve"]);
    let after = lists.map(|list| shop.get_after(list, &cancelled).json());
    assert_eq!(after, before);
    let earlier = shop.get("/v1/orders/o1?at=revision:0").json();
    assert_eq!(earlier["status"], "placed", "the state of any moment: {earlier}");
}

/// Strategy 4: an event store, and stored states in a key-value store.
#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn a_load_reads_the_few_events_after_a_stored_state_and_all_once_that_is_lost() {
    use std::sync::Arc;

    use gesta::{
        Gesta,
        redis::Redis,
        store::{SnapshotStore as _, StreamName},
    };
    use shop::{
        accounts::{Account, Currency, DepositMoney, OpenAccount},
        id::AccountId,
        snapshots,
    };

    use crate::opened::{money, noon};

    let Some(mut server) = OwnServer::start_or_skip("redis") else { return };
    let states = Redis::connect(&server.url()).await.unwrap().snapshots();
    let store = Arc::new(self::recorded_reads::RecordedReads::default());
    let shop = snapshots::keep_all(Gesta::on(store.clone()), &states).open().await.unwrap();
    let account_id = AccountId::new("ann").unwrap();
    let currency = Currency::new("GBP").unwrap();
    let open = OpenAccount { account_id: account_id.clone(), currency, occurred_at: noon(1) };
    shop.execute(open).await.unwrap();
    for _ in 0..100 {
        let deposit = DepositMoney {
            account_id: account_id.clone(),
            amount: money("1"),
            reference: "wages".to_owned(),
            source: None,
            occurred_at: noon(1),
        };
        shop.execute(deposit).await.unwrap();
    }
    let load = async || {
        let loaded = shop.load::<Account>(&account_id).await.unwrap().unwrap();
        (loaded.revision.number(), format!("{:?}", loaded.state))
    };
    let stream = StreamName::new("account-ann").unwrap();
    let near_the_end = async || loop {
        load().await;
        let state = states.load_snapshot(&stream).await.unwrap();
        if let Some(state) = state.filter(|state| state.revision.number() > 90) {
            break state;
        }
    };
    let wait = std::time::Duration::from_secs(60);
    tokio::time::timeout(wait, near_the_end()).await.expect("the state is stored");
    let (revision, state) = load().await;
    assert_eq!(revision, 100);
    assert!(store.last_begin() > 90, "begins at event {} of 100", store.last_begin());

    states.delete_snapshot(&stream).await.unwrap();
    assert_eq!(load().await, (revision, state.clone()), "the events are all that counts");
    assert_eq!(store.last_begin(), 0);
    server.crash().unwrap();
    assert_eq!(load().await, (revision, state), "the server is away");
    shop.close().await;
}

/// The shop with every part, on the servers that all tests share and with names of its own.
#[cfg(feature = "everything")]
mod everything {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::http::{account, deposit};

    /// The arguments of `shop demo --everything`.
    struct Places {
        relay: String,
        arguments: Vec<String>,
    }

    impl Places {
        /// `None` if a server is missing, which was said.
        fn new(redis: &str) -> Option<Self> {
            let name = format!("t{}", Uuid::new_v4().simple());
            let [postgres, search, kafka] =
                ["postgres", "opensearch", "kafka"].map(gesta_services::url_or_skip);
            let relay = format!("{}/{name}", kafka?);
            let places = [
                ("--store", format!("{}?schema={}", postgres?, &name[..20])),
                ("--cache", format!("{redis}?prefix={name}")),
                ("--snapshots", format!("{redis}?prefix={name}")),
                ("--search", format!("{}/{name}", search?)),
                ("--relay", format!("{relay}?delivery=exactly-once")),
            ];
            let places = places.into_iter().flat_map(|(name, url)| [name.to_owned(), url]);
            let arguments = ["demo", "--everything"].map(str::to_owned).into_iter().chain(places);
            Some(Self { relay, arguments: arguments.collect() })
        }

        fn start(&self, directory: &TempDir) -> Program {
            let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
            Program::start(directory.path(), &arguments)
        }
    }

    /// Returns a part of the page.
    fn part(shop: &Program, name: &str) -> Value {
        let picture = shop.get("/everything/state.json").json();
        let parts = picture["parts"].as_array().unwrap().iter();
        let found = parts.clone().find(|part| part["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not in {picture}")).clone()
    }

    fn figure(part: &Value, name: &str) -> u64 {
        let figures = part["figures"].as_array().unwrap();
        let found = figures.iter().find(|figure| figure["name"] == name);
        let value = found.and_then(|figure| figure["value"].as_str());
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {part}"))
    }

    /// A product that the demo's samples do not have.
    fn white_mug() -> Value {
        json!({ "productId": "white-mug", "name": "White mug", "price": "2.5" })
    }

    fn of_white_mugs(order: &str) -> Value {
        let items = json!([{ "productId": "white-mug", "quantity": 4 }]);
        json!({ "orderId": order, "customerId": "17850", "orderItems": items })
    }

    /// Strategy 5: everything.
    #[test]
    fn an_order_reaches_every_part_and_the_page_shows_each() {
        let Some(redis) = gesta_services::url_or_skip("redis") else { return };
        let Some(places) = Places::new(&redis) else { return };
        let directory = TempDir::new().unwrap();
        let shop = places.start(&directory);
        shop.command("/v1/products", &white_mug());
        shop.command("/v1/accounts", &account("a1", "GBP"));
        shop.command("/v1/accounts/a1/deposit", &deposit("12.50"));
        let placed = shop.command("/v1/orders", &of_white_mugs("o1"));

        let listed = shop.get_after("/v1/orders", &placed).json();
        assert_eq!(listed["items"][0]["orderId"], "o1", "in the read model");
        // Only the search engine forgives a typo.
        let found = shop.get_after("/v1/orders?text=o1+whte", &placed).json();
        assert_eq!(found["items"][0]["orderId"], "o1", "in the index: {found}");
        let at = placed.header("gesta-position").parse::<u64>().unwrap();
        let consumed = until("Kafka has the balance", || {
            let part = part(&shop, "Balances from Kafka");
            let position = part["followers"][0]["position"].as_u64().unwrap_or(0);
            (position >= at).then_some(part)
        });
        // Those of the demo's samples, and this one.
        assert_eq!((&consumed["state"], figure(&consumed, "accounts")), (&json!("up"), 3));
        let source = ["balances", "--source", &places.relay];
        let balances = program::shop(directory.path(), &source).output().unwrap();
        let balances = String::from_utf8(balances.stdout).unwrap();
        let balances = balances.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let own = balances.filter(|account| account["accountId"] == "a1").collect::<Vec<_>>();
        assert_eq!(own[0]["balance"], "12.5", "a program of its own: {own:?}");

        let picture = shop.get("/everything/state.json").json();
        for part in picture["parts"].as_array().unwrap() {
            assert_eq!(part["state"], "up", "{part}");
        }
        assert!(figure(&part(&shop, "Event store"), "events") >= at);
        assert!(figure(&part(&shop, "Full-text search"), "orders found") > 1);
        until("metrics have the relay at the store's head", || {
            let metrics = shop.get("/metrics");
            let lag = "gesta_lag_events{component=\"part\",name=\"relay\"} 0";
            metrics.text().lines().any(|line| line == lag).then_some(())
        });
        let html = shop.get("/everything");
        assert!(html.text().contains("All 9 parts are up."), "{}", html.text());

        let query = json!({ "query": "{ order(orderId: \"o1\") { status } }" });
        let answered = shop.command("/graphql", &query).json();
        assert_eq!(answered["data"]["order"]["status"], "placed", "{answered}");
    }

    #[test]
    fn a_part_that_is_down_is_shown_as_down_and_the_others_work() {
        let Some(mut redis) = OwnServer::start_or_skip("redis") else { return };
        let Some(places) = Places::new(&redis.url()) else { return };
        let directory = TempDir::new().unwrap();
        let shop = places.start(&directory);
        redis.crash().unwrap();
        let cache = until("the cache is down", || {
            Some(part(&shop, "Cache and stored states")).filter(|part| part["state"] == "down")
        });
        assert!(cache["error"].as_str().unwrap().contains("127.0.0.1"), "{cache}");
        assert_eq!(part(&shop, "Event store")["state"], "up");
        shop.command("/v1/products", &white_mug());
        let placed = shop.command("/v1/orders", &of_white_mugs("o1"));
        assert_eq!(shop.get_after("/v1/orders", &placed).status, 200);
        redis.start().unwrap();
        until("the cache is up again", || {
            Some(part(&shop, "Cache and stored states")).filter(|part| part["state"] == "up")
        });
    }
}
