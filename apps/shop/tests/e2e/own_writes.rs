//! A query right after a command shows its write.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use gesta_bench::load::clock::Stopwatch;
use gesta_services::e2e::figures;

use crate::{client::Client, server::Shop};

const WRITERS: usize = 16;
const WRITES: usize = 1_000;

/// Checks that every writer reads its own writes, with the position that it received.
#[test]
fn every_writer_reads_its_own_writes() -> Result<()> {
    let shop = Shop::build("own-writes")?;
    let server = shop.serve(&shop.store("store"))?;
    let next = AtomicUsize::new(0);
    let mut waits = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| scope.spawn(|| write_and_read(Client::connect(server.address)?, &next)))
            .collect();
        let waits = writers.into_iter().map(|writer| writer.join().expect("a writer ends"));
        waits.collect::<Result<Vec<_>>>()
    })?
    .concat();
    waits.sort_unstable();
    ensure!(waits.len() == WRITES, "{} of {WRITES} were asked for", waits.len());
    let at = |share: usize| waits.get(WRITES * share / 100).map_or(0, Duration::as_micros);
    figures(format!(
        "{WRITES} of {WRITES} writes shown; answers after p50 {} us, p99 {} us",
        at(50),
        at(99),
    ))
}

/// Returns the duration of each query.
fn write_and_read(mut client: Client, next: &AtomicUsize) -> Result<Vec<Duration>> {
    let mut waits = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= WRITES {
            return Ok(waits);
        }
        let id = format!("user-{number}");
        let user = json!({ "userId": id, "firstName": "Ann", "lastName": "Example" });
        let created = client.post("/v1/users", &[], &user)?;
        ensure!(created.status == 201, "{}: {}", created.status, created.text());
        let position = created.header("gesta-position").context("a command has a position")?;
        let stopwatch = Stopwatch::start();
        // The query waits until its read model has reached this position.
        let headers = [("Gesta-Position", position)];
        let shown = client.get(&format!("/v1/users/{id}"), &headers)?;
        waits.push(stopwatch.elapsed());
        ensure!(shown.status == 200, "{id} is not shown: {} {}", shown.status, shown.text());
    }
}
