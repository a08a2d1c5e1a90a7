//! A thousand subscriptions over WebSockets, half of them over GraphQL and half to the event feed,
//! beside a hundred whose clients take nothing.
//!
//! Each reader gets each event once and in order, and the memory of the shop does not grow. Run it
//! with the shop's feature `graphql`; `GESTA_E2E=full` goes on for ten minutes.

mod socket;

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use gesta_bench::load::clock::Stopwatch;
use gesta_services::e2e::{empty_directory, figures, is_full};
use serde_json::json;
use tokio::{
    runtime::Runtime,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use self::socket::{Protocol, Socket};
use crate::client::Client;

const READERS: usize = 1_000;
const STALLED: usize = 100;
/// Events in a second, each of which goes to each reader.
const EVENTS_PER_SECOND: u32 = 5;
const SECONDS_FULL: u32 = 600;
const SECONDS_SHORT: u32 = 20;
/// Time after which a stalled client connects again; the shop gives up earlier or later.
const STALL: Duration = Duration::from_secs(40);
/// Sockets that are opened at the same time.
const OPENING: usize = 50;
/// Maximum growth of the shop's memory after the first quarter of the run, in KiB.
const GROWTH_KIB_MAX: u64 = 48 << 10;
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
const POLLS_MAX: usize = 1_200;
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/sample.csv");

/// The shop; killed when dropped.
struct Shop {
    child: Child,
    address: SocketAddr,
}

impl Shop {
    /// Imports the sample, which stalled clients begin with, and serves it.
    fn start() -> Result<Self> {
        let store = format!("gesta:{}", empty_directory("sockets")?.join("store").display());
        let free = TcpListener::bind("127.0.0.1:0")?;
        let address = free.local_addr()?;
        drop(free);
        let shop = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command
        };
        let imported = shop().args(["import", SAMPLE, "--store", &store]).status()?;
        ensure!(imported.success(), "shop import: {imported}");
        let listen = address.to_string();
        let child = shop().args(["serve", "--listen", &listen, "--store", &store]).spawn()?;
        let mut started = Self { child, address };
        for _ in 0..POLLS_MAX {
            if started.is_ready() {
                return Ok(started);
            }
            ensure!(started.child.try_wait()?.is_none(), "the shop ended while it started");
            thread::park_timeout(POLL);
        }
        bail!("the shop was not ready in time")
    }

    fn is_ready(&self) -> bool {
        let answer =
            Client::connect(self.address).and_then(|mut client| client.get("/health/ready", &[]));
        answer.is_ok_and(|reply| reply.status == 200)
    }

    /// Returns the memory of the program, in KiB.
    fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.context("the program is gone")?.parse().context("VmRSS")
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads deposits until the last one is known and was read. Returns their positions.
async fn read_all(
    (address, protocol): (SocketAddr, Protocol),
    after: u64,
    opening: Arc<Semaphore>,
    (opened, mut last): (watch::Sender<usize>, watch::Receiver<Option<u64>>),
) -> Result<Vec<u64>> {
    let mut socket = {
        let _turn = opening.acquire().await?;
        let mut socket = Socket::open(address, protocol).await?;
        socket.follow("account-load", after).await?;
        socket
    };
    opened.send_modify(|number| *number += 1);
    let mut positions = Vec::new();
    loop {
        // The last position may become known while nothing more is said.
        let position = tokio::select! {
            position = socket.next_position() => position?,
            known = known(&mut last) => {
                let last = known?;
                while positions.last().is_none_or(|position| *position < last) {
                    positions.push(socket.next_position().await?);
                }
                return Ok(positions);
            }
        };
        positions.push(position);
    }
}

/// Waits until the last position is known.
async fn known(last: &mut watch::Receiver<Option<u64>>) -> Result<u64> {
    let known = *last.wait_for(|last| last.is_some()).await?;
    known.context("it is known")
}

/// Asks for much and takes nothing, again and again.
async fn stall(
    (address, protocol): (SocketAddr, Protocol),
    opening: Arc<Semaphore>,
    opened: watch::Sender<usize>,
) -> Result<()> {
    let mut is_first = true;
    loop {
        let mut socket = {
            let _turn = opening.acquire().await?;
            Socket::open(address, protocol).await?
        };
        socket.ask_for_everything().await?;
        if is_first {
            opened.send_modify(|number| *number += 1);
            is_first = false;
        }
        sleep(STALL).await;
    }
}

/// Appends deposits at an even rate. Returns their positions, with the memory of the shop after the
/// first quarter and its greatest one after that, in KiB.
async fn deposit_all(shop: &Shop, deposits: u32) -> Result<(Vec<u64>, u64, u64)> {
    let mut client = Client::connect(shop.address)?;
    let (mut positions, mut early, mut greatest) = (Vec::new(), 0, 0);
    let mut turns = interval(Duration::from_secs(1) / EVENTS_PER_SECOND);
    turns.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0..deposits {
        turns.tick().await;
        let deposit = json!({ "amount": "1", "reference": format!("deposit {number}") });
        let reply =
            tokio::task::block_in_place(|| client.command("/v1/accounts/load/deposit", &deposit))?;
        positions.push(reply.header("gesta-position").context("a position")?.parse()?);
        if number == deposits / 4 {
            early = shop.resident_kib()?;
        }
        if number >= deposits / 4 {
            greatest = greatest.max(shop.resident_kib()?);
        }
    }
    Ok((positions, early, greatest))
}

#[test]
fn a_thousand_subscriptions_lose_nothing_beside_a_hundred_that_take_nothing() -> Result<()> {
    let shop = Shop::start()?;
    let account = json!({ "accountId": "load", "currency": "GBP" });
    let opened = Client::connect(shop.address)?.command("/v1/accounts", &account)?;
    let after = opened.header("gesta-position").context("a position")?.parse()?;
    Runtime::new()?.block_on(run(&shop, after))
}

async fn run(shop: &Shop, after: u64) -> Result<()> {
    let opening = Arc::new(Semaphore::new(OPENING));
    let (opened, mut number) = watch::channel(0_usize);
    let (last, last_known) = watch::channel(None);
    let mut stalled = JoinSet::new();
    let ends = Protocol::BOTH.map(|protocol| (shop.address, protocol));
    for end in ends.into_iter().cycle().take(STALLED) {
        stalled.spawn(stall(end, Arc::clone(&opening), opened.clone()));
    }
    let mut readers = JoinSet::new();
    for end in ends.into_iter().cycle().take(READERS) {
        let watched = (opened.clone(), last_known.clone());
        readers.spawn(read_all(end, after, Arc::clone(&opening), watched));
    }
    let all = number.wait_for(|number| *number == READERS + STALLED);
    let failure = async { stalled.join_next().await };
    tokio::select! {
        opened = timeout(PATIENCE, all) => drop(opened.context("not all sockets were opened")??),
        failed = failure => failed.context("a stalled client")???,
    }
    let seconds = if is_full() { SECONDS_FULL } else { SECONDS_SHORT };
    let stopwatch = Stopwatch::start();
    let (expected, early, greatest) = deposit_all(shop, seconds * EVENTS_PER_SECOND).await?;
    let took = stopwatch.elapsed();
    last.send_replace(expected.last().copied());
    while let Some(read) = readers.join_next().await {
        let read = read??;
        ensure!(read == expected, "{} of {} events: {read:?}", read.len(), expected.len());
    }
    let lag = stopwatch.elapsed().saturating_sub(took);
    if let Some(failed) = stalled.try_join_next() {
        failed??;
    }
    let growth = greatest.saturating_sub(early);
    ensure!(growth <= GROWTH_KIB_MAX, "the memory grew by {growth} KiB, from {early} KiB");
    let deliveries = expected.len() * READERS;
    let rate = deliveries as f64 / took.as_secs_f64();
    figures(format!(
        "{deliveries} deliveries to {READERS} readers in {:.1} s, {rate:.0}/s, the last ones {} ms \
         after the last append; {} MiB after a quarter of it, {} MiB at most",
        took.as_secs_f64(),
        lag.as_millis(),
        early >> 10,
        greatest >> 10,
    ))
}
