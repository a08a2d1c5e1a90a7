//! Read benchmark: scans, category reads, and loads of single streams.
//!
//! The data is written first, then the engine is closed and opened again. Every hundredth append of
//! the filling goes to a stream of the category [`FEW`], round-robin. These streams end up with 100
//! events each and hold 1 % of all events, spread as widely over the store as the size of an append
//! allows.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::Serialize;

use super::{
    clock::Stopwatch,
    engine::{Demand, Engine, Offer, Part, Reader},
    latencies::{Latencies, Quantiles},
    workload::{FEW, Generator, Payloads, Pool, Random, ThreadShare, few_name},
};

/// One in this many appends goes to a stream in [`FEW`].
const FEW_SHARE: u64 = 100;
/// Events per stream in [`FEW`].
const FEW_EVENTS: u64 = 100;
const LAST: u64 = 10;

/// Options of the read benchmark.
#[derive(Args, Clone, Debug)]
pub struct ReadLoad {
    /// Events to fill an empty store with
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..))]
    pub events: u64,
    /// Events per append while filling
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=FEW_EVENTS))]
    pub events_per_append: u64,
    /// Threads that fill the store
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub writers: u64,
    /// Random bytes of data per event
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub event_bytes: u64,
    /// Duration of each measurement in seconds
    #[arg(long, value_name = "N", default_value_t = 3.0)]
    pub seconds: f64,
    /// Number of streams and number of tags
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub streams: u64,
    /// Seed for names and data
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Result of the read benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct ReadReport {
    pub events: u64,
    pub open_seconds: f64,
    /// Scan of all events in order.
    pub scan_events_per_second: f64,
    /// Read of a category with 1 % of all events, or `None` for an existing store.
    pub category_events_per_second: Option<f64>,
    /// Mean number of events of the loaded streams.
    pub stream_events: f64,
    /// Latency of loading a whole stream.
    pub load: Quantiles,
    /// Latency of loading the last ten events of a stream.
    pub load_last: Quantiles,
}

/// Streams and category to read.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Streams that are loaded in random order.
    pub streams: Vec<String>,
    pub category: Option<&'static str>,
}

impl ReadLoad {
    fn time(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::ZERO)
    }

    /// Returns the streams and the category that [`fill`] creates.
    pub fn filled(&self) -> Chosen {
        Chosen { streams: (0..self.few()).map(few_name).collect(), category: Some(FEW) }
    }

    /// Number of streams in [`FEW`].
    fn few(&self) -> u64 {
        (self.events / FEW_SHARE / FEW_EVENTS).max(1)
    }
}

/// Fills an empty engine and closes it.
pub fn fill(engine: Box<dyn Engine>, load: &ReadLoad) -> Result<()> {
    let pool = Pool::new(load.seed, usize::try_from(load.event_bytes)?);
    let filling = Filling { load, pool, appended: AtomicU64::new(0) };
    thread::scope(|scope| {
        let (engine, filling) = (&*engine, &filling);
        let threads: Vec<_> = (0..load.writers)
            .map(|thread| scope.spawn(move || filling.append_some(engine, thread)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("a filling thread does not panic"))
    })?;
    engine.close().context("cannot close the engine")
}

struct Filling<'a> {
    load: &'a ReadLoad,
    pool: Pool,
    appended: AtomicU64,
}

impl Filling<'_> {
    fn append_some(&self, engine: &dyn Engine, thread: u64) -> Result<()> {
        let ReadLoad { events, events_per_append, streams, seed, .. } = *self.load;
        let mut writer = engine.writer()?;
        let own = ThreadShare { thread, threads: self.load.writers };
        let mut draw = Generator::new(&self.pool, seed, own);
        loop {
            let nth = self.appended.fetch_add(1, Ordering::Relaxed);
            if nth * events_per_append >= events {
                return Ok(());
            }
            let drawn = match nth % FEW_SHARE {
                0 => draw.next_few(nth / FEW_SHARE % self.load.few(), streams),
                _ => draw.next(streams, streams),
            };
            let count = usize::try_from(events_per_append)?;
            writer.append(&Offer {
                stream: draw.stream(),
                tag: draw.tag(),
                first_id: drawn.first_id,
                payloads: Payloads::of(&self.pool, drawn.offset, count),
                demand: Demand::Nothing,
            })?;
        }
    }
}

/// Opens the engine, runs each measurement for the load's time, and closes it.
pub fn run(
    open: &dyn Fn() -> Result<Box<dyn Engine>>,
    load: &ReadLoad,
    chosen: &Chosen,
) -> Result<ReadReport> {
    let stopwatch = Stopwatch::start();
    let engine = open()?;
    let open_seconds = stopwatch.elapsed().as_secs_f64();
    let report = measure(&mut *engine.reader()?, load, chosen)?;
    engine.close().context("cannot close the engine")?;
    Ok(ReadReport { open_seconds, ..report })
}

fn measure(reader: &mut dyn Reader, load: &ReadLoad, chosen: &Chosen) -> Result<ReadReport> {
    // Warm up the page cache. Engines differ in what their writes leave in it.
    reader.scan(&mut look)?;
    let scanned = repeat(load.time(), || reader.scan(&mut look).map(Some))?;
    let scanned = scanned.context("this engine does not support reads of the whole store")?;
    let category = match chosen.category {
        Some(name) => repeat(load.time(), || reader.category(name, &mut look))?,
        None => None,
    };
    let mut random = Random::of_seed(load.seed);
    let whole = loads(reader, load, &chosen.streams, Part::Whole, &mut random)?;
    let last = loads(reader, load, &chosen.streams, Part::Last(LAST), &mut random)?;
    Ok(ReadReport {
        events: scanned.events / scanned.times,
        open_seconds: 0.0,
        scan_events_per_second: scanned.a_second(),
        category_events_per_second: category.map(|read| read.a_second()),
        stream_events: whole.events as f64 / whole.latencies.count() as f64,
        load: whole.latencies.quantiles(),
        load_last: last.latencies.quantiles(),
    })
}

/// Touches the data, so that the read is not optimized away.
fn look(data: &[u8]) {
    black_box(data.first());
    black_box(data.last());
}

/// Totals of a repeated read.
struct Repeated {
    events: u64,
    times: u64,
    seconds: f64,
}

impl Repeated {
    fn a_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }
}

/// Repeats a read until the time is over, at least once. Returns `None` if the engine does not
/// support it.
fn repeat(
    time: Duration,
    mut read: impl FnMut() -> Result<Option<u64>>,
) -> Result<Option<Repeated>> {
    let stopwatch = Stopwatch::start();
    let mut repeated = Repeated { events: 0, times: 0, seconds: 0.0 };
    while repeated.times == 0 || stopwatch.elapsed() < time {
        let Some(events) = read()? else { return Ok(None) };
        repeated.events += events;
        repeated.times += 1;
    }
    ensure!(repeated.events > 0, "the read returned no events; fill the store first");
    repeated.seconds = stopwatch.elapsed().as_secs_f64();
    Ok(Some(repeated))
}

struct Loads {
    latencies: Latencies,
    events: u64,
}

/// Loads random streams.
fn loads(
    reader: &mut dyn Reader,
    load: &ReadLoad,
    streams: &[String],
    part: Part,
    random: &mut Random,
) -> Result<Loads> {
    let mut loads = Loads { latencies: Latencies::default(), events: 0 };
    let all = Stopwatch::start();
    while loads.latencies.count() == 0 || all.elapsed() < load.time() {
        let drawn = usize::try_from(random.below(streams.len() as u64))?;
        let stream = streams.get(drawn).context("the store has no stream to read")?;
        let stopwatch = Stopwatch::start();
        let events = reader.stream(stream, part, &mut look)?;
        loads.latencies.add(stopwatch.nanos());
        ensure!(events > 0, "{stream} has no events");
        loads.events += events;
    }
    Ok(loads)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use gesta_store::{
        Category, EventStore as _, Filter, ReadAll, ReadStream, StreamName, memory::MemoryStore,
    };

    use super::*;
    use crate::load::event_store::{StoreEngine, ThreadWaker};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: ReadLoad,
    }

    fn load(line: &str) -> ReadLoad {
        let words = ["load", "--seconds", "0.01", "--events", "20000"];
        Line::parse_from(words.into_iter().chain(line.split_whitespace())).load
    }

    #[test]
    fn a_hundredth_of_all_events_is_in_streams_of_a_hundred_for_any_size_of_append() {
        for line in ["--events-per-append 1", "--events-per-append 100"] {
            let (store, load) = (MemoryStore::new(), load(line));
            fill(Box::new(StoreEngine(store.clone())), &load).unwrap();
            let parked = ThreadWaker::current();
            let all = parked.block_on(store.read_all(ReadAll::forwards()).collect_events());
            assert_eq!(all.unwrap().len(), 20_000, "{line}");
            let filter = Filter::Categories(vec![Category::new(FEW).unwrap()]);
            let few = store.read_all(ReadAll::forwards().filter(filter)).collect_events();
            assert_eq!(parked.block_on(few).unwrap().len(), 200, "{line}");
            for number in 0..2 {
                let read = ReadStream::forwards(StreamName::new(few_name(number)).unwrap());
                let events = parked.block_on(store.read_stream(read).collect_events());
                assert_eq!(events.unwrap().len(), 100, "{line}");
            }
        }
    }

    #[test]
    fn what_is_read_is_all_that_there_is() {
        let (store, load) = (MemoryStore::new(), load("--writers 3"));
        let open = || Ok(Box::new(StoreEngine(store.clone())) as Box<dyn Engine>);
        fill(open().unwrap(), &load).unwrap();
        let report = run(&open, &load, &load.filled()).unwrap();
        assert_eq!((report.events, report.stream_events), (20_000, 100.0));
        assert!(report.scan_events_per_second > 0.0);
        assert!(report.category_events_per_second > Some(0.0));
        assert!(report.load.p50_us > 0.0 && report.load_last.p50_us > 0.0);
    }

    #[test]
    fn a_store_without_events_cannot_be_measured() {
        let open = || Ok(Box::new(StoreEngine(MemoryStore::new())) as Box<dyn Engine>);
        let error = run(&open, &load(""), &load("").filled()).unwrap_err();
        assert_eq!(error.to_string(), "the read returned no events; fill the store first");
    }
}
