//! `gesta backup`: copies a store that may be in use.

use std::ops::RangeInclusive;

use anyhow::{Context as _, Result};
use clap::Args;
use gesta_log::{BackupReport, Progress};
use gesta_store::Position;
use serde_json::{Value, json};

use crate::{
    counted::counted,
    directory::Directory,
    exit::Outcome,
    output::{Output, Style, notice},
    progress::{Unit, bar},
    store_url::StoreUrl,
};

/// The advice for stores in PostgreSQL.
const INSTEAD: &str = "run `pg_dump --schema=NAME`, or keep base backups and WAL of the server; `gesta export` \
    and `gesta copy` work as well";

const HINT: &str = "\
Examples:
  gesta backup /mnt/backups/things
  gesta restore /mnt/backups/things ./things-again

Use a directory on another disk. A directory holds one backup, the latest; use several directories
to keep several backups.

Exit codes:
  0  success
  1  the store is damaged; the previous backup is unchanged
  2  usage error, or a directory cannot be used";

/// Copy a store to a backup directory, even while it is in use
///
/// The backup has every event that the store acknowledged before the command started. Repeated
/// backups to one directory copy only new data and verify the rest. Copied data is read back. Use
/// `gesta restore` to create a store from the backup.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Backup {
    /// Backup directory; created if missing
    #[arg(value_name = "DIR")]
    target: Directory,
}

impl Backup {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        // Safe next to a running application: no segment is changed, and the copy ends at a
        // position that the application has confirmed as durable.
        let directory = store.log("backup", INSTEAD)?.directory()?;
        let bar = bar(Unit::Bytes, 0);
        let report = gesta_log::backup(directory, self.target.path(), &mut |progress| {
            let Progress { bytes_done, bytes_total, .. } = progress;
            bar.set_length(bytes_total);
            bar.set_position(bytes_done);
        });
        bar.finish_and_clear();
        let report =
            report.with_context(|| format!("cannot back up {store} to {}", self.target))?;
        match output.style() {
            Style::Text => print_text(&report, output)?,
            Style::Json => output.json(&object(&report))?,
        }
        Ok(Outcome::Done)
    }
}

fn print_text(report: &BackupReport, output: &mut Output) -> Result<()> {
    let BackupReport { end, segments, bytes, copied_segments, copied_bytes, unconfirmed, .. } =
        report;
    if let Some(positions) = unconfirmed {
        notice(format_args!(
            "positions {} to {} are left out: the process that has the store open wrote them but has \
             not confirmed that they are durable; check that it is healthy",
            positions.start(),
            positions.end()
        ));
    }
    let all = counted(*segments as u64, "segment");
    output.line(format_args!(
        "backed up to position {end}: {all}, {bytes} bytes; copied {copied_segments} \
         ({copied_bytes} bytes)"
    ))
}

fn object(report: &BackupReport) -> Value {
    let BackupReport { end, segments, bytes, copied_segments, copied_bytes, unconfirmed, .. } =
        report;
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
