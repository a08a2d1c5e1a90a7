//! Progress bars.
//!
//! A bar is drawn on standard error, and only if that is a terminal.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Unit of a progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Events,
    /// Events of a copy, with the rate.
    Copied,
    Streams,
}

/// A progress bar at zero. Pass a `total` of 0 if the length is set later.
pub(crate) fn bar(of: Unit, total: u64) -> ProgressBar {
    let template = match of {
        Unit::Bytes => "{bar:40} {bytes} of {total_bytes}, {eta} left",
        Unit::Events => "{bar:40} {human_pos} of {human_len} events, {eta} left",
        Unit::Copied => "{bar:40} {human_pos} of {human_len} events, {per_sec:.0}, {eta} left",
        Unit::Streams => "{spinner} {human_pos} streams",
    };
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    ProgressBar::new(total).with_style(style)
}

/// A progress bar for commands that also print lines: hidden if standard output is a terminal.
pub(crate) fn bar_with_output(of: Unit, total: u64) -> ProgressBar {
    let bar = bar(of, total);
    // On one terminal the bar would be drawn over the lines.
    if io::stdout().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}
