//! Append benchmark: throughput and latency.
//!
//! Closed loop: each thread starts its next append once the previous one is acknowledged.
//! Conditions always hold, so conflicts never make a run look faster.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    clock::Stopwatch,
    engine::{Demand, Engine, Offer, Writer},
    latencies::{Latencies, Quantiles},
    workload::{Generated, Generator, Payloads, Pool, ThreadShare},
};

/// Events per append of the filling threads.
const FILL_EVENTS: usize = 100;
const FILL_THREADS: u64 = 8;

/// Options of the append benchmark.
#[derive(Args, Clone, Debug)]
pub struct AppendLoad {
    /// Threads that append, each waiting for its append before the next
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub writers: u64,
    /// Events per append
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub events_per_append: u64,
    /// Random bytes of data per event
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub event_bytes: u64,
    /// Duration in seconds
    #[arg(long, value_name = "N", default_value_t = 3.0)]
    pub seconds: f64,
    /// Condition of every append; it always holds
    #[arg(long, value_enum, default_value_t = Condition::None)]
    pub condition: Condition,
    /// Number of streams; each append picks one
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub streams: u64,
    /// Number of tags; each append picks one
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub tags: u64,
    /// Events appended before the measurement, 100 at a time
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub fill: u64,
    /// Seed for names and data
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Condition of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// No condition
    None,
    /// No event has the append's tag since the last position known to the writer
    Query,
    /// The stream's exact revision
    Exact,
}

/// Result of the append benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct AppendReport {
    pub writers: u64,
    pub events_per_append: u64,
    pub event_bytes: u64,
    pub condition: Condition,
    /// Events acknowledged in the measured time.
    pub events: u64,
    pub appends: u64,
    /// From the first append until the store is closed.
    pub seconds: f64,
    /// Part of `seconds` spent on closing.
    pub close_seconds: f64,
    pub events_per_second: f64,
    /// Latency of an append.
    pub latency: Quantiles,
}

impl AppendLoad {
    pub fn time(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::ZERO)
    }
}

/// State shared by the threads of a run.
pub struct AppendRun<'a> {
    load: &'a AppendLoad,
    pool: Pool,
    /// Number of events per stream. Empty unless the condition needs it.
    counts: Vec<AtomicU64>,
    /// Last position of the filled events.
    filled: AtomicU64,
    begin: Barrier,
    failed: AtomicBool,
}

impl<'a> AppendRun<'a> {
    pub fn of(load: &'a AppendLoad) -> Self {
        let streams = if load.condition == Condition::Exact { load.streams } else { 0 };
        // With few streams, threads get extra ones, so that each has its own.
        let beyond = load.writers.max(FILL_THREADS);
        Self {
            load,
            pool: Pool::new(load.seed, usize::try_from(load.event_bytes).unwrap_or(usize::MAX)),
            counts: (0..streams + beyond).map(|_| AtomicU64::new(0)).collect(),
            filled: AtomicU64::new(0),
            begin: Barrier::new(usize::try_from(load.writers).unwrap_or(1)),
            failed: AtomicBool::new(false),
        }
    }

    /// Returns the appender of one thread. It knows the positions of all filled events.
    pub fn appender<'b>(&'b self, writer: Box<dyn Writer + 'b>, thread: u64) -> Appender<'b> {
        let known = self.filled.load(Ordering::Relaxed);
        Appender { shared: self, writer, draw: self.draw(thread), known }
    }

    fn draw(&self, thread: u64) -> Generator<'_> {
        Generator::new(
            &self.pool,
            self.load.seed,
            ThreadShare { thread, threads: self.load.writers },
        )
    }

    fn count_of(&self, stream: u64) -> Option<&AtomicU64> {
        self.counts.get(usize::try_from(stream).ok()?)
    }
}

/// Fills the engine, appends for the load's time, and closes it.
pub fn run(engine: Box<dyn Engine>, load: &AppendLoad) -> Result<AppendReport> {
    let shared = AppendRun::of(load);
    fill(&*engine, &shared)?;
    let stopwatch = Stopwatch::start();
    let latencies = append_on_threads(&*engine, &shared, stopwatch)?;
    let appended = stopwatch.elapsed();
    engine.close().context("cannot close the engine")?;
    let all = stopwatch.elapsed();
    let events = latencies.count() * load.events_per_append;
    Ok(AppendReport {
        writers: load.writers,
        events_per_append: load.events_per_append,
        event_bytes: load.event_bytes,
        condition: load.condition,
        events,
        appends: latencies.count(),
        seconds: all.as_secs_f64(),
        close_seconds: (all - appended).as_secs_f64(),
        events_per_second: events as f64 / all.as_secs_f64(),
        latency: latencies.quantiles(),
    })
}

/// Measures the peak throughput, in events per second. Leaves the engine open.
pub fn peak(engine: &dyn Engine, load: &AppendLoad) -> Result<f64> {
    let shared = AppendRun::of(load);
    let stopwatch = Stopwatch::start();
    let latencies = append_on_threads(engine, &shared, stopwatch)?;
    Ok((latencies.count() * load.events_per_append) as f64 / stopwatch.elapsed().as_secs_f64())
}

fn append_on_threads(
    engine: &dyn Engine,
    shared: &AppendRun<'_>,
    stopwatch: Stopwatch,
) -> Result<Latencies> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..shared.load.writers)
            .map(|thread| {
                scope.spawn(move || {
                    let ended = append_until_time(engine, shared, thread, stopwatch);
                    shared.failed.fetch_or(ended.is_err(), Ordering::Relaxed);
                    ended
                })
            })
            .collect();
        let mut all = Latencies::default();
        for thread in threads {
            all.merge(&thread.join().expect("a writer's thread does not panic")?);
        }
        Ok(all)
    })
}

fn append_until_time(
    engine: &dyn Engine,
    shared: &AppendRun<'_>,
    thread: u64,
    stopwatch: Stopwatch,
) -> Result<Latencies> {
    let writer = engine.writer();
    shared.begin.wait();
    let mut appender = shared.appender(writer?, thread);
    let mut latencies = Latencies::default();
    let end = u64::try_from(shared.load.time().as_nanos()).unwrap_or(u64::MAX);
    loop {
        let took = appender.append_one(stopwatch)?;
        latencies.add(took);
        if stopwatch.nanos() >= end || shared.failed.load(Ordering::Relaxed) {
            return Ok(latencies);
        }
    }
}

/// Appender of one thread.
pub struct Appender<'a> {
    shared: &'a AppendRun<'a>,
    writer: Box<dyn Writer + 'a>,
    draw: Generator<'a>,
    /// Last position seen by this thread.
    known: u64,
}

impl Appender<'_> {
    /// Generates and appends one batch. Returns its latency in nanoseconds.
    pub fn append_one(&mut self, stopwatch: Stopwatch) -> Result<u64> {
        let load = self.shared.load;
        let drawn = match load.condition {
            Condition::None => self.draw.next(load.streams, load.tags),
            Condition::Query | Condition::Exact => self.draw.next_own(load.streams, load.tags),
        };
        let offer = Offer {
            stream: self.draw.stream(),
            tag: self.draw.tag(),
            first_id: drawn.first_id,
            payloads: Payloads::of(
                &self.shared.pool,
                drawn.offset,
                usize::try_from(load.events_per_append).unwrap_or(1),
            ),
            demand: self.demand(&drawn),
        };
        let began = stopwatch.nanos();
        self.known = self.writer.append(&offer)?;
        let took = stopwatch.nanos() - began;
        self.count(&drawn, load.events_per_append);
        Ok(took)
    }

    fn demand(&self, drawn: &Generated) -> Demand {
        match self.shared.load.condition {
            Condition::None => Demand::Nothing,
            Condition::Query => Demand::TagUnusedAfter(self.known),
            Condition::Exact => {
                let count = self.shared.count_of(drawn.stream);
                Demand::StreamHas(count.map_or(0, |count| count.load(Ordering::Relaxed)))
            }
        }
    }

    fn count(&self, drawn: &Generated, events: u64) {
        if let Some(count) = self.shared.count_of(drawn.stream) {
            count.fetch_add(events, Ordering::Relaxed);
        }
    }
}

/// Appends the events that precede the measurement.
fn fill(engine: &dyn Engine, shared: &AppendRun<'_>) -> Result<()> {
    if shared.load.fill == 0 {
        return Ok(());
    }
    let left = AtomicU64::new(shared.load.fill.div_ceil(FILL_EVENTS as u64));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..FILL_THREADS)
            .map(|thread| {
                let left = &left;
                scope.spawn(move || fill_some(engine, shared, thread, left))
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("a filling thread does not panic"))
    })
}

fn fill_some(
    engine: &dyn Engine,
    shared: &AppendRun<'_>,
    thread: u64,
    left: &AtomicU64,
) -> Result<()> {
    let AppendLoad { streams, tags, seed, .. } = *shared.load;
    let mut writer = engine.writer()?;
    // Not the seed of the measurement, so that names and ids differ.
    let own = ThreadShare { thread, threads: FILL_THREADS };
    let mut draw = Generator::new(&shared.pool, !seed, own);
    while left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    {
        let drawn = draw.next_own(streams, tags);
        let payloads = Payloads::of(&shared.pool, drawn.offset, FILL_EVENTS);
        let (stream, tag) = (draw.stream(), draw.tag());
        let demand = Demand::Nothing;
        let offer = Offer { stream, tag, first_id: drawn.first_id, payloads, demand };
        shared.filled.fetch_max(writer.append(&offer)?, Ordering::Relaxed);
        if let Some(count) = shared.count_of(drawn.stream) {
            count.fetch_add(FILL_EVENTS as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use gesta_store::{EventStore as _, ReadAll, memory::MemoryStore};

    use super::*;
    use crate::load::event_store::{StoreEngine, ThreadWaker};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: AppendLoad,
    }

    /// Runs a short load over a memory store. Returns the report and the stored events.
    fn ran(line: &str) -> (AppendReport, Vec<gesta_store::RecordedEvent>) {
        let words = ["load", "--seconds", "0.05"].into_iter().chain(line.split_whitespace());
        let Line { load } = Line::parse_from(words);
        let store = MemoryStore::new();
        let report = run(Box::new(StoreEngine(store.clone())), &load).unwrap();
        let read = store.read_all(ReadAll::forwards()).collect_events();
        (report, ThreadWaker::current().block_on(read).unwrap())
    }

    #[test]
    fn what_is_reported_is_there() {
        let (report, events) = ran("--writers 3 --events-per-append 5 --event-bytes 100");
        assert!(report.appends > 3, "{report:?}");
        assert_eq!((events.len() as u64, report.events), (report.events, report.appends * 5));
        assert!(events.iter().all(|event| event.data.len() == 100 && event.tags.len() == 1));
        let append = events.first_chunk::<5>().unwrap();
        assert!(append.iter().all(|event| event.stream == append[0].stream), "{append:?}");
        assert!(report.events_per_second <= report.events as f64 / 0.05, "the close counts");
        assert!(report.latency.p50_us <= report.latency.max_us);
    }

    #[test]
    fn conditions_always_hold() {
        for condition in ["query", "exact"] {
            let line = format!("--writers 4 --streams 8 --tags 8 --condition {condition}");
            let (report, events) = ran(&line);
            assert_eq!(events.len() as u64, report.events, "{condition}");
        }
    }

    #[test]
    fn what_was_filled_is_there_and_not_counted() {
        for condition in ["none", "query", "exact"] {
            let line = format!("--writers 2 --streams 16 --fill 1000 --condition {condition}");
            let (report, events) = ran(&line);
            assert_eq!(events.len() as u64, report.events + 1_000, "{condition}");
        }
    }
}
