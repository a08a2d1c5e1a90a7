//! Exit codes and error reporting.
//!
//! Exit codes: 0 success, 1 the store refused, 2 usage error or unusable store, 3 not found.
//! `--help` documents the same codes. With `--json`, an error is one JSON object on standard error
//! with `code`, `message` and `hint`.

use std::{borrow::Cow, fmt, process::ExitCode};

use gesta_log::{BackupError, OpenError, ScavengeError};
use gesta_store::StoreError;
use serde_json::json;

use crate::output::{ReaderGone, Style, notice};

/// Result of a command that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// The command succeeded and found the store damaged.
    Damaged,
}

/// Exit code for a refusal by the store.
const NO: u8 = 1;
/// Exit code for a usage error or an unusable store.
const TROUBLE: u8 = 2;
/// Exit code for something that does not exist.
const ABSENT: u8 = 3;

/// An error reported by the program itself, with a hint on what to do.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Stable machine-readable code.
    code: Cow<'static, str>,
    exit: u8,
    message: String,
    hint: Option<String>,
}

impl Refusal {
    /// An error with exit code 2.
    pub(crate) fn usage(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), exit: TROUBLE, message: message.into(), hint: None }
    }

    /// An error with exit code 3.
    pub(crate) fn absent(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), exit: ABSENT, message: message.into(), hint: None }
    }

    /// An error with exit code 1.
    pub(crate) fn no(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), exit: NO, message: message.into(), hint: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// Reports an error, if any, and returns the exit code.
pub(crate) fn code(ended: anyhow::Result<Outcome>, style: Style) -> ExitCode {
    match ended {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Damaged) => ExitCode::from(NO),
        Err(error) if error.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            let (code, exit) = kind(&error);
            tell(code, &format!("{error:#}"), hint(&error), style);
            ExitCode::from(exit)
        }
    }
}

/// Reports a command line that does not parse, or prints the requested help.
pub(crate) fn usage(error: &clap::Error, style: Style) -> ExitCode {
    if !error.use_stderr() || style == Style::Text {
        drop(error.print());
    } else {
        let text = error.render().to_string();
        let mut lines = text.trim_end().splitn(2, "\n\n");
        let message = lines.next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        tell("usage", message, lines.next(), style);
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(TROUBLE))
}

fn tell(code: &str, message: &str, hint: Option<&str>, style: Style) {
    match (style, hint) {
        (Style::Json, hint) => {
            notice(json!({ "code": code, "message": message, "hint": hint }));
        }
        (Style::Text, Some(hint)) => notice(format_args!("error: {message}\nhint: {hint}")),
        (Style::Text, None) => notice(format_args!("error: {message}")),
    }
}

/// Returns the machine-readable code and the exit code of an error.
fn kind(error: &anyhow::Error) -> (&str, u8) {
    if let Some(Refusal { code, exit, .. }) = error.downcast_ref() {
        return (code, *exit);
    }
    if let Some(BackupError::Damaged(_) | BackupError::DamagedBackup(_)) = error.downcast_ref() {
        return ("damaged", NO);
    }
    if let Some(ScavengeError::Damaged(_) | ScavengeError::Read(StoreError::Corrupt(_))) =
        error.downcast_ref()
    {
        return ("damaged", NO);
    }
    if error.is::<OpenError>() {
        return ("store-not-opened", TROUBLE);
    }
    match error.downcast_ref::<StoreError>() {
        Some(StoreError::Conflict(_)) => ("conflict", NO),
        Some(StoreError::Deleted { .. }) => ("deleted-for-ever", NO),
        Some(StoreError::Corrupt(_)) => ("damaged", NO),
        Some(StoreError::Rejected(_)) => ("rejected", TROUBLE),
        Some(StoreError::Unsupported { .. }) => ("unsupported", TROUBLE),
        Some(StoreError::Overloaded(_)) => ("overloaded", TROUBLE),
        Some(StoreError::Unavailable { .. }) => ("outcome-unknown", TROUBLE),
        Some(StoreError::Stopped { .. }) => ("stopped", TROUBLE),
        None => ("failed", TROUBLE),
    }
}

/// Returns the hint for an error whose message does not include one.
fn hint(error: &anyhow::Error) -> Option<&str> {
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return refusal.hint.as_deref();
    }
    match error.downcast_ref::<StoreError>()? {
        StoreError::Conflict(_) => {
            Some("read the stream again, then retry with its current revision")
        }
        StoreError::Corrupt(_) => {
            Some("run `gesta verify` for a full report; copy the store's files before any repair")
        }
        StoreError::Overloaded(_) => Some("free resources, then retry"),
        StoreError::Stopped { .. } => Some("restart the process that has the store open"),
        StoreError::Rejected(_)
        | StoreError::Unsupported { .. }
        | StoreError::Unavailable { .. }
        | StoreError::Deleted { .. } => None,
    }
}
