//! Bodies of requests: slow ones, bombs of gzip, and deep JSON.

use std::{
    io::{Write as _, copy, repeat},
    net::{Ipv4Addr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use flate2::{Compression, write::GzEncoder};
use gesta_services::e2e::figures;

use super::{
    bystander::Watch,
    served::{Served, status_at_the_end},
    short_or_full,
};

const GROWTH_MIB_MAX: u64 = 96;
const SLOW: (usize, usize) = (200, 4_000);
/// Resident memory of a request that waits for its body, in KiB, besides the room for the rest.
const SLOW_KIB_MAX: u64 = 112;
/// Time after which the server has given up any body, with room for a busy machine.
const GIVEN_UP: Duration = Duration::from_secs(70);
/// Size of a bomb when it is unpacked, in bytes: a thousand times its size.
const BOMB_BYTES: u64 = 512 << 20;
const BOMBS: (usize, usize) = (40, 1_000);
const DEEP: usize = 100_000;
const DEEP_BODIES: (usize, usize) = (40, 1_000);
const AT_ONCE: usize = 8;
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Returns a request with a body, some of which may be missing.
fn post(headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/products HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn slow_bodies_are_given_up_and_others_are_served() -> Result<()> {
    let connections = short_or_full(SLOW.0, SLOW.1);
    let mut shop = Served::start("shop-slow-bodies")?;
    let watch = Watch::begin(&shop)?;
    let mut slow = Vec::new();
    for _ in 0..connections {
        let mut stream = shop.connect_from(ATTACKER)?;
        stream.write_all(&post("", 1_000, b"{\"productId\":"))?;
        slow.push(stream);
    }
    for _ in 0..5 {
        // A trickle extends nothing.
        thread::park_timeout(Duration::from_secs(1));
        slow.iter_mut().try_for_each(|stream| stream.write_all(b" "))?;
    }
    for stream in &mut slow {
        let status = status_at_the_end(stream, GIVEN_UP)?;
        ensure!(status == 408, "a slow body is answered with {status}");
    }
    let mib = GROWTH_MIB_MAX + ((SLOW_KIB_MAX * connections as u64) >> 10);
    let seen = watch.end(&mut shop, mib)?;
    let each = seen.grown_kib() / connections as u64;
    figures(format!("{connections} slow bodies of {each} KiB at most given up; {seen}"))
}

/// Sends a request on many connections, a few at once, and returns the statuses.
fn sent(shop: &Served, request: &[u8], times: usize) -> Result<Vec<u16>> {
    thread::scope(|scope| {
        let senders: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(move || {
                    let one = |_| {
                        let mut stream: TcpStream = shop.connect_from(ATTACKER)?;
                        // The server may answer, and close, before it has read everything.
                        let _ = stream.write_all(request);
                        status_at_the_end(&mut stream, GIVEN_UP)
                    };
                    (0..times / AT_ONCE).map(one).collect::<Result<Vec<_>>>()
                })
            })
            .collect();
        let mut statuses = Vec::new();
        for sender in senders {
            statuses.extend(sender.join().ok().context("a sender has panicked")??);
        }
        Ok(statuses)
    })
}

#[test]
fn bombs_of_gzip_are_refused_at_the_limit_of_bodies() -> Result<()> {
    let times = short_or_full(BOMBS.0, BOMBS.1);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    copy(&mut std::io::Read::take(repeat(b' '), BOMB_BYTES), &mut encoder)?;
    let bomb = encoder.finish()?;
    ensure!(bomb.len() < 1 << 20, "a bomb of {} bytes is refused unread", bomb.len());
    let request = post("content-encoding: gzip\r\n", bomb.len(), &bomb);
    let mut shop = Served::start("shop-gzip-bombs")?;
    let watch = Watch::begin(&shop)?;
    let statuses = sent(&shop, &request, times)?;
    ensure!(statuses.iter().all(|status| *status == 413), "{statuses:?}");
    let seen = watch.end(&mut shop, GROWTH_MIB_MAX)?;
    figures(format!(
        "{} bombs of {} KiB that unpack to {} MiB refused; {seen}",
        statuses.len(),
        bomb.len() >> 10,
        BOMB_BYTES >> 20
    ))
}

#[test]
fn deep_json_is_refused() -> Result<()> {
    let times = short_or_full(DEEP_BODIES.0, DEEP_BODIES.1);
    let arrays = format!("{}{}", "[".repeat(DEEP), "]".repeat(DEEP));
    let objects = format!("{}1{}", "{\"a\":".repeat(DEEP), "}".repeat(DEEP));
    let member = format!("{{\"productId\":{arrays}}}");
    let mut shop = Served::start("shop-deep-json")?;
    let watch = Watch::begin(&shop)?;
    let mut refused = 0;
    for body in [arrays, objects, member] {
        let statuses = sent(&shop, &post("", body.len(), body.as_bytes()), times)?;
        ensure!(statuses.iter().all(|status| *status == 400), "{statuses:?}");
        refused += statuses.len();
    }
    let seen = watch.end(&mut shop, GROWTH_MIB_MAX)?;
    figures(format!("{refused} bodies of {DEEP} levels refused; {seen}"))
}
