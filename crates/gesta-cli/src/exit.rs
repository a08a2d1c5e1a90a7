//! Exit codes and error reporting.
//!
//! Exit codes: 0 success, 1 the store refused, 2 usage error or unusable store, 3 not found.
//! `--help` documents the same codes. With `--json`, an error is one JSON object on standard error
//! with `code`, `message` and `hint`.

use std::{borrow::Cow, fmt, io, process::ExitCode};

use gesta_log::{BackupError, OpenError, ScavengeError};
use gesta_store::{Capability, Overload, StoreError};
use serde_json::json;

use crate::output::{ReaderGone, Style, masked, notice, notice_json};

/// Result of a command that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// The command succeeded and found a problem: damage, or a recorded time in the future.
    ProblemFound,
}

/// Exit code for a refusal by the store.
const REFUSED: u8 = 1;
/// Exit code for a usage error or an unusable store.
const UNUSABLE: u8 = 2;
/// Exit code for something that does not exist.
const NOT_FOUND: u8 = 3;

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
        Self { code: code.into(), exit: UNUSABLE, message: message.into(), hint: None }
    }

    /// An error with exit code 3.
    pub(crate) fn not_found(
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { code: code.into(), exit: NOT_FOUND, message: message.into(), hint: None }
    }

    /// An error with exit code 1.
    pub(crate) fn refused(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), exit: REFUSED, message: message.into(), hint: None }
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
        Ok(Outcome::ProblemFound) => ExitCode::from(REFUSED),
        // `gesta read --all | head` has printed all that was asked for.
        Err(error) if error.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            let (code, exit) = kind(&error);
            report(code, &message(&error), hint(&error), style);
            ExitCode::from(exit)
        }
    }
}

/// Joins an error and its causes, without those that the text before them repeats.
fn message(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if message.is_empty() {
            message = cause;
        } else if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

/// Reports a command line that does not parse, or prints the requested help.
pub(crate) fn usage(error: &clap::Error, style: Style) -> ExitCode {
    // Requested help and versions arrive as an error too. They are text, even with --json.
    // The text repeats the wrong value, which may be a URL with a password.
    let rendered = error.render().to_string();
    let text = masked(&rendered);
    if !error.use_stderr() || (style == Style::Text && text == rendered) {
        drop(error.print());
    } else if style == Style::Text {
        notice(text.trim_end());
    } else {
        // clap renders the message, a blank line, then usage and tips, which become the hint.
        let mut lines = text.trim_end().splitn(2, "\n\n");
        let message = lines.next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        report("usage", message, lines.next(), style);
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(UNUSABLE))
}

fn report(code: &str, message: &str, hint: Option<&str>, style: Style) {
    match (style, hint) {
        (Style::Json, hint) => {
            // Before the text gets the escapes of JSON.
            let (message, hint) = (masked(message), hint.map(masked));
            notice_json(&json!({ "code": code, "message": message, "hint": hint }));
        }
        (Style::Text, Some(hint)) => notice(format_args!("error: {message}\nhint: {hint}")),
        (Style::Text, None) => notice(format_args!("error: {message}")),
    }
}

/// Returns the machine-readable code and the exit code of an error.
fn kind(error: &anyhow::Error) -> (&str, u8) {
    // Contexts are looked through too, so a refusal may be the context of another error.
    if let Some(Refusal { code, exit, .. }) = error.downcast_ref() {
        return (code, *exit);
    }
    if let Some(BackupError::Damaged(_) | BackupError::DamagedBackup(_)) = error.downcast_ref() {
        return ("damaged", REFUSED);
    }
    if let Some(ScavengeError::Damaged(_) | ScavengeError::Read(StoreError::Corrupt(_))) =
        error.downcast_ref()
    {
        return ("damaged", REFUSED);
    }
    if let Some(kind) = postgres::kind(error) {
        return kind;
    }
    if let Some(code) = kurrentdb::code(error).or_else(|| dynamodb::code(error)) {
        return (code, UNUSABLE);
    }
    if error.is::<OpenError>() {
        return ("store-not-opened", UNUSABLE);
    }
    match store_error(error) {
        // Exit code 1 means that the store answered; a script may decide again and retry. 2 means
        // that someone has to look at the command or at the machine first.
        Some(StoreError::Conflict(_)) => ("conflict", REFUSED),
        Some(StoreError::Deleted { .. }) => ("deleted-for-ever", REFUSED),
        Some(StoreError::Corrupt(_)) => ("damaged", REFUSED),
        Some(StoreError::Rejected(_)) => ("rejected", UNUSABLE),
        Some(StoreError::Unsupported { .. }) => ("unsupported", UNUSABLE),
        Some(StoreError::Overloaded(_)) => ("overloaded", UNUSABLE),
        Some(StoreError::Unreachable { .. }) => ("unreachable", UNUSABLE),
        Some(StoreError::Unavailable { .. }) => ("outcome-unknown", UNUSABLE),
        Some(StoreError::Denied { .. }) => ("denied", UNUSABLE),
        Some(StoreError::ReadOnly { .. }) => ("read-only", UNUSABLE),
        Some(StoreError::Stopped { .. }) => ("stopped", UNUSABLE),
        Some(StoreError::Archived { .. }) => ("archived", REFUSED),
        Some(_) | None => ("failed", UNUSABLE),
    }
}

/// Returns the error of the store, also of one that did not open or that could not be copied to.
fn store_error(error: &anyhow::Error) -> Option<&StoreError> {
    let found = error.downcast_ref::<StoreError>().or_else(|| postgres::store_error(error));
    found.or_else(|| kurrentdb::store_error(error))
}

/// The errors of stores in PostgreSQL that are not of the contract.
#[cfg(feature = "postgres")]
mod postgres {
    use gesta_postgres::{ArchiveError, ImportError, OpenError};
    use gesta_store::StoreError;

    use super::{REFUSED, UNUSABLE};

    pub(super) use gesta_postgres::remedy;

    fn open_error(error: &anyhow::Error) -> Option<&OpenError> {
        match error.downcast_ref() {
            Some(ImportError::Open(opened)) => Some(opened),
            _ => error.downcast_ref(),
        }
    }

    pub(super) fn store_error(error: &anyhow::Error) -> Option<&StoreError> {
        match (open_error(error), error.downcast_ref()) {
            (Some(OpenError::Server { error, .. }), _) | (_, Some(ImportError::Store(error))) => {
                Some(error)
            }
            _ => match error.downcast_ref()? {
                ArchiveError::Store(error) => Some(error),
                _ => None,
            },
        }
    }

    /// Returns the code of an error that is not the store's.
    pub(super) fn kind(error: &anyhow::Error) -> Option<(&'static str, u8)> {
        match open_error(error) {
            Some(OpenError::Server { .. }) => return None,
            Some(OpenError::NoStore { .. }) => return Some(("no-store", UNUSABLE)),
            Some(OpenError::UnfinishedCopy { .. }) => return Some(("copy-unfinished", UNUSABLE)),
            Some(_) => return Some(("store-not-opened", UNUSABLE)),
            None => {}
        }
        if let Some(error) = error.downcast_ref::<ArchiveError>() {
            return archive_kind(error);
        }
        Some(match error.downcast_ref::<ImportError>()? {
            ImportError::Store(_) | ImportError::Open(_) => return None,
            ImportError::InUse { .. } => ("store-in-use", UNUSABLE),
            ImportError::OtherEvents { .. }
            | ImportError::AnotherCopy { .. }
            | ImportError::SourceBehind { .. } => ("target-occupied", REFUSED),
            _ => ("failed", UNUSABLE),
        })
    }

    fn archive_kind(error: &ArchiveError) -> Option<(&'static str, u8)> {
        Some(match error {
            ArchiveError::Store(_) => return None,
            ArchiveError::Differs { .. } => ("not-equal", REFUSED),
            ArchiveError::InUse { .. } => ("store-in-use", UNUSABLE),
            _ => ("rejected", UNUSABLE),
        })
    }
}

/// This build opens none.
#[cfg(not(feature = "postgres"))]
mod postgres {
    use gesta_store::StoreError;

    pub(super) const fn store_error(_: &anyhow::Error) -> Option<&StoreError> {
        None
    }

    pub(super) const fn kind(_: &anyhow::Error) -> Option<(&'static str, u8)> {
        None
    }

    pub(super) const fn remedy(_: &StoreError) -> Option<&'static str> {
        None
    }
}

/// The errors of connecting to a server.
#[cfg(feature = "kurrentdb")]
mod kurrentdb {
    use gesta_kurrentdb::OpenError;
    use gesta_store::StoreError;

    pub(super) fn store_error(error: &anyhow::Error) -> Option<&StoreError> {
        match error.downcast_ref()? {
            OpenError::Server { error, .. } => Some(error),
            _ => None,
        }
    }

    /// Returns the code of an error that is not the store's.
    pub(super) fn code(error: &anyhow::Error) -> Option<&'static str> {
        match error.downcast_ref()? {
            OpenError::Server { .. } => None,
            _ => Some("store-not-opened"),
        }
    }
}

/// This build connects to none.
#[cfg(not(feature = "kurrentdb"))]
mod kurrentdb {
    use gesta_store::StoreError;

    pub(super) const fn store_error(_: &anyhow::Error) -> Option<&StoreError> {
        None
    }

    pub(super) const fn code(_: &anyhow::Error) -> Option<&'static str> {
        None
    }
}

/// The errors of opening a store in DynamoDB. Their texts say what to do.
#[cfg(feature = "dynamodb")]
mod dynamodb {
    use gesta_dynamodb::OpenError;

    /// Returns the code of an error that is not the store's.
    pub(super) fn code(error: &anyhow::Error) -> Option<&'static str> {
        match error.downcast_ref()? {
            OpenError::Denied { .. } => Some("denied"),
            OpenError::NoStore { .. } => Some("no-store"),
            OpenError::Unreachable { .. } => Some("unreachable"),
            _ => Some("store-not-opened"),
        }
    }
}

/// This build opens none.
#[cfg(not(feature = "dynamodb"))]
mod dynamodb {
    pub(super) const fn code(_: &anyhow::Error) -> Option<&'static str> {
        None
    }
}

/// Returns the hint for an error whose message does not include one.
fn hint(error: &anyhow::Error) -> Option<&str> {
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return refusal.hint.as_deref();
    }
    match error.downcast_ref() {
        Some(BackupError::Damaged(_)) => {
            return Some("run `gesta verify` for a full report; an earlier backup is unchanged");
        }
        Some(BackupError::DamagedBackup(_)) => return Some("restore another backup"),
        Some(_) | None => {}
    }
    let Some(refused) = store_error(error) else {
        return error.chain().find_map(|cause| remedy(cause.downcast_ref()?));
    };
    match refused {
        StoreError::Conflict(_) => {
            Some("read the stream again, then retry with its current revision")
        }
        StoreError::Corrupt(_) => {
            Some("run `gesta verify` for a full report; copy the store's files before any repair")
        }
        StoreError::Overloaded(Overload::Throttled { .. } | Overload::Connections { .. }) => {
            Some("retry later")
        }
        StoreError::Overloaded(_) => Some("free disk space or memory, then retry"),
        // A server that answers is at the right address.
        StoreError::Unreachable { .. } => {
            postgres::remedy(refused).or(Some("check the store's address, then retry"))
        }
        StoreError::Unsupported { capability: Capability::StreamListing } => Some(
            "gesta read '$streams' lists them, if the server was started with \
                 --store 'gesta:DIR?index=streams'",
        ),
        StoreError::Unsupported { capability } => index_hint(*capability),
        StoreError::Denied { .. } => Some(
            "use credentials that have the right; the password of kurrentdb://LOGIN@… is taken \
             from GESTA_PASSWORD",
        ),
        StoreError::ReadOnly { .. } => Some("append to the primary store, or use another account"),
        StoreError::Stopped { .. } => Some("restart the process that has the store open"),
        _ => None,
    }
}

/// Returns the way to the index that a feature needs.
fn index_hint(capability: Capability) -> Option<&'static str> {
    Some(match capability.index()? {
        "streams" => {
            "a writer, such as `gesta serve`, adds the order of streams: --store \
             'gesta:DIR?index=streams'"
        }
        "event-id" => "a writer adds the index: --store 'gesta:DIR?index=event-id'",
        "correlation" => "a writer adds the index: --store 'gesta:DIR?index=correlation'",
        "causation" => "a writer adds the index: --store 'gesta:DIR?index=causation'",
        _ => return None,
    })
}

/// Returns the remedy for an error of the operating system.
pub(crate) fn remedy(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::NotFound => Some("correct the path, or create what it names"),
        io::ErrorKind::NotADirectory => {
            Some("a part of the path is a file; correct the path, or move the file away")
        }
        io::ErrorKind::IsADirectory => Some("the path is a directory; pass the path of a file"),
        io::ErrorKind::PermissionDenied => {
            Some("run the command as a user with access, or change the permissions of the path")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("use a path on another file system, or mount this one for writing")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free disk space, then run the command again")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The errors of stores behind a network.
    #[test]
    fn each_error_of_a_store_has_its_code_and_says_what_to_do() {
        let reason = || "a reason".to_owned();
        let throttled = Overload::Throttled { retry_after: None };
        let connections = Overload::Connections { reason: "too many".to_owned(), max: 8 };
        for (error, code, hinted) in [
            (StoreError::unreachable("no route"), "unreachable", "address"),
            (StoreError::unavailable("no answer"), "outcome-unknown", ""),
            (StoreError::Denied { reason: reason() }, "denied", "credentials"),
            (StoreError::ReadOnly { reason: reason() }, "read-only", "primary store"),
            (StoreError::Stopped { reason: reason() }, "stopped", "restart"),
            (StoreError::Overloaded(throttled), "overloaded", "retry later"),
            (StoreError::Overloaded(connections), "overloaded", "retry later"),
            (
                StoreError::Overloaded(Overload::DiskFull { reason: "/data".to_owned() }),
                "overloaded",
                "free disk space",
            ),
        ] {
            // Commands add where it happened.
            let error = anyhow::Error::from(error).context("cannot append to order-1");
            assert_eq!(kind(&error), (code, UNUSABLE), "{error:#}");
            assert!(hint(&error).unwrap_or_default().contains(hinted), "{error:#}");
            assert_eq!(hint(&error).is_some(), !hinted.is_empty(), "{error:#}");
        }
    }
}
