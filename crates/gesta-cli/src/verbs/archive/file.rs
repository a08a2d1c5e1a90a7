//! The file of a partition: an export of its appends.
//!
//! Invariants: a file appears under its name once it is complete and synced, and then has been read
//! back. A file with other events is not overwritten. One command at a time writes a file.

use std::{
    fs::{self, File},
    io::{BufReader, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use futures_executor::block_on;
use gesta_postgres::{ArchiveFile, Partition, PostgresArchive, PostgresStore};
use gesta_store::RecordedEvent;

use crate::{
    exit::Refusal,
    progress::{Unit, bar},
    transfer::{Header, Line, LineWriter, Lines, POSTGRES},
    verbs::export::{into_file, locked},
};

/// Events that are restored at once.
const BATCH_EVENTS_MAX: usize = 4_096;

/// Writes the appends of a partition to a file of a directory, and reads the file back.
pub(super) fn write(
    store: &PostgresStore,
    partition: &Partition,
    directory: &Path,
) -> Result<ArchiveFile> {
    let directory = fs::canonicalize(directory)
        .with_context(|| format!("the directory {} cannot be used", directory.display()))?;
    let schema = store.schema();
    let name = format!("{schema}-{}-{}.jsonl", partition.first, partition.last);
    let path = directory.join(name.replace('/', "_"));
    let _lock = FileLock::take(&path)?;
    // An earlier run may have written it and was interrupted after that.
    let earlier = if path.exists() { Some(digest_of(&path)?) } else { None };
    let part = path.with_extension("jsonl.new");
    let digest =
        into_file(&part, |file| write_lines(store, partition, |line| Ok(file.write_all(line)?)))?;
    let moved = check_written(&part, &digest, earlier.as_deref(), &path);
    if moved.is_err() {
        drop(fs::remove_file(&part));
    }
    moved?;
    Ok(ArchiveFile::new(path.display().to_string(), digest))
}

/// The right to write one file of an archive. Another command has it at another time.
struct FileLock {
    path: PathBuf,
    _file: File,
}

impl FileLock {
    fn take(written: &Path) -> Result<Self> {
        let path = written.with_extension("jsonl.lock");
        let file = locked(&path, written)?;
        Ok(Self { path, _file: file })
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // While it is locked: who opened it before finds that it has lost its name.
        drop(fs::remove_file(&self.path));
    }
}

/// Writes the lines of a partition, and returns the digest of its appends.
fn write_lines(
    store: &PostgresStore,
    partition: &Partition,
    mut to: impl FnMut(&[u8]) -> Result<()>,
) -> Result<String> {
    let export = block_on(store.export())?;
    let mut lines = LineWriter::default();
    to(&lines.header(&Header {
        store: POSTGRES.to_owned(),
        incarnations: export.incarnations().to_vec(),
        head: export.head(),
        last_recorded_at: export.last_recorded_at(),
        whole: false,
    })?)?;
    let first = partition.first.number();
    let bar = bar(Unit::Events, partition.last.number() + 1 - first);
    let mut pages = store.archive().appends(partition);
    while let Some(page) = block_on(pages.next()) {
        for part in page? {
            let left_out = part.part_of.map(|of| (of.events, of.first_event));
            to(&lines.append(&part.append, left_out)?)?;
            bar.set_position(part.append.next().number() - first);
        }
    }
    to(&lines.closing()?)?;
    bar.finish_and_clear();
    Ok(lines.appends_blake3())
}

/// Reads the new file back, and gives it its name.
fn check_written(part: &Path, digest: &str, earlier: Option<&str>, path: &Path) -> Result<()> {
    if digest_of(part)? != digest {
        return Err(Refusal::refused(
            "not-equal",
            format!("{} does not have what was written to it", part.display()),
        )
        .hint("nothing was archived; check the disk of the directory")
        .into());
    }
    if earlier.is_some_and(|earlier| earlier != digest) {
        return Err(Refusal::usage(
            "file-exists",
            format!("{} exists and has other events", path.display()),
        )
        .hint("use another directory")
        .into());
    }
    fs::rename(part, path).with_context(|| format!("cannot write {}", path.display()))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .with_context(|| format!("cannot sync {}", directory.display()))
}

fn digest_of(path: &Path) -> Result<String> {
    read(path, |_| Ok(()))
}

/// Brings the payloads of a partition back from a file.
pub(super) fn restore(
    archive: &PostgresArchive,
    partition: &Partition,
    path: &Path,
    digest: &str,
) -> Result<()> {
    let first = partition.first.number();
    let bar = bar(Unit::Events, partition.last.number() + 1 - first);
    let mut restoring = block_on(archive.restore_payloads(partition.first))?;
    let mut batch: Vec<RecordedEvent> = Vec::new();
    let found = read(path, |events| {
        batch.extend(events);
        if batch.len() >= BATCH_EVENTS_MAX {
            bar.set_position(batch.last().map_or(0, |event| event.position.number() - first));
            block_on(restoring.push(std::mem::take(&mut batch)))?;
        }
        Ok(())
    })?;
    if found != digest {
        return Err(Refusal::refused(
            "not-equal",
            format!("{} is not the file that was written: BLAKE3 {found}", path.display()),
        )
        .hint(format!("nothing was changed; use the file whose appends have BLAKE3 {digest}"))
        .into());
    }
    block_on(restoring.push(batch))?;
    block_on(restoring.finish())?;
    bar.finish_and_clear();
    Ok(())
}

/// Reads the events of a file, and returns the digest of its appends.
///
/// # Errors
///
/// A refusal with the line if the file is damaged or cut off.
fn read(path: &Path, mut each: impl FnMut(Vec<RecordedEvent>) -> Result<()>) -> Result<String> {
    let shown = path.display();
    let damaged = |why: String| {
        anyhow::Error::from(Refusal::refused("damaged", format!("{shown} is damaged: {why}")))
    };
    let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    let mut lines = Lines::new(BufReader::new(file));
    loop {
        let Some((_, line)) = lines.next().map_err(|invalid| damaged(invalid.to_string()))? else {
            return Err(damaged("its last line is missing".to_owned()));
        };
        let closing = match line {
            Line::Closing(closing) => closing,
            line => {
                lines.hash(&line);
                if let Line::Append { append, .. } = line {
                    each(append.events)?;
                }
                continue;
            }
        };
        let (all, appends) = lines.hashes();
        if (&all, &appends) != (&closing.blake3, &closing.appends_blake3) {
            return Err(damaged("its checksum differs".to_owned()));
        }
        return Ok(appends);
    }
}
