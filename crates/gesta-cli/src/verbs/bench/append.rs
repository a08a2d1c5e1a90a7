//! `gesta bench append`: throughput and latency of appends.

use std::{thread, time::Duration};

use anyhow::Result;
use clap::Args;
use futures_executor::block_on;
use gesta_log::LogStore;
use gesta_store::EventStore as _;
use serde::Serialize;

use super::{
    generated::AppendSource,
    measure::{Latencies, Quantiles, Stopwatch},
};
use crate::{
    exit::Outcome,
    log_url::LogUrl,
    output::{Output, Style},
};

/// Measure appends; each thread waits for one append before it starts the next
///
/// Needs an empty directory, where the events remain. Each event has random data and one tag.
/// Appends go to the streams in turn. The measured time includes closing the store.
#[derive(Args, Debug)]
pub(crate) struct BenchAppend {
    /// Threads that append
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    writers: u64,
    /// Events per append
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    events_per_append: u64,
    /// Bytes of data per event
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    event_bytes: u64,
    /// Number of streams
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    streams: u64,
    /// Duration in seconds
    #[arg(long, value_name = "N", default_value_t = 3.0)]
    seconds: f64,
}

#[derive(Serialize)]
struct AppendReport {
    store: String,
    writers: u64,
    events_per_append: u64,
    event_bytes: u64,
    events: u64,
    appends: u64,
    /// From the first append until the store is closed.
    seconds: f64,
    /// Part of `seconds` spent on closing the store.
    close_seconds: f64,
    appends_per_second: f64,
    events_per_second: f64,
    latency: Quantiles,
}

impl BenchAppend {
    pub(crate) fn run(self, store: &LogUrl, output: &mut Output) -> Result<Outcome> {
        store.check_empty()?;
        let report = self.measure(store)?;
        match output.style() {
            Style::Text => print(&report, output)?,
            Style::Json => output.json(&report)?,
        }
        Ok(Outcome::Done)
    }

    fn measure(self, url: &LogUrl) -> Result<AppendReport> {
        let source = AppendSource::new(usize::try_from(self.event_bytes)?, self.streams)?;
        let store = url.open_to_append()?;
        let stopwatch = Stopwatch::start();
        let latencies = self.append_on_threads(&store, &source, stopwatch)?;
        let appended = stopwatch.elapsed();
        // Closing writes what an acknowledged append does not wait for.
        block_on(store.close())?;
        let all = stopwatch.elapsed();
        let appends = latencies.0.len() as u64;
        let events = appends * self.events_per_append;
        Ok(AppendReport {
            store: url.to_string(),
            writers: self.writers,
            events_per_append: self.events_per_append,
            event_bytes: self.event_bytes,
            events,
            appends,
            seconds: all.as_secs_f64(),
            close_seconds: (all - appended).as_secs_f64(),
            appends_per_second: appends as f64 / all.as_secs_f64(),
            events_per_second: events as f64 / all.as_secs_f64(),
            latency: latencies.quantiles(),
        })
    }

    fn append_on_threads(
        &self,
        store: &LogStore,
        source: &AppendSource,
        stopwatch: Stopwatch,
    ) -> Result<Latencies> {
        let time = Duration::try_from_secs_f64(self.seconds)?;
        let events = usize::try_from(self.events_per_append)?;
        thread::scope(|scope| {
            let append_until_time = |thread| {
                let mut source = source.of_thread(thread, self.writers);
                scope.spawn(move || {
                    let mut latencies = Vec::new();
                    while latencies.is_empty() || stopwatch.elapsed() < time {
                        let append = source.append(events)?;
                        let began = stopwatch.nanos();
                        store.append_blocking(append)?;
                        latencies.push(stopwatch.nanos() - began);
                    }
                    anyhow::Ok(latencies)
                })
            };
            let threads: Vec<_> = (0..self.writers).map(append_until_time).collect();
            let mut all = Latencies::default();
            for thread in threads {
                all.0.extend(thread.join().expect("a writer's thread does not panic")?);
            }
            Ok(all)
        })
    }
}

fn print(report: &AppendReport, output: &mut Output) -> Result<()> {
    let AppendReport { events, appends, seconds, close_seconds, latency, .. } = report;
    output.line(format_args!("events per second    {:>12.0}", report.events_per_second))?;
    output.line(format_args!("appends per second   {:>12.0}", report.appends_per_second))?;
    output.line(format_args!("latency, µs          {latency}"))?;
    output.line(format_args!(
        "total                {events} events in {appends} appends, {seconds:.2} s, \
         including {close_seconds:.2} s to close the store"
    ))
}
