//! The cost of spans for commands.
//!
//! `cargo run --release -p gesta-bench --example traced_commands -- [SECONDS]` measures commands
//! that open accounts, one after the other, in a new store in memory and in a new store in a
//! directory: without spans; with spans for lines of the log as JSON; with traces that are not
//! sampled; and with traces that are sent to a collector, Rotel, which is a process of its own.
//! Prints medians of five turns, which follow each other in each round: commands in a second, and
//! processor time of this process for one, with the thread that sends.
//!
//! A memory store takes more commands than the queue of spans holds: the figure is that of a
//! program that drops spans.

#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::{convert::Infallible, env, io, sync::Arc, time::Duration};

use anyhow::Context as _;
use gesta::{Gesta, SPAN_TARGET, prelude::*};
use gesta_bench::{
    framework::{
        fresh::{Fresh, Place},
        rounds::{Rate, Turn},
    },
    load::clock::Stopwatch,
};
use gesta_services::OwnServer;
use gesta_store::EventStore;
use gesta_telemetry::{JsonLog, SampleRatio, Service, TraceExporter};
use tokio::runtime::Builder;
use tracing::Level;
use tracing_subscriber::{Layer as _, filter::Targets, layer::SubscriberExt as _};
use uuid::Uuid;

const ROUNDS: usize = 5;

#[derive(Event, Serialize, Deserialize, Clone, Debug)]
#[event(name = "account-opened")]
struct AccountOpened {
    owner: String,
}

#[derive(EventSet, Clone, Debug)]
enum AccountEvent {
    Opened(AccountOpened),
}

#[derive(Default)]
struct Account;

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    type Id = String;
    type Event = AccountEvent;

    fn evolve(&mut self, _: &AccountEvent) {}
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "open-account", on = Account, new)]
struct OpenAccount {
    #[command(id)]
    account: String,
    owner: String,
}

impl Decide for OpenAccount {
    type Rejection = Infallible;

    fn decide(&self, _: &Account) -> Decision<Self> {
        Ok(AccountOpened { owner: self.owner.clone() }.into())
    }
}

/// The spans of a turn.
#[derive(Clone, Copy)]
enum Spans {
    None,
    ForTheLog,
    NotSampled,
    Sent,
}

const ALL: [(&str, Spans); 4] = [
    ("no spans", Spans::None),
    ("spans for JSON lines", Spans::ForTheLog),
    ("traces, none sampled", Spans::NotSampled),
    ("traces, all sent", Spans::Sent),
];

/// Measures commands for some time, each after the one before.
fn rate(store: Arc<dyn EventStore>, seconds: Duration) -> anyhow::Result<Rate> {
    // One thread, whose subscriber is that of all tasks.
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let gesta = Gesta::on(store).without_log_hint().open().await?;
        let (turn, began, mut count) = (Turn::start(), Stopwatch::start(), 0);
        while began.elapsed() < seconds {
            let (account, owner) = (Uuid::now_v7().to_string(), "Ada Lovelace".to_owned());
            gesta.execute(OpenAccount { account, owner }).await?;
            count += 1;
        }
        let rate = turn.rate(count);
        gesta.close().await;
        Ok(rate)
    })
}

/// Measures with these spans.
fn turn(
    spans: Spans,
    collector: &OwnServer,
    measure: &dyn Fn() -> anyhow::Result<Rate>,
) -> anyhow::Result<Rate> {
    let of_gesta = Targets::new().with_target(SPAN_TARGET, Level::INFO);
    let ratio = match spans {
        Spans::None => return measure(),
        Spans::ForTheLog => {
            let lines = JsonLog::new(io::stderr).with_filter(of_gesta);
            let subscriber = tracing_subscriber::registry().with(lines);
            return tracing::subscriber::with_default(subscriber, measure);
        }
        Spans::NotSampled => SampleRatio::new(0.0)?,
        Spans::Sent => SampleRatio::ALL,
    };
    let endpoint = collector.url().parse()?;
    let exporter = TraceExporter::start(endpoint, Service::new("gesta-bench", "0"))?;
    let layer = exporter.layer(ratio).with_filter(of_gesta);
    let subscriber = tracing_subscriber::registry().with(layer);
    let rate = tracing::subscriber::with_default(subscriber, measure);
    exporter.finish();
    rate
}

fn main() -> anyhow::Result<()> {
    let seconds = env::args().nth(1).map_or(Ok(1.0), |text| text.parse())?;
    let seconds = Duration::try_from_secs_f64(seconds)?;
    let collector = OwnServer::start_or_skip("rotel").context("a collector is needed")?;
    let place = Place { directory: env::current_dir()?, index: None };
    let in_memory = || -> anyhow::Result<Rate> {
        let fresh = Fresh::memory();
        let rate = rate(Arc::new(fresh.store.clone()), seconds)?;
        fresh.close()?;
        Ok(rate)
    };
    let in_directory = || -> anyhow::Result<Rate> {
        let fresh = place.log()?;
        let rate = rate(Arc::new(fresh.store.clone()), seconds)?;
        fresh.close()?;
        Ok(rate)
    };
    println!("{:12} {:24} {:>10} {:>12}", "store", "", "commands/s", "processor µs");
    let stores: [(&str, &dyn Fn() -> anyhow::Result<Rate>); 2] =
        [("memory", &in_memory), ("directory", &in_directory)];
    for (store, measure) in stores {
        let mut rates = [const { Vec::new() }; ALL.len()];
        for _ in 0..ROUNDS {
            for ((_, spans), rates) in ALL.iter().zip(&mut rates) {
                rates.push(turn(*spans, &collector, measure)?);
            }
        }
        for ((name, _), rates) in ALL.iter().zip(&rates) {
            let Rate { per_second, processor_us } = Rate::median(rates);
            println!("{store:12} {name:24} {per_second:10.0} {processor_us:12.1}");
        }
    }
    Ok(())
}
