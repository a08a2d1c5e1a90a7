//! The hint to a program that installs no log subscriber. Background errors are only logged, so
//! without a log a halted projection goes unnoticed.
//!
//! Invariant: printed at most once per process, and never if a subscriber is installed.

use std::sync::Once;

use tracing::{dispatcher::get_default, subscriber::NoSubscriber};

const HINT: &str = "gesta: no log subscriber is installed, so errors in the background \
                    (projections, process managers, recovery) are not logged. Install one, such as \
                    tracing_subscriber::fmt::init(), or silence this line with \
                    Builder::without_log_hint()";

/// Prints the hint, unless a subscriber is installed or it was printed before.
#[expect(clippy::print_stderr, reason = "no log is installed to receive it")]
pub(crate) fn print_once() {
    static PRINTED: Once = Once::new();
    let is_unlogged = get_default(|dispatch| dispatch.is::<NoSubscriber>());
    if is_unlogged {
        PRINTED.call_once(|| eprintln!("{HINT}"));
    }
}
