//! `gesta restore`: creates a store from a backup.

use anyhow::{Context as _, Result};
use clap::Args;
use gesta_log::{Progress, RestoreReport};
use serde_json::json;

use crate::{
    counted::counted,
    directory::Directory,
    exit::Outcome,
    output::{Output, Style},
    progress::{Unit, bar},
};

const HINT: &str = "\
Example:
  gesta restore /mnt/backups/things ./things-again
  gesta verify --store gesta:./things-again

Exit codes:
  0  success
  1  the backup is damaged; nothing was restored
  2  usage error, or a directory cannot be used";

/// Create a store from a backup, in an empty or new directory
///
/// Verifies the whole backup first. The restored store gets a new incarnation: consumers, such as
/// projections, that have seen later events detect this and must be rebuilt or restored as well.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Restore {
    /// Directory written by `gesta backup`
    #[arg(value_name = "BACKUP")]
    source: Directory,
    /// Directory of the new store: a path, or gesta:DIR
    #[arg(value_name = "DIR")]
    directory: Directory,
}

impl Restore {
    pub(crate) fn run(self, output: &mut Output) -> Result<Outcome> {
        let bar = bar(Unit::Bytes, 0);
        // Needs no --store: the new store is an argument, so that GESTA_STORE cannot redirect it.
        let report =
            gesta_log::restore(self.source.path(), self.directory.path(), &mut |progress| {
                let Progress { bytes_done, bytes_total, .. } = progress;
                bar.set_length(bytes_total);
                bar.set_position(bytes_done);
            });
        bar.finish_and_clear();
        let to = &self.directory;
        let report = report.with_context(|| format!("cannot restore {} to {to}", self.source))?;
        self.print(report, output)?;
        Ok(Outcome::Done)
    }

    fn print(&self, report: RestoreReport, output: &mut Output) -> Result<()> {
        let RestoreReport { end, segments, bytes, incarnation, .. } = report;
        let store = format!("gesta:{}", self.directory);
        match output.style() {
            Style::Text => {
                let segments = counted(segments as u64, "segment");
                output.line(format_args!(
                    "restored up to position {end} to {store}: {segments}, {bytes} bytes"
                ))
            }
            Style::Json => output.json(&json!({
                "store": store,
                "position": end.number(),
                "segments": segments,
                "bytes": bytes,
                "incarnation": incarnation.as_uuid().to_string(),
            })),
        }
    }
}
