//! How far something has come, for a person who waits.
//!
//! Always holds: a bar is drawn where errors are written, and only if that is a terminal.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What there is to come, counted in one thing or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Bytes,
    Events,
    Streams,
}

/// A bar that shows nothing yet; its length is told to it later, if it is not known now.
pub(crate) fn bar(of: Of, total: u64) -> ProgressBar {
    let template = match of {
        Of::Bytes => "{bar:40} {bytes} of {total_bytes}, {eta} left",
        Of::Events => "{bar:40} {human_pos} of {human_len} events, {eta} left",
        Of::Streams => "{spinner} {human_pos} streams",
    };
    let style = ProgressStyle::with_template(template).expect("the template is one");
    ProgressBar::new(total).with_style(style)
}

/// The same, beside lines on standard output: none where the two would meet on one terminal.
pub(crate) fn bar_beside_output(of: Of, total: u64) -> ProgressBar {
    let bar = bar(of, total);
    if io::stdout().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}
