//! Scavenges of a store in a directory while it is served.

use std::{error::Error, ops::ControlFlow};

use gesta_log::{LogStore, ScavengeOptions};
use gesta_server::{ScavengeFigures, ScavengeRequest, Scavenger};

/// The store that operators of the server scavenge.
pub(super) struct LogScavenger(pub(super) LogStore);

impl Scavenger for LogScavenger {
    fn scavenge(
        &self,
        request: &ScavengeRequest,
        progress: &mut dyn FnMut(ScavengeFigures) -> ControlFlow<()>,
    ) -> Result<ScavengeFigures, Box<dyn Error + Send + Sync>> {
        let options = ScavengeOptions::default();
        let options = match request.threshold_percent {
            Some(percent) => options.threshold_percent(percent),
            None => options,
        };
        let mut figures = ScavengeFigures::default();
        let report = self.0.scavenge_while(options, &mut |done| {
            (figures.bytes_done, figures.bytes_total) = (done.bytes_done, done.bytes_total);
            progress(figures)
        })?;
        figures.bytes_done = report.bytes_before;
        figures.bytes_reclaimed = report.bytes_before.saturating_sub(report.bytes_after);
        figures.events = report.events;
        Ok(figures)
    }
}
