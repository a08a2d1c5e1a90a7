//! Commands that create new aggregates, compared with the store's own appends of the same events.
//!
//! Closed loop: each task executes its next command once the previous one is executed.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use gesta::Gesta;
use gesta_store::{EventStore, ReadAll};
use serde::Serialize;
use tokio::runtime::Runtime;

use super::{
    accounts::OpenAccount,
    appends::{Template, Writers, by_tasks, by_threads, new_account, on_tasks},
    fresh::{Fresh, Place},
    rounds::{Rate, Turn, median},
};
use crate::load::{
    event_store::ThreadStore,
    latencies::{Latencies, Quantiles},
};

/// Options of the benchmark of commands.
#[derive(Args, Clone, Debug)]
pub struct ExecuteLoad {
    /// Stores to measure over
    #[arg(long, value_name = "STORE", value_enum, value_delimiter = ',', default_values_t = [Over::Memory, Over::Log])]
    pub over: Vec<Over>,
    /// Numbers of tasks, each waiting for its command before the next
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,16,64", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub tasks: Vec<u64>,
    /// Writers of the store, threads in one turn and tasks in another
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub writers: u64,
    /// Bytes of text in each event, in addition to its other fields
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u64).range(0..=1 << 20))]
    pub note_bytes: u64,
    /// Duration of each turn in seconds
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub seconds: f64,
    /// Number of rounds; each has one turn of everything
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub rounds: u64,
}

/// A store under the framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    Memory,
    Log,
}

/// Result of the benchmark of commands. Figures are medians over the rounds.
#[derive(Clone, Debug, Serialize)]
pub struct ExecuteReport {
    pub rounds: u64,
    pub seconds: f64,
    /// Bytes of data and metadata of an event.
    pub event_bytes: usize,
    pub stores: Vec<StoreReport>,
}

/// Figures over one store.
#[derive(Clone, Debug, Serialize)]
pub struct StoreReport {
    pub store: Over,
    pub writers: u64,
    /// The store's own appends, each from a thread that waits.
    pub append_by_threads: Rate,
    /// The store's own appends, each from a task that waits.
    pub append_by_tasks: Rate,
    pub execute: Vec<TasksReport>,
}

/// Figures with one number of tasks.
#[derive(Clone, Debug, Serialize)]
pub struct TasksReport {
    pub tasks: u64,
    #[serde(flatten)]
    pub rate: Rate,
    /// Ratio to the faster of the store's own appends.
    pub of_append: f64,
    pub latency: Quantiles,
}

impl ExecuteLoad {
    fn nanos(&self) -> u64 {
        (self.seconds * 1e9) as u64
    }

    fn writers(&self) -> Writers {
        Writers { count: self.writers, nanos: self.nanos() }
    }

    fn command(&self, account: String) -> OpenAccount {
        let note = "n".repeat(usize::try_from(self.note_bytes).unwrap_or_default());
        OpenAccount { account, owner: "Ada Lovelace".to_owned(), note }
    }
}

/// Measures over each of the stores.
pub fn run(runtime: &Runtime, load: &ExecuteLoad, place: &Place) -> Result<ExecuteReport> {
    let template = runtime.block_on(template(load))?;
    let compare = |over| match over {
        Over::Memory => compare(over, &|| Ok(Fresh::memory()), runtime, load, &template),
        Over::Log => compare(over, &|| place.log(), runtime, load, &template),
    };
    let stores: Result<Vec<_>> = load.over.iter().copied().map(compare).collect();
    let ExecuteLoad { rounds, seconds, .. } = *load;
    Ok(ExecuteReport { rounds, seconds, event_bytes: template.bytes(), stores: stores? })
}

/// Returns the event that a command writes.
async fn template(load: &ExecuteLoad) -> Result<Template> {
    let gesta = Gesta::at("memory:").without_log_hint().open().await?;
    gesta.execute(load.command(new_account(0, 0))).await?;
    let events = gesta.store().read_all(ReadAll::forwards()).collect_events().await?;
    Ok(Template::of(events.first().context("a command writes an event")?))
}

/// Rates of one turn, and of the rounds before it.
#[derive(Default)]
struct Rounds {
    threads: Vec<Rate>,
    tasks: Vec<Rate>,
    execute: Vec<(Vec<Rate>, Latencies)>,
}

fn compare<Store: ThreadStore + Clone + 'static>(
    over: Over,
    open: &dyn Fn() -> Result<Fresh<Store>>,
    runtime: &Runtime,
    load: &ExecuteLoad,
    template: &Template,
) -> Result<StoreReport> {
    let mut rounds = Rounds::default();
    rounds.execute.resize_with(load.tasks.len(), Default::default);
    for _ in 0..load.rounds {
        let fresh = open()?;
        rounds.threads.push(by_threads(&fresh.store, template, load.writers())?);
        fresh.close()?;
        let fresh = open()?;
        rounds.tasks.push(by_tasks(runtime, &fresh.store, template, load.writers())?);
        fresh.close()?;
        for (tasks, (rates, all)) in load.tasks.iter().zip(&mut rounds.execute) {
            let fresh = open()?;
            let store: Arc<dyn EventStore> = Arc::new(fresh.store.clone());
            let (rate, latencies) = runtime.block_on(execute(store, load, *tasks))?;
            fresh.close()?;
            rates.push(rate);
            all.merge(&latencies);
        }
    }
    Ok(rounds.report(over, load))
}

impl Rounds {
    fn report(&self, store: Over, load: &ExecuteLoad) -> StoreReport {
        let faster = |one: &Rate, other: &Rate| one.per_second.max(other.per_second);
        let own: Vec<f64> =
            self.threads.iter().zip(&self.tasks).map(|(a, b)| faster(a, b)).collect();
        let of_tasks = |(tasks, (rates, latencies)): (&u64, &(Vec<Rate>, Latencies))| TasksReport {
            tasks: *tasks,
            rate: Rate::median(rates),
            of_append: median(rates.iter().zip(&own).map(|(rate, own)| rate.per_second / own)),
            latency: latencies.quantiles(),
        };
        StoreReport {
            store,
            writers: load.writers,
            append_by_threads: Rate::median(&self.threads),
            append_by_tasks: Rate::median(&self.tasks),
            execute: load.tasks.iter().zip(&self.execute).map(of_tasks).collect(),
        }
    }
}

async fn execute(
    store: Arc<dyn EventStore>,
    load: &ExecuteLoad,
    tasks: u64,
) -> Result<(Rate, Latencies)> {
    let gesta = Gesta::on(store).without_log_hint().open().await?;
    let (turn, end) = (Turn::start(), load.nanos());
    let ended = on_tasks(tasks, |task| {
        let (gesta, load) = (gesta.clone(), load.clone());
        async move {
            let (mut latencies, mut began) = (Latencies::default(), turn.stopwatch().nanos());
            for nth in 0.. {
                gesta.execute(load.command(new_account(task, nth))).await?;
                let now = turn.stopwatch().nanos();
                latencies.add(now - began);
                began = now;
                if now >= end {
                    break;
                }
            }
            Ok(latencies)
        }
    });
    let mut all = Latencies::default();
    ended.await?.iter().for_each(|latencies| all.merge(latencies));
    let rate = turn.rate(all.count());
    gesta.close().await;
    Ok((rate, all))
}
