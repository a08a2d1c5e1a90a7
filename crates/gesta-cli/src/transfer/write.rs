//! Writer of exports.

use anyhow::Result;
use gesta_store::{EventId, Position, Scavenged, ScavengedEvent, StoredAppend};
use serde::Serialize;
use serde_json::json;

use super::{Counts, Header, VERSION};
use crate::events::{exact, moment};

/// An append of several events, or with scavenged events.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AppendObject<Event> {
    append: Vec<Event>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scavenged: Option<ScavengedObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part_of: Option<PartOf>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScavengedObject {
    position: u64,
    events: u32,
    first_id: String,
    ids_digest: String,
    gone: Vec<ScavengedEventObject>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScavengedEventObject {
    position: u64,
    stream: String,
    revision: u64,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
}

/// Identity of an append that is exported in part.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PartOf {
    events: u64,
    first_id: String,
}

/// Formats an append. `left_out` has the full event count and the first id if events are left out.
fn append_line(append: &StoredAppend, left_out: Option<(u64, EventId)>) -> Result<Vec<u8>> {
    // An append of one event, the usual case, is that event's object: shorter, and the same line
    // that version 1 of the format had.
    let mut line = match (append.events.as_slice(), &append.scavenged, left_out) {
        ([event], None, None) => serde_json::to_vec(&exact(event))?,
        (events, scavenged, left_out) => serde_json::to_vec(&AppendObject {
            append: events.iter().map(exact).collect(),
            scavenged: scavenged.as_ref().map(|of| scavenged_object(append.first, of)),
            part_of: left_out.map(|(events, first)| PartOf { events, first_id: first.to_string() }),
        })?,
    };
    line.push(b'\n');
    Ok(line)
}

fn scavenged_object(first: Position, of: &Scavenged) -> ScavengedObject {
    let gone = |gone: &ScavengedEvent| ScavengedEventObject {
        position: gone.position.number(),
        stream: gone.stream.as_str().to_owned(),
        revision: gone.revision.number(),
        event_type: gone.event_type.as_ref().map(|name| name.as_str().to_owned()),
        correlation_id: gone.correlation_id.as_ref().map(|id| id.as_str().to_owned()),
    };
    ScavengedObject {
        position: first.number(),
        events: of.events,
        first_id: of.first_event.to_string(),
        // As text: many JSON parsers round a 64-bit number.
        ids_digest: format!("{:016x}", of.ids_digest),
        gone: of.scavenged.iter().map(gone).collect(),
    }
}

/// Formats lines and maintains counts and checksums.
#[derive(Debug, Default)]
pub(crate) struct LineWriter {
    counts: Counts,
    all: blake3::Hasher,
    appends: blake3::Hasher,
}

impl LineWriter {
    pub(crate) const fn counts(&self) -> Counts {
        self.counts
    }

    /// Formats the header.
    pub(crate) fn header(&mut self, header: &Header) -> Result<Vec<u8>> {
        let incarnation = |(incarnation, first): &(gesta_store::Incarnation, Position)| json!({ "incarnation": incarnation.as_uuid().to_string(), "first": first.number() });
        let mut line = serde_json::to_vec(&json!({
            "gestaExport": VERSION,
            "store": header.store,
            "incarnations": header.incarnations.iter().map(incarnation).collect::<Vec<_>>(),
            "head": header.head.number(),
            "lastRecordedAt": header.last_recorded_at.map(moment),
            "whole": header.whole,
        }))?;
        line.push(b'\n');
        self.all.update(&line);
        Ok(line)
    }

    /// Formats an append.
    pub(crate) fn append(
        &mut self,
        append: &StoredAppend,
        left_out: Option<(u64, EventId)>,
    ) -> Result<Vec<u8>> {
        let line = append_line(append, left_out)?;
        self.count(append, &line);
        Ok(line)
    }

    /// Counts and hashes a formatted line.
    fn count(&mut self, append: &StoredAppend, line: &[u8]) {
        self.counts.add(append);
        self.all.update(line);
        // The header has the incarnation and would differ in a copy, so the appends have a checksum
        // of their own.
        self.appends.update(line);
    }

    /// Formats the last line. It is not hashed: it states the checksums of the lines before it.
    pub(crate) fn closing(&self) -> Result<Vec<u8>> {
        let Counts { appends, events, scavenged } = self.counts;
        let mut line = serde_json::to_vec(&json!({ "end": {
            "appends": appends,
            "events": events,
            "scavenged": scavenged,
            "blake3": self.all.finalize().to_string(),
            "appendsBlake3": self.appends_blake3(),
        }}))?;
        line.push(b'\n');
        Ok(line)
    }

    pub(crate) fn appends_blake3(&self) -> String {
        self.appends.finalize().to_string()
    }
}
