//! `gesta scavenge`: the space of events that no stream read shows any more, won back.

use anyhow::Result;
use clap::Args;
use gesta_log::{Progress, ScavengeOptions, ScavengeReport};
use serde_json::{Value, json};

use crate::{
    counted::counted,
    exit::Outcome,
    output::{Output, Style},
    progress::{Of, bar},
    store_url::StoreUrl,
};

const HINT: &str = "\
Examples:
  gesta scavenge
  gesta scavenge --threshold 50

What goes: events before a stream's `$tb`, beyond its `$maxCount`, older than its `$maxAge`, and all
of deleted and tombstoned streams. They are gone for good, from reads of everything too; a backup
that was taken before still has them. Positions and revisions of what stays do not change.

Exit codes:
  0  done
  1  the store is damaged; nothing more was changed
  2  wrong usage, or a store that cannot be used";

/// Win back the space of events that no stream read shows any more, and space that was never used.
///
/// Rewrites segments, one after the other, each durably before the next; when it is stopped, the
/// next call goes on. Needs the store for itself; a program that has it open scavenges it with
/// `LogStore::scavenge` while it is working.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Scavenge {
    /// Leave segments alone of which less than so many percent would be won.
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    threshold: u8,
}

impl Scavenge {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let store = store.open_to_scavenge()?;
        let bar = bar(Of::Bytes, 0);
        let options = ScavengeOptions { threshold_percent: self.threshold };
        let report = store.scavenge(options, &mut |progress: Progress| {
            bar.set_length(progress.bytes_total);
            bar.set_position(progress.bytes_done);
        });
        bar.finish_and_clear();
        let report = report?;
        match output.style() {
            Style::Text => tell(&report, output)?,
            Style::Json => output.json(&object(&report))?,
        }
        Ok(Outcome::Done)
    }
}

fn tell(report: &ScavengeReport, output: &mut Output) -> Result<()> {
    let ScavengeReport { segments, rewritten_segments, events, bytes_before, bytes_after } = report;
    let (events, all) = (counted(*events, "event"), counted(*segments as u64, "segment"));
    output.line(format_args!(
        "scavenged {events}: {rewritten_segments} of {all} rewritten, {} of {bytes_before} bytes won",
        bytes_before - bytes_after
    ))
}

fn object(report: &ScavengeReport) -> Value {
    let ScavengeReport { segments, rewritten_segments, events, bytes_before, bytes_after } = report;
    json!({
        "events": events,
        "segments": segments,
        "rewrittenSegments": rewritten_segments,
        "bytesBefore": bytes_before,
        "bytesAfter": bytes_after,
    })
}
