//! Catch-up of a projection into SQLite, compared with bare inserts of the same rows.
//!
//! The bare inserts use one prepared statement on one thread. Their rows are in memory, their file
//! has the settings of a read model, and a transaction has as many rows as the projection's batches
//! had on the average.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Result, ensure};
use clap::Args;
use gesta::{
    Gesta,
    sqlite::{Sqlite, params, rusqlite::Connection},
    testing::drain,
};
use gesta_store::{Append, EventStore, ExpectedRevision, ReadAll};
use serde::Serialize;
use tokio::runtime::Runtime;

use super::{
    accounts::{
        Deposited, Deposits, ENTRIES_TABLE, Entries, Entry, INSERT_ENTRY, account_name, stream_of,
    },
    fresh::Place,
    rounds::{Rate, Turn, median_ratio},
};

const APPEND_EVENTS: u64 = 100;

/// Options of the benchmark of catch-up.
#[derive(Args, Clone, Debug)]
pub struct ProjectLoad {
    /// Events to catch up with
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub events: u64,
    /// Number of streams of these events
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub accounts: u64,
    /// Schema next to which the read models are, in a database of PostgreSQL; a file of SQLite if
    /// it is left out
    #[cfg(feature = "postgres")]
    #[arg(long, value_name = "URL")]
    pub into: Option<String>,
    /// Number of rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub rounds: u64,
}

/// Result of the benchmark of catch-up. Figures are medians over the rounds.
#[derive(Clone, Debug, Serialize)]
pub struct ProjectReport {
    pub rounds: u64,
    pub events: u64,
    /// Mean number of events of a transaction.
    pub batch_events: u64,
    /// From opening until the read model has every event.
    pub projection: Rate,
    pub bare_inserts: Rate,
    /// Ratio of the projection to the bare inserts.
    pub of_bare: f64,
}

/// Measures over a log that was just filled.
pub fn run(runtime: &Runtime, load: &ProjectLoad, place: &Place) -> Result<ProjectReport> {
    let fresh = place.log()?;
    let store: Arc<dyn EventStore> = Arc::new(fresh.store.clone());
    runtime.block_on(fill(store.as_ref(), load))?;
    let entries = runtime.block_on(entries(store.as_ref()))?;
    let (mut projected, mut bare, mut batch_events) = (Vec::new(), Vec::new(), 0);
    for _ in 0..load.rounds {
        #[cfg(feature = "postgres")]
        if let Some(url) = &load.into {
            use super::project_postgres::{catch_up, insert};
            let catch_up = catch_up(Arc::clone(&store), url, load.events);
            let (rate, batches) = runtime.block_on(catch_up)?;
            projected.push(rate);
            batch_events = load.events.div_ceil(batches.max(1));
            bare.push(runtime.block_on(insert(url, &entries, batch_events))?);
            continue;
        }
        let directory = place.directory()?;
        let catch_up = catch_up(Arc::clone(&store), directory.path(), load.events);
        let (rate, batches) = runtime.block_on(catch_up)?;
        projected.push(rate);
        batch_events = load.events.div_ceil(batches.max(1));
        bare.push(insert(&directory.path().join("bare.db"), &entries, batch_events)?);
    }
    drop(store);
    fresh.close()?;
    Ok(ProjectReport {
        rounds: load.rounds,
        events: load.events,
        batch_events,
        projection: Rate::median(&projected),
        bare_inserts: Rate::median(&bare),
        of_bare: median_ratio(&projected, &bare),
    })
}

async fn fill(store: &dyn EventStore, load: &ProjectLoad) -> Result<()> {
    let (mut deposits, mut left) = (Deposits::of_seed(1), load.events);
    for nth in 0.. {
        if left == 0 {
            break;
        }
        let (account, count) = (account_name(nth % load.accounts), left.min(APPEND_EVENTS));
        let events: Result<Vec<_>> = (0..count).map(|_| deposits.next(account.clone())).collect();
        let append = Append::to(stream_of(&account)?, ExpectedRevision::Any, events?);
        store.append(append).await?;
        left -= count;
    }
    Ok(())
}

/// Reads the rows that the projection will write.
async fn entries(store: &dyn EventStore) -> Result<Vec<Entry>> {
    let mut pages = store.read_all(ReadAll::forwards());
    let mut entries = Vec::new();
    while let Some(page) = pages.next().await {
        for event in page? {
            let (position, data) = (event.position.number(), &event.data);
            entries.push(Entry { position, deposited: serde_json::from_slice(data)? });
        }
    }
    Ok(entries)
}

/// Returns the rate of a new projection, and the number of its batches.
async fn catch_up(
    store: Arc<dyn EventStore>,
    directory: &Path,
    events: u64,
) -> Result<(Rate, u64)> {
    let read_models = Sqlite::open(directory).await?;
    let batches = Arc::new(AtomicU64::new(0));
    let turn = Turn::start();
    let projection = Entries { batches: Arc::clone(&batches) };
    let gesta =
        Gesta::on(store).without_log_hint().project(projection, &read_models).open().await?;
    drain(&gesta).await;
    let rate = turn.rate(events);
    let letters = gesta.dead_letters().await?;
    ensure!(letters.is_empty(), "{} events were not applied", letters.len());
    gesta.close().await;
    read_models.close().await;
    Ok((rate, batches.load(Ordering::Relaxed)))
}

fn insert(path: &Path, entries: &[Entry], batch_events: u64) -> Result<Rate> {
    let connection = Connection::open(path)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_096)?;
    connection.pragma_update(None, "cache_size", -8_192)?;
    connection.execute_batch(ENTRIES_TABLE)?;
    let turn = Turn::start();
    let mut statement = connection.prepare(INSERT_ENTRY)?;
    for batch in entries.chunks(usize::try_from(batch_events)?) {
        connection.execute_batch("begin immediate")?;
        for Entry { position, deposited } in batch {
            let Deposited { account, amount, reference } = deposited;
            statement.execute(params![position, account, amount, reference])?;
        }
        connection.execute_batch("commit")?;
    }
    Ok(turn.rate(entries.len() as u64))
}
