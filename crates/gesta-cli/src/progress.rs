//! Progress bars.
//!
//! A bar is drawn on standard error, and only if that is a terminal.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Unit of a progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Bytes,
    Events,
    Streams,
}

/// A progress bar at zero. Pass a `total` of 0 if the length is set later.
pub(crate) fn bar(of: Of, total: u64) -> ProgressBar {
    let template = match of {
        Of::Bytes => "{bar:40} {bytes} of {total_bytes}, {eta} left",
        Of::Events => "{bar:40} {human_pos} of {human_len} events, {eta} left",
        Of::Streams => "{spinner} {human_pos} streams",
    };
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    ProgressBar::new(total).with_style(style)
}

/// A progress bar for commands that also print lines: hidden if standard output is a terminal.
pub(crate) fn bar_beside_output(of: Of, total: u64) -> ProgressBar {
    let bar = bar(of, total);
    if io::stdout().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}
