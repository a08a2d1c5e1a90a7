//! A projection in JavaScript over many events, through kills; and scripts that would take
//! everything.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gesta_services::e2e::{empty_directory, figures};
use tokio::time::{Instant, sleep};

use crate::{
    client::{ANY, Client, Read, append, append_resp, proposed, read_resp::Content},
    driver::Driver,
    form::short_or_full,
    gesta::Gesta,
};

const EVENTS: (usize, usize) = (20_000, 1_000_000);
const KILLS: (usize, usize) = (2, 10);
const EVENTS_PER_APPEND: usize = 500;
/// Streams of source events, and of emitted ones.
const SOURCES: usize = 7;
const COPIES: usize = 10;
const POLL: Duration = Duration::from_millis(2);
/// Time for all events, on a busy machine and without optimizations.
const WAIT_MAX: Duration = Duration::from_mins(30);

/// Emits an event for each, and adds them up.
const SCRIPT: &str = "fromCategory('source').when({ $init: () => ({ n: 0, sum: 0 }), \
    happened(s, e) { s.n += 1; s.sum += e.data.n; \
    emit('copy-' + e.data.n % 10, 'copied', { n: e.data.n }); } }).outputState()";

fn driver(channel: tonic::transport::Channel) -> Driver {
    Driver(crate::client::projections::projections_client::ProjectionsClient::new(channel))
}

/// Appends events with the numbers from 1 on.
async fn fill(client: &mut Client, events: usize) -> Result<()> {
    for first in (0..events).step_by(EVENTS_PER_APPEND) {
        let numbers = first + 1..=(first + EVENTS_PER_APPEND).min(events);
        let batch = numbers.map(|number| proposed(number as u128, "happened")).collect();
        let stream = format!("source-{}", first / EVENTS_PER_APPEND % SOURCES);
        let appended = append(client, &stream, ANY, batch).await?;
        ensure!(matches!(appended, append_resp::Result::Success(_)), "{appended:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_emits_each_event_once_through_kills() -> Result<()> {
    let events = short_or_full(EVENTS.0, EVENTS.1);
    let kills = short_or_full(KILLS.0, KILLS.1);
    let mut gesta = Gesta::start(&empty_directory("server-projection")?, &[])?;
    let mut client = gesta.client().await;
    fill(&mut client, events).await?;
    let begun = Instant::now();
    driver(gesta.channel().await).create("copy", SCRIPT).await;
    let mut at = Vec::new();
    for kill in 1..=kills {
        let target = events * kill / (kills + 1);
        let emitted = emitted_at_least(&mut client, target).await?;
        gesta.kill()?;
        ensure!(emitted < events, "the projection was done before kill {kill}");
        at.push(emitted);
        gesta.restart()?;
    }
    let sum = events * (events + 1) / 2;
    let expected = format!("{{\"n\":{events},\"sum\":{sum}}}");
    let mut driver = driver(gesta.channel().await);
    let waited = Instant::now();
    while driver.state("copy").await != expected {
        let details = driver.details("copy").await;
        ensure!(details.status.contains("Running"), "{details:?}");
        ensure!(waited.elapsed() < WAIT_MAX, "{details:?}");
        sleep(POLL * 50).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    for copy in 0..COPIES {
        check_copies(&mut client, copy, events).await?;
    }
    figures(format!(
        "{events} events, {kills} kills after {at:?} emitted ones; each emitted once and in order, \
         the state is right; {seconds:.0} s"
    ))
}

/// Waits until this number of events was emitted, and returns the number.
async fn emitted_at_least(client: &mut Client, target: usize) -> Result<usize> {
    let begun = Instant::now();
    loop {
        let last = Read::stream("copy-0").at_end().backwards().limit(1);
        // A server that was just started may answer later.
        let emitted = match last.run(client).await.ok().and_then(|read| read.first().cloned()) {
            Some(Content::Event(event)) => {
                let record = event.event.context("an event")?;
                usize::try_from(record.stream_revision + 1)? * COPIES
            }
            _ => 0,
        };
        if emitted >= target {
            return Ok(emitted);
        }
        ensure!(begun.elapsed() < WAIT_MAX, "{emitted} of {target} events were emitted");
        sleep(POLL).await;
    }
}

/// Checks that a stream has the numbers with this last digit, each once and in order.
async fn check_copies(client: &mut Client, digit: usize, events: usize) -> Result<()> {
    let stream = format!("copy-{digit}");
    let mut messages = Read::stream(&stream).open(client).await?;
    let mut expected = (1..=events).filter(|number| number % COPIES == digit);
    while let Some(content) = messages.next_or_end().await? {
        let Content::Event(event) = content else { continue };
        let record = event.event.context("an event")?;
        let data: serde_json::Value = serde_json::from_slice(&record.data)?;
        let number = expected.next().map(|number| serde_json::json!({ "n": number }));
        ensure!(number.as_ref() == Some(&data), "{stream}: {data} for {number:?}");
    }
    ensure!(expected.next().is_none(), "{stream} ends early");
    Ok(())
}

/// Memory that the failed scripts may have taken for a moment, in MiB.
const GROWTH_MIB_MAX: u64 = 256;

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_and_a_huge_allocation_fail_alone() -> Result<()> {
    let gesta = Gesta::start(&empty_directory("server-greedy-scripts")?, &[])?;
    let mut client = gesta.client().await;
    fill(&mut client, 100).await?;
    let before = gesta.resident_kib()?;
    let mut driver = driver(gesta.channel().await);
    let handler = |body: &str| {
        format!(
            "fromCategory('source').when({{ $init: () => ({{ n: 0 }}), happened(s, e) {{ s.n += 1; \
             if (e.data.n === 50) {{ {body} }} }} }}).outputState()"
        )
    };
    let greedy = [
        ("endless", "while (true) {}"),
        ("recursive", "const f = () => f() + 1; f();"),
        ("huge", "const all = []; while (true) all.push('x'.repeat(1 << 20) + all.length);"),
        ("doubling", "let t = 'x'; while (true) t += t;"),
        ("array", "new Array(1 << 30).fill(e);"),
        ("buffer", "new Uint8Array(1 << 30).fill(1);"),
    ];
    driver.create("good", &handler("")).await;
    for (name, body) in greedy {
        driver.create(name, &handler(body)).await;
    }
    for (name, _) in greedy {
        let details = driver.becomes(name, "Faulted").await;
        ensure!(!details.state_reason.is_empty(), "{name} says why");
        let state = driver.state(name).await;
        ensure!(state == "{\"n\":49}", "{name} has done what was before: {state}");
    }
    driver.reaches("good", "", "{\"n\":100}").await;
    let more = (101..=150).map(|number| proposed(number, "happened")).collect();
    append(&mut client, "source-0", ANY, more).await?;
    driver.reaches("good", "", "{\"n\":150}").await;
    let grown = gesta.resident_kib()?.saturating_sub(before) >> 10;
    ensure!(grown <= GROWTH_MIB_MAX, "resident memory has grown by {grown} MiB");
    let failed = greedy.map(|(name, _)| name).join(", ");
    figures(format!("failed alone: {failed}; another went on; {grown} MiB more"))
}
