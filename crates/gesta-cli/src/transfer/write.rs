//! From a store to lines.

use anyhow::Result;
use gesta_log::{Scavenged, ScavengedEvent, StoredAppend};
use gesta_store::{EventId, Position};
use serde::Serialize;
use serde_json::json;

use super::{Counts, Header, VERSION};
use crate::events::{exact, moment};

/// Several events of one append, or an append of which some are not there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Several<Event> {
    append: Vec<Event>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scavenged: Option<OfScavenged>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part_of: Option<PartOf>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfScavenged {
    position: u64,
    events: u32,
    first_id: String,
    ids_digest: String,
    gone: Vec<Gone>,
}

#[derive(Serialize)]
struct Gone {
    position: u64,
    stream: String,
    revision: u64,
}

/// An append of which the export leaves events out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PartOf {
    events: u64,
    first_id: String,
}

/// The line of an append. `whole` has the number of its events and the id of the first one, where
/// the export leaves some out.
fn append_line(append: &StoredAppend, left_out: Option<(u64, EventId)>) -> Result<Vec<u8>> {
    let mut line = match (append.events.as_slice(), &append.scavenged, left_out) {
        ([event], None, None) => serde_json::to_vec(&exact(event))?,
        (events, scavenged, left_out) => serde_json::to_vec(&Several {
            append: events.iter().map(exact).collect(),
            scavenged: scavenged.as_ref().map(|of| of_scavenged(append.first, of)),
            part_of: left_out.map(|(events, first)| PartOf { events, first_id: first.to_string() }),
        })?,
    };
    line.push(b'\n');
    Ok(line)
}

fn of_scavenged(first: Position, of: &Scavenged) -> OfScavenged {
    let gone = |gone: &ScavengedEvent| Gone {
        position: gone.position.number(),
        stream: gone.stream.as_str().to_owned(),
        revision: gone.revision.number(),
    };
    OfScavenged {
        position: first.number(),
        events: of.events,
        first_id: of.first_event.to_string(),
        ids_digest: format!("{:016x}", of.ids_digest),
        gone: of.gone.iter().map(gone).collect(),
    }
}

/// An export as it is written: counts and hashes what goes by.
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

    /// The first line.
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

    /// The line of an append.
    pub(crate) fn append(
        &mut self,
        append: &StoredAppend,
        left_out: Option<(u64, EventId)>,
    ) -> Result<Vec<u8>> {
        let line = append_line(append, left_out)?;
        self.take(append, &line);
        Ok(line)
    }

    /// Counts a line that is there already.
    pub(crate) fn take(&mut self, append: &StoredAppend, line: &[u8]) {
        self.counts.add(append);
        self.all.update(line);
        self.appends.update(line);
    }

    /// The last line.
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
