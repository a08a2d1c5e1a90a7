//! Times of the console's screens over a large store of the shop, in a real browser.
//!
//! `cargo run --release -p shop --example console_at_scale -- DIRECTORY 1000000` fills a new
//! directory with a million streams of ten events, or opens one that was filled before, lets the
//! read models, process managers and the reactor catch up, serves the shop, and opens every screen
//! in a headless Chromium. Printed for each: the slowest first answer of its requests in
//! milliseconds, with nothing of the store and the read models in the cache of the system, and then
//! as the median of five, with the greatest in brackets; the time until the screen is complete; and
//! its number of requests.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

mod filling;
mod screens;

use std::{
    env,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use gesta::{Gesta, Position, sqlite::Sqlite, store::EventStore as _};
use gesta_http::GestaState;
use gesta_log::{IndexedIds, LogStore, Options};
use gesta_services::chromium::Page;
use rustix::fs::{Advice, fadvise};
use shop::{outbox::Outbox, processes, reactors, read_side, samples::faults, snapshots};
use tokio::{net::TcpListener, sync::oneshot};

const ROUNDS: usize = 5;
/// Time that the first answer of a screen may take. Requests that take longer are named.
const ANSWER_MS_MAX: f64 = 300.0;
/// Ids that the store has an index for.
const IDS: &str = "event-id,correlation,causation";

#[tokio::main]
async fn main() -> Result<()> {
    let usage = "usage: console_at_scale DIRECTORY STREAMS";
    let mut arguments = env::args().skip(1);
    let directory = arguments.next().context(usage)?;
    let streams: u64 = arguments.next().and_then(|text| text.parse().ok()).context(usage)?;
    let directory = Path::new(&directory);
    let events = directory.join("events");
    let store = LogStore::open(&events, Options::default().index(IDS.parse::<IndexedIds>()?))?;
    if store.head().await?.position == Position::START {
        let begun = Instant::now();
        filling::fill(&store, streams).await?;
        say(&format!("{} events in {:.0?}", streams * filling::EVENTS, begun.elapsed()))?;
    }
    store.close().await?;
    let begun = Instant::now();
    let shop = open(directory, &events).await?;
    say(&format!("opened in {:.1?}", begun.elapsed()))?;
    filling::add_samples(&shop).await?;
    filling::caught_up(&shop).await?;
    say(&format!("every part has caught up in {:.0?}", begun.elapsed()))?;
    measure(&shop, directory, streams).await?;
    shop.close().await;
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// Opens the shop with all of its parts.
async fn open(directory: &Path, events: &Path) -> Result<Gesta> {
    let rows = Sqlite::open(directory.join("read-models")).await?;
    let outbox = Outbox::open(directory.join("outbox"))?;
    let builder = Gesta::at(format!("gesta:{}?index={IDS}", events.display()));
    let builder = snapshots::keep_all(builder, &rows);
    let builder = read_side::project_all(builder, &rows.into());
    // With delays that keep timers pending.
    let builder = processes::run_all(builder, faults::DELAYS);
    Ok(reactors::run_all(builder, outbox).open().await?)
}

/// Serves the shop, and prints the times of each screen.
async fn measure(shop: &Gesta, directory: &Path, streams: u64) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let state = GestaState::new(shop.clone());
    let router = shop::http::api().environment("development").router(state.clone());
    let (end, ended) = oneshot::channel::<()>();
    let served = tokio::spawn(gesta_http::serve(listener, router, state, async {
        let _ = ended.await;
    }));
    let mut page = Page::open(&url).await.context("there is no Chromium")?;
    page.look(1_400, "light").await;
    for (name, screen) in screens::all(streams) {
        evict(directory)?;
        let cold = times(&mut page, &screen).await?;
        let mut warm = Vec::new();
        for _ in 0..ROUNDS {
            warm.push(times(&mut page, &screen).await?);
        }
        say(&format!("{name:<28} {}", line(&cold, &warm)?))?;
    }
    page.assert_clean();
    drop((page, end));
    served.await??;
    Ok(())
}

/// Takes all files of a directory out of the cache of the system.
fn evict(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            evict(&path)?;
        } else if let Ok(file) = File::open(&path) {
            // Pages that are not written yet would stay.
            file.sync_data()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// Times of one opening of a screen.
struct Opening {
    /// The slowest first answer of its requests, in milliseconds, and the path of that request.
    answer: f64,
    path: String,
    /// Time until the screen was complete, in milliseconds.
    complete: f64,
    requests: usize,
}

/// Opens a screen.
async fn times(page: &mut Page, screen: &str) -> Result<Opening> {
    const MEASURED: &str = "(() => { const asked = performance.getEntriesByType('resource')\
         .filter(({ name }) => /\\/(v1|health)\\//.test(name) || name.endsWith('/program')); \
         const waits = asked.map(({ requestStart, responseStart }) => responseStart - requestStart); \
         const slowest = asked[waits.indexOf(Math.max(...waits))]; \
         const path = slowest ? slowest.name.replace(location.origin, '') : ''; \
         return [Math.max(0, ...waits), path, performance.now(), asked.length]; })()";
    page.load(screen).await;
    let measured = page.value(MEASURED).await;
    let (answer, path, complete, requests) = serde_json::from_value(measured)?;
    Ok(Opening { answer, path, complete, requests })
}

/// Returns the times of a screen as a text.
fn line(cold: &Opening, warm: &[Opening]) -> Result<String> {
    let mut late = String::new();
    for opening in [cold].into_iter().chain(warm) {
        if opening.answer > ANSWER_MS_MAX {
            write!(late, "; {} took {}", opening.path, shown(opening.answer))?;
        }
    }
    let requests = warm.last().map_or(0, |opening| opening.requests);
    Ok(format!(
        "cold {:>5.0} answer {} complete {} in {requests} requests{late}",
        cold.answer,
        median(warm.iter().map(|opening| opening.answer)),
        median(warm.iter().map(|opening| opening.complete))
    ))
}

fn shown(milliseconds: f64) -> String {
    format!("{:.0?}", Duration::from_secs_f64(milliseconds / 1_000.0))
}

fn median(times: impl Iterator<Item = f64>) -> String {
    let mut times: Vec<_> = times.collect();
    times.sort_by(f64::total_cmp);
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    let greatest = times.last().copied().unwrap_or_default();
    format!("{middle:>5.0} ({greatest:.0})")
}
