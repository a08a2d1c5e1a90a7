//! The result of an import, and how far one came that failed.

use anyhow::Result;
use gesta_store::{Position, StoreError};
use serde_json::json;

use crate::{
    counted::counted,
    exit::Refusal,
    output::{Output, Style, notice},
    transfer::InvalidLine,
};

/// Result of an import.
#[derive(Clone, Debug)]
pub(super) struct ImportSummary {
    /// `true` if the store is an exact copy.
    pub(super) exact: bool,
    pub(super) appended: u64,
    /// Events that the store had already.
    pub(super) known: u64,
    pub(super) last: Option<Position>,
    /// Messages about lost information.
    pub(super) warnings: Vec<String>,
}

impl ImportSummary {
    pub(super) fn print(&self, output: &mut Output) -> Result<()> {
        let Self { exact, appended, known, last, warnings } = self;
        match output.style() {
            Style::Text => {
                for warning in warnings {
                    notice(format_args!("warning: {warning}"));
                }
                let appended = counted(*appended, "event");
                let known = match known {
                    0 => String::new(),
                    known => format!("; {} already in the store", counted(*known, "event")),
                };
                let how = if *exact { ", exactly as exported" } else { "" };
                output.line(format_args!("imported {appended}{known}{how}"))
            }
            Style::Json => {
                let last = last.map(Position::number);
                output.json(&json!({
                    "appended": appended,
                    "known": known,
                    "lastPosition": last,
                    "exact": exact,
                    "warnings": warnings,
                }))
            }
        }
    }
}

/// Describes how far a failed import came, and how to continue.
pub(super) fn interrupted(appended: u64, known: u64, error: &anyhow::Error) -> String {
    let (appended, known) = (counted(appended, "event"), counted(known, "event"));
    let refused = matches!(
        error.downcast_ref(),
        Some(StoreError::Conflict(_) | StoreError::Rejected(_) | StoreError::Deleted { .. })
    );
    // The same input fails again, unlike after a full disk or a killed process.
    let is_permanent = refused || error.is::<Refusal>() || error.is::<InvalidLine>();
    let advice = if is_permanent { "correct the cause and run it again" } else { "run it again" };
    format!(
        "the import stopped with {appended} imported and {known} already in the store; {advice} to \
         continue"
    )
}
