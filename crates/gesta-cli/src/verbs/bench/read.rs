//! `gesta bench read`: throughput of scans and latency of stream loads.

use std::{hint::black_box, ops::ControlFlow, time::Duration};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use futures_executor::block_on;
use gesta_log::LogStore;
use gesta_store::{EventStore as _, Position, ReadAll, ReadStream, StreamName};
use serde::Serialize;

use super::measure::{Latencies, Quantiles, Stopwatch};
use crate::{
    exit::Outcome,
    log_url::LogUrl,
    output::{Output, Style},
};

/// Number of events whose streams are loaded.
const SAMPLES: u64 = 1_000;
const LAST: u64 = 10;

/// Measure reads of the whole store, of single streams, and of their last ten events
///
/// Reads an existing store and changes nothing. Picks events at regular intervals across the
/// store, and loads their streams.
#[derive(Args, Debug)]
pub(crate) struct BenchRead {
    /// Duration of each measurement in seconds
    #[arg(long, value_name = "N", default_value_t = 3.0)]
    seconds: f64,
}

#[derive(Serialize)]
struct ReadReport {
    store: String,
    events: u64,
    open_seconds: f64,
    scan_events_per_second: f64,
    /// Mean number of events of the loaded streams.
    stream_events: f64,
    /// Latency of loading a whole stream.
    load: Quantiles,
    /// Latency of loading the last ten events of a stream.
    load_last: Quantiles,
}

impl BenchRead {
    pub(crate) fn run(self, store: &LogUrl, output: &mut Output) -> Result<Outcome> {
        let report = self.measure(store)?;
        match output.style() {
            Style::Text => print(&report, output)?,
            Style::Json => output.json(&report)?,
        }
        Ok(Outcome::Done)
    }

    fn measure(&self, url: &LogUrl) -> Result<ReadReport> {
        let time = Duration::try_from_secs_f64(self.seconds)?;
        let stopwatch = Stopwatch::start();
        let store = url.open_to_read()?;
        let open_seconds = stopwatch.elapsed().as_secs_f64();
        // The first scan brings the files into the page cache, and is not measured.
        let events = scan(&store)?;
        ensure!(events > 0, "{url} has no events to read; append some with `gesta bench append`");
        let (mut scanned, stopwatch) = (0, Stopwatch::start());
        while scanned == 0 || stopwatch.elapsed() < time {
            scanned += scan(&store)?;
        }
        let scan_events_per_second = scanned as f64 / stopwatch.elapsed().as_secs_f64();
        let streams = sampled_streams(&store)?;
        let whole = loads(&store, &streams, time, ReadStream::forwards)?;
        let last = loads(&store, &streams, time, |it| ReadStream::backwards(it).limit(LAST))?;
        Ok(ReadReport {
            store: url.to_string(),
            events,
            open_seconds,
            scan_events_per_second,
            stream_events: whole.events as f64 / whole.latencies.0.len() as f64,
            load: whole.latencies.quantiles(),
            load_last: last.latencies.quantiles(),
        })
    }
}

/// Reads all events in order. Returns their number.
fn scan(store: &LogStore) -> Result<u64> {
    Ok(store.scan(Position::START, |event| {
        black_box((event.data.first(), event.data.last()));
        ControlFlow::Continue(())
    })?)
}

fn sampled_streams(store: &LogStore) -> Result<Vec<StreamName>> {
    let head = block_on(store.head())?.position.number();
    let mut streams = Vec::new();
    for sample in 0..SAMPLES.min(head) {
        let position = Position::new(1 + head / SAMPLES.min(head) * sample);
        let read = store.read_all(ReadAll::forwards().from(position).limit(1));
        streams.extend(block_on(read.collect_events())?.into_iter().map(|event| event.stream));
    }
    // System streams are read differently.
    streams.retain(|stream| !stream.as_str().starts_with('$'));
    Ok(streams)
}

struct StreamLoads {
    latencies: Latencies,
    events: u64,
}

/// Loads the streams in turn until the time is over.
fn loads(
    store: &LogStore,
    streams: &[StreamName],
    time: Duration,
    read: impl Fn(StreamName) -> ReadStream,
) -> Result<StreamLoads> {
    let mut loads = StreamLoads { latencies: Latencies::default(), events: 0 };
    let stopwatch = Stopwatch::start();
    for stream in streams.iter().cycle() {
        let began = stopwatch.nanos();
        let mut pages = store.read_stream(read(stream.clone()));
        while let Some(page) = block_on(pages.next()) {
            loads.events += page?.len() as u64;
        }
        loads.latencies.0.push(stopwatch.nanos() - began);
        if stopwatch.elapsed() >= time {
            return Ok(loads);
        }
    }
    Err(anyhow!("the store has only system streams; none of them is measured"))
}

fn print(report: &ReadReport, output: &mut Output) -> Result<()> {
    let ReadReport { events, open_seconds, stream_events, load, load_last, .. } = report;
    output
        .line(format_args!("scanned events per second  {:>12.0}", report.scan_events_per_second))?;
    output.line(format_args!("load of a stream, µs       {load}"))?;
    output.line(format_args!("load of last 10 events, µs {load_last}"))?;
    output.line(format_args!(
        "total                      {events} events, {stream_events:.0} in a loaded stream on \
         average; opened in {open_seconds:.3} s"
    ))
}
