//! Measures commands on one busy aggregate: `cargo run -p gesta --example busy_aggregate [TASKS]`.
//!
//! Prints failures, throughput and latencies of one task and of many (64 by default), on one
//! account and on an account for each task, with a store in a temporary directory.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::disallowed_methods, reason = "a measurement reads the real time")]

use std::time::{Duration, Instant};

use gesta::{Gesta, prelude::*};

type Done = Result<(), Box<dyn std::error::Error>>;

const RUN: Duration = Duration::from_secs(5);

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "counted")]
struct Counted;

#[derive(EventSet, Clone)]
enum CounterEvent {
    Counted(Counted),
}

#[derive(Default)]
struct Counter;

impl Aggregate for Counter {
    const CATEGORY: &'static str = "counter";
    type Id = String;
    type Event = CounterEvent;

    fn evolve(&mut self, event: &CounterEvent) {
        match event {
            CounterEvent::Counted(_) => {}
        }
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "count", on = Counter, either)]
struct Count {
    #[command(id)]
    counter: String,
}

impl Decide for Count {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Counter) -> Decision<Self> {
        Ok(Counted.into())
    }
}

/// Counts until the time is over. Returns the latencies of the commands and the number of failures.
async fn count(gesta: Gesta, counter: String) -> (Vec<Duration>, usize) {
    let (mut latencies, mut failures, start) = (Vec::new(), 0, Instant::now());
    while start.elapsed() < RUN {
        let began = Instant::now();
        // Changes the counter every quarter of a second, so that its history stays short during the
        // measurement.
        let counter = format!("{counter}.{}", start.elapsed().as_millis() / 250);
        match gesta.execute(Count { counter }).await {
            Ok(_) => latencies.push(began.elapsed()),
            Err(_) => failures += 1,
        }
    }
    (latencies, failures)
}

async fn measure(gesta: &Gesta, what: &str, counters: Vec<String>) -> Done {
    let tasks: Vec<_> =
        counters.into_iter().map(|it| tokio::spawn(count(gesta.clone(), it))).collect();
    let (mut latencies, mut failures) = (Vec::new(), 0);
    for task in tasks {
        let (some, failed) = task.await?;
        latencies.extend(some);
        failures += failed;
    }
    latencies.sort_unstable();
    let at = |part: usize| latencies.get(latencies.len() * part / 100).copied().unwrap_or_default();
    let each_second = latencies.len() as u64 / RUN.as_secs();
    println!(
        "{what:<28} {each_second:>7}/s  failed {failures:>6}  p50 {:?}  p99 {:?}",
        at(50),
        at(99)
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Done {
    let tasks: usize = std::env::args().nth(1).map_or(Ok(64), |text| text.parse())?;
    let directory = tempfile::tempdir()?;
    let gesta = Gesta::at(format!("gesta:{}", directory.path().display())).open().await?;
    let name = |task: usize| format!("c{task}");
    measure(&gesta, "1 task, 1 aggregate", vec![name(0)]).await?;
    measure(&gesta, &format!("{tasks} tasks, 1 aggregate"), vec![name(1); tasks]).await?;
    measure(&gesta, &format!("{tasks} tasks, one each"), (2..tasks + 2).map(name).collect()).await
}
