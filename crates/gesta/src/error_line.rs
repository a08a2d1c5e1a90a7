//! The text of an error with its causes, for logs and status.

use std::error::Error;

/// Formats an error with its causes in one line, without the values of payloads that it quotes.
pub(crate) fn in_one_line(error: &(dyn Error + 'static)) -> String {
    gesta_telemetry::error_text(error)
}
