//! Standard output, for people or for programs.
//!
//! Owns: [`Output`], the only way there. Always holds: a reader that went away is told apart from
//! every other failure ([`ReaderGone`]), since it is none.

use std::{
    fmt,
    io::{self, BufWriter, StdoutLock, Write},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// For whom the output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// For people.
    Text,
    /// For programs: a JSON object a line.
    Json,
}

/// Whoever read the output has seen enough, as `head` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output any more")
    }
}

impl std::error::Error for ReaderGone {}

/// Where answers go. What is written is seen once it is flushed.
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

    /// A line for people.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<()> {
        writeln!(self.to, "{line}").or_else(lost)
    }

    /// Lines as they are, each with its end.
    pub(crate) fn bytes(&mut self, lines: &[u8]) -> Result<()> {
        self.to.write_all(lines).or_else(lost)
    }

    /// A line for programs.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.to, value).map_err(io::Error::from).or_else(lost)?;
        self.to.write_all(b"\n").or_else(lost)
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.to.flush().or_else(lost)
    }
}

fn lost(error: io::Error) -> Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Err(ReaderGone.into());
    }
    Err(error).context("cannot write to standard output")
}

/// Tells a person something that is not the answer. Nobody needs to be there to hear it.
pub(crate) fn notice(what: impl fmt::Display) {
    drop(writeln!(io::stderr(), "{what}"));
}
