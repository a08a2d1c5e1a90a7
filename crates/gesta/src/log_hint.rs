//! The hint to a program that installs no log subscriber: troubles in the background are logged and
//! nowhere else on the screen, so a program without a log looks well while a projection halts.
//!
//! Invariant: one line, once per process, and never where a subscriber is installed.

use std::sync::Once;

use tracing::{dispatcher::get_default, subscriber::NoSubscriber};

const HINT: &str = "gesta: no log subscriber is installed, so troubles in the background \
                    (projections, process managers, recovery) are not logged. Install one, such as \
                    tracing_subscriber::fmt::init(), or silence this line with \
                    Builder::without_log_hint()";

/// Prints the hint, unless a subscriber is installed or it was printed before.
#[expect(clippy::print_stderr, reason = "there is no log that could say it")]
pub(crate) fn tell_once() {
    static TOLD: Once = Once::new();
    let is_unlogged = get_default(|dispatch| dispatch.is::<NoSubscriber>());
    if is_unlogged {
        TOLD.call_once(|| eprintln!("{HINT}"));
    }
}
