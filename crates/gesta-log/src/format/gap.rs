//! The contents of a gap frame: the positions, streams and appends of scavenged events.
//!
//! Each position that the frame stands for is either that of a record in it or that of a listed
//! event. The revisions of a stream therefore have no holes, and a repeated append is still
//! recognized.

use std::{collections::BTreeMap, sync::Arc};

use gesta_store::{EventId, Position, RecordedAt, Revision, StreamName};
use uuid::Uuid;

use super::{
    Fields, Malformed,
    gap_terms::{self, GapEvent, take_count, take_position},
    put_varint, varint,
};

/// Bytes of a gap frame's body before its lists.
const GAP_HEADER_BYTES: usize = 16;
/// Minimum size of a listed append: two numbers, an id, a digest.
const APPEND_BYTES_MIN: usize = 26;

/// An append that lost events to scavenging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GapAppend {
    /// Position of the append's first event.
    pub(crate) position: Position,
    pub(crate) events: u32,
    pub(crate) first_event: EventId,
    pub(crate) ids: IdsDigest,
}

impl GapAppend {
    /// The position after the append's last event.
    pub(crate) fn end(&self) -> Position {
        Position::new(self.position.number().saturating_add(u64::from(self.events)))
    }
}

/// A digest of the ids of all events of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdsDigest(u64);

impl IdsDigest {
    pub(crate) const fn from_number(number: u64) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    pub(crate) fn of(ids: impl Iterator<Item = EventId>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for id in ids {
            hasher.update(id.as_uuid().as_bytes());
        }
        // Eight bytes are enough: digests are compared only for appends whose first event has the
        // same id.
        let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
        Self(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }
}

/// The contents of a gap frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) first: Position,
    /// Number of positions that the frame stands for.
    pub(crate) positions: u32,
    /// The recorded time of the last of these positions.
    pub(crate) last_recorded_at: RecordedAt,
    /// In the order of positions.
    pub(crate) appends: Vec<GapAppend>,
    /// In the order of positions.
    pub(crate) scavenged: Vec<GapEvent>,
}

impl Gap {
    /// The position after the frame.
    pub(crate) fn next(&self) -> Position {
        Position::new(self.first.number() + u64::from(self.positions))
    }

    /// An upper bound for the size of the lists.
    pub(crate) fn bytes_max(&self) -> usize {
        // Each event counts as if it were the only one of its stream here: the name, its length, a
        // count, a revision and a position. An append is two numbers of up to 5 bytes, an id and a
        // digest.
        let names: usize =
            self.scavenged.iter().map(|scavenged| scavenged.stream.as_str().len() + 16).sum();
        let terms = gap_terms::bytes_max(&self.scavenged);
        names + terms + self.appends.len() * 34 + GAP_HEADER_BYTES
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut lists = Vec::new();
        self.put_appends(&mut lists);
        self.put_streams(&mut lists);
        gap_terms::put(&mut lists, &self.scavenged, self.first);
        out.extend_from_slice(&self.positions.to_le_bytes());
        let bytes = u32::try_from(GAP_HEADER_BYTES + lists.len());
        let bytes = bytes.expect("a gap is smaller than a segment");
        out.extend_from_slice(&bytes.to_le_bytes());
        out.extend_from_slice(&self.last_recorded_at.micros().to_le_bytes());
        out.extend_from_slice(&lists);
    }

    fn put_appends(&self, out: &mut Vec<u8>) {
        put_varint(out, self.appends.len() as u64);
        let mut before = self.first;
        for append in &self.appends {
            put_varint(out, append.position.number() - before.number());
            put_varint(out, u64::from(append.events));
            out.extend_from_slice(append.first_event.as_uuid().as_bytes());
            out.extend_from_slice(&append.ids.0.to_le_bytes());
            before = append.position;
        }
    }

    fn put_streams(&self, out: &mut Vec<u8>) {
        // Grouped by stream, so that a name is stored once, and revisions follow from the first.
        let mut streams = BTreeMap::<_, Vec<&GapEvent>>::new();
        for scavenged in &self.scavenged {
            streams.entry(scavenged.stream.as_str()).or_default().push(scavenged);
        }
        put_varint(out, streams.len() as u64);
        for (name, all) in streams {
            put_varint(out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
            put_varint(out, all.len() as u64);
            // Revisions of scavenged events of a stream within one gap are contiguous, so one is
            // enough.
            let first = all.first().expect("a stream is listed for an event");
            put_varint(out, first.revision.number());
            let mut before = self.first;
            for (nth, scavenged) in (0..).zip(&all) {
                debug_assert_eq!(scavenged.revision.number(), first.revision.number() + nth);
                put_varint(out, scavenged.position.number() - before.number());
                before = scavenged.position;
            }
        }
    }

    /// Decodes what precedes the records, and returns its size. The checksum was verified.
    pub(super) fn decode(body: &[u8], first: Position) -> Result<(Self, usize), Malformed> {
        let mut fields = Fields(body);
        let positions = fields.u32()?;
        let lists =
            (fields.u32()? as usize).checked_sub(GAP_HEADER_BYTES).ok_or(Malformed::Short)?;
        let last_recorded_at = RecordedAt::from_micros(fields.u64()?);
        let mut lists = Fields(fields.take(lists)?);
        let appends = take_appends(&mut lists, first)?;
        let mut scavenged = take_streams(&mut lists, first)?;
        // A gap frame of an earlier version ends here.
        if !lists.0.is_empty() {
            gap_terms::take(&mut lists, &mut scavenged, first)?;
        }
        if !lists.0.is_empty() {
            return Err(Malformed::Field("length of a gap's lists"));
        }
        let gap = Self { first, positions, last_recorded_at, appends, scavenged };
        // A checksum does not exclude a crafted frame: check all that later code relies on. The sum
        // comes first, because `next` adds without a check.
        let inside = |position: Position| position >= first && position < gap.next();
        let sound = first.number().checked_add(u64::from(positions)).is_some()
            && gap.scavenged.iter().all(|scavenged| inside(scavenged.position))
            && gap.appends.iter().all(|append| inside(append.position) && append.events > 0)
            && gap.lists_appends_of_what_is_gone();
        if sound { Ok((gap, body.len() - fields.0.len())) } else { Err(Malformed::Field("gap")) }
    }

    fn lists_appends_of_what_is_gone(&self) -> bool {
        // A repeat of an append that lost events is recognized by its entry alone, so an event
        // without one is malformed.
        let mut appends = self.appends.iter().peekable();
        self.scavenged.iter().all(|scavenged| {
            // Both lists ascend: one pass over each.
            while appends.next_if(|append| append.end() <= scavenged.position).is_some() {}
            appends.peek().is_some_and(|append| append.position <= scavenged.position)
        })
    }

    /// Returns whether the ascending positions of records fill exactly those that are not listed as
    /// scavenged.
    pub(super) fn is_filled_by(&self, kept: impl Iterator<Item = Position>) -> bool {
        // The first position in neither list ends the loop, so a crafted number of positions costs
        // nothing.
        let mut scavenged = self.scavenged.iter().map(|scavenged| scavenged.position).peekable();
        let mut kept = kept.peekable();
        let mut next = self.first;
        while next < self.next() {
            if scavenged.next_if_eq(&next).is_none() && kept.next_if_eq(&next).is_none() {
                return false;
            }
            next = next.next();
        }
        scavenged.next().is_none() && kept.next().is_none()
    }
}

/// The bytes at the front of the body that the gap's checksum covers.
pub(super) fn covered(body: &[u8]) -> Result<&[u8], Malformed> {
    let mut fields = Fields(body);
    fields.u32()?;
    let bytes = fields.u32()? as usize;
    body.get(..bytes).ok_or(Malformed::Short)
}

fn take_appends(fields: &mut Fields<'_>, first: Position) -> Result<Vec<GapAppend>, Malformed> {
    let count = take_count(fields, APPEND_BYTES_MIN)?;
    let mut appends = Vec::with_capacity(count);
    let mut before = first;
    for _ in 0..count {
        let position = take_position(fields, before)?;
        let events =
            u32::try_from(varint(fields)?).map_err(|_| Malformed::Field("events of an append"))?;
        let first_event = EventId::from(Uuid::from_bytes(fields.array()?));
        let ids = IdsDigest(fields.u64()?);
        appends.push(GapAppend { position, events, first_event, ids });
        before = position;
    }
    Ok(appends)
}

fn take_streams(fields: &mut Fields<'_>, first: Position) -> Result<Vec<GapEvent>, Malformed> {
    let mut scavenged = Vec::new();
    for _ in 0..take_count(fields, 1)? {
        let length = usize::try_from(varint(fields)?).map_err(|_| Malformed::Short)?;
        let name = str::from_utf8(fields.take(length)?).map_err(|_| Malformed::Field("text"))?;
        let name = StreamName::stored(Arc::<str>::from(name))
            .map_err(|_| Malformed::Field("stream name"))?;
        let count = take_count(fields, 1)?;
        let mut revision = varint(fields)?;
        let mut before = first;
        for _ in 0..count {
            let position = take_position(fields, before)?;
            scavenged.push(GapEvent {
                position,
                stream: name.clone(),
                revision: Revision::new(revision),
                event_type: None,
                correlation_id: None,
            });
            revision = revision.checked_add(1).ok_or(Malformed::Field("revision"))?;
            before = position;
        }
    }
    // Stored by stream, used by position.
    scavenged.sort_unstable_by_key(|scavenged| scavenged.position);
    Ok(scavenged)
}
