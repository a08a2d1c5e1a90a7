//! Standard output, as text or JSON.
//!
//! Invariant: all results are written through [`Output`], which reports a closed pipe as
//! [`ReaderGone`] rather than as a failure. A notice has no password of a URL.

use std::{
    env,
    ffi::OsString,
    fmt,
    io::{self, BufWriter, StdoutLock, Write},
};

use anyhow::{Context as _, Result};
use gesta_store::without_passwords;
use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Error of a write to a pipe whose reader has exited, as with `| head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of standard output has exited")
    }
}

impl std::error::Error for ReaderGone {}

/// Buffered standard output. Lines become visible on flush.
#[derive(Debug)]
pub(crate) struct Output {
    to: BufWriter<StdoutLock<'static>>,
    style: Style,
}

impl Output {
    pub(crate) fn stdout(style: Style) -> Self {
        Self { to: BufWriter::new(io::stdout().lock()), style }
    }

    pub(crate) const fn style(&self) -> Style {
        self.style
    }

    /// Writes a line of text.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<()> {
        writeln!(self.to, "{line}").or_else(lost)
    }

    /// Writes complete lines unchanged.
    pub(crate) fn bytes(&mut self, lines: &[u8]) -> Result<()> {
        self.to.write_all(lines).or_else(lost)
    }

    /// Writes a value as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.to, value).map_err(io::Error::from).or_else(lost)?;
        self.to.write_all(b"\n").or_else(lost)
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.to.flush().or_else(lost)
    }
}

fn lost(error: io::Error) -> Result<()> {
    // A distinct type, not a message: the exit code depends on it.
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Err(ReaderGone.into());
    }
    Err(error).context("cannot write to standard output")
}

/// Writes a notice to standard error, without passwords. Ignores write errors.
pub(crate) fn notice(what: impl fmt::Display) {
    // `eprintln!` would panic on a closed standard error.
    drop(writeln!(io::stderr(), "{}", masked(&what.to_string())));
}

/// Writes a notice to standard error whose texts are [`masked`].
pub(crate) fn notice_json(what: &serde_json::Value) {
    drop(writeln!(io::stderr(), "{what}"));
}

/// Returns a text for people in which no argument and no setting has a password.
pub(crate) fn masked(text: &str) -> String {
    let of_settings = |(name, value): (OsString, OsString)| {
        name.to_string_lossy().starts_with("GESTA_").then_some(value)
    };
    let given = env::args_os().chain(env::vars_os().filter_map(of_settings));
    without_passwords(text, given.map(|value| value.to_string_lossy().into_owned()))
}
