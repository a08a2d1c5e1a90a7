//! The progress bar of an import: on a terminal, and nowhere else.

use indicatif::{ProgressBar, ProgressStyle};

/// What the bar looks like.
const TEMPLATE: &str = "{bar:40} {pos}/{len} documents and products, {per_sec}, {eta} left";

pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar over so many steps. It draws itself where errors are written, if that is a terminal.
    pub(crate) fn over(steps: usize) -> Self {
        let bar = ProgressBar::new(steps.try_into().unwrap_or(u64::MAX));
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is one");
        Self(bar.with_style(style))
    }

    /// What to call after each step.
    pub(crate) fn step(&self) -> impl Fn() + Send + Sync + 'static {
        let bar = self.0.clone();
        move || bar.inc(1)
    }

    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
