//! The lines of an import, so that they can be read twice.
//!
//! Owns: what comes by a pipe is kept in a file without a name, which the system removes however the
//! program ends. Always holds: a file is opened once, so both readings are of the same one.

use std::{
    env,
    fs::File,
    io::{self, BufRead, BufReader, Seek as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::{exit::Refusal, transfer::Lines};

const BUFFER_BYTES: usize = 1 << 20;

/// Lines in order.
pub(super) type Input = Lines<Box<dyn BufRead>>;

/// An input of which the reading has begun.
pub(super) struct Begun {
    pub(super) lines: Input,
    /// Its length; 0 where that is not known beforehand.
    pub(super) bytes: u64,
    /// The file, if it is a plain one.
    plain: Option<File>,
}

/// An input from its beginning, as often as it is asked for.
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

    /// The same input from its beginning, of which one line was read.
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

/// Writes all lines to a file without a name.
fn keep(lines: Input) -> io::Result<Kept> {
    let (number, line, mut rest) = lines.into_rest();
    let mut file = tempfile::tempfile()?;
    // Blank lines were passed over; numbers of lines stay those of the input.
    for _ in 1..number {
        file.write_all(b"\n")?;
    }
    file.write_all(&line)?;
    io::copy(&mut rest, &mut file)?;
    Ok(Kept(file))
}
