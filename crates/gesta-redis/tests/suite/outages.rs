//! A server that is down, slow, full or refuses the password: slower, and never wrong.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use gesta::{
    Component, Gesta, Position,
    store::{EventStore, MemoryReadModels, memory::MemoryStore},
};
use gesta_redis::{Redis, RedisOptions};
use gesta_services::OwnServer;
use gesta_store::{
    BeginLoad, CacheKey, CacheScope, CachedAnswer, Incarnation, LoadTurn, QueryCache, ReadModelId,
};
use uuid::Uuid;

use crate::{
    log,
    server::{connect, until},
    shop::{find, sell, shop},
};

const LIMIT: Duration = Duration::from_millis(100);
/// Longest time that any call may take on a busy machine, far below waiting for the server.
const BOUND: Duration = Duration::from_secs(10);

/// An application on a server of its own.
struct Shop {
    gesta: Gesta,
    redis: Redis,
    sold: u64,
    last: Position,
}

impl Shop {
    async fn at(url: &str) -> Self {
        log::keep();
        let options: RedisOptions = url.parse().unwrap();
        let redis = Redis::connect_with(options.answer_within(LIMIT)).await;
        let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let builder = shop(&store, &MemoryReadModels::new(), redis.query_cache());
        let gesta = builder.open().await.unwrap();
        Self { gesta, redis, sold: 0, last: Position::START }
    }

    /// Sells, and asks for the sum in both ways.
    async fn work(&mut self) {
        let began = now();
        for _ in 0..5 {
            self.last = sell(&self.gesta, "ann", 1).await.position;
            self.sold += 1;
            assert_eq!(find(&self.gesta, "ann", self.last).await, self.sold);
            assert_eq!(find(&self.gesta, "ann", Position::START).await, self.sold);
        }
        assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    }

    fn hits(&self) -> u64 {
        self.gesta.query_cache_counts().hits
    }

    /// Waits until answers come from the cache again, without a restart.
    async fn until_cached(&self) {
        let before = self.hits();
        until(async || {
            assert_eq!(find(&self.gesta, "ann", self.last).await, self.sold);
            (self.hits() > before).then_some(())
        })
        .await;
        assert_eq!(self.redis.trouble(), None);
        assert_eq!(self.gesta.health().await.worst(), None);
    }

    async fn check_reported(&self, cause: &str) {
        let trouble = self.redis.trouble().expect("it is known");
        assert!(trouble.contains(cause), "{trouble}");
        let causes = self.gesta.health().await.causes;
        assert_eq!(causes[0].component, Component::QueryCache);
        assert_eq!(causes[0].detail, trouble);
    }
}

#[expect(clippy::disallowed_methods, reason = "the test measures how long real calls take")]
fn now() -> Instant {
    Instant::now()
}

/// Returns the log lines about a server, by the port of its URL.
fn lines_about(url: &str) -> Vec<String> {
    let port = url.rsplit(':').next().unwrap();
    log::lines_with(&format!("127.0.0.1:{port}/"))
}

#[tokio::test]
async fn a_server_that_goes_down_is_left_out_and_comes_back() {
    let Some(mut server) = OwnServer::start_or_skip("redis") else { return };
    let mut shop = Shop::at(&server.url()).await;
    shop.work().await;
    shop.until_cached().await;
    for round in 1..=3 {
        server.crash().unwrap();
        shop.work().await;
        shop.check_reported("127.0.0.1").await;
        let warnings = lines_about(&server.url());
        let warned = warnings.iter().filter(|line| line.contains("goes on without it")).count();
        assert_eq!(warned, round, "once for each outage: {warnings:?}");
        server.start().unwrap();
        shop.until_cached().await;
        shop.work().await;
    }
}

#[tokio::test]
async fn a_server_that_stands_still_delays_a_call_and_then_none() {
    let Some(server) = OwnServer::start_or_skip("redis") else { return };
    let mut shop = Shop::at(&server.url()).await;
    shop.work().await;
    shop.until_cached().await;
    server.pause().unwrap();
    shop.work().await;
    shop.check_reported("no answer within").await;
    let before = shop.gesta.query_cache_counts();
    shop.work().await;
    let after = shop.gesta.query_cache_counts();
    assert_eq!(after.bypasses - before.bypasses, 10, "no call reaches the server");
    server.resume().unwrap();
    shop.until_cached().await;
    // Calls that the server got before it stood still change nothing now.
    shop.work().await;
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_used_once_it_is_there() {
    let Some(mut server) = OwnServer::start_or_skip("redis") else { return };
    server.stop().unwrap();
    let mut shop = Shop::at(&server.url()).await;
    shop.work().await;
    shop.check_reported("127.0.0.1").await;
    server.start().unwrap();
    shop.until_cached().await;
}

#[tokio::test]
async fn a_wrong_password_is_reported_without_it_and_works_once_it_is_right() {
    let settings = ["requirepass=the-right-secret"];
    let Some(server) = OwnServer::with_or_skip("redis", &settings) else { return };
    let with = |password: &str| server.url().replace("redis://", &format!("redis://:{password}@"));
    let mut shop = Shop::at(&with("a-wrong-secret")).await;
    shop.work().await;
    let trouble = shop.redis.trouble().expect("it is refused");
    assert!(trouble.to_lowercase().contains("password"), "{trouble}");
    let lines = lines_about(&server.url());
    assert_eq!(lines.len(), 1, "{lines:?}");
    for text in lines.iter().chain([&trouble, &format!("{:?}", shop.redis)]) {
        assert!(!text.contains("secret"), "{text}");
    }
    let client = redis::Client::open(with("the-right-secret")).unwrap();
    let mut operator = client.get_multiplexed_async_connection().await.unwrap();
    let mut change = redis::cmd("CONFIG");
    change.arg(&["SET", "requirepass", "a-wrong-secret"]);
    let () = change.query_async(&mut operator).await.unwrap();
    shop.until_cached().await;
}

#[tokio::test]
async fn a_full_server_is_left_out_until_it_has_room() {
    let settings = ["maxmemory=1", "maxmemory-policy=noeviction"];
    let Some(server) = OwnServer::with_or_skip("redis", &settings) else { return };
    let mut shop = Shop::at(&server.url()).await;
    shop.work().await;
    shop.check_reported("OOM").await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut operator = client.get_multiplexed_async_connection().await.unwrap();
    let mut change = redis::cmd("CONFIG");
    change.arg(&["SET", "maxmemory", "100mb"]);
    let () = change.query_async(&mut operator).await.unwrap();
    shop.until_cached().await;
    shop.work().await;
}

/// The server may have lost the last marks and kept the answers.
#[tokio::test]
async fn an_answer_from_before_a_restart_is_not_returned_after_it() {
    let Some(mut server) = OwnServer::start_or_skip("redis") else { return };
    let cache = connect(&server.url()).await.query_cache();
    let read_model = ReadModelId { projection: "sales".to_owned(), build: 1 };
    let scope = CacheScope { read_model, incarnation: Incarnation::new(Uuid::nil()) };
    let key = CacheKey::new(scope, "report", ["*"]);
    let ttl = Duration::from_secs(600);
    let LoadTurn::Load(ticket) =
        cache.begin_load(&key, BeginLoad::new(Position::START, ttl)).await.unwrap()
    else {
        panic!("nothing is loaded");
    };
    let answer = CachedAnswer { position: Position::new(9), bytes: "nine".into() };
    cache.store(&key, ticket, answer.clone(), ttl).await;
    assert_eq!(cache.get(&key, Position::START).await, Ok(Some(answer)));
    server.crash().unwrap();
    server.start().unwrap();
    let found = until(async || cache.get(&key, Position::START).await.ok()).await;
    assert_eq!(found, None, "this server syncs each write, so the answer is still there");
}

/// The marks of a change do not reach a server that stands still.
#[tokio::test]
async fn a_change_while_the_server_stands_still_ends_answers_of_all_nodes() {
    let Some(server) = OwnServer::start_or_skip("redis") else { return };
    let mut shop = Shop::at(&server.url()).await;
    shop.work().await;
    shop.until_cached().await;
    // Another node without the projection would read the cache like this one.
    let other = connect(&server.url()).await;
    server.pause().unwrap();
    shop.work().await;
    server.resume().unwrap();
    shop.until_cached().await;
    assert_eq!(other.trouble(), None, "it has noticed nothing");
    assert_eq!(find(&shop.gesta, "ann", Position::START).await, shop.sold);
}

/// Removes everything from a server, as an operator does it.
fn flush(url: &str) {
    let server = url.rsplit("//").next().unwrap();
    let mut connection = TcpStream::connect(server).unwrap();
    for command in ["FLUSHALL", "SCRIPT FLUSH"] {
        connection.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut reply = [0; 5];
        connection.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"+OK\r\n");
    }
}

#[tokio::test]
async fn a_server_that_is_emptied_makes_queries_slower_and_never_wrong() {
    let Some(server) = OwnServer::start_or_skip("redis") else { return };
    let mut shop = Shop::at(&server.url()).await;
    for _ in 0..3 {
        shop.work().await;
        shop.until_cached().await;
        flush(&server.url());
        assert_eq!(find(&shop.gesta, "ann", Position::START).await, shop.sold);
    }
    shop.work().await;
    shop.until_cached().await;
}

/// The marks that the load has begun with are gone, and a change in between has made none.
#[tokio::test]
async fn an_answer_whose_load_began_before_the_server_was_emptied_is_not_returned() {
    let Some(server) = OwnServer::start_or_skip("redis") else { return };
    let cache = connect(&server.url()).await.query_cache();
    let read_model = ReadModelId { projection: "sales".to_owned(), build: 1 };
    let scope = CacheScope { read_model, incarnation: Incarnation::new(Uuid::nil()) };
    let key = CacheKey::new(scope.clone(), "report", ["*"]);
    let ttl = Duration::from_secs(600);
    let begin = BeginLoad::new(Position::START, ttl);
    let LoadTurn::Load(ticket) = cache.begin_load(&key, begin).await.unwrap() else {
        panic!("nothing is loaded");
    };
    flush(&server.url());
    cache.mark(&scope, &key.marks, Position::new(9)).await.unwrap();
    let old = CachedAnswer { position: Position::new(8), bytes: "eight".into() };
    cache.store(&key, ticket, old, ttl).await;
    assert_eq!(cache.get(&key, Position::START).await, Ok(None));
    let next = cache.begin_load(&key, BeginLoad::new(Position::START, ttl)).await.unwrap();
    assert!(matches!(next, LoadTurn::Load(_)), "{next:?}");
    assert_eq!(cache.get(&key, Position::START).await, Ok(None));
}
