//! Loads of one aggregate, with a snapshot compared with loads without.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use gesta::{Gesta, SnapshotPolicy, sqlite::Sqlite};
use gesta_store::{Append, EventStore, ExpectedRevision};
use serde::Serialize;
use tokio::runtime::Runtime;

use super::{
    accounts::{Account, Deposits, account_name, stream_of},
    fresh::Place,
    rounds::{Rate, Turn, median_ratio},
};

const APPEND_EVENTS: u64 = 1_000;

/// Options of the benchmark of loads.
#[derive(Args, Clone, Debug)]
pub struct AggregateLoad {
    /// Events of the aggregate
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub events: u64,
    /// Loads without a snapshot in each round
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub loads: u64,
    /// Loads with a snapshot in each round
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    pub snapshot_loads: u64,
    /// Number of rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub rounds: u64,
}

/// Result of the benchmark of loads. Figures are medians over the rounds.
#[derive(Clone, Debug, Serialize)]
pub struct AggregateReport {
    pub rounds: u64,
    pub events: u64,
    pub without_snapshot: Rate,
    pub with_snapshot: Rate,
    /// Ratio of loads with a snapshot to loads without.
    pub faster: f64,
}

/// Measures over a log, with snapshots in SQLite.
pub fn run(runtime: &Runtime, load: &AggregateLoad, place: &Place) -> Result<AggregateReport> {
    let (fresh, snapshots) = (place.log()?, place.directory()?);
    let store: Arc<dyn EventStore> = Arc::new(fresh.store.clone());
    let report = runtime.block_on(async {
        fill(store.as_ref(), load.events).await?;
        let snapshots = Sqlite::open(snapshots.path()).await?;
        let report = measure(store, load, &snapshots).await;
        snapshots.close().await;
        report
    })?;
    fresh.close()?;
    Ok(report)
}

async fn fill(store: &dyn EventStore, events: u64) -> Result<()> {
    let (mut deposits, stream) = (Deposits::of_seed(1), stream_of(&account_name(0))?);
    let mut left = events;
    while left > 0 {
        let count = left.min(APPEND_EVENTS);
        let events: Result<Vec<_>> = (0..count).map(|_| deposits.next(account_name(0))).collect();
        store.append(Append::to(stream.clone(), ExpectedRevision::Any, events?)).await?;
        left -= count;
    }
    Ok(())
}

async fn measure(
    store: Arc<dyn EventStore>,
    load: &AggregateLoad,
    snapshots: &Sqlite,
) -> Result<AggregateReport> {
    let without = Gesta::on(Arc::clone(&store)).without_log_hint().open().await?;
    let policy = SnapshotPolicy::every(100);
    let with =
        Gesta::on(store).without_log_hint().snapshots::<Account>(snapshots, policy).open().await?;
    // Takes the snapshot.
    loads(&with, load.events, 1).await?;
    let (mut rates, mut rates_with) = (Vec::new(), Vec::new());
    for _ in 0..load.rounds {
        rates.push(loads(&without, load.events, load.loads).await?);
        rates_with.push(loads(&with, load.events, load.snapshot_loads).await?);
    }
    without.close().await;
    with.close().await;
    Ok(AggregateReport {
        rounds: load.rounds,
        events: load.events,
        without_snapshot: Rate::median(&rates),
        with_snapshot: Rate::median(&rates_with),
        faster: median_ratio(&rates_with, &rates),
    })
}

/// Loads the account this many times, one after the other.
async fn loads(gesta: &Gesta, events: u64, count: u64) -> Result<Rate> {
    let (id, turn) = (account_name(0), Turn::start());
    for _ in 0..count {
        let loaded = gesta.load::<Account>(&id).await?.context("the account has no events")?;
        ensure!(loaded.state.deposits == events, "{} deposits loaded", loaded.state.deposits);
    }
    Ok(turn.rate(count))
}
