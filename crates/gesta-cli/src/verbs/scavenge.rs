//! `gesta scavenge`: reclaims the disk space of hidden events.

use anyhow::{Context as _, Result};
use clap::Args;
use gesta_log::{Progress, ScavengeOptions, ScavengeReport};
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
    "events in PostgreSQL stay in their tables when they are hidden; there is nothing to scavenge";

const HINT: &str = "\
Examples:
  gesta scavenge
  gesta scavenge --threshold 50

Removes events before a stream's `$tb`, beyond its `$maxCount` or older than its `$maxAge`, and all
events of deleted and tombstoned streams. They are gone for good, including from reads of the whole
store; only earlier backups still have them. Remaining events keep their positions and revisions.

Exit codes:
  0  success
  1  the store is damaged; scavenging stopped
  2  usage error, or the store cannot be used";

/// Reclaim the disk space of deleted, truncated and expired events
///
/// Also reclaims space that was allocated and never used. Rewrites one segment at a time, durably,
/// and can be interrupted and run again. Needs exclusive access to the store; an application that
/// has the store open calls `LogStore::scavenge` instead.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Scavenge {
    /// Skip segments where less than this percentage would be reclaimed
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    threshold: u8,
}

impl Scavenge {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let url = store;
        let store = url.log("scavenge", INSTEAD)?.open_to_scavenge()?;
        let bar = bar(Unit::Bytes, 0);
        let options = ScavengeOptions::default().threshold_percent(self.threshold);
        let report = store.scavenge(options, &mut |progress: Progress| {
            bar.set_length(progress.bytes_total);
            bar.set_position(progress.bytes_done);
        });
        bar.finish_and_clear();
        // Only now: a bar that is still drawn would overwrite the error.
        let report = report.with_context(|| format!("cannot scavenge {url}"))?;
        match output.style() {
            Style::Text => print_text(&report, output)?,
            Style::Json => output.json(&object(&report))?,
        }
        Ok(Outcome::Done)
    }
}

fn print_text(report: &ScavengeReport, output: &mut Output) -> Result<()> {
    let ScavengeReport { segments, rewritten_segments, events, bytes_before, bytes_after, .. } =
        report;
    let (events, all) = (counted(*events, "event"), counted(*segments as u64, "segment"));
    output.line(format_args!(
        "scavenged {events}: rewrote {rewritten_segments} of {all}, reclaimed {} of {bytes_before} bytes",
        bytes_before - bytes_after
    ))
}

fn object(report: &ScavengeReport) -> Value {
    let ScavengeReport { segments, rewritten_segments, events, bytes_before, bytes_after, .. } =
        report;
    json!({
        "events": events,
        "segments": segments,
        "rewrittenSegments": rewritten_segments,
        "bytesBefore": bytes_before,
        "bytesAfter": bytes_after,
    })
}
