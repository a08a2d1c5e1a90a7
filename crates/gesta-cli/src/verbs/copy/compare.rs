//! The comparison of a copy with its source.
//!
//! Every append of the source is compared with that of the target, then each stream's head, state
//! and metadata. The digest is that of the lines that an export has for the appends, so it is the
//! same as in the last line of an export.

use std::{sync::mpsc, thread};

use anyhow::{Context as _, Result};
use futures_executor::block_on;
use gesta_store::{EventStore, ListStreams, Position, StoreError, StoredAppend, StreamName};

use super::progress::{EventProgress, Phase, StreamProgress};
use crate::{
    events::Printable,
    exit::Refusal,
    store_url::StoreUrl,
    transfer::{LineWriter, Source},
};

/// Names per listing request.
const PAGE_NAMES_MAX: usize = 1_000;
/// Threads that look streams up: as many as a store in PostgreSQL has connections for reads.
const LOOK_UPS: usize = 4;
/// Appends that a reading thread hands over at once, and the number of such portions in flight.
const PORTION_APPENDS: usize = 512;
const PORTIONS_MAX: usize = 4;

/// The result of a comparison in which both were equal.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    pub(super) events: u64,
    pub(super) appends: u64,
    /// `None` if the target has later events, which change streams.
    pub(super) streams: Option<u64>,
    /// BLAKE3 of the appends.
    pub(super) digest: String,
    /// Head of the source.
    pub(super) head: Position,
    /// Number of positions of the target after the head of the source.
    pub(super) more: u64,
}

/// Compares a target with a source that is open.
///
/// # Errors
///
/// An error that names the first difference.
pub(super) fn compare(
    source: &Source,
    source_url: &StoreUrl,
    target_url: &StoreUrl,
) -> Result<Comparison> {
    let target = Source::open(target_url).context("the target cannot be compared")?;
    let (head, end) = (source.head(), target.head());
    let more = end.number().saturating_sub(head.number());
    let lines = compare_appends(source, &target)?;
    let streams = match more {
        0 => Some(compare_streams(source_url, target_url)?),
        _ => None,
    };
    let counts = lines.counts();
    Ok(Comparison {
        events: counts.events,
        appends: counts.appends,
        streams,
        digest: lines.appends_blake3(),
        head,
        more,
    })
}

fn compare_appends(source: &Source, target: &Source) -> Result<LineWriter> {
    let bar = EventProgress::start(Phase::Compared, source.head(), Position::START.next());
    let mut lines = LineWriter::default();
    let compared = thread::scope(|scope| {
        let (sender, portions) = mpsc::sync_channel::<Result<Vec<StoredAppend>>>(PORTIONS_MAX);
        scope.spawn(move || {
            let mut appends = source.appends();
            loop {
                let portion: Result<Vec<_>> = appends.by_ref().take(PORTION_APPENDS).collect();
                let is_last = portion.as_ref().map_or(true, Vec::is_empty);
                // The other thread has found a difference.
                if sender.send(portion).is_err() || is_last {
                    return;
                }
            }
        });
        let mut found = target.appends();
        for portion in portions {
            for append in portion? {
                let found = found.next().transpose()?;
                if found.as_ref() != Some(&append) {
                    return Err(differs(&append, found.as_ref()));
                }
                // Formatted only for the digest.
                let _line = lines.append(&append, None)?;
                bar.reach(append.next());
            }
        }
        Ok(())
    });
    bar.end();
    compared.map(|()| lines)
}

fn differs(expected: &StoredAppend, found: Option<&StoredAppend>) -> anyhow::Error {
    let position = expected.first;
    let what = match found {
        None => "is missing in the target".to_owned(),
        Some(found) if found.first != position => {
            format!("is missing in the target, which has one at position {} instead", found.first)
        }
        Some(found) => {
            let pairs = expected.events.iter().zip(&found.events);
            let event = pairs.into_iter().find(|(one, other)| one != other);
            match event {
                Some((event, _)) => format!(
                    "differs in the target, first in event {} of {} at position {}",
                    event.id,
                    Printable(event.stream.as_str()),
                    event.position
                ),
                None => "has another number of events in the target".to_owned(),
            }
        }
    };
    not_equal(&format!("the append at position {position} {what}"))
}

fn not_equal(what: &str) -> anyhow::Error {
    Refusal::refused("not-equal", format!("the target differs from the source: {what}"))
        .hint(
            "do not use the target; check both stores, then copy into another place. Compare with \
             `gesta copy --verify-only`",
        )
        .into()
}

/// Compares head, state and metadata of all streams. Returns their number.
fn compare_streams(source: &StoreUrl, target: &StoreUrl) -> Result<u64> {
    let (source, target) = (source.open_to_read()?, target.open_to_read()?);
    let (source, target) = (source.as_ref(), target.as_ref());
    let bar = StreamProgress::start();
    let mut count = 0;
    for prefix in ["", "$"] {
        let mut after = None;
        loop {
            let page =
                || ListStreams::all().prefix(prefix).after(after.clone()).limit(PAGE_NAMES_MAX);
            let names = block_on(source.list_streams(page()))?;
            let found = block_on(target.list_streams(page()))?;
            if let Some((one, other)) = names.iter().zip(&found).find(|(one, other)| one != other) {
                let name = Printable(one.min(other).as_str());
                return Err(not_equal(&format!("only one of them has stream {name}")));
            }
            if names.len() != found.len() {
                let longer = if names.len() > found.len() { &names } else { &found };
                let extra =
                    longer.get(names.len().min(found.len())).map_or("", |name| name.as_str());
                let name = Printable(extra);
                return Err(not_equal(&format!("only one of them has stream {name}")));
            }
            compare_page(&names, source, target)?;
            count += names.len() as u64;
            bar.reach(count);
            if names.len() < PAGE_NAMES_MAX {
                break;
            }
            after = names.last().cloned();
        }
    }
    bar.end();
    Ok(count)
}

/// Looks streams up on several threads: a look-up over a network mostly waits.
fn compare_page(
    names: &[StreamName],
    source: &dyn EventStore,
    target: &dyn EventStore,
) -> Result<()> {
    thread::scope(|scope| {
        let part = names.len().div_ceil(LOOK_UPS).max(1);
        let threads: Vec<_> = names
            .chunks(part)
            .map(|names| {
                scope.spawn(move || {
                    names.iter().try_for_each(|name| {
                        compare_stream(name, source, target)?;
                        // A deleted stream is listed only by its metadata.
                        let described = name.described_stream();
                        described.map_or(Ok(()), |of| compare_stream(&of, source, target))
                    })
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a look-up does not panic"))
    })
}

fn compare_stream(
    name: &StreamName,
    source: &dyn EventStore,
    target: &dyn EventStore,
) -> Result<()> {
    let describe =
        |store: &dyn EventStore| -> Result<_, StoreError> { block_on(store.describe_stream(name)) };
    let (one, other) = (describe(source)?, describe(target)?);
    if one == other {
        return Ok(());
    }
    let name = Printable(name.as_str());
    let what = format!(
        "stream {name} is at revision {} there and {} here, or has another state or metadata",
        one.head.map_or_else(|| "none".to_owned(), |head| head.to_string()),
        other.head.map_or_else(|| "none".to_owned(), |head| head.to_string()),
    );
    Err(not_equal(&what))
}
