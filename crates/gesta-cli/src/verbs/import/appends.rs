//! The appends of an export, in order, and the check that the export is complete.
//!
//! Invariant: a version 2 export whose counts or checksums do not match its last line is an error,
//! and so is one without a last line, unless `--accept-cut` is given. Not here: parsing of lines
//! ([`transfer`](crate::transfer)), and what an import does with an append.

use anyhow::Result;
use gesta_store::{Position, RecordedAt, StoredAppend};
use indicatif::ProgressBar;

use super::input::Input;
use crate::{
    counted::counted,
    exit::Refusal,
    transfer::{Closing, Counts, Line},
};

/// Options of an import.
#[derive(Clone, Copy)]
pub(super) struct ImportOptions<'a> {
    pub(super) accept_cut: bool,
    pub(super) accept_truncated: bool,
    pub(super) bar: &'a ProgressBar,
}

/// An append of an export with its line number.
pub(super) struct ExportedAppend {
    pub(super) line: u64,
    pub(super) append: StoredAppend,
    /// `true` if the export left out some of its events.
    pub(super) is_part: bool,
}

/// End of an export.
pub(super) enum ExportEnd {
    Complete,
    /// The last line is missing, which was accepted.
    Incomplete,
}

/// Passes each append of the input, in either format version, to `import`.
pub(super) fn for_each(
    lines: &mut Input,
    options: ImportOptions<'_>,
    import: impl FnMut(ExportedAppend) -> Result<()>,
) -> Result<ExportEnd> {
    match lines.next()? {
        Some((_, header @ Line::Header(_))) => {
            lines.hash(&header);
            for_each_after_header(lines, options, import)
        }
        first => for_each_event(lines, first, options, import),
    }
}

/// Passes each event of a version 1 file to `import`.
fn for_each_event(
    lines: &mut Input,
    first: Option<(u64, Line)>,
    options: ImportOptions<'_>,
    mut import: impl FnMut(ExportedAppend) -> Result<()>,
) -> Result<ExportEnd> {
    let mut next = first;
    while let Some((number, line)) = next {
        let append = match line {
            Line::Append { append, is_part: false } => append,
            Line::Event(event) => {
                // The first files of version 1 have neither positions nor times. The values stand
                // in for them and are not imported.
                let event = event.as_recorded(Position::START, RecordedAt::from_micros(0));
                StoredAppend::new(event.position, vec![event])
            }
            Line::Append { is_part: true, .. } | Line::Header(_) | Line::Closing(_) => {
                let reason = "it belongs to an export whose first line is missing; import the \
                              whole file";
                return Err(lines.invalid(reason).into());
            }
        };
        import(ExportedAppend { line: number, append, is_part: false })?;
        options.bar.inc(lines.bytes());
        next = lines.next()?;
    }
    // Version 1 has no last line, so an incomplete file cannot be recognized.
    Ok(ExportEnd::Complete)
}

/// Passes each append to `import` after the header has been read, and checks the last line.
pub(super) fn for_each_after_header(
    lines: &mut Input,
    options: ImportOptions<'_>,
    mut import: impl FnMut(ExportedAppend) -> Result<()>,
) -> Result<ExportEnd> {
    let mut counts = Counts::default();
    loop {
        let Some((number, line)) = next_line(lines, options)? else {
            if options.accept_cut {
                return Ok(ExportEnd::Incomplete);
            }
            return Err(incomplete().into());
        };
        options.bar.inc(lines.bytes());
        match line {
            Line::Append { append, is_part } => {
                counts.add(&append);
                let line = Line::Append { append, is_part };
                lines.hash(&line);
                let Line::Append { append, is_part } = line else { continue };
                import(ExportedAppend { line: number, append, is_part })?;
            }
            Line::Closing(closing) => {
                check_closing(lines, counts, &closing)?;
                // Two files written into one would otherwise be imported by half.
                if lines.next()?.is_some() {
                    let reason = "it follows the last line of the export; import each export alone";
                    return Err(lines.invalid(reason).into());
                }
                return Ok(ExportEnd::Complete);
            }
            Line::Header(_) => {
                let reason = "a second export starts here; import each export alone";
                return Err(lines.invalid(reason).into());
            }
            Line::Event(_) => {
                let reason = "the event needs a `position` and a `recordedAt`, an RFC 3339 time";
                return Err(lines.invalid(reason).into());
            }
        }
    }
}

/// Returns the next line, or `None` at the end of an export whose incomplete last line is accepted.
fn next_line(lines: &mut Input, options: ImportOptions<'_>) -> Result<Option<(u64, Line)>> {
    match lines.next() {
        // Half a line is not a mistake in the file: the export or its copy was interrupted there.
        Err(invalid) if lines.is_half_a_line() => {
            if options.accept_cut {
                Ok(None)
            } else {
                Err(anyhow::Error::new(invalid).context(incomplete()))
            }
        }
        next => Ok(next?),
    }
}

fn incomplete() -> Refusal {
    Refusal::refused("export-cut", "the export is incomplete: its last line is missing")
        .hint("export again, or use --accept-cut to import the part that is present")
}

fn check_closing(lines: &Input, counts: Counts, closing: &Closing) -> Result<()> {
    let (all, appends) = lines.hashes();
    if counts == closing.counts && all == closing.blake3 && appends == closing.appends_blake3 {
        return Ok(());
    }
    let message = if counts == closing.counts {
        "the export was modified: its checksum differs from the one in its last line".to_owned()
    } else {
        format!(
            "the export was modified: it has {}; according to its last line it had {}",
            described(counts),
            described(closing.counts)
        )
    };
    let hint = "copy the file again, or export again";
    Err(Refusal::refused("export-changed", message).hint(hint).into())
}

fn described(Counts { appends, events, scavenged }: Counts) -> String {
    let (appends, events) = (counted(appends, "append"), counted(events, "event"));
    format!("{appends} with {events}, {scavenged} of them scavenged")
}
