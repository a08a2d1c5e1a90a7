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

const BUFFER_BYTES: usize = 1 << 20;

/// Lines of an input.
pub(super) type Input = Lines<Box<dyn BufRead>>;

/// An input whose first lines may have been read.
pub(super) struct Begun {
    pub(super) lines: Input,
    /// Size in bytes, or 0 if unknown.
    pub(super) bytes: u64,
    /// The file, if it is a regular one.
    plain: Option<File>,
}

/// An input that can be read repeatedly.
pub(super) struct Kept(File);

impl Begun {
    /// Opens a file, or standard input for `-`.
    pub(super) fn open(file: &Path) -> Result<Self> {
        if file == Path::new("-") {
            let lines = Lines::new(Box::new(io::stdin().lock()) as Box<dyn BufRead>);
            return Ok(Self { lines, bytes: 0, plain: None });
        }
        let cannot = || format!("cannot read {}", file.display());
        let opened = File::open(file).with_context(cannot)?;
        let of = opened.metadata().with_context(cannot)?;
        if of.is_dir() {
            let hint = "name the file that `gesta export` wrote; `gesta restore` takes a backup";
            let message = format!("{}: it is a directory", cannot());
            return Err(Refusal::usage("not-a-file", message).hint(hint).into());
        }
        let plain =
            if of.is_file() { Some(opened.try_clone().with_context(cannot)?) } else { None };
        Ok(Self { lines: lines(opened), bytes: of.len(), plain })
    }

    /// Makes the input readable from the start again. At most one line may have been read.
    pub(super) fn into_kept(self) -> Result<Kept> {
        match self.plain {
            Some(file) => Ok(Kept(file)),
            None => keep(self.lines).with_context(|| {
                format!(
                    "cannot keep the input in {} until all of it was looked through; give a file, or \
                     name another directory by TMPDIR",
                    env::temp_dir().display()
                )
            }),
        }
    }
}

impl Kept {
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
fn keep(lines: Input) -> io::Result<Kept> {
    let (number, line, mut rest) = lines.into_rest();
    let mut file = tempfile::tempfile()?;
    // Restore skipped blank lines, so that line numbers stay the same.
    for _ in 1..number {
        file.write_all(b"\n")?;
    }
    file.write_all(&line)?;
    io::copy(&mut rest, &mut file)?;
    Ok(Kept(file))
}
