//! A client that continues while others misbehave, and the server's memory in that time.
//!
//! Owns: [`Watch`]. Invariant: the client changes and reads back without a pause, and fails if one
//! answer takes longer than [`ANSWER_MAX`].

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::json;

use super::served::{Served, resident_kib};
use crate::client::Client;

/// Time for one answer. The machine is busy with the attack.
const ANSWER_MAX: Duration = Duration::from_secs(20);
const SAMPLE_AFTER: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(2);

/// A client at work and samples of the memory.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    client: JoinHandle<Result<Answers>>,
    sampler: JoinHandle<u64>,
    before_kib: u64,
}

#[derive(Debug, Default)]
struct Answers {
    count: usize,
    slowest: Duration,
}

/// Observations during an attack.
#[derive(Debug)]
pub(super) struct Seen {
    answers: Answers,
    /// Resident memory before the attack, and at most.
    pub(super) before_kib: u64,
    pub(super) peak_kib: u64,
}

impl Watch {
    /// Begins with the client's first answers.
    pub(super) fn begin(shop: &Served) -> Result<Self> {
        let address = shop.address;
        // The first requests load code and pages that stay in memory.
        for number in 0..50 {
            answer(address, &format!("before-{number}")).context("before the attack")?;
        }
        let (process_id, stop) = (shop.process_id(), Arc::new(AtomicBool::new(false)));
        let before_kib = resident_kib(process_id)?;
        let stopped = Arc::clone(&stop);
        let client = thread::spawn(move || {
            let mut answers = Answers::default();
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                answer(address, &format!("during-{}", answers.count))?;
                answers.count += 1;
                answers.slowest = answers.slowest.max(begun.elapsed());
                thread::park_timeout(PAUSE);
            }
            Ok(answers)
        });
        let stopped = Arc::clone(&stop);
        let sampler = thread::spawn(move || {
            let mut peak = before_kib;
            while !stopped.load(Ordering::Relaxed) {
                peak = peak.max(resident_kib(process_id).unwrap_or(0));
                thread::park_timeout(SAMPLE_AFTER);
            }
            peak
        });
        Ok(Self { stop, client, sampler, before_kib })
    }

    /// Ends with the client's last answer. Fails if the memory has grown by more.
    pub(super) fn end(self, shop: &mut Served, grown_mib_max: u64) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = |_| anyhow!("a thread of the watch has panicked");
        let answers = self.client.join().map_err(ended)?.context("another client")?;
        let peak_kib = self.sampler.join().map_err(ended)?;
        ensure!(shop.is_running(), "the shop has ended");
        let seen = Seen { answers, before_kib: self.before_kib, peak_kib };
        ensure!(seen.answers.count > 0, "nobody else was served: {seen:?}");
        let grown = seen.grown_kib() >> 10;
        ensure!(grown <= grown_mib_max, "the memory has grown by {grown} MiB: {seen:?}");
        Ok(seen)
    }
}

impl Seen {
    pub(super) const fn grown_kib(&self) -> u64 {
        self.peak_kib.saturating_sub(self.before_kib)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answers: Answers { count, slowest }, before_kib, peak_kib } = self;
        write!(
            f,
            "{count} commands and queries of another client, the slowest after {:.2} s; resident \
             {} MiB before, {} MiB at most",
            slowest.as_secs_f64(),
            before_kib >> 10,
            peak_kib >> 10
        )
    }
}

/// Adds a product and reads it back, on a connection of its own.
fn answer(address: SocketAddr, product: &str) -> Result<()> {
    let mut client = Client::connect_within(address, ANSWER_MAX)?;
    let body = json!({ "productId": product, "name": "Mug", "price": "2.55" });
    let added = client.command("/v1/products", &body)?;
    let position = added.header("gesta-position").context("a position")?.to_owned();
    let path = format!("/v1/products/{product}");
    let found = client.get(&path, &[("gesta-position", &position)])?;
    ensure!(found.status == 200, "{path}: {} {}", found.status, found.text());
    Ok(())
}
