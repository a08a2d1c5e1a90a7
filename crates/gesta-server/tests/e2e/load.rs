//! Many subscribers and groups, with slow and dying consumers: nothing is lost, what was not
//! acknowledged comes again, and memory does not grow.
//!
//! Owns: the writers and the end. Not here: subscribers and consumers.

mod consumers;
mod subscribers;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use gesta_services::e2e::{empty_directory, figures};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, interval},
};

use self::{consumers::GroupAtWork, subscribers::Subscriber};
use crate::{
    client::{Client, grow},
    form::{PATIENCE, Random, short_or_full},
    gesta::Gesta,
};

const SUBSCRIBERS: usize = 200;
const GROUPS: usize = 50;
const STREAMS: usize = 20;
const SECONDS: (u64, u64) = (8, 300);
/// Appends of each writer in a second, of one event each.
const RATE: (u32, u32) = (25, 50);
const WRITERS: u32 = 4;
/// Share of the rate that the long form needs in percent: consumers of less are hardly busy.
const RATE_MIN_PERCENT: u64 = 80;
/// Time after the last append in which everything is delivered and acknowledged.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// Growth of the resident memory from the second to the last quarter, compared with that of the
/// store.
const GROWTH_MIB_MAX: u64 = 64;
/// Resident memory of the short form, in which it has not settled.
const RESIDENT_MIB_MAX: u64 = 700;

/// Number of events of each stream in the end, which clients wait for.
#[derive(Clone)]
pub(crate) struct Goal(watch::Receiver<Option<Arc<Vec<u64>>>>);

impl Goal {
    /// Returns `true` if a client that has this number of events of the source has all.
    fn is_reached(&self, source: Source, events: u64) -> bool {
        self.0.borrow().as_ref().is_some_and(|streams| {
            let goal = match source {
                Source::Stream(number) => streams[number],
                Source::Category | Source::All => streams.iter().sum(),
            };
            events >= goal
        })
    }
}

/// The events that a subscriber or a group reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Stream(usize),
    Category,
    All,
}

fn stream(number: usize) -> String {
    format!("load-{number}")
}

/// Returns the mean time between two events of a source.
fn interval_of(source: Source) -> Duration {
    let of_all = Duration::from_secs(1) / (WRITERS * short_or_full(RATE.0, RATE.1));
    match source {
        Source::Stream(_) => of_all.saturating_mul(STREAMS as u32),
        Source::Category | Source::All => of_all,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_and_groups_lose_nothing_and_memory_is_flat() -> Result<()> {
    let gesta = Gesta::start(&empty_directory("server-load")?, &[])?;
    let mut random = Random::of_run();
    let (end, goal) = watch::channel(None);
    let goal = Goal(goal);
    let mut groups = JoinSet::new();
    for number in 0..GROUPS {
        let group = GroupAtWork::create(&gesta, number).await?;
        groups.spawn(group.run(goal.clone(), Random::of_seed(random.next())));
    }
    let mut subscribers = JoinSet::new();
    for number in 0..SUBSCRIBERS {
        let subscriber = Subscriber::new(&gesta, number).await;
        subscribers.spawn(subscriber.run(goal.clone(), Random::of_seed(random.next())));
    }
    let written: Arc<[AtomicU64; STREAMS]> = Arc::default();
    let until = Instant::now() + Duration::from_secs(short_or_full(SECONDS.0, SECONDS.1));
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let seed = random.next();
        writers.spawn(write(gesta.client().await, (number, seed), Arc::clone(&written), until));
    }
    let samples = resident_until(&gesta, until).await?;
    writers.join_all().await;
    let counts: Vec<_> = written.iter().map(|count| count.load(Ordering::SeqCst)).collect();
    let events: u64 = counts.iter().sum();
    enough(events)?;
    end.send_replace(Some(Arc::new(counts)));
    let ended = Instant::now();

    let (mut deaths, mut delivered) = (0, 0);
    while let Some(done) = subscribers.join_next().await {
        let done = done?.context("a subscriber")?;
        (deaths, delivered) = (deaths + done.deaths, delivered + done.events);
    }
    let mut groups_done = consumers::Done::default();
    while let Some(done) = groups.join_next().await {
        groups_done += done?.context("a group")?;
    }
    let drain = ended.elapsed();
    ensure!(drain <= DRAIN_MAX, "the last event was handled {drain:?} after the last append");
    let memory = flat(&samples)?;
    figures(format!(
        "{events} events in {} s, all handled {:.1} s later; {SUBSCRIBERS} subscribers got \
         {delivered}, each once and in order, through {deaths} lost connections; {GROUPS} groups: \
         {groups_done}; {memory}",
        short_or_full(SECONDS.0, SECONDS.1),
        drain.as_secs_f64(),
    ))
}

/// Appends to random streams at a constant rate.
async fn write(
    mut client: Client,
    (number, seed): (u32, u64),
    written: Arc<[AtomicU64; STREAMS]>,
    until: Instant,
) {
    let mut random = Random::of_seed(seed);
    let mut turns = interval(Duration::from_secs(1) / short_or_full(RATE.0, RATE.1));
    let mut id = (u128::from(number) + 1) << 64;
    while Instant::now() < until {
        turns.tick().await;
        let to = random.below(STREAMS);
        grow(&mut client, &stream(to), [id]).await;
        written[to].fetch_add(1, Ordering::SeqCst);
        id += 1;
    }
}

/// Fails if a long run had far fewer events than its rate gives.
fn enough(events: u64) -> Result<()> {
    let offered = SECONDS.1 * u64::from(WRITERS * RATE.1);
    let least = short_or_full(0, offered * RATE_MIN_PERCENT / 100);
    ensure!(events >= least, "{events} of {offered} events were appended: run on a quiet machine");
    Ok(())
}

/// Samples the resident memory, in KiB.
async fn resident_until(gesta: &Gesta, until: Instant) -> Result<Vec<u64>> {
    let mut samples = Vec::new();
    let mut turns = interval(Duration::from_millis(200));
    while Instant::now() < until {
        turns.tick().await;
        samples.push(gesta.resident_kib()?);
    }
    Ok(samples)
}

/// Fails if the memory has grown.
fn flat(samples: &[u64]) -> Result<String> {
    let quarter = samples.len() / 4;
    let mean = |part: &[u64]| (part.iter().sum::<u64>() / part.len().max(1) as u64) >> 10;
    let (early, late) = (mean(&samples[quarter..2 * quarter]), mean(&samples[3 * quarter..]));
    let peak = samples.iter().max().copied().unwrap_or(0) >> 10;
    let memory = format!(
        "resident {early} MiB in the second quarter of the time, {late} in the last, {peak} at most"
    );
    let most = short_or_full(RESIDENT_MIB_MAX, early + GROWTH_MIB_MAX);
    ensure!(late <= most, "{memory}; {most} expected at most");
    Ok(memory)
}

/// Fails if nothing has come for long while something is missing.
fn check_patience(since: Instant, who: &str, goal: &Goal, events: u64) -> Result<()> {
    let is_late = goal.0.borrow().is_some() && since.elapsed() > PATIENCE;
    ensure!(!is_late, "{who} has {events} events, and no more come: {:?}", goal.0.borrow());
    Ok(())
}
