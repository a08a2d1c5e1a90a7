//! Floods of frames that are right one by one.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use gesta_services::e2e::{empty_directory, figures};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::wire::{
    CANCEL, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, RST_STREAM, SETTINGS,
    call, connect, farewell, frame, greeting, receive,
};
use crate::{
    bystander::Watch,
    calls::calls,
    form::{PATIENCE, short_or_full},
    gesta::Gesta,
};

const GROWTH_MIB_MAX: u64 = 128;
/// Streams of one connection that are reset.
const STREAMS: (u32, u32) = (10_000, 100_000);
/// Connections that do it, one after the other.
const CONNECTIONS: (u32, u32) = (5, 30);
/// Streams in one write.
const BATCH: u32 = 100;

/// Streams that are reset in the packet that opens them (CVE-2023-44487).
#[tokio::test(flavor = "multi_thread")]
async fn rapidly_reset_streams_end_their_connection() -> Result<()> {
    let streams = short_or_full(STREAMS.0, STREAMS.1);
    let connections = short_or_full(CONNECTIONS.0, CONNECTIONS.1);
    let gesta = Gesta::start(&empty_directory("server-rapid-resets")?, &[])?;
    let watch = Watch::begin(&gesta).await?;
    let mut calmed = 0;
    for connection in 0..connections {
        let path = calls()[usize::try_from(connection).unwrap() % calls().len()];
        let mut flood = Vec::new();
        for number in 0..streams {
            let stream = number * 2 + 1;
            flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &call(path)));
            flood.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
        }
        calmed += u32::from(flooded(gesta.address, &flood).await? == Some(ENHANCE_YOUR_CALM));
    }
    let seen = watch.end(gesta).await?.grown_at_most_mib(GROWTH_MIB_MAX)?;
    ensure!(calmed > 0, "no connection was told to calm down");
    figures(format!(
        "{connections} connections that reset {streams} streams each, {calmed} told to calm down; \
         {seen}"
    ))
}

/// Sends a flood, and returns the code with which the server ends the connection.
async fn flooded(address: SocketAddr, flood: &[u8]) -> Result<Option<u32>> {
    let mut stream = connect(address, &greeting()).await?;
    let (mut from, mut to) = stream.split();
    // The server may close in the middle.
    let send = async {
        let _ = to.write_all(flood).await;
        let _ = to.shutdown().await;
    };
    let ((), code) = tokio::join!(send, farewell(&mut from));
    code
}

/// Streams that are reset after the server has begun their calls.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_reset_at_work_leave_nothing_behind() -> Result<()> {
    let streams = short_or_full(STREAMS.0, STREAMS.1);
    let gesta = Gesta::start(&empty_directory("server-resets")?, &[])?;
    let watch = Watch::begin(&gesta).await?;
    let mut stream = connect(gesta.address, &greeting()).await?;
    let path = "/event_store.client.streams.Streams/BatchAppend";
    let mut calls_reset = 0;
    for first in (0..streams).step_by(usize::try_from(BATCH).unwrap()) {
        let numbers = (first..first + BATCH).map(|number| number * 2 + 1);
        let opened = numbers.clone().flat_map(|number| {
            let announced = frame(DATA, 0, number, &[0, 0, 0, 16, 0, 1, 2, 3]);
            [frame(HEADERS, END_HEADERS, number, &call(path)), announced].concat()
        });
        if stream.write_all(&opened.collect::<Vec<_>>()).await.is_err() {
            break;
        }
        begun(&mut stream).await?;
        let reset = numbers.flat_map(|number| frame(RST_STREAM, 0, number, &CANCEL.to_be_bytes()));
        if stream.write_all(&reset.collect::<Vec<_>>()).await.is_err() {
            break;
        }
        calls_reset += BATCH;
    }
    ensure!(calls_reset > 0, "no call was reset");
    drop(stream);
    let seen = watch.end(gesta).await?.grown_at_most_mib(GROWTH_MIB_MAX)?;
    figures(format!("{calls_reset} calls reset at work; {seen}"))
}

/// Waits until the server has begun the calls of a batch: it sends their heads.
async fn begun(stream: &mut TcpStream) -> Result<()> {
    let answered = timeout(PATIENCE, async {
        let mut heads = 0;
        while heads < BATCH {
            let frame = receive(stream).await.context("the server has closed the connection")?;
            heads += u32::from(frame.kind == HEADERS);
        }
        anyhow::Ok(())
    });
    answered.await.context("the calls do not begin")?
}

/// Pings, settings and empty data whose answers are never read.
#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_whose_answers_are_not_read_take_no_memory() -> Result<()> {
    let bytes = short_or_full(4 << 20, 64 << 20);
    let gesta = Gesta::start(&empty_directory("server-unread")?, &[])?;
    let watch = Watch::begin(&gesta).await?;
    let open = frame(HEADERS, END_HEADERS, 1, &call(calls()[0]));
    let floods = [
        ("pings", Vec::new(), frame(PING, 0, 0, &[0; 8])),
        ("settings", Vec::new(), frame(SETTINGS, 0, 0, &[])),
        ("empty data", open, frame(DATA, 0, 1, &[])),
        ("unknown frames", Vec::new(), frame(0x42, 0, 0, &[0; 64])),
    ];
    let mut sent = Vec::new();
    for (what, begin, one) in floods {
        let mut stream = connect(gesta.address, &[greeting(), begin].concat()).await?;
        let flood = one.repeat(bytes / one.len());
        // The server stops to read when its answers are not taken, or closes.
        let wrote = timeout(short_or_full(FLOOD_SHORT, FLOOD_FULL), stream.write_all(&flood)).await;
        let how = match wrote {
            Ok(Ok(())) => "all",
            Ok(Err(_)) => "closed",
            Err(_) => "held up",
        };
        sent.push(format!("{what}: {how}"));
        // Reading continues as long as the connection does.
        let mut buffer = vec![0; 64 << 10];
        while let Ok(Ok(1..)) = timeout(PAUSE, stream.read(&mut buffer)).await {}
    }
    // Time in which a server that had kept the frames would still be at them.
    sleep(PAUSE).await;
    let seen = watch.end(gesta).await?.grown_at_most_mib(GROWTH_MIB_MAX)?;
    figures(format!("floods of {} MiB ({}); {seen}", bytes >> 20, sent.join(", ")))
}

const FLOOD_SHORT: Duration = Duration::from_secs(2);
const FLOOD_FULL: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(200);
