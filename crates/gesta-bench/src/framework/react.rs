//! Reactions of a process manager, compared with the store's own appends.
//!
//! A reaction takes an event to its instance, records the reaction, executes its command and
//! records that. Events arrive for one instance after the other, so a small cache of instances
//! does not help.

use std::sync::Arc;

use anyhow::{Result, ensure};
use clap::Args;
use gesta::{Gesta, testing::drain};
use gesta_store::{Append, EventStore, ExpectedRevision};
use serde::Serialize;
use tokio::runtime::Runtime;

use super::{
    accounts::{Deposits, Thanks, account_name, stream_of},
    fresh::Place,
    rounds::{Rate, Turn},
};

const APPEND_STREAMS: u64 = 100;

/// Options of the benchmark of reactions.
#[derive(Args, Clone, Debug)]
pub struct ReactLoad {
    /// Instances of the process manager
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub instances: u64,
    /// Events for each instance
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub events_each: u64,
    /// Number of rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub rounds: u64,
}

/// Result of the benchmark of reactions. Figures are medians over the rounds.
#[derive(Clone, Debug, Serialize)]
pub struct ReactReport {
    pub rounds: u64,
    pub instances: u64,
    pub events: u64,
    /// From opening until every command is executed and recorded.
    pub reactions: Rate,
    /// Events that were appended for one reaction, checkpoints included.
    pub appended_each: f64,
}

/// Measures over a log that was just filled, anew in each round.
pub fn run(runtime: &Runtime, load: &ReactLoad, place: &Place) -> Result<ReactReport> {
    let events = load.instances * load.events_each;
    let (mut rates, mut appended) = (Vec::new(), 0);
    for _ in 0..load.rounds {
        let fresh = place.log()?;
        let store: Arc<dyn EventStore> = Arc::new(fresh.store.clone());
        let (rate, count) = runtime.block_on(react(store, load, events))?;
        fresh.close()?;
        rates.push(rate);
        appended = count;
    }
    Ok(ReactReport {
        rounds: load.rounds,
        instances: load.instances,
        events,
        reactions: Rate::median(&rates),
        appended_each: appended as f64 / events as f64,
    })
}

async fn fill(store: &dyn EventStore, load: &ReactLoad) -> Result<()> {
    let mut deposits = Deposits::of_seed(1);
    for _ in 0..load.events_each {
        let accounts: Vec<_> = (0..load.instances).map(account_name).collect();
        for some in accounts.chunks(usize::try_from(APPEND_STREAMS)?) {
            let mut append = Append::default();
            for account in some {
                let event = deposits.next(account.clone())?;
                append = append.and(stream_of(account)?, ExpectedRevision::Any, [event]);
            }
            store.append(append).await?;
        }
    }
    Ok(())
}

/// Returns the rate of a new manager, and the number of events that were appended.
async fn react(store: Arc<dyn EventStore>, load: &ReactLoad, events: u64) -> Result<(Rate, u64)> {
    fill(store.as_ref(), load).await?;
    let turn = Turn::start();
    let gesta = Gesta::on(Arc::clone(&store)).without_log_hint().process::<Thanks>().open().await?;
    drain(&gesta).await;
    let rate = turn.rate(events);
    gesta.close().await;
    let appended = store.head().await?.position.number() - events;
    // The reaction, the event of its command, and the record that it was executed.
    ensure!(appended >= 3 * events, "{appended} events for {events} reactions");
    Ok((rate, appended))
}
