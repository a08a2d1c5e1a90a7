//! Exact import of a whole store into an empty directory.
//!
//! Invariant: the directory becomes a store only once all lines are imported. It is then exported
//! again and compared.

use std::path::Path;

use anyhow::{Context as _, Result};
use gesta_log::{ImportReport, ImportWriter, StoreExport};

use super::{End, Imported, Input, Taken, Way, each_append, ended_early};
use crate::{
    exit::Refusal,
    transfer::{Header, LineWriter},
};

pub(super) fn import(
    mut lines: Input,
    header: &Header,
    directory: &Path,
    way: Way<'_>,
) -> Result<Imported> {
    let mut writer = ImportWriter::begin(directory, &header.incarnations)?;
    let (mut appended, mut known) = (0, 0);
    let mut written = LineWriter::default();
    let taken = each_append(&mut lines, way, |Taken { number, append, is_part }| {
        if is_part {
            return Err(Refusal::no(
                "export-changed",
                format!("line {number}: a part of an append in an export of a whole store"),
            )
            .into());
        }
        let events = append.events.len() as u64;
        let _line = written.append(&append, None)?;
        let there = writer.push(append).with_context(|| format!("line {number}"))?;
        *(if there { &mut known } else { &mut appended }) += events;
        Ok(())
    });
    let end = match taken {
        Ok(end) => end,
        Err(error) => {
            // Keep the imported part if possible, so that a retry continues from there.
            drop(writer.keep());
            let early = ended_early(appended, known, &error);
            return Err(error.context(early));
        }
    };
    let last_recorded_at = header.last_recorded_at.filter(|_| matches!(end, End::Whole));
    let finished = writer.finish(last_recorded_at).map_err(|error| {
        let error = anyhow::Error::new(error);
        let early = ended_early(appended, known, &error);
        error.context(early)
    });
    let ImportReport { end: last, .. } = finished?;
    verify(directory, &written)?;
    let warnings = match end {
        End::Whole => Vec::new(),
        End::Cut => vec![format!("the export was cut; the store ends at position {last}")],
    };
    Ok(Imported { exact: true, appended, known, last: Some(last), warnings })
}

/// Reads the store back and compares it with the input.
fn verify(directory: &Path, written: &LineWriter) -> Result<()> {
    let mut read = LineWriter::default();
    for append in StoreExport::of(directory)?.appends() {
        let _line = read.append(&append?, None)?;
    }
    if read.counts() == written.counts() && read.appends_blake3() == written.appends_blake3() {
        return Ok(());
    }
    Err(Refusal::no("not-verified", "the store does not read back as it was exported")
        .hint("look at the disk, and import again into another directory")
        .into())
}
