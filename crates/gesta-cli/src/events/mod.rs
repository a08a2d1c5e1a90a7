//! Formatting of recorded events as text and JSON, and parsing of that JSON.
//!
//! Invariant: an event takes exactly one line, regardless of its data.

mod exported;
mod json;
mod text;
mod time;

use anyhow::Result;
use gesta_store::RecordedEvent;
use serde::Serialize;

use crate::output::{Output, Style};

pub(crate) use self::{
    exported::{ExportedEvent, json_error},
    json::is_json,
    text::Printable,
    time::{moment, recorded_at},
};

pub(crate) fn show(event: &RecordedEvent, output: &mut Output) -> Result<()> {
    match output.style() {
        Style::Text => output.line(text::TextLine(event)),
        Style::Json => output.json(&json::EventObject::readable(event)),
    }
}

/// Returns the lossless JSON form, which [`ExportedEvent`] parses.
pub(crate) fn exact(event: &RecordedEvent) -> impl Serialize {
    json::EventObject::exact(event)
}
