//! `gesta bench subscribe`: latency of live subscriptions.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use clap::Args;
use futures_executor::block_on;
use gesta_log::LogStore;
use gesta_store::{Delivery, EventStore as _, Subscribe, Subscription};
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

/// Size of the timestamp at the start of each event's data.
const STAMP_BYTES: usize = 8;
/// Number of streams that are appended to.
const STREAMS: u64 = 10_000;

/// Measure subscriptions: the latency from an append to its delivery
///
/// Needs an empty directory, where the events remain. One thread appends at the given rate, one
/// event per append. Each subscription has its own thread and receives every event.
#[derive(Args, Debug)]
pub(crate) struct BenchSubscribe {
    /// Number of live subscriptions
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    subscribers: u64,
    /// Events appended per second
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Bytes of data per event
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(STAMP_BYTES as u64..=1 << 20))]
    event_bytes: u64,
    /// Duration in seconds
    #[arg(long, value_name = "N", default_value_t = 3.0)]
    seconds: f64,
}

#[derive(Serialize)]
struct SubscribeReport {
    store: String,
    subscribers: u64,
    events: u64,
    /// Rate that was asked for.
    rate: u64,
    events_per_second: f64,
    /// Latency of an append.
    append: Quantiles,
    /// Latency from the start of an append to its delivery.
    delivery: Quantiles,
}

impl BenchSubscribe {
    pub(crate) fn run(self, store: &LogUrl, output: &mut Output) -> Result<Outcome> {
        store.check_empty()?;
        let report = self.measure(store)?;
        match output.style() {
            Style::Text => print(&report, output)?,
            Style::Json => output.json(&report)?,
        }
        Ok(Outcome::Done)
    }

    fn measure(&self, url: &LogUrl) -> Result<SubscribeReport> {
        let store = url.open_to_append()?;
        let stopwatch = Stopwatch::start();
        // A subscriber ends when it has received as many events as were appended.
        let appended = &AtomicU64::new(u64::MAX);
        thread::scope(move |scope| {
            let subscribers: Vec<_> = (0..self.subscribers)
                .map(|_| store.subscribe(Subscribe::to_all().into()))
                .map(|subscription| scope.spawn(move || follow(subscription, stopwatch, appended)))
                .collect();
            let (latencies, seconds) = match self.append(&store, stopwatch, appended) {
                Ok(measured) => measured,
                Err(error) => {
                    // The subscribers wait for events that will not come; a closed store ends them.
                    drop(block_on(store.close()));
                    return Err(error);
                }
            };
            let mut deliveries = Latencies::default();
            for thread in subscribers {
                deliveries
                    .0
                    .extend(thread.join().expect("a subscriber's thread does not panic")?.0);
            }
            let events = latencies.0.len() as u64;
            Ok(SubscribeReport {
                store: url.to_string(),
                subscribers: self.subscribers,
                events,
                rate: self.rate,
                events_per_second: events as f64 / seconds,
                append: latencies.quantiles(),
                delivery: deliveries.quantiles(),
            })
        })
    }

    /// Appends at the requested rate. Returns the latencies and the elapsed seconds.
    fn append(
        &self,
        store: &LogStore,
        stopwatch: Stopwatch,
        appended: &AtomicU64,
    ) -> Result<(Latencies, f64)> {
        let mut source = AppendSource::new(usize::try_from(self.event_bytes)?, STREAMS)?;
        let mut latencies = Latencies::default();
        let began = stopwatch.elapsed();
        let count = ((self.seconds * self.rate as f64) as u64).max(1);
        for nth in 0..count {
            stopwatch.sleep_until(began + Duration::from_secs_f64(nth as f64 / self.rate as f64));
            let mut data = source.data().to_vec();
            let offered = stopwatch.nanos();
            if let Some(stamp) = data.first_chunk_mut::<STAMP_BYTES>() {
                *stamp = offered.to_le_bytes();
            }
            // Known before the last event is delivered, so that its delivery ends the subscribers.
            if nth + 1 == count {
                appended.store(count, Ordering::Release);
            }
            store.append_blocking(source.append_data(data)?)?;
            latencies.0.push(stopwatch.nanos() - offered);
        }
        Ok((latencies, (stopwatch.elapsed() - began).as_secs_f64()))
    }
}

/// Runs the thread of one subscriber.
fn follow(
    mut subscription: Subscription,
    stopwatch: Stopwatch,
    appended: &AtomicU64,
) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    while (latencies.0.len() as u64) < appended.load(Ordering::Acquire) {
        let delivery = block_on(subscription.next()).transpose()?;
        ensure!(delivery.is_some(), "a subscription ended before its last event");
        if let Some(Delivery::Events(page)) = delivery {
            for event in &page {
                if let Some(stamp) = event.data.first_chunk::<STAMP_BYTES>() {
                    let offered = u64::from_le_bytes(*stamp);
                    latencies.0.push(stopwatch.nanos().saturating_sub(offered));
                }
            }
        }
    }
    Ok(latencies)
}

fn print(report: &SubscribeReport, output: &mut Output) -> Result<()> {
    let SubscribeReport { subscribers, events, append, delivery, .. } = report;
    output.line(format_args!("append, µs     {append}"))?;
    output.line(format_args!("delivery, µs   {delivery}"))?;
    output.line(format_args!(
        "total          {events} events, {:.0} per second, to {subscribers} subscriptions",
        report.events_per_second
    ))
}
