//! The progress bar of an import. Drawn on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

const TEMPLATE: &str = "{bar:40} {pos}/{len} documents and products, {per_sec}, {eta} left";

pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Creates a bar for a number of steps. It is drawn on standard error, if that is a terminal.
    pub(crate) fn over(steps: usize) -> Self {
        let bar = ProgressBar::new(steps.try_into().unwrap_or(u64::MAX));
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is valid");
        Self(bar.with_style(style))
    }

    /// Returns the callback for a finished step.
    pub(crate) fn step(&self) -> impl Fn() + Send + Sync + 'static {
        // A clone of the handle; both draw the same bar.
        let bar = self.0.clone();
        move || bar.inc(1)
    }

    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
