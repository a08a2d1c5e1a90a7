//! Verifications and backups of a store in a directory while it is served.

use std::{
    error::Error,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use gesta_server::{BackupFigures, Upkeep, UpkeepProgress, VerifyFindings};
use gesta_store::RecordedAt;

/// Each backup's file that is written last.
const MANIFEST: &str = "MANIFEST";

type Failure = Box<dyn Error + Send + Sync>;

/// The directory of the store, and that of its backups.
pub(super) struct LogUpkeep {
    store: PathBuf,
    backups: Option<PathBuf>,
}

impl LogUpkeep {
    pub(super) fn new(store: &Path, backups: Option<PathBuf>) -> Self {
        Self { store: store.to_owned(), backups }
    }
}

impl Upkeep for LogUpkeep {
    fn verify(
        &self,
        progress: &mut dyn FnMut(UpkeepProgress) -> ControlFlow<()>,
    ) -> Result<Option<VerifyFindings>, Failure> {
        let report = gesta_log::verify_while(&self.store, &mut |done| {
            progress(UpkeepProgress::new(done.bytes_done, done.bytes_total))
        })?;
        Ok(report.map(|report| {
            let mut found = VerifyFindings::default();
            found.events = report.events;
            found.damage = report.damage.iter().map(ToString::to_string).collect();
            found.index_damage = report.index_damage.iter().map(ToString::to_string).collect();
            found
        }))
    }

    fn backups(&self) -> Option<&Path> {
        self.backups.as_deref()
    }

    fn back_up(
        &self,
        target: &Path,
        progress: &mut dyn FnMut(UpkeepProgress) -> ControlFlow<()>,
    ) -> Result<Option<BackupFigures>, Failure> {
        if let Some(backups) = &self.backups {
            fs::create_dir_all(backups)?;
        }
        let report = gesta_log::backup_while(&self.store, target, &mut |done| {
            progress(UpkeepProgress::new(done.bytes_done, done.bytes_total))
        })?;
        Ok(report.map(|report| {
            let mut figures = BackupFigures::default();
            (figures.position, figures.bytes) = (report.end.number(), report.bytes);
            figures.bytes_copied = report.copied_bytes;
            figures
        }))
    }

    fn backup_figures(&self, target: &Path) -> Result<Option<BackupFigures>, Failure> {
        let Some(summary) = gesta_log::backup_summary(target)? else { return Ok(None) };
        let mut figures = BackupFigures::default();
        (figures.position, figures.bytes) = (summary.end.number(), summary.bytes);
        let changed = fs::metadata(target.join(MANIFEST))?.modified()?;
        let micros = changed.duration_since(UNIX_EPOCH)?.as_micros();
        figures.taken_at = u64::try_from(micros).ok().map(RecordedAt::from_micros);
        Ok(Some(figures))
    }
}
