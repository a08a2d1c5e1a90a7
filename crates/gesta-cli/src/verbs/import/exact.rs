//! Exact import of a whole store into an empty directory or schema.
//!
//! Invariant: the place becomes a store only once all lines are imported. It is then exported
//! again and compared.

use anyhow::{Context as _, Result};

use super::{
    appends::{ExportEnd, ExportedAppend, ImportOptions, for_each_after_header},
    input::Input,
    summary::{ImportSummary, interrupted},
};
use crate::{
    exit::Refusal,
    store_url::StoreUrl,
    transfer::{FreePlace, Header, LineWriter, Source},
};

/// Imports the lines after the header into a place without events.
pub(super) fn import(
    mut lines: Input,
    header: &Header,
    (place, url): (FreePlace, &StoreUrl),
    options: ImportOptions<'_>,
) -> Result<ImportSummary> {
    let mut writer = place.begin(&header.incarnations, header.head)?;
    let (mut appended, mut known) = (0, 0);
    let mut written = LineWriter::default();
    let read = for_each_after_header(&mut lines, options, |exported| {
        let ExportedAppend { line, append, is_part } = exported;
        if is_part {
            return Err(Refusal::refused(
                "export-changed",
                format!("line {line}: an append is marked as partial in a complete export"),
            )
            .hint("copy the file again, or export again")
            .into());
        }
        let events = append.events.len() as u64;
        // Formatted again only for its checksum: the store is compared with the parsed append.
        let _line = written.append(&append, None)?;
        let is_known = writer.push(append).with_context(|| format!("line {line}"))?;
        *(if is_known { &mut known } else { &mut appended }) += events;
        Ok(())
    });
    let end = match read {
        Ok(end) => end,
        Err(error) => {
            // Keep the imported part if possible, so that a retry continues from there.
            drop(writer.keep());
            let progress = interrupted(appended, known, &error);
            return Err(error.context(progress));
        }
    };
    // The time in the header belongs to the head, which an incomplete export does not reach.
    let last_recorded_at = header.last_recorded_at.filter(|_| matches!(end, ExportEnd::Complete));
    let finished = writer.finish(last_recorded_at).map_err(|error| {
        let progress = interrupted(appended, known, &error);
        error.context(progress)
    });
    let last = finished?;
    verify(url, &written)?;
    let warnings = match end {
        ExportEnd::Complete => Vec::new(),
        ExportEnd::Incomplete => {
            vec![format!("the export is incomplete; the store ends at position {last}")]
        }
    };
    Ok(ImportSummary { exact: true, appended, known, last: Some(last), warnings })
}

/// Reads the store back and compares it with the input.
fn verify(url: &StoreUrl, written: &LineWriter) -> Result<()> {
    let mut read = LineWriter::default();
    for append in Source::open(url)?.appends() {
        let _line = read.append(&append?, None)?;
    }
    // Only the appends: the header differs by the new incarnation.
    if read.counts() == written.counts() && read.appends_blake3() == written.appends_blake3() {
        return Ok(());
    }
    let differs = "the imported store differs from the export when it is read back";
    Err(Refusal::refused("not-verified", differs)
        .hint("check the disk, then import into another directory or schema")
        .into())
}
