//! How the program ends: exit codes, and the explanation of a failure, for people or for programs.
//!
//! Always holds: 0 says that it was done, 1 that the store answers no, 2 that it could not be asked
//! or did not answer, 3 that what was asked for is not there; the same as `--help` says. Under
//! `--json` an error is one JSON object on standard error, with `code`, `message` and `hint`.

use std::{borrow::Cow, fmt, process::ExitCode};

use gesta_log::{BackupError, OpenError, ScavengeError};
use gesta_store::StoreError;
use serde_json::json;

use crate::output::{ReaderGone, Style, notice};

/// What a verb came to when nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done.
    Done,
    /// It was done, and the store is damaged.
    Damaged,
}

/// The store answers no.
const NO: u8 = 1;
/// Wrong usage, or a store that cannot be used.
const TROUBLE: u8 = 2;
/// What was asked for is not there.
const ABSENT: u8 = 3;

/// An error that the program itself finds, with what to do about it.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// For programs; never changes.
    code: Cow<'static, str>,
    exit: u8,
    message: String,
    hint: Option<String>,
}

impl Refusal {
    /// Wrong usage.
    pub(crate) fn usage(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), exit: TROUBLE, message: message.into(), hint: None }
    }

    /// What was asked for is not there.
    pub(crate) fn absent(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), exit: ABSENT, message: message.into(), hint: None }
    }

    /// What is there forbids it.
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

/// Tells what went wrong, if anything did, and says how the program ends.
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

/// Answers a command line that is none, or that asks for help.
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

/// The name of an error, for programs, and the exit code.
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

/// What to do next, where that is not said yet.
fn hint(error: &anyhow::Error) -> Option<&str> {
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return refusal.hint.as_deref();
    }
    match error.downcast_ref::<StoreError>()? {
        StoreError::Conflict(_) => Some("read the stream, decide again, and append again"),
        StoreError::Corrupt(_) => Some("`gesta verify` tells all damage; keep a copy of the files"),
        StoreError::Overloaded(_) => Some("make room, then try again"),
        StoreError::Stopped { .. } => Some("restart the program that has the store open"),
        StoreError::Rejected(_)
        | StoreError::Unsupported { .. }
        | StoreError::Unavailable { .. }
        | StoreError::Deleted { .. } => None,
    }
}
