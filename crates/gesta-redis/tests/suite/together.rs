//! Writes and reads in between, on two nodes with one cache, while the cache loses what it has.

use std::{
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use gesta::{
    Gesta, Nodes, Position,
    store::{EventStore, MemoryLeases, MemoryReadModels, memory::MemoryStore},
};
use gesta_redis::{Redis, RedisOptions};
use gesta_services::OwnServer;
use tokio::{sync::watch, task::block_in_place, time::timeout};

use crate::shop::{find, sell, shop};

/// Customers, each with a task that sells to it alone.
const CUSTOMERS: u64 = 8;
/// One of this many reads is on the node that does not run the projection.
const ON_OTHER_NODE: u64 = 20;
/// Number of outages while the tasks work.
const OUTAGES: u64 = 12;
/// Far more than the cache takes for an answer when its server is there.
const USED_WITHIN: Duration = Duration::from_secs(60);

/// Number of writes and reads.
fn operations() -> u64 {
    if gesta_services::e2e::is_full() { 100_000 } else { 6_000 }
}

/// Two nodes of one application, which wait for the cache up to a limit.
async fn nodes(url: &str, limit: Duration) -> [Gesta; 2] {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let (read_models, leases) = (MemoryReadModels::new(), Arc::new(MemoryLeases::new()));
    let mut nodes = Vec::new();
    for label in ["one", "two"] {
        let options: RedisOptions = url.parse().unwrap();
        let redis = Redis::connect_with(options.answer_within(limit)).await;
        let builder = shop(&store, &read_models, redis.query_cache());
        let shared = Nodes::new(leases.clone(), label).unwrap();
        nodes.push(builder.nodes(shared).open().await.unwrap());
    }
    nodes.try_into().unwrap()
}

/// Asks both nodes until the cache has answered each of them. A busy machine may take longer than
/// the limit for some answers, which then come from the rows.
async fn use_cache(nodes: &[Gesta; 2]) {
    let hits = || nodes.each_ref().map(|node| node.query_cache_counts().hits);
    let before = hits();
    let used = async {
        while hits().iter().zip(before).any(|(hits, before)| *hits == before) {
            for node in nodes {
                assert_eq!(find(node, "nobody", Position::START).await, 0);
            }
        }
    };
    timeout(USED_WITHIN, used).await.expect("the cache is used while its server answers");
}

/// Sells to a customer and reads its sum, asking for the position of the sale each time.
async fn sell_and_read(nodes: [Gesta; 2], customer: u64, done: watch::Sender<u64>) {
    let (name, mut sum, mut turn) = (customer.to_string(), 0, customer);
    while *done.borrow() < operations() {
        done.send_modify(|done| *done += 4);
        turn += 1;
        let receipt = sell(&nodes[0], &name, 1 + turn % 7).await;
        sum += 1 + turn % 7;
        let reader = usize::from(turn % ON_OTHER_NODE == 0);
        let found = find(&nodes[reader], &name, receipt.position).await;
        assert_eq!(found, sum, "asked for position {}", receipt.position);
        // Without a position it may be older, and never newer.
        assert!(find(&nodes[reader], &name, Position::START).await <= sum);
        // Fills the cache, so that it has to evict.
        let other = format!("{}", turn % 1_000 + 1_000);
        assert_eq!(find(&nodes[0], &other, Position::START).await, 0);
    }
}

/// Kills, ends and stops the server again and again, until all operations are done.
async fn disturb(mut server: OwnServer, mut done: watch::Receiver<u64>) -> OwnServer {
    let all = operations();
    for outage in 0..OUTAGES {
        // By the number of operations, however fast the machine is.
        let begin = all * (outage + 1) / (OUTAGES + 1);
        drop(done.wait_for(|done| *done >= begin).await);
        block_in_place(|| match outage % 3 {
            0 => server.crash(),
            1 => server.stop(),
            _ => server.pause(),
        })
        .unwrap();
        let end = begin + all / (OUTAGES * 8);
        drop(done.wait_for(|done| *done >= end).await);
        block_in_place(|| match outage % 3 {
            0 | 1 => server.start(),
            _ => server.resume(),
        })
        .unwrap();
    }
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_older_than_asked_for_while_the_cache_evicts_and_restarts() {
    let settings = ["appendonly=no", "maxmemory=2mb", "maxmemory-policy=allkeys-random"];
    let Some(server) = OwnServer::with_or_skip("redis", &settings) else { return };
    let url = server.url();
    let nodes = nodes(&url, Duration::from_millis(100)).await;
    use_cache(&nodes).await;
    let (done, seen) = watch::channel(0);
    let disturbing = tokio::spawn(disturb(server, seen));
    let tasks =
        (0..CUSTOMERS).map(|it| tokio::spawn(sell_and_read(nodes.clone(), it, done.clone())));
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let server = disturbing.await.unwrap();
    use_cache(&nodes).await;
    let (one, two) = (nodes[0].query_cache_counts(), nodes[1].query_cache_counts());
    // The outages were noticed, and are over.
    assert!(one.bypasses > 0, "{one:?}");
    let client = redis::Client::open(server.url()).unwrap();
    let mut operator = client.get_multiplexed_async_connection().await.unwrap();
    let about: redis::InfoDict = redis::cmd("INFO").query_async(&mut operator).await.unwrap();
    let evicted: u64 = about.get("evicted_keys").unwrap();
    let seen = format!("one {one:?}, two {two:?}, evicted since the last restart: {evicted}");
    writeln!(io::stdout(), "{seen}").unwrap();
}

/// A server without outages loses nothing, so no answer is from before a visible change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_from_before_a_change_that_its_caller_has_seen() {
    let Some(server) = OwnServer::start_or_skip("redis") else { return };
    // A busy machine is no outage.
    let nodes = nodes(&server.url(), Duration::from_secs(30)).await;
    let tasks = (0..4_u64).map(|customer| {
        let nodes = nodes.clone();
        tokio::spawn(async move {
            let (name, mut sum) = (customer.to_string(), 0);
            for turn in 1..=100_u64 {
                let receipt = sell(&nodes[0], &name, turn).await;
                sum += turn;
                let reader = &nodes[usize::from(turn % ON_OTHER_NODE == 0)];
                assert_eq!(find(reader, &name, receipt.position).await, sum);
                // Both nodes: the mark was set before the rows changed.
                for node in &nodes {
                    assert_eq!(find(node, &name, Position::START).await, sum);
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert!(nodes[1].query_cache_counts().hits > 0);
}
