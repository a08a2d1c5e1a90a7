//! Subscription benchmark: latency from an append to live subscribers.
//!
//! Appends are paced, so that no queue builds up that a real load would not cause. The latency of a
//! delivery is measured from the start of its append. Every subscriber must receive every matching
//! event, or the run fails.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde::Serialize;

use super::{
    append::{AppendLoad, peak},
    clock::Stopwatch,
    engine::{Demand, Engine, Interest, Offer, Subscriber},
    latencies::{Latencies, Quantiles},
    workload::{Generator, Payloads, Pool, ThreadShare},
};

/// Timeout for the remaining deliveries after the last append.
const DELIVERY_MAX: Duration = Duration::from_secs(60);
/// Interval of the check for remaining deliveries.
const CHECK_EVERY: Duration = Duration::from_millis(5);
/// Size of the timestamp at the start of each event's data.
const STAMP_BYTES: usize = 8;

/// Options of the subscription benchmark.
#[derive(Args, Clone, Debug)]
pub struct SubscribeLoad {
    /// Number of live subscriptions
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub subscribers: u64,
    /// Subscriptions with a filter that matches no event
    #[arg(long, value_name = "N", default_value_t = 90)]
    pub filtered: u64,
    /// Subscriptions that start to read after the last append
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub stalled: u64,
    /// Events appended per second [default: half the throughput without subscribers, measured
    /// first]
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,
    #[command(flatten)]
    pub appends: AppendLoad,
}

/// Result of the subscription benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct SubscribeReport {
    pub subscribers: u64,
    pub filtered: u64,
    pub stalled: u64,
    pub events: u64,
    /// Target rate in events per second.
    pub rate: f64,
    pub events_per_second: f64,
    /// Latency of an append.
    pub append: Quantiles,
    /// Latency from the start of an append to each subscriber that reads all the time.
    pub delivery: Quantiles,
}

/// State shared by the threads of a run.
struct SubscribeRun<'a> {
    load: &'a SubscribeLoad,
    pool: Pool,
    rate: f64,
    stopwatch: Stopwatch,
    appended: AtomicU64,
    delivered: AtomicU64,
    deliveries: Mutex<Latencies>,
    end: AtomicBool,
}

/// Appends at the load's rate to live subscribers, and closes the engine.
pub fn run(engine: Box<dyn Engine>, load: &SubscribeLoad) -> Result<SubscribeReport> {
    let SubscribeLoad { subscribers, filtered, stalled, .. } = *load;
    ensure!(
        subscribers > filtered + stalled,
        "--subscribers must be greater than --filtered and --stalled together; got {subscribers}, \
         {filtered} and {stalled}"
    );
    let event_bytes = usize::try_from(load.appends.event_bytes)?;
    ensure!(
        event_bytes >= STAMP_BYTES,
        "--event-bytes must be at least {STAMP_BYTES}, the size of a timestamp; got {event_bytes}"
    );
    let rate = match load.rate {
        Some(rate) => rate,
        None => peak(&*engine, &load.appends)? / 2.0,
    };
    ensure!(rate > 0.0, "--rate must be greater than 0; got {rate}");
    let shared = SubscribeRun {
        load,
        pool: Pool::new(load.appends.seed, event_bytes),
        rate,
        stopwatch: Stopwatch::start(),
        appended: AtomicU64::new(0),
        delivered: AtomicU64::new(0),
        deliveries: Mutex::new(Latencies::default()),
        end: AtomicBool::new(false),
    };
    let (appends, seconds) = thread::scope(|scope| {
        let mut followers = Vec::new();
        let measured = shared.measure(&*engine, &mut |subscriber| {
            let shared = &shared;
            followers.push(scope.spawn(move || shared.follow(subscriber)));
        });
        // End the subscribers even if the measurement failed, or the scope would never return.
        shared.end.store(true, Ordering::Release);
        followers.iter().for_each(|follower| follower.thread().unpark());
        engine.close().context("cannot close the engine")?;
        followers.into_iter().try_for_each(joined)?;
        measured
    })?;
    let events = shared.appended.into_inner();
    let deliveries = shared.deliveries.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(SubscribeReport {
        subscribers,
        filtered,
        stalled,
        events,
        rate,
        events_per_second: events as f64 / seconds,
        append: appends.quantiles(),
        delivery: deliveries.quantiles(),
    })
}

fn joined(follower: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    follower.join().expect("a subscriber's thread does not panic")
}

/// Reads the stalled subscriptions to the end.
fn catch_up(shared: &SubscribeRun<'_>, waiting: Vec<Box<dyn Subscriber>>) -> Result<()> {
    let appended = shared.appended.load(Ordering::Relaxed);
    for mut subscriber in waiting {
        let mut got = 0;
        while got < appended {
            let open = subscriber.next(&shared.end, &mut |_| got += 1)?;
            ensure!(open, "a stalled subscription ended before it had delivered all events");
        }
    }
    Ok(())
}

impl SubscribeRun<'_> {
    /// Starts all subscriptions, appends, and waits until every event is delivered.
    fn measure(
        &self,
        engine: &dyn Engine,
        follow: &mut dyn FnMut(Box<dyn Subscriber>),
    ) -> Result<(Latencies, f64)> {
        let SubscribeLoad { subscribers, filtered, stalled, .. } = *self.load;
        let reading = subscribers - filtered - stalled;
        for _ in 0..filtered {
            follow(engine.subscriber(Interest::NoEvent)?);
        }
        for _ in 0..reading {
            follow(engine.subscriber(Interest::Everything)?);
        }
        let stalled: Result<Vec<_>> =
            (0..stalled).map(|_| engine.subscriber(Interest::Everything)).collect();
        let stalled = stalled?;
        let appended = self.append(engine)?;
        self.wait_for(reading)?;
        catch_up(self, stalled)?;
        Ok(appended)
    }

    /// Runs the thread of one subscriber.
    fn follow(&self, mut subscriber: Box<dyn Subscriber>) -> Result<()> {
        let mut latencies = Latencies::default();
        loop {
            let mut got = 0;
            let open = subscriber.next(&self.end, &mut |data| {
                got += 1;
                if let Some(stamp) = data.first_chunk::<STAMP_BYTES>() {
                    let offered = u64::from_le_bytes(*stamp);
                    latencies.add(self.stopwatch.nanos().saturating_sub(offered));
                }
            })?;
            self.delivered.fetch_add(got, Ordering::Relaxed);
            if !open {
                let mut all = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
                all.merge(&latencies);
                return Ok(());
            }
        }
    }

    /// Runs the writers. Returns the latencies of their appends and the total seconds.
    fn append(&self, engine: &dyn Engine) -> Result<(Latencies, f64)> {
        let began = self.stopwatch.elapsed();
        let latencies = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.load.appends.writers)
                .map(|thread| scope.spawn(move || self.append_paced(engine, thread)))
                .collect();
            let mut all = Latencies::default();
            for thread in threads {
                all.merge(&thread.join().expect("a writer's thread does not panic")?);
            }
            Ok::<_, anyhow::Error>(all)
        })?;
        Ok((latencies, (self.stopwatch.elapsed() - began).as_secs_f64()))
    }

    fn append_paced(&self, engine: &dyn Engine, thread: u64) -> Result<Latencies> {
        let AppendLoad { writers, events_per_append, seconds, streams, tags, seed, .. } =
            self.load.appends;
        let mut writer = engine.writer()?;
        let mut draw = Generator::new(&self.pool, seed, ThreadShare { thread, threads: writers });
        let pause = writers as f64 * events_per_append as f64 / self.rate;
        let mut due = pause * thread as f64 / writers as f64;
        let mut latencies = Latencies::default();
        let begin = Stopwatch::start();
        let count = usize::try_from(events_per_append)?;
        while due < seconds {
            sleep_until(begin, Duration::from_secs_f64(due));
            let drawn = draw.next(streams, tags);
            let mut data = self.pool.copy(drawn.offset);
            let offered = self.stopwatch.nanos();
            if let Some(stamp) = data.first_chunk_mut::<STAMP_BYTES>() {
                *stamp = offered.to_le_bytes();
            }
            writer.append(&Offer {
                stream: draw.stream(),
                tag: draw.tag(),
                first_id: drawn.first_id,
                payloads: Payloads::same(&data, count),
                demand: Demand::Nothing,
            })?;
            latencies.add(self.stopwatch.nanos() - offered);
            self.appended.fetch_add(events_per_append, Ordering::Relaxed);
            due += pause;
        }
        Ok(latencies)
    }

    /// Waits until this many subscribers have received all events.
    fn wait_for(&self, subscribers: u64) -> Result<()> {
        let wanted = self.appended.load(Ordering::Relaxed) * subscribers;
        let stopwatch = Stopwatch::start();
        while self.delivered.load(Ordering::Relaxed) < wanted {
            if stopwatch.elapsed() > DELIVERY_MAX {
                let got = self.delivered.load(Ordering::Relaxed);
                bail!("timed out: {got} of {wanted} deliveries arrived");
            }
            sleep_until(Stopwatch::start(), CHECK_EVERY);
        }
        let got = self.delivered.load(Ordering::Relaxed);
        ensure!(got == wanted, "expected {wanted} deliveries; got {got}");
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "the pace of a load is in real time")]
fn sleep_until(begin: Stopwatch, time: Duration) {
    thread::sleep(time.saturating_sub(begin.elapsed()));
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use gesta_store::memory::MemoryStore;

    use super::*;
    use crate::load::event_store::StoreEngine;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: SubscribeLoad,
    }

    fn ran(line: &str) -> Result<SubscribeReport> {
        let words = ["load", "--seconds", "0.1", "--writers", "2"];
        let load = Line::parse_from(words.into_iter().chain(line.split_whitespace())).load;
        run(Box::new(StoreEngine(MemoryStore::new())), &load)
    }

    #[test]
    fn every_subscriber_gets_what_is_appended_at_the_rate_asked_for() {
        let report = ran("--subscribers 6 --filtered 3 --stalled 1 --rate 1000").unwrap();
        assert!((80..=100).contains(&report.events), "{report:?}");
        assert!(report.delivery.p50_us > 0.0 && report.append.p50_us > 0.0, "{report:?}");
    }

    #[test]
    fn without_a_pace_it_is_half_of_what_is_reached() {
        let report = ran("--subscribers 2 --filtered 1 --events-per-append 2").unwrap();
        assert!(report.rate > 0.0 && report.events > 0, "{report:?}");
    }

    #[test]
    fn at_least_one_subscriber_reads() {
        assert!(ran("--subscribers 3 --filtered 2 --stalled 1").is_err());
        assert!(ran("--subscribers 3 --filtered 1 --event-bytes 7").is_err());
    }
}
