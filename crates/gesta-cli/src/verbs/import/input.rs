//! Input of an import, readable twice.
//!
//! Piped input is copied to an unnamed temporary file, which the system removes when the process
//! ends. Files are opened once, so that both passes read the same file.

use std::{
    env,
    fs::File,
    io::{self, BufRead, BufReader, Seek as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::{exit::Refusal, transfer::Lines};

/// Size of the read buffer. Lines of large appends have hundreds of kilobytes.
const BUFFER_BYTES: usize = 1 << 20;

/// Lines of an input.
pub(super) type Input = Lines<Box<dyn BufRead>>;

/// An input whose first lines may have been read.
pub(super) struct OpenInput {
    pub(super) lines: Input,
    /// Size in bytes, or 0 if unknown.
    pub(super) bytes: u64,
    /// The file, if it is a regular one and not a pipe.
    regular: Option<File>,
}

/// An input that can be read repeatedly.
pub(super) struct SeekableInput(File);

impl OpenInput {
    /// Opens a file, or standard input for `-`.
    pub(super) fn open(file: &Path) -> Result<Self> {
        if file == Path::new("-") {
            let lines = Lines::new(Box::new(io::stdin().lock()) as Box<dyn BufRead>);
            return Ok(Self { lines, bytes: 0, regular: None });
        }
        let cannot = || format!("cannot read {}", file.display());
        let opened = File::open(file).with_context(cannot)?;
        let of = opened.metadata().with_context(cannot)?;
        if of.is_dir() {
            let hint = "pass a file written by `gesta export`; use `gesta restore` for a backup";
            let message = format!("{}: it is a directory", cannot());
            return Err(Refusal::usage("not-a-file", message).hint(hint).into());
        }
        // A clone shares the open file, so a file that is replaced during the import does no harm.
        let regular =
            if of.is_file() { Some(opened.try_clone().with_context(cannot)?) } else { None };
        Ok(Self { lines: lines(opened), bytes: of.len(), regular })
    }

    /// Makes the input readable from the start again. At most one line may have been read.
    pub(super) fn into_seekable(self) -> Result<SeekableInput> {
        match self.regular {
            Some(file) => Ok(SeekableInput(file)),
            None => copy(self.lines).with_context(|| {
                format!(
                    "cannot copy the input to a temporary file in {}; pass a file instead of a \
                     pipe, or set TMPDIR to another directory",
                    env::temp_dir().display()
                )
            }),
        }
    }
}

impl SeekableInput {
    pub(super) fn lines(&self) -> Result<Input> {
        let mut file = self.0.try_clone().context("cannot read the input again")?;
        file.rewind().context("cannot read the input again")?;
        Ok(lines(file))
    }
}

fn lines(file: File) -> Input {
    Lines::new(Box::new(BufReader::with_capacity(BUFFER_BYTES, file)))
}

/// Copies all lines to an unnamed temporary file.
fn copy(lines: Input) -> io::Result<SeekableInput> {
    // The reader has consumed the first line from the pipe, so it is written separately.
    let (number, line, mut rest) = lines.into_rest();
    let mut file = tempfile::tempfile()?;
    // Restore skipped blank lines, so that line numbers stay the same.
    for _ in 1..number {
        file.write_all(b"\n")?;
    }
    file.write_all(&line)?;
    io::copy(&mut rest, &mut file)?;
    Ok(SeekableInput(file))
}
