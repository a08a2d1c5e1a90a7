//! Many connections, and many calls on one.

use anyhow::{Context as _, Result, ensure};
use gesta_services::e2e::{empty_directory, figures, is_full};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::wire::{closed, connect, greeting, receive};
use crate::{
    bystander::Watch,
    client::{Messages, Read},
    form::short_or_full,
    gesta::Gesta,
};

/// Connections of the full form; half of the limit of open files, if that is less.
const IDLE: (usize, usize) = (1_000, 10_000);
/// The bystander, and what asks for figures.
const OTHERS: usize = 4;
/// Resident memory of an idle connection, in KiB, and room for the rest.
const CONNECTION_KIB_MAX: u64 = 40;
const GROWTH_MIB_MAX: u64 = 64;
const SUBSCRIPTIONS: (usize, usize) = (1_000, 9_000);
/// Resident memory of an idle subscription, in KiB.
const SUBSCRIPTION_KIB_MAX: u64 = 64;

/// Returns a figure of the server.
async fn figure(gesta: &Gesta, name: &str) -> Result<u64> {
    let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut stream = connect(gesta.address, request).await?;
    let text = String::from_utf8(closed(&mut stream).await?)?;
    let name = format!("gesta_server_{name} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    Ok(line.with_context(|| text.clone())?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_cost_little_and_go_when_their_peer_is_gone() -> Result<()> {
    let gesta = Gesta::start(&empty_directory("server-idle")?, &[])?;
    let max = usize::try_from(figure(&gesta, "connections_max").await?)?;
    let connections = short_or_full(IDLE.0, IDLE.1).min(max - OTHERS);
    let watch = Watch::begin(&gesta).await?;
    let mut idle = Vec::new();
    for _ in 0..connections {
        idle.push(connect(gesta.address, &greeting()).await?);
    }
    let open = figure(&gesta, "connections_open").await?;
    ensure!(open >= connections as u64, "{open} connections are open");
    let after_kib = gesta.resident_kib()?;
    // These peers do not answer pings. The short form waits for a few of them.
    let gone = short_or_full(10, connections);
    let mut running = JoinSet::new();
    for stream in idle.drain(..gone) {
        running.spawn(until_closed(stream));
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    if is_full() {
        let open = figure(&gesta, "connections_open").await?;
        ensure!(open <= OTHERS as u64, "{open} connections are left");
    }
    let mib = GROWTH_MIB_MAX + ((CONNECTION_KIB_MAX * connections as u64) >> 10);
    let seen = watch.end(gesta).await?.grown_at_most_mib(mib)?;
    let each = after_kib.saturating_sub(seen.before_kib) / connections as u64;
    figures(format!(
        "{connections} idle connections of {each} KiB each, {gone} closed after their pings went \
         without an answer; {seen}"
    ))
}

/// Reads until the server closes, without an answer to its pings.
async fn until_closed(mut stream: TcpStream) -> Result<()> {
    closed(&mut stream).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_answers_operators_and_serves_again_after_one_leaves() -> Result<()> {
    const MAX: usize = 8;
    let options = ["--max-connections", "8"];
    let gesta = Gesta::start(&empty_directory("server-full")?, &options)?;
    ensure!(figure(&gesta, "connections_max").await? == MAX as u64, "the maximum is shown");
    let watch = Watch::begin(&gesta).await?;
    let mut held = Vec::new();
    // The bystander has a place.
    for _ in 1..MAX {
        let mut stream = connect(gesta.address, &greeting()).await?;
        receive(&mut stream).await.context("a server that greets")?;
        held.push(stream);
    }
    let mut client = gesta.client().await;
    let refused = Read::all().run(&mut client).await.expect_err("the server is full");
    ensure!(refused.code() == tonic::Code::Unavailable, "{refused}");
    ensure!(refused.message().contains("all 8 connections"), "{refused}");
    ensure!(figure(&gesta, "connections_refused_total").await? > 0, "refusals are counted");
    // A crowd in front of the door.
    let crowd = short_or_full(200, 2_000);
    let mut outside = Vec::new();
    for _ in 0..crowd {
        outside.push(TcpStream::connect(gesta.address).await?);
    }
    for mut stream in outside {
        // Some have been closed before.
        let _ = stream.write_all(&greeting()).await;
        let _ = stream.read(&mut [0; 64]).await;
    }
    let refused = figure(&gesta, "connections_refused_total").await?;
    ensure!(refused > crowd as u64, "{refused} connections were refused");
    drop(held);
    let mut client = gesta.client().await;
    // The server sees the ends in its own time.
    while let Err(error) = Read::all().run(&mut client).await {
        ensure!(error.code() == tonic::Code::Unavailable, "{error}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let seen = watch.end(gesta).await?.grown_at_most_mib(GROWTH_MIB_MAX)?;
    figures(format!("{refused} connections beyond {MAX} refused; {seen}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_subscriptions_on_one_connection_are_served() -> Result<()> {
    let subscriptions = short_or_full(SUBSCRIPTIONS.0, SUBSCRIPTIONS.1);
    let gesta = Gesta::start(&empty_directory("server-subscriptions")?, &[])?;
    let watch = Watch::begin(&gesta).await?;
    let mut client = gesta.client().await;
    let mut open: Vec<Messages> = Vec::new();
    for number in 0..subscriptions {
        let read = Read::stream(&format!("idle-{number}")).subscribing();
        let mut messages = read.open(&mut client).await?;
        messages.confirmed().await;
        open.push(messages);
    }
    let after_kib = gesta.resident_kib()?;
    let mib = GROWTH_MIB_MAX + ((SUBSCRIPTION_KIB_MAX * subscriptions as u64) >> 10);
    let seen = watch.end(gesta).await?.grown_at_most_mib(mib)?;
    let each = after_kib.saturating_sub(seen.before_kib) / subscriptions as u64;
    figures(format!("{subscriptions} idle subscriptions of {each} KiB each; {seen}"))
}
