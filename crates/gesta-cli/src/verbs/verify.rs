//! `gesta verify`: checks a store for corruption.

use std::ops::RangeInclusive;

use anyhow::{Context as _, Result};
use clap::Args;
use gesta_log::{OpenReport, Progress, Torn, Unmarked};
use gesta_store::{Damage, Position};
use serde_json::{Value, json};

use crate::{
    counted::counted,
    exit::Outcome,
    output::{Output, Style},
    progress::{Unit, bar},
    store_url::StoreUrl,
};

/// The advice for stores in PostgreSQL.
const INSTEAD: &str =
    "the server checks its own pages: run `pg_amcheck`, and see that data_checksums is on";

const HINT: &str = "\
Exit codes:
  0  sound
  1  damaged
  2  usage error, or the store cannot be read";

/// Check every byte of a store without changing it
///
/// Compares checksums, the chain between frames, and the positions of events. Reports each damaged
/// place with file, offset and lost positions. Also works while the store is in use; the latest
/// events may then be reported as unconfirmed.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Verify {}

impl Verify {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let report = verified(store)?;
        match output.style() {
            Style::Text => print_text(&report, output)?,
            Style::Json => output.json(&object(&report))?,
        }
        // Damage of the index alone is sound: events are complete, and the index is rebuilt.
        Ok(if is_sound(&report) { Outcome::Done } else { Outcome::ProblemFound })
    }
}

fn verified(store: &StoreUrl) -> Result<OpenReport> {
    let directory = store.log("verify", INSTEAD)?.directory()?;
    let bar = bar(Unit::Bytes, 0);
    let report = gesta_log::verify(directory, &mut |progress: Progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes_done);
    });
    bar.finish_and_clear();
    report.with_context(|| format!("cannot verify {store}"))
}

fn is_sound(report: &OpenReport) -> bool {
    report.damage.is_empty()
}

fn print_text(report: &OpenReport, output: &mut Output) -> Result<()> {
    for damage in &report.damage {
        output.line(format_args!("damaged: {damage}"))?;
    }
    // A torn write comes from a crash. It was never acknowledged, so nothing is lost.
    if let Some(torn) = &report.torn {
        output.line(format_args!("incomplete write: {torn}; it was never acknowledged"))?;
    }
    if let Some(unmarked) = &report.unmarked {
        let state = if unmarked.durable { "intact" } else { "unconfirmed" };
        output.line(format_args!("{state}: {unmarked}"))?;
    }
    for damage in &report.index_damage {
        output.line(format_args!("index damaged: {damage}"))?;
    }
    if !report.index_damage.is_empty() && is_sound(report) {
        output.line(
            "No events are lost: the index can be rebuilt. Stop the application, copy the \
             directory, then delete INDEX and all *.run files from the store; the index is rebuilt \
             the next time the store is opened",
        )?;
    }
    let events = counted(report.events, "event");
    let segments = counted(report.segments as u64, "segment");
    if is_sound(report) {
        return output.line(format_args!("sound: {events} in {segments}"));
    }
    let places = counted(report.damage.len() as u64, "place");
    output.line(format_args!(
        "DAMAGED in {places}: {events} in {segments} are readable. The store is read-only until it \
         is restored. Stop the application and copy the whole directory first. Do not delete any \
         file, not even INDEX: it may be the only record of what is missing. Then check the disk and \
         restore a backup into another directory"
    ))
}

fn object(report: &OpenReport) -> Value {
    json!({
        "sound": is_sound(report),
        "events": report.events,
        "segments": report.segments,
        "damage": report.damage.iter().map(damage_object).collect::<Vec<_>>(),
        "indexDamage": report.index_damage,
        "torn": report.torn.as_ref().map(torn_object),
        "unmarked": report.unmarked.as_ref().map(unmarked_object),
    })
}

fn damage_object(damage: &Damage) -> Value {
    let Damage { file, offset, positions, what, .. } = damage;
    let positions = positions.as_ref().map(range_object);
    json!({ "file": file, "offset": offset, "positions": positions, "what": what })
}

fn torn_object(torn: &Torn) -> Value {
    let Torn { file, offset, bytes, .. } = torn;
    json!({ "file": file, "offset": offset, "bytes": bytes })
}

fn unmarked_object(unmarked: &Unmarked) -> Value {
    let Unmarked { file, offset, positions, durable, .. } = unmarked;
    let positions = range_object(positions);
    json!({ "file": file, "offset": offset, "positions": positions, "durable": durable })
}

fn range_object(positions: &RangeInclusive<Position>) -> Value {
    json!({ "first": positions.start().number(), "last": positions.end().number() })
}
