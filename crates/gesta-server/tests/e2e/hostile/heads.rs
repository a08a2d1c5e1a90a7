//! Heads of requests: huge ones, endless ones, slow ones.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use gesta_services::e2e::{empty_directory, figures};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
    time::{Instant, interval, timeout},
};

use crate::wire::{
    CONTINUATION, END_HEADERS, END_STREAM, HEADERS, call, closed, connect, farewell, fields, frame,
    greeting,
};
use crate::{
    bystander::Watch,
    calls::calls,
    form::{PATIENCE, short_or_full},
    gesta::Gesta,
};

const GROWTH_MIB_MAX: u64 = 128;
const HUGE_BYTES: usize = 4 << 20;
/// Largest payload of a frame that the server has not allowed to be larger.
const FRAME_BYTES: usize = 16 << 10;
const SLOW: (usize, usize) = (100, 1_000);
/// Time after which the server has given up any head, with room for a busy machine.
const GIVEN_UP: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn huge_heads_are_refused() -> Result<()> {
    let gesta = Gesta::start(&empty_directory("server-huge-heads")?, &[])?;
    let watch = Watch::begin(&gesta).await?;
    let long = "x".repeat(HUGE_BYTES);
    let many: String = (0..10_000).map(|number| format!("x-{number}: y\r\n")).collect();
    for head in [
        format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n"),
        format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"),
        format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ] {
        let answer = sent(gesta.address, head.as_bytes()).await?;
        let status = String::from_utf8_lossy(&answer);
        let is_refused = ["HTTP/1.1 431", "HTTP/1.1 414", "HTTP/1.1 400"];
        // A reset may overtake the answer to a client that is still sending.
        ensure!(
            answer.is_empty() || is_refused.iter().any(|refused| status.starts_with(refused)),
            "{status}"
        );
    }
    for (what, block) in [
        ("one field of 4 MiB", [call(calls()[0]), fields(&[("x", &long)])].concat()),
        ("a table's field again and again", bomb()),
    ] {
        let headers = continued(&block);
        let mut stream = connect(gesta.address, &greeting()).await?;
        let (mut from, mut to) = stream.split();
        let send = async {
            let _ = to.write_all(&headers).await;
            let _ = to.shutdown().await;
        };
        let ((), code) = tokio::join!(send, farewell(&mut from));
        code.with_context(|| what.to_owned())?;
    }
    let seen = watch.end(gesta).await?.grown_at_most_mib(GROWTH_MIB_MAX)?;
    figures(format!("huge heads refused; {seen}"))
}

/// Sends a head and returns the answer.
async fn sent(address: SocketAddr, head: &[u8]) -> Result<Vec<u8>> {
    let mut stream = connect(address, &[]).await?;
    let (mut from, mut to) = stream.split();
    let send = async {
        let _ = to.write_all(head).await;
    };
    let ((), answer) = tokio::join!(send, closed(&mut from));
    answer
}

/// Returns frames for a block of fields.
fn continued(block: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    let count = block.len().div_ceil(FRAME_BYTES);
    for (number, part) in block.chunks(FRAME_BYTES).enumerate() {
        let kind = if number == 0 { HEADERS } else { CONTINUATION };
        let first = if number == 0 { END_STREAM } else { 0 };
        let last = if number + 1 == count { END_HEADERS } else { 0 };
        frames.extend(frame(kind, first | last, 1, part));
    }
    frames
}

/// Fields of 4,000 bytes that take one byte each: a place in the table of the connection.
fn bomb() -> Vec<u8> {
    // With indexing, a new name of one byte, and a value of 4,000 bytes (127 + 0x21 + 0x1E * 128).
    let mut block = call(calls()[0]);
    block.extend([0x40, 1, b'x', 0x7F, 0xA1, 0x1E]);
    block.extend([b'y'; 4_000]);
    // 62 is the newest entry of the table.
    block.extend([0x80 | 62; 100_000]);
    block
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_head_is_refused() -> Result<()> {
    let gesta = Gesta::start(&empty_directory("server-endless-heads")?, &[])?;
    let watch = Watch::begin(&gesta).await?;
    for part in [fields(&[("x", "y")]), Vec::new()] {
        let mut stream = connect(gesta.address, &greeting()).await?;
        stream.write_all(&frame(HEADERS, 0, 1, &call(calls()[0]))).await?;
        let (mut from, mut to) = stream.split();
        let flood = frame(CONTINUATION, 0, 1, &part).repeat(1_000);
        let send = async { while to.write_all(&flood).await.is_ok() {} };
        let both = async { tokio::join!(send, closed(&mut from)) };
        let ((), ended) = timeout(PATIENCE, both).await.context("frames are taken without end")?;
        ended?;
    }
    let seen = watch.end(gesta).await?.grown_at_most_mib(GROWTH_MIB_MAX)?;
    figures(format!("endless heads refused; {seen}"))
}

/// Connections that send a byte a second, of each kind of head, or stay in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_are_given_up() -> Result<()> {
    let connections = short_or_full(SLOW.0, SLOW.1);
    let gesta = Gesta::start(&empty_directory("server-slow-heads")?, &[])?;
    let watch = Watch::begin(&gesta).await?;
    let in_head = [greeting(), frame(HEADERS, 0, 1, &call(calls()[0]))].concat();
    let half_a_head = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nx: ".to_vec();
    let kinds = [Vec::new(), b"PRI * ".to_vec(), half_a_head, in_head];
    let mut running = JoinSet::new();
    for number in 0..connections {
        let (address, begin) = (gesta.address, kinds[number % kinds.len()].clone());
        let drips = number % 2 == 0;
        running.spawn(async move {
            let begun = Instant::now();
            let mut stream = connect(address, &begin).await?;
            let (mut from, mut to) = stream.split();
            let mut buffer = [0; 4_096];
            let mut seconds = interval(Duration::from_secs(1));
            loop {
                tokio::select! {
                    read = from.read(&mut buffer) => if !matches!(read, Ok(1..)) { break },
                    // The server may have closed.
                    _ = seconds.tick() => if drips && to.write_all(b"x").await.is_err() { break },
                }
                ensure!(begun.elapsed() < GIVEN_UP, "kept after {begin:02X?}, drips: {drips}");
            }
            Ok(begun.elapsed())
        });
    }
    let mut latest = Duration::ZERO;
    while let Some(ended) = running.join_next().await {
        latest = latest.max(ended??);
    }
    let seen = watch.end(gesta).await?.grown_at_most_mib(GROWTH_MIB_MAX)?;
    figures(format!(
        "{connections} slow heads, the last given up after {:.0} s; {seen}",
        latest.as_secs_f64()
    ))
}
