//! The loads.
//!
//! Invariants: loops are closed, so each append under way is acknowledged before the next one
//! begins; figures leave out the warm-up. Processor time is that of the server's process.

use std::time::Duration;

#[cfg(not(feature = "umadb"))]
use anyhow::bail;
use anyhow::{Context as _, Result, ensure};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

#[cfg(feature = "umadb")]
use crate::clients::umadb::Umadb;
use crate::{
    clients::{
        Appender, Client, Seen, official::Official, official_batch::OfficialBatch, raw::Raw,
        raw_batch,
    },
    events::Draw,
    rows::{ClientKind, Load, Row},
    servers::{Peer, Running},
};

const WARM_UP: Duration = Duration::from_millis(300);
/// The stream that is read, with the first events of the store.
const LONG_STREAM: &str = "long-1";
const LONG_STREAM_EVENTS: u64 = 200_000;
const FILL_EVENTS: u64 = 500;
/// Time between two appends whose delivery is measured.
const DELIVERY_INTERVAL: Duration = Duration::from_millis(5);
/// Number of an event that only shows that a subscription is live.
const PROBE: u64 = u64::MAX - 1;
/// Time for a subscription to be live, and for the last event to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// The figures of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// The event's.
    pub(crate) server_us: f64,
}

/// The time in which a run is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
}

/// Appends the events that are read later.
pub(crate) async fn fill(server: &Running) -> Result<()> {
    match server.peer {
        Peer::Gesta => fill_by(&Raw::connect(server.address).await?).await,
        #[cfg(feature = "umadb")]
        Peer::Umadb => fill_by(&Umadb::connect(server.address).await?).await,
        #[cfg(not(feature = "umadb"))]
        Peer::Umadb => bail!("this build has no client of UmaDB"),
    }
}

async fn fill_by(client: &impl Client) -> Result<()> {
    let mut draw = Draw::new();
    for _ in 0..LONG_STREAM_EVENTS / FILL_EVENTS {
        let events = (0..FILL_EVENTS).map(|_| draw.event()).collect();
        client.append(LONG_STREAM.to_owned(), events).await?;
    }
    Ok(())
}

pub(crate) async fn run(row: &Row, server: &Running, seconds: f64) -> Result<Sample> {
    let time = Duration::from_secs_f64(seconds);
    match row.client {
        #[cfg(feature = "umadb")]
        ClientKind::Umadb => {
            through(Umadb::connect(server.address).await?, row.load, server, time).await
        }
        #[cfg(not(feature = "umadb"))]
        ClientKind::Umadb => bail!("this build has no client of UmaDB"),
        ClientKind::Raw => {
            through(Raw::connect(server.address).await?, row.load, server, time).await
        }
        ClientKind::Official => {
            through(Official::connect(server.address)?, row.load, server, time).await
        }
        ClientKind::RawBatch => {
            let raw = Raw::connect(server.address).await?;
            let outstanding = writers(row.load);
            measured(server, time, raw_batch::append(raw, outstanding, window(time))).await
        }
        ClientKind::OfficialBatch => {
            let batch = OfficialBatch::connect(server.address).await?;
            append(batch, row.load, server, time).await
        }
    }
}

async fn through(
    client: impl Client,
    load: Load,
    server: &Running,
    time: Duration,
) -> Result<Sample> {
    match load {
        Load::AppendW64 | Load::AppendW1 => append(client, load, server, time).await,
        Load::ReadStream | Load::ReadAll => read(client, load, server, time).await,
        Load::Deliver => deliver(client, server, time).await,
    }
}

const fn writers(load: Load) -> usize {
    match load {
        Load::AppendW64 => 64,
        _ => 1,
    }
}

fn window(time: Duration) -> Window {
    let begin = Instant::now() + WARM_UP;
    Window { begin, end: begin + time }
}

async fn append(
    client: impl Appender,
    load: Load,
    server: &Running,
    time: Duration,
) -> Result<Sample> {
    let window = window(time);
    let appends = async {
        let mut tasks = JoinSet::new();
        for _ in 0..writers(load) {
            tasks.spawn(append_until(client.clone(), window));
        }
        let mut latencies = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            latencies.extend(ended.context("a writer panicked")??);
        }
        Ok(latencies)
    };
    measured(server, time, appends).await
}

async fn append_until(client: impl Appender, window: Window) -> Result<Vec<Duration>> {
    let mut draw = Draw::new();
    let mut latencies = Vec::new();
    loop {
        let (stream, event) = (draw.stream(), draw.event());
        let began = Instant::now();
        client.append(stream, vec![event]).await?;
        let ended = Instant::now();
        if ended >= window.end {
            return Ok(latencies);
        }
        if ended >= window.begin {
            latencies.push(ended - began);
        }
    }
}

/// Runs appends beside a look at the server's processor time.
async fn measured(
    server: &Running,
    time: Duration,
    appends: impl Future<Output = Result<Vec<Duration>>>,
) -> Result<Sample> {
    let processor_time = async {
        sleep(WARM_UP).await;
        let before = server.processor_time()?;
        sleep(time).await;
        Ok(server.processor_time()?.saturating_sub(before))
    };
    let (latencies, spent): (_, Result<_>) = tokio::join!(appends, processor_time);
    sample(latencies?, time, spent?)
}

fn sample(mut latencies: Vec<Duration>, time: Duration, spent: Duration) -> Result<Sample> {
    ensure!(!latencies.is_empty(), "nothing was measured");
    latencies.sort_unstable();
    let quantile = |share: usize| {
        let latency = latencies.get(latencies.len() * share / 100).copied().unwrap_or_default();
        latency.as_secs_f64() * 1e6
    };
    let count = latencies.len() as f64;
    Ok(Sample {
        per_second: count / time.as_secs_f64(),
        p50_us: quantile(50),
        p99_us: quantile(99),
        server_us: spent.as_secs_f64() * 1e6 / count,
    })
}

async fn read(client: impl Client, load: Load, server: &Running, time: Duration) -> Result<Sample> {
    let (before, began) = (server.processor_time()?, Instant::now());
    let mut events = 0;
    while began.elapsed() < time {
        let read = match load {
            Load::ReadStream => client.read_stream(LONG_STREAM, LONG_STREAM_EVENTS).await?,
            _ => client.read_all(LONG_STREAM_EVENTS).await?,
        };
        ensure!(read == LONG_STREAM_EVENTS, "{read} events were read");
        events += read;
    }
    let spent = server.processor_time()?.saturating_sub(before);
    Ok(Sample {
        per_second: events as f64 / began.elapsed().as_secs_f64(),
        p50_us: f64::NAN,
        p99_us: f64::NAN,
        server_us: spent.as_secs_f64() * 1e6 / events as f64,
    })
}

async fn deliver(client: impl Client, server: &Running, time: Duration) -> Result<Sample> {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let subscriber = client.clone();
    let mut subscription = JoinSet::new();
    subscription.spawn(async move { subscriber.subscribe(sender).await });
    let mut draw = Draw::new();
    wait_until_live(&client, &mut draw, &mut seen).await?;
    let before = server.processor_time()?;
    let (mut sent, end) = (Vec::new(), Instant::now() + time);
    let mut next = Instant::now();
    while next < end {
        sleep_until(next).await;
        let (stream, event) = (draw.stream(), draw.numbered(sent.len() as u64));
        sent.push(Instant::now());
        client.append(stream, vec![event]).await?;
        next = Instant::now() + DELIVERY_INTERVAL;
    }
    let mut latencies = Vec::new();
    while latencies.len() < sent.len() {
        let arrived = timeout(PATIENCE, seen.recv()).await.context("an event did not arrive")?;
        let Some(Seen { number, at }) = arrived else {
            return match subscription.join_next().await {
                Some(Ok(Err(error))) => Err(error.context("the subscription failed")),
                _ => Err(anyhow::anyhow!("the subscription ended")),
            };
        };
        let begun = usize::try_from(number).ok().and_then(|number| sent.get(number));
        latencies.extend(begun.map(|begun| at - *begun));
    }
    let spent = server.processor_time()?.saturating_sub(before);
    sample(latencies, time, spent)
}

async fn wait_until_live(
    client: &impl Client,
    draw: &mut Draw,
    seen: &mut mpsc::UnboundedReceiver<Seen>,
) -> Result<()> {
    let since = Instant::now();
    loop {
        client.append(draw.stream(), vec![draw.numbered(PROBE)]).await?;
        if timeout(WARM_UP, seen.recv()).await.is_ok_and(|seen| seen.is_some()) {
            return Ok(());
        }
        ensure!(since.elapsed() < PATIENCE, "the subscription is not live");
    }
}
