//! A dear query in PostgreSQL, with and without a cache.
//!
//! ```sh
//! cargo xtask services up postgres redis
//! cargo run --release -p gesta-bench --features postgres,redis --example cached_query -- \
//!     "postgres://postgres@127.0.0.1:PORT/postgres?schema=cached_query" redis://127.0.0.1:PORT
//! ```
//!
//! Sells to 5,000 customers, and asks for the best ten: from the database, from the memory of the
//! process, and from Redis. Prints the median of each, and ends with an error if a cached query
//! takes more than a fifth of an uncached one that takes over 1 ms.

#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use gesta::{
    Answer, Caching, Gesta, MemoryQueryCache,
    postgres::{self, PostgresReadModels},
    prelude::*,
    redis::Redis,
    store::{EventStore, ListRows, QueryCache, ReadRows, Rows, memory::MemoryStore},
};

const CUSTOMERS: u64 = 5_000;
const ROUNDS: usize = 200;
const SUMS: &str = "sums";
const BEST: usize = 10;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "sold")]
struct Sold {
    amount: u64,
}

#[derive(EventSet, Clone)]
enum CustomerEvent {
    Sold(Sold),
}

#[derive(Default)]
struct Customer;

impl Aggregate for Customer {
    const CATEGORY: &'static str = "customer";
    type Id = u64;
    type Event = CustomerEvent;

    fn evolve(&mut self, _: &CustomerEvent) {}
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "sell", on = Customer, either)]
struct Sell {
    #[command(id)]
    customer: u64,
    amount: u64,
}

impl Decide for Sell {
    type Rejection = Infallible;

    fn decide(&self, _: &Customer) -> Decision<Self> {
        Ok(Sold { amount: self.amount }.into())
    }
}

struct Sales;

impl Projection for Sales {
    const NAME: &'static str = "sales";
    type Event = CustomerEvent;
}

impl<Tx: Rows> Apply<Tx> for Sales {
    async fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<CustomerEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            let CustomerEvent::Sold(Sold { amount }) = event.event;
            let customer = event.stream.as_str();
            let before: u64 = tx.get(SUMS, customer).await?.unwrap_or_default();
            tx.put(SUMS, customer, &(before + amount)).await?;
        }
        Ok(())
    }
}

#[derive(Query, Serialize, Clone, Copy)]
#[query(reads = Sales, answer = Vec<(String, u64)>, caching = Caching::of)]
struct BestCustomers;

impl<Reader: ReadRows> Answer<Reader> for BestCustomers {
    async fn answer(&self, rows: &mut Reader) -> Result<Vec<(String, u64)>, QueryError> {
        let mut sums: Vec<(String, u64)> = rows.list(ListRows::of(SUMS)).await?;
        sums.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
        sums.truncate(BEST);
        Ok(sums)
    }
}

async fn ask(gesta: &Gesta, at_least: Position) -> Result<Vec<(String, u64)>> {
    let ask = gesta.ask::<_, postgres::Reader>(BestCustomers);
    Ok(ask.at_least_position(at_least).await?)
}

/// Returns the median time of a query.
#[expect(clippy::disallowed_methods, reason = "it measures real time")]
async fn median(gesta: &Gesta, at_least: Position) -> Result<Duration> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let found = ask(gesta, at_least).await?;
        times.push(began.elapsed());
        ensure!(found.len() == BEST, "{} customers", found.len());
    }
    times.sort_unstable();
    times.get(ROUNDS / 2).copied().context("there are rounds")
}

async fn open(
    store: &Arc<dyn EventStore>,
    read_models: &PostgresReadModels,
    cache: Option<Arc<dyn QueryCache>>,
) -> Result<Gesta> {
    let builder = Gesta::on(Arc::clone(store)).project(Sales, read_models);
    let builder = match cache {
        Some(cache) => builder.query_cache(cache),
        None => builder,
    };
    Ok(builder.open().await?)
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut urls = std::env::args().skip(1);
    let database = urls.next().context("the first argument is the URL of PostgreSQL")?;
    let server = urls.next().context("the second argument is the URL of Redis")?;
    let read_models = PostgresReadModels::connect(&database).await?;
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let plain = open(&store, &read_models, None).await?;
    let mut last = Position::START;
    for customer in 0..CUSTOMERS {
        last = plain.execute(Sell { customer, amount: customer * 7 % 1_000 }).await?.position;
    }
    plain.wait_for_position::<Sales>(last).within(Duration::from_secs(600)).await?;
    let uncached = median(&plain, last).await?;
    println!("uncached, in PostgreSQL  {uncached:>10.1?}");
    plain.close().await;
    let redis = Redis::connect(&server).await?;
    let caches: [(&str, Arc<dyn QueryCache>); 2] = [
        ("in memory", Arc::new(MemoryQueryCache::new())),
        ("in Redis", Arc::new(redis.query_cache())),
    ];
    for (name, cache) in caches {
        let gesta = open(&store, &read_models, Some(cache)).await?;
        let cached = median(&gesta, last).await?;
        let counts = gesta.query_cache_counts();
        let share = cached.as_secs_f64() / uncached.as_secs_f64();
        println!("cached {name:<17} {cached:>10.1?}  {share:.3} of uncached  {counts:?}");
        // The first queries may come before the node knows how far its read model is.
        ensure!(counts.hits * 100 >= ROUNDS as u64 * 95, "{counts:?}");
        let is_dear = uncached > Duration::from_millis(1);
        ensure!(!is_dear || share <= 0.2, "a cached query takes {share:.2} of an uncached one");
        gesta.close().await;
    }
    read_models.close().await;
    Ok(())
}
