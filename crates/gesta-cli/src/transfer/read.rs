//! Parser of exports.
//!
//! Invariants: payloads are restored byte for byte. Unknown fields are rejected, since importing
//! would drop them.

use std::io::{self, BufRead};

use gesta_log::{Scavenged, ScavengedEvent, StoredAppend};
use gesta_store::{EventId, Incarnation, Position, RecordedEvent, Revision, StreamName};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{Closing, Counts, Header, VERSION};
use crate::events::{ExportedEvent, recorded_at};

/// A parsed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Header(Header),
    /// An append. `is_part` means that the export left out some of its events.
    Append {
        append: StoredAppend,
        is_part: bool,
    },
    /// An event without position and recorded time (version 1).
    Event(ExportedEvent),
    Closing(Closing),
}

/// Error for a line that does not parse.
#[derive(Debug, thiserror::Error)]
#[error("line {number} cannot be read: {why}")]
pub(crate) struct WrongLine {
    pub(crate) number: u64,
    pub(crate) why: String,
}

/// Reader of the lines of an export. Skips blank lines.
pub(crate) struct Lines<Input> {
    input: Input,
    number: u64,
    text: Vec<u8>,
    all: blake3::Hasher,
    appends: blake3::Hasher,
}

/// Fields that determine the kind of a line.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    gesta_export: Option<IgnoredAny>,
    end: Option<IgnoredAny>,
    append: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HeaderLine {
    gesta_export: u64,
    store: String,
    incarnations: Vec<IncarnationLine>,
    head: u64,
    last_recorded_at: Option<String>,
    whole: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IncarnationLine {
    incarnation: String,
    first: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClosingLine {
    end: ClosingFields,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClosingFields {
    appends: u64,
    events: u64,
    scavenged: u64,
    blake3: String,
    appends_blake3: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SeveralLine {
    append: Vec<Box<RawValue>>,
    scavenged: Option<ScavengedLine>,
    part_of: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScavengedLine {
    position: u64,
    events: u32,
    first_id: String,
    ids_digest: String,
    gone: Vec<GoneLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoneLine {
    position: u64,
    stream: String,
    revision: u64,
}

impl<Input: BufRead> Lines<Input> {
    pub(crate) fn new(input: Input) -> Self {
        let (all, appends) = (blake3::Hasher::new(), blake3::Hasher::new());
        Self { input, number: 0, text: Vec::new(), all, appends }
    }

    /// Returns the next line with its number, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Line)>, WrongLine> {
        loop {
            self.number += 1;
            self.text.clear();
            let read = self.input.read_until(b'\n', &mut self.text);
            if read.map_err(|error: io::Error| self.wrong(error.to_string()))? == 0 {
                return Ok(None);
            }
            if !self.text.trim_ascii().is_empty() {
                break;
            }
        }
        let line = line_of(&self.text).map_err(|why| self.wrong(why))?;
        Ok(Some((self.number, line)))
    }

    /// Returns the number and text of the last line read, and the remaining input.
    pub(crate) fn into_rest(self) -> (u64, Vec<u8>, Input) {
        (self.number, self.text, self.input)
    }

    /// Size of the last line read.
    pub(crate) fn bytes(&self) -> u64 {
        self.text.len() as u64
    }

    /// Returns whether the last line read has no line end, because the export is truncated there.
    pub(crate) fn is_half_a_line(&self) -> bool {
        !self.text.is_empty() && self.text.last() != Some(&b'\n')
    }

    /// Returns the checksums of all hashed lines and of the append lines.
    pub(crate) fn hashes(&self) -> (String, String) {
        (self.all.finalize().to_string(), self.appends.finalize().to_string())
    }

    /// Adds the last line read to the checksums.
    pub(crate) fn hash(&mut self, line: &Line) {
        self.all.update(&self.text);
        if let Line::Append { .. } = line {
            self.appends.update(&self.text);
        }
    }

    pub(crate) fn wrong(&self, why: impl Into<String>) -> WrongLine {
        WrongLine { number: self.number, why: why.into() }
    }
}

fn line_of(text: &[u8]) -> Result<Line, String> {
    let probe: Probe = serde_json::from_slice(text).map_err(told)?;
    if probe.gesta_export.is_some() {
        return header(text);
    }
    if probe.end.is_some() {
        return closing(text);
    }
    if probe.append.is_some() {
        return several(text);
    }
    let offered = ExportedEvent::from_line(text)?;
    Ok(match recorded(&offered) {
        Some(event) => {
            let (first, events) = (event.position, vec![event]);
            let append = StoredAppend { first, events, scavenged: None };
            Line::Append { append, is_part: false }
        }
        None => Line::Event(offered),
    })
}

fn header(text: &[u8]) -> Result<Line, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        gesta_export: u64,
    }
    let Version { gesta_export } = serde_json::from_slice(text).map_err(told)?;
    if gesta_export != VERSION {
        return Err(format!(
            "it is an export in version {gesta_export} of the format, and this program reads \
             version {VERSION}; import it with the program that wrote it, or a newer one"
        ));
    }
    let line: HeaderLine = serde_json::from_slice(text).map_err(told)?;
    let mut incarnations = Vec::new();
    for IncarnationLine { incarnation, first } in line.incarnations {
        let uuid = incarnation.parse().map_err(|error| format!("incarnation: {error}"))?;
        incarnations.push((Incarnation::new(uuid), Position::new(first)));
    }
    debug_assert_eq!(line.gesta_export, VERSION);
    let last_recorded_at = line.last_recorded_at.map(|text| {
        recorded_at(&text).ok_or_else(|| format!("lastRecordedAt: {text} is no moment"))
    });
    Ok(Line::Header(Header {
        store: line.store,
        incarnations,
        head: Position::new(line.head),
        last_recorded_at: last_recorded_at.transpose()?,
        whole: line.whole,
    }))
}

fn closing(text: &[u8]) -> Result<Line, String> {
    let ClosingLine { end } = serde_json::from_slice(text).map_err(told)?;
    let ClosingFields { appends, events, scavenged, blake3, appends_blake3 } = end;
    let counts = Counts { appends, events, scavenged };
    Ok(Line::Closing(Closing { counts, blake3, appends_blake3 }))
}

fn several(text: &[u8]) -> Result<Line, String> {
    let SeveralLine { append, scavenged, part_of } = serde_json::from_slice(text).map_err(told)?;
    let mut events = Vec::with_capacity(append.len());
    for event in append {
        let offered = ExportedEvent::from_line(event.get().as_bytes())?;
        let event = recorded(&offered);
        events.push(event.ok_or("an event has no position, revision and recordedAt")?);
    }
    let first = match (&scavenged, events.first()) {
        (Some(of), _) => Position::new(of.position),
        (None, Some(event)) => event.position,
        (None, None) => return Err("an append without events".to_owned()),
    };
    let scavenged = scavenged.map(of_scavenged).transpose()?;
    let append = StoredAppend { first, events, scavenged };
    Ok(Line::Append { append, is_part: part_of.is_some() })
}

fn of_scavenged(line: ScavengedLine) -> Result<Scavenged, String> {
    let ScavengedLine { events, first_id, ids_digest, gone, .. } = line;
    let mut there = Vec::with_capacity(gone.len());
    for GoneLine { position, stream, revision } in gone {
        let stream = StreamName::stored(stream).map_err(told)?;
        let (position, revision) = (Position::new(position), Revision::new(revision));
        there.push(ScavengedEvent { position, stream, revision });
    }
    let first_event: EventId = first_id.parse().map_err(|error| format!("firstId: {error}"))?;
    let ids_digest =
        u64::from_str_radix(&ids_digest, 16).map_err(|error| format!("idsDigest: {error}"))?;
    Ok(Scavenged { events, first_event, ids_digest, scavenged: there })
}

/// Returns the recorded event, or `None` if the line lacks its position or recorded time.
fn recorded(offered: &ExportedEvent) -> Option<RecordedEvent> {
    let position = offered.position?;
    let recorded_at = recorded_at(offered.recorded_at.as_deref()?)?;
    Some(offered.as_recorded(position, recorded_at))
}

fn told(error: impl ToString) -> String {
    error.to_string()
}
