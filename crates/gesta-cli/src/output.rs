//! Standard output, as text or JSON.
//!
//! Invariant: all results are written through [`Output`], which reports a closed pipe as
//! [`ReaderGone`] rather than as a failure.

use std::{
    fmt,
    io::{self, BufWriter, StdoutLock, Write},
};

use anyhow::{Context as _, Result};
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

/// Writes a notice to standard error. Ignores write errors.
pub(crate) fn notice(what: impl fmt::Display) {
    // `eprintln!` would panic on a closed standard error.
    drop(writeln!(io::stderr(), "{what}"));
}
