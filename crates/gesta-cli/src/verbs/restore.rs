//! `gesta restore`: a store from a backup.

use anyhow::Result;
use clap::Args;
use gesta_log::{Progress, RestoreReport};
use serde_json::json;

use crate::{
    counted::counted,
    directory::Directory,
    exit::Outcome,
    output::{Output, Style},
    progress::{Of, bar},
};

const HINT: &str = "\
Example:
  gesta restore /mnt/backups/things ./things-again
  gesta verify --store gesta:./things-again

Exit codes:
  0  done
  1  the backup is damaged; nothing was restored
  2  wrong usage, or a directory that cannot be used";

/// Make a store of a backup, in a directory that is empty or not there.
///
/// All of the backup is checked first. A consumer that has seen more events than the backup holds,
/// such as a projection, is told so by the restored store, and is rebuilt or restored too.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Restore {
    /// The directory that `gesta backup` wrote.
    #[arg(value_name = "BACKUP")]
    source: Directory,
    /// The directory of the store: a path, or gesta:DIR.
    #[arg(value_name = "DIR")]
    directory: Directory,
}

impl Restore {
    pub(crate) fn run(self, output: &mut Output) -> Result<Outcome> {
        let bar = bar(Of::Bytes, 0);
        let report =
            gesta_log::restore(self.source.path(), self.directory.path(), &mut |progress| {
                let Progress { bytes_done, bytes_total } = progress;
                bar.set_length(bytes_total);
                bar.set_position(bytes_done);
            });
        bar.finish_and_clear();
        self.tell(report?, output)?;
        Ok(Outcome::Done)
    }

    fn tell(&self, report: RestoreReport, output: &mut Output) -> Result<()> {
        let RestoreReport { end, segments, bytes, incarnation } = report;
        let store = format!("gesta:{}", self.directory);
        match output.style() {
            Style::Text => {
                let segments = counted(segments as u64, "segment");
                output.line(format_args!(
                    "restored up to position {end} as {store}: {segments} of {bytes} bytes"
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
