//! Times of the console's screens over a large store, in a real browser.
//!
//! `cargo run --release -p gesta-server --example server_at_scale -- DIRECTORY 1000000` fills a
//! new directory with a million streams of ten events, or opens one that was filled before, serves
//! it, and opens every screen five times in a headless Chromium. Printed for each: the slowest
//! first answer of its requests, and the time until the screen is complete, both in milliseconds,
//! as the median of the five, with the greatest in brackets; and its number of requests.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::{
    env,
    fmt::Write as _,
    io::{self, Write as _},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use gesta_log::{IndexedIds, LogStore, Options};
use gesta_server::Server;
use gesta_services::chromium::Page;
use gesta_store::{
    Append, CausationId, CorrelationId, EventId, EventStore, EventType, ExpectedRevision, NewEvent,
    Position, StreamName, Tag,
};
use tokio::sync::oneshot;

/// Events of each stream: one conversation, in which each event causes the next one.
const EVENTS: u64 = 10;
const CATEGORIES: [&str; 4] = ["order", "payment", "shipment", "return"];
const TYPES: [&str; 10] = [
    "placed",
    "priced",
    "reserved",
    "requested",
    "received",
    "packed",
    "handed-over",
    "delivered",
    "reviewed",
    "closed",
];
const CUSTOMERS: u64 = 100_000;
/// One stream in so many ends with an event of a rare type.
const RARE: u64 = 10_000;
/// Appends under way at a time.
const WRITERS: usize = 64;
const ROUNDS: usize = 5;
/// Time that the first answer of a screen may take. Requests that take longer are named.
const ANSWER_MS_MAX: f64 = 300.0;

#[tokio::main]
async fn main() -> Result<()> {
    let usage = "usage: server_at_scale DIRECTORY STREAMS";
    let mut arguments = env::args().skip(1);
    let directory = arguments.next().context(usage)?;
    let streams: u64 = arguments.next().and_then(|text| text.parse().ok()).context(usage)?;
    let ids: IndexedIds = "event-id,correlation,causation,streams".parse()?;
    let options = Options::default().index(ids);
    let store = Arc::new(LogStore::open(Path::new(&directory), options)?);
    let mut out = io::stdout().lock();
    if store.head().await?.position == Position::START {
        let begun = Instant::now();
        fill(&store, streams).await?;
        writeln!(out, "{} events in {:.0?}", streams * EVENTS, begun.elapsed())?;
    }
    let listener = Server::bind_loopback("127.0.0.1:0".parse()?).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::insecure(Arc::clone(&store) as Arc<dyn EventStore>);
    let served = tokio::spawn(server.run(listener, async {
        let _ = stopped.await;
    }));
    let mut page =
        Page::open(&format!("http://{address}")).await.context("there is no Chromium")?;
    page.look(1_400, "light").await;
    for (name, screen) in screens(streams) {
        writeln!(out, "{name:<28} {}", times(&mut page, &screen).await?)?;
    }
    writeln!(out, "all streams are counted in {:.1?}", counting(&mut page).await)?;
    page.assert_clean();
    drop((page, stop));
    served.await??;
    store.close().await?;
    Ok(())
}

/// Each screen, at places in the midst of the store.
fn screens(streams: u64) -> Vec<(&'static str, String)> {
    let stream = name(streams / 2);
    let rare = streams / 2 / RARE * RARE;
    let conversation = format!("case-{}", streams / 2);
    let event = |address: &str| format!("#/event?{address}");
    vec![
        ("start", "#/start".to_owned()),
        ("streams", "#/streams".to_owned()),
        ("streams of a prefix", "#/streams?prefix=payment-12".to_owned()),
        ("streams of a category", "#/streams?prefix=order-".to_owned()),
        ("a stream", format!("#/stream?name={stream}")),
        ("a stream of the system", "#/stream?name=%24ce-order".to_owned()),
        ("an event", event(&format!("stream={stream}&revision=5"))),
        ("an event by its id", event(&format!("id={}", id(streams / 3, 7)))),
        ("timeline", format!("#/lanes?correlation={conversation}")),
        ("timeline of streams", format!("#/lanes?stream={stream}&stream={}", name(rare))),
        ("query", "#/query".to_owned()),
        ("query of a category", "#/query?category=shipment".to_owned()),
        ("query of a type", "#/query?type=delivered".to_owned()),
        ("query of a rare type", "#/query?type=disputed".to_owned()),
        ("query of a tag", "#/query?tag=customer:77".to_owned()),
        ("query of a stream", format!("#/query?stream={stream}")),
        ("query of a conversation", format!("#/query?correlation={conversation}")),
        // The store has an index for one of the two, and the page reads on for a while.
        ("query without a match", "#/query?category=none&type=placed".to_owned()),
        ("query from a time", "#/query?from=2020-01-01T00:00:00Z&direction=forwards".to_owned()),
        ("live", "#/live".to_owned()),
        ("groups", "#/groups".to_owned()),
        ("projections", "#/projections".to_owned()),
    ]
}

/// Opens a screen several times, and returns its times as a text.
async fn times(page: &mut Page, screen: &str) -> Result<String> {
    const MEASURED: &str = "(() => { const asked = performance.getEntriesByType('resource')\
         .filter(({ name }) => name.includes('/v1/')); \
         const waits = asked.map(({ requestStart, responseStart }) => responseStart - requestStart); \
         const slowest = asked[waits.indexOf(Math.max(...waits))]; \
         const path = slowest ? new URL(slowest.name).pathname : ''; \
         return [[Math.max(0, ...waits), performance.now(), asked.length], path]; })()";
    let (mut answers, mut complete, mut requests) = (Vec::new(), Vec::new(), 0.0);
    let mut late = String::new();
    for _ in 0..ROUNDS {
        page.load(screen).await;
        let measured = page.value(MEASURED).await;
        let (measured, path): (Vec<f64>, String) = serde_json::from_value(measured)?;
        let [answer, shown, asked] = *measured else { anyhow::bail!("{measured:?}") };
        if answer > ANSWER_MS_MAX {
            write!(late, "; {path} took {answer:.0}")?;
        }
        answers.push(answer);
        complete.push(shown);
        requests = asked;
    }
    Ok(format!(
        "answer {} complete {} in {requests} requests{late}",
        median(answers),
        median(complete)
    ))
}

/// Returns the time in which the start screen counts all streams, as its reader asks it to.
async fn counting(page: &mut Page) -> Duration {
    page.load("#/start").await;
    let begun = Instant::now();
    page.click("button", "Count all").await;
    page.until("/^All/.test(document.querySelector('.count-all').innerText)").await;
    begun.elapsed()
}

fn median(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    let greatest = times.last().copied().unwrap_or_default();
    format!("{middle:>6.0} ({greatest:.0})")
}

fn name(number: u64) -> String {
    let category = CATEGORIES.iter().cycle().nth((number % 4) as usize).copied();
    format!("{}-{number}", category.unwrap_or_default())
}

fn id(stream: u64, number: u64) -> EventId {
    EventId::derived_from(&name(stream), number)
}

async fn fill(store: &LogStore, streams: u64) -> Result<()> {
    let appends = stream::iter((0..streams).map(|number| conversation(number, streams)));
    appends
        .map(|append| async move { anyhow::Ok(store.append(append?).await.map(drop)?) })
        .buffer_unordered(WRITERS)
        .try_collect::<()>()
        .await
}

/// The events of one stream. Streams come in another order than that of their numbers.
fn conversation(place: u64, streams: u64) -> Result<Append> {
    let stream = place * 7_919 % streams;
    let mut events = Vec::new();
    for number in 0..EVENTS {
        let kind = TYPES.get(number as usize).copied().unwrap_or_default();
        let is_rare = stream.is_multiple_of(RARE) && number == EVENTS - 1;
        let kind = EventType::new(if is_rare { "disputed" } else { kind })?;
        let customer = stream * 31 % CUSTOMERS;
        let data = format!(
            "{{\"case\":{stream},\"customer\":{customer},\"amount\":{}.{:02},\"currency\":\"EUR\",\
             \"note\":\"{:0>120}\"}}",
            stream % 900,
            number * 7,
            stream * number
        );
        let event = NewEvent::json(id(stream, number), kind, data)
            .correlation_id(CorrelationId::new(format!("case-{stream}"))?)
            .tagged([Tag::new(format!("customer:{customer}"))?]);
        events.push(match number.checked_sub(1) {
            Some(before) => event.causation_id(CausationId::new(id(stream, before).to_string())?),
            None => event,
        });
    }
    Ok(Append::to(StreamName::new(name(stream))?, ExpectedRevision::NoStream, events))
}
