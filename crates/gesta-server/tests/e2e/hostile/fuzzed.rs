//! Fuzzed bytes, prefaces and frames.

use anyhow::{Context as _, Result, ensure};
use gesta_services::e2e::{empty_directory, figures};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
    time::timeout,
};

use crate::wire::{DATA, END_HEADERS, HEADERS, PREFACE, call, closed, connect, frame, greeting};
use crate::{
    bystander::Watch,
    calls::calls,
    form::{PATIENCE, Random, short_or_full},
    gesta::Gesta,
};

const CONNECTIONS_AT_ONCE: usize = 16;
/// Growth that allocators keep, and that the first calls need.
const GROWTH_MIB_MAX: u64 = 96;

/// A server that is sent noise closes its connections and answers others.
#[tokio::test(flavor = "multi_thread")]
async fn fuzzed_bytes_and_frames_end_their_own_connection_only() -> Result<()> {
    let connections = short_or_full(1_000, 50_000);
    let gesta = Gesta::start(&empty_directory("server-fuzzed")?, &[])?;
    let watch = Watch::begin(&gesta).await?;
    let mut random = Random::of_run();
    let mut running = JoinSet::new();
    for number in 0..connections {
        let (address, seed) = (gesta.address, random.next());
        running.spawn(async move {
            let bytes = noise(&mut Random::of_seed(seed));
            attack(address, &bytes).await.with_context(|| {
                format!("connection {number} with {} bytes: {bytes:02X?}", bytes.len())
            })
        });
        if running.len() == CONNECTIONS_AT_ONCE {
            running.join_next().await.expect("some are running")??;
        }
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let seen = watch.end(gesta).await?.grown_at_most_mib(GROWTH_MIB_MAX)?;
    figures(format!("{connections} connections of fuzzed bytes; {seen}"))
}

/// Sends the bytes and their end, and waits until the server has closed the connection.
async fn attack(address: std::net::SocketAddr, bytes: &[u8]) -> Result<()> {
    let mut stream = connect(address, &[]).await?;
    let (mut from, mut to) = stream.split();
    // The server may close at any byte.
    let send = async {
        let _ = to.write_all(bytes).await;
        let _ = to.shutdown().await;
    };
    let read = async {
        let mut buffer = vec![0; 16 << 10];
        let mut total = 0;
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            total += count;
        }
        total
    };
    let both = async { tokio::join!(send, read) };
    let ((), total) = timeout(PATIENCE, both).await.context("the server keeps the connection")?;
    ensure!(total <= 1 << 20, "{total} bytes for noise");
    Ok(())
}

/// Returns bytes that begin as a client does, more or less.
fn noise(random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => {
            let count = random.below(300);
            random.bytes(count)
        }
        1 => spoiled(greeting(), random),
        2 => [greeting(), frames(random)].concat(),
        3 => [greeting(), spoiled(valid_call(random), random)].concat(),
        4 => {
            let head = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\nabc";
            spoiled(head.to_vec(), random)
        }
        _ => spoiled([greeting(), valid_call(random), valid_call(random)].concat(), random),
    }
}

/// Returns a call whose message is noise.
fn valid_call(random: &mut Random) -> Vec<u8> {
    let method = any_call(random);
    let stream = u32::try_from(random.below(4)).unwrap() * 2 + 1;
    let count = random.below(200);
    let message = random.bytes(count);
    let length = u32::try_from(count).unwrap().to_be_bytes();
    let body = [&[0], length.as_slice(), &message].concat();
    let end = u8::from(random.once_in(2));
    [frame(HEADERS, END_HEADERS, stream, &call(method)), frame(DATA, end, stream, &body)].concat()
}

fn any_call(random: &mut Random) -> &'static str {
    let calls = calls();
    calls[random.below(calls.len())]
}

/// Returns frames of any kind with any content.
fn frames(random: &mut Random) -> Vec<u8> {
    let mut all = Vec::new();
    for _ in 0..=random.below(8) {
        let kind = u8::try_from(random.below(12)).unwrap();
        let flags = if random.once_in(2) { random.bytes(1)[0] } else { 4 };
        let stream = u32::try_from(random.below(6)).unwrap();
        let payload = match random.below(3) {
            0 => call(any_call(random)),
            1 => random.bytes(8),
            _ => {
                let count = random.below(64);
                random.bytes(count)
            }
        };
        let mut bytes = frame(kind, flags, stream, &payload);
        if random.once_in(4) {
            // A length that is not the payload's.
            bytes[random.below(3)] = random.bytes(1)[0];
        }
        all.extend(bytes);
    }
    all
}

/// Returns the bytes with some changed, missing or doubled.
fn spoiled(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes.truncate(at),
            1 => bytes[at] = random.bytes(1)[0],
            2 => bytes[at] ^= 1 << random.below(8),
            _ => {
                let again = bytes[at..].to_vec();
                bytes.extend(again);
            }
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preface_that_ends_anywhere_ends_its_connection() -> Result<()> {
    let gesta = Gesta::start(&empty_directory("server-prefaces")?, &[])?;
    let watch = Watch::begin(&gesta).await?;
    let mut running = JoinSet::new();
    for end in 0..PREFACE.len() {
        let address = gesta.address;
        // The sending side stays open: only the server's patience ends these.
        running.spawn(async move {
            let mut stream = connect(address, &PREFACE[..end]).await?;
            closed(&mut stream).await.with_context(|| format!("{end} bytes of the preface"))
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let seen = watch.end(gesta).await?.grown_at_most_mib(GROWTH_MIB_MAX)?;
    figures(format!("{} half-open prefaces closed by the server; {seen}", PREFACE.len()))
}
