//! Records that a relay publishes in a second, for each guarantee.
//!
//! ```sh
//! cargo xtask services up kafka
//! cargo run --release -p gesta-kafka --example throughput -- kafka://127.0.0.1:PORT 200000
//! ```
//!
//! Publishes events of 256 bytes in 1,000 streams from a store in memory to a new topic of four
//! partitions: all of them at once, and one at a time, each after the one before was acknowledged.

#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use gesta_kafka::{KafkaUrl, Relay, RelayGuarantee, RelayOptions, RelayProgress};
use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Position, StreamName,
    memory::MemoryStore,
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

const STREAMS: u64 = 1_000;
const EVENT_BYTES: usize = 256;
/// Events that are published one at a time.
const SINGLES: u64 = 200;
const WAIT_MAX: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let broker = arguments.next().context("the first argument is the URL of a broker")?;
    let events: u64 = arguments.next().map_or(Ok(200_000), |number| number.parse())?;
    for guarantee in [RelayGuarantee::AtLeastOnce, RelayGuarantee::ExactlyOnce] {
        let store = Arc::new(MemoryStore::new());
        append(&store, 0..events).await?;
        let run = EventId::random();
        let url: KafkaUrl = format!("{broker}/throughput-{run}").parse()?;
        let began = now();
        let mut relay = Running::start(&store, &url, guarantee)?;
        relay.until(events).await?;
        let rate = events as f64 / began.elapsed().as_secs_f64();
        let mut waits = Vec::new();
        for single in events..events + SINGLES {
            let began = now();
            append(&store, single..single + 1).await?;
            relay.until(single + 1).await?;
            waits.push(began.elapsed());
        }
        relay.stop().await?;
        waits.sort();
        let median = waits.get(waits.len() / 2).copied().unwrap_or_default();
        println!("{guarantee:?}: {rate:.0} records/s; one event is published after {median:.1?}");
    }
    Ok(())
}

/// A relay that runs.
struct Running {
    progress: RelayProgress,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), gesta_kafka::RelayError>>,
}

impl Running {
    fn start(store: &Arc<MemoryStore>, url: &KafkaUrl, guarantee: RelayGuarantee) -> Result<Self> {
        let options = RelayOptions::of_url(url)?.guarantee(guarantee).partitions(4);
        let relay = Relay::new(Arc::clone(store) as Arc<dyn EventStore>, url, options);
        let progress = relay.progress();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(relay.run_until(async move { drop(stopped.await) }));
        Ok(Self { progress, stop, task })
    }

    async fn until(&mut self, position: u64) -> Result<()> {
        let reached = timeout(WAIT_MAX, self.progress.reached(Position::new(position))).await?;
        ensure!(reached, "the relay has ended: {:?}", self.progress.status());
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        drop(self.stop);
        Ok(self.task.await??)
    }
}

async fn append(store: &MemoryStore, numbers: std::ops::Range<u64>) -> Result<()> {
    let data = format!("\"{}\"", "x".repeat(EVENT_BYTES - 2));
    for number in numbers {
        let stream = StreamName::new(format!("account-{}", number % STREAMS))?;
        let event = NewEvent::json(EventId::random(), EventType::new("deposited")?, data.clone());
        store.append(Append::to(stream, ExpectedRevision::Any, [event])).await?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the program measures")]
fn now() -> Instant {
    Instant::now()
}
