//! The progress of a source, for health checks and tests.

use tokio::sync::watch;

/// A look at a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceStatus {
    /// Number of partitions that the group has given to this program.
    pub partitions: usize,
    /// Number of records that were handled or set aside since the start.
    pub finished_records: u64,
    /// Number of records that were set aside since the start.
    pub dead_letters: u64,
    /// The obstacle to the handling of records now: brokers that are away, or the error of a record
    /// that is tried again.
    pub trouble: Option<String>,
}

/// A view of a source's progress. Clones are cheap.
#[derive(Clone, Debug)]
pub struct SourceProgress {
    status: watch::Receiver<SourceStatus>,
}

impl SourceProgress {
    /// Returns the current status.
    #[must_use]
    pub fn status(&self) -> SourceStatus {
        self.status.borrow().clone()
    }

    /// Waits until the status satisfies a condition. Returns `false` if the source ended before.
    pub async fn until(&mut self, condition: impl FnMut(&SourceStatus) -> bool) -> bool {
        self.status.wait_for(condition).await.is_ok()
    }
}

/// The side of the source.
#[derive(Clone, Debug)]
pub(crate) struct SourceProgressWriter(watch::Sender<SourceStatus>);

impl SourceProgressWriter {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(SourceStatus::default()))
    }

    pub(crate) fn view(&self) -> SourceProgress {
        SourceProgress { status: self.0.subscribe() }
    }

    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        self.0.send_if_modified(|status| {
            let changes = status.trouble != trouble;
            status.trouble = trouble;
            changes
        });
    }

    pub(crate) fn set_partitions(&self, partitions: usize) {
        self.0.send_modify(|status| status.partitions = partitions);
    }

    pub(crate) fn finished(&self, is_dead_letter: bool) {
        self.0.send_modify(|status| {
            status.finished_records += 1;
            status.dead_letters += u64::from(is_dead_letter);
            status.trouble = None;
        });
    }
}
