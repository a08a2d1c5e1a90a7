//! `gesta backup`: a copy of a store that is in use, in another directory.

use std::ops::RangeInclusive;

use anyhow::Result;
use clap::Args;
use gesta_log::{BackupReport, Progress};
use gesta_store::Position;
use serde_json::{Value, json};

use crate::{
    counted::counted,
    directory::Directory,
    exit::Outcome,
    output::{Output, Style, notice},
    progress::{Of, bar},
    store_url::StoreUrl,
};

const HINT: &str = "\
Examples:
  gesta backup /mnt/backups/things
  gesta restore /mnt/backups/things ./things-again

Put the directory on another disk. It holds one backup, the latest; for several, make several.

Exit codes:
  0  done
  1  the store is damaged; what the directory held before, it still holds
  2  wrong usage, or a directory that cannot be used";

/// Copy a store into a directory, while its program is running.
///
/// Has everything that the store has acknowledged when it begins. What an earlier backup in the
/// same directory has already is checked and not copied again; what is copied is read back. Only
/// `gesta restore` makes a store of it.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Backup {
    /// The directory of the backup; made if it is not there.
    #[arg(value_name = "DIR")]
    target: Directory,
}

impl Backup {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let bar = bar(Of::Bytes, 0);
        let report = gesta_log::backup(store.directory()?, self.target.path(), &mut |progress| {
            let Progress { bytes_done, bytes_total } = progress;
            bar.set_length(bytes_total);
            bar.set_position(bytes_done);
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

fn tell(report: &BackupReport, output: &mut Output) -> Result<()> {
    let BackupReport { end, segments, bytes, copied_segments, copied_bytes, unconfirmed } = report;
    if let Some(positions) = unconfirmed {
        notice(format_args!(
            "positions {} to {} are left out: the store's program wrote them and does not say \
             whether they are durable; look whether it is well",
            positions.start(),
            positions.end()
        ));
    }
    let all = counted(*segments as u64, "segment");
    output.line(format_args!(
        "backed up to position {end}: {all} of {bytes} bytes, {copied_segments} of them copied \
         ({copied_bytes} bytes)"
    ))
}

fn object(report: &BackupReport) -> Value {
    let BackupReport { end, segments, bytes, copied_segments, copied_bytes, unconfirmed } = report;
    let range = |positions: &RangeInclusive<Position>| json!({ "first": positions.start().number(), "last": positions.end().number() });
    json!({
        "position": end.number(),
        "segments": segments,
        "bytes": bytes,
        "copiedSegments": copied_segments,
        "copiedBytes": copied_bytes,
        "unconfirmed": unconfirmed.as_ref().map(range),
    })
}
