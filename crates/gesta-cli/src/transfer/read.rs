//! Parser of exports.
//!
//! Invariants: payloads are restored byte for byte. Unknown fields are rejected, since importing
//! would drop them.

use std::io::{self, BufRead};

use gesta_store::{
    CorrelationId, EventId, EventType, Incarnation, Position, RecordedEvent, Revision, Scavenged,
    ScavengedEvent, StoredAppend, StreamName,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{Closing, Counts, Header, VERSION};
use crate::events::{ExportedEvent, json_error, recorded_at};

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

/// Error for a line that does not parse, or that must not stand where it does.
#[derive(Debug, thiserror::Error)]
#[error("line {number} is invalid: {reason}")]
pub(crate) struct InvalidLine {
    pub(crate) number: u64,
    pub(crate) reason: String,
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
struct AppendLine {
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
    gone: Vec<ScavengedEventLine>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScavengedEventLine {
    position: u64,
    stream: String,
    revision: u64,
    #[serde(rename = "type")]
    event_type: Option<String>,
    correlation_id: Option<String>,
}

impl<Input: BufRead> Lines<Input> {
    pub(crate) fn new(input: Input) -> Self {
        let (all, appends) = (blake3::Hasher::new(), blake3::Hasher::new());
        Self { input, number: 0, text: Vec::new(), all, appends }
    }

    /// Returns the next line with its number, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Line)>, InvalidLine> {
        loop {
            self.number += 1;
            self.text.clear();
            let read = self.input.read_until(b'\n', &mut self.text);
            if read.map_err(|error: io::Error| self.invalid(error.to_string()))? == 0 {
                return Ok(None);
            }
            // Blank lines count, so that numbers match those of an editor.
            if !self.text.trim_ascii().is_empty() {
                break;
            }
        }
        let line = parse(&self.text).map_err(|reason| self.invalid(reason))?;
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

    /// Returns whether the last line read has no line end, because the export is cut off there.
    pub(crate) fn is_half_a_line(&self) -> bool {
        !self.text.is_empty() && self.text.last() != Some(&b'\n')
    }

    /// Returns the checksums of all hashed lines and of the append lines.
    pub(crate) fn hashes(&self) -> (String, String) {
        (self.all.finalize().to_string(), self.appends.finalize().to_string())
    }

    /// Adds the last line read to the checksums. Not called for the closing line, which has them.
    pub(crate) fn hash(&mut self, line: &Line) {
        self.all.update(&self.text);
        if let Line::Append { .. } = line {
            self.appends.update(&self.text);
        }
    }

    pub(crate) fn invalid(&self, reason: impl Into<String>) -> InvalidLine {
        InvalidLine { number: self.number, reason: reason.into() }
    }
}

fn parse(text: &[u8]) -> Result<Line, String> {
    // The kind of a line is known by one field. The second parse then rejects unknown fields with
    // the message for that kind.
    let probe: Probe = from_json(text)?;
    if probe.gesta_export.is_some() {
        return header(text);
    }
    if probe.end.is_some() {
        return closing(text);
    }
    if probe.append.is_some() {
        return append(text);
    }
    let event = ExportedEvent::from_line(text)?;
    Ok(match recorded(&event) {
        // An append of one event has no `append` around it, so version 1 and 2 share these lines.
        Some(event) => {
            let (first, events) = (event.position, vec![event]);
            let append = StoredAppend::new(first, events);
            Line::Append { append, is_part: false }
        }
        None => Line::Event(event),
    })
}

fn header(text: &[u8]) -> Result<Line, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        gesta_export: u64,
    }
    // The version is checked first: a later one may have fields that this program does not know,
    // and "unknown field" would not say what to do.
    let Version { gesta_export } = from_json(text)?;
    if gesta_export != VERSION {
        return Err(format!(
            "the export has format version {gesta_export}, and this program reads versions 1 to \
             {VERSION}; import it with the version of gesta that wrote it, or a later one"
        ));
    }
    let line: HeaderLine = from_json(text)?;
    debug_assert_eq!(line.gesta_export, VERSION);
    let mut incarnations = Vec::new();
    for IncarnationLine { incarnation, first } in line.incarnations {
        let uuid = incarnation
            .parse()
            .map_err(|_| format!("`incarnation` must be a UUID; got {incarnation}"))?;
        incarnations.push((Incarnation::new(uuid), Position::new(first)));
    }
    let last_recorded_at = line.last_recorded_at.map(|text| {
        recorded_at(&text)
            .ok_or_else(|| format!("`lastRecordedAt` must be an RFC 3339 time; got {text}"))
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
    let ClosingLine { end } = from_json(text)?;
    let ClosingFields { appends, events, scavenged, blake3, appends_blake3 } = end;
    let counts = Counts { appends, events, scavenged };
    Ok(Line::Closing(Closing { counts, blake3, appends_blake3 }))
}

fn append(text: &[u8]) -> Result<Line, String> {
    let AppendLine { append, scavenged, part_of } = from_json(text)?;
    let mut events = Vec::with_capacity(append.len());
    for event in append {
        let event = ExportedEvent::from_line(event.get().as_bytes())?;
        let event = recorded(&event);
        events.push(event.ok_or(
            "each event of an `append` needs a `position` and a `recordedAt`, an RFC 3339 time",
        )?);
    }
    // The first event of the append may be scavenged; its position is then recorded separately.
    let first = match (&scavenged, events.first()) {
        (Some(of), _) => Position::new(of.position),
        (None, Some(event)) => event.position,
        (None, None) => {
            return Err("`append` is empty; expected events, or `scavenged`".to_owned());
        }
    };
    let scavenged = scavenged.map(scavenged_events).transpose()?;
    let append = StoredAppend::new(first, events).scavenged(scavenged);
    Ok(Line::Append { append, is_part: part_of.is_some() })
}

fn scavenged_events(line: ScavengedLine) -> Result<Scavenged, String> {
    let ScavengedLine { events, first_id, ids_digest, gone, .. } = line;
    let mut scavenged = Vec::with_capacity(gone.len());
    for event in gone {
        scavenged.push(scavenged_event(event)?);
    }
    let first_event: EventId =
        first_id.parse().map_err(|_| format!("`firstId` must be a UUID; got {first_id}"))?;
    let ids_digest = u64::from_str_radix(&ids_digest, 16)
        .map_err(|_| format!("`idsDigest` must be 16 hexadecimal digits; got {ids_digest}"))?;
    Ok(Scavenged { events, first_event, ids_digest, scavenged })
}

fn scavenged_event(line: ScavengedEventLine) -> Result<ScavengedEvent, String> {
    let ScavengedEventLine { position, stream, revision, event_type, correlation_id } = line;
    let stream = StreamName::stored(stream).map_err(|error| format!("`stream`: {error}"))?;
    let (position, revision) = (Position::new(position), Revision::new(revision));
    let mut event = ScavengedEvent::new(position, stream, revision);
    event.event_type = event_type
        .map(EventType::stored)
        .transpose()
        .map_err(|error| format!("`type`: {error}"))?;
    event.correlation_id = correlation_id
        .map(CorrelationId::stored)
        .transpose()
        .map_err(|error| format!("`correlationId`: {error}"))?;
    Ok(event)
}

/// Returns the recorded event, or `None` if the line lacks its position or recorded time.
fn recorded(event: &ExportedEvent) -> Option<RecordedEvent> {
    let position = event.position?;
    let recorded_at = recorded_at(event.recorded_at.as_deref()?)?;
    Some(event.as_recorded(position, recorded_at))
}

fn from_json<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(text).map_err(|error| json_error(&error))
}
