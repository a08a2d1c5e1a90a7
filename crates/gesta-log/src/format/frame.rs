//! Frames: the units of writing and of recovery.
//!
//! A frame holds one append or several neighbouring ones, or is a record of the log's own (opening,
//! close, seal, gap).
//!
//! Invariants:
//! - An append lies within one frame.
//! - A frame begins at a multiple of 8 bytes.
//! - A frame says how far its segment was durable when it was written: the *durable mark*.

use std::ops::Range;

use bytes::Bytes;
use gesta_store::{Position, RecordedAt, RecordedEvent};

use crate::mutations::mutated;

use super::{
    Fields, Gap, GapAppend, Malformed, RECORD_HEADER_BYTES, Seed, append_continues, decode_record,
    gap, record_length,
};

/// Size of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 72;
const CHECKSUM_AT: usize = FRAME_HEADER_BYTES - 4;
const MAGIC: u32 = u32::from_le_bytes(*b"GFRM");
const ALIGNMENT: usize = 8;
const OPENING_BYTES: usize = 32;
/// Length and checksum of a record; the chain does not cover them.
const UNCHAINED_BYTES: usize = 8;
/// Approximate number of record bytes that are hashed at once.
const HASHED_TOGETHER_BYTES: usize = 64 << 10;
/// The unit in which a device loses data.
const SECTOR_BYTES: u64 = 512;

/// Returns the offset of a close frame or seal after frames that end at `end`. It begins a new
/// sector, so that the loss of one sector cannot destroy both an append and the mark that proves
/// the append durable.
pub(crate) fn mark_offset(end: u64) -> u64 {
    if mutated!(MarkInSameSector) {
        return end;
    }
    end.next_multiple_of(SECTOR_BYTES)
}

/// Rounds up to a frame's alignment.
pub(crate) const fn align(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// The hash chain over all that was ever appended: BLAKE3 over the contents of all records.
///
/// It covers the contents of events and their positions, not the location of their bytes, so
/// rewriting a segment keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain(pub(crate) [u8; 32]);

impl Chain {
    /// The value before the first event of a store.
    pub(crate) fn genesis(store: [u8; 16]) -> Self {
        Self(*blake3::hash(&store).as_bytes())
    }

    /// Reads the chain links of a segment's events frames without verifying anything. They are
    /// meaningful only for a segment that was verified otherwise. `None` if the fields are
    /// impossible.
    pub(crate) fn links(self, segment: &[u8], from: u64, to: u64) -> Option<Vec<ChainLink<'_>>> {
        let mut links = Vec::new();
        let (mut before, mut at, mut end) = (self, from, from);
        while end < to {
            let frame = segment.get(usize::try_from(at).ok()?..)?;
            let mut fields = Fields(frame);
            if fields.u32().ok()? != MAGIC {
                // A mark may begin at the next sector; anything else is malformed.
                at = if at == end { mark_offset(end) } else { return None };
                if at == end {
                    return None;
                }
                continue;
            }
            // The same fields as in `FrameHeader::decode`, without checks.
            let [kind, ..] = fields.array::<4>().ok()?;
            let (length, _records) = (fields.u32().ok()? as usize, fields.u32().ok()?);
            fields.take(2 * 8).ok()?;
            let after = Self(fields.array().ok()?);
            // Only events frames have a link to verify: a gap frame sets the chain to a value that
            // cannot be computed again, and other frames keep it.
            if kind == FrameKind::Events.code() {
                links.push(ChainLink {
                    before,
                    body: frame.get(FRAME_HEADER_BYTES..length)?,
                    after,
                });
            }
            before = after;
            // Unverified lengths could be zero; always advance.
            at += length.max(ALIGNMENT) as u64;
            end = at;
        }
        Some(links)
    }

    fn hasher(self) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher
    }
}

/// The records of a frame between two values of the chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainLink<'a> {
    before: Chain,
    /// Records and padding.
    body: &'a [u8],
    after: Chain,
}

impl ChainLink<'_> {
    /// Returns whether the second value follows from the first. `room` is a buffer that is reused
    /// between links.
    pub(crate) fn holds(&self, room: &mut Vec<u8>) -> bool {
        room.clear();
        room.extend_from_slice(&self.before.0);
        let mut rest = self.body;
        // Collected first: the hash is several times as fast over one long input. Padding is
        // shorter than a record, so it ends the loop.
        while let Ok(length) = record_length(rest) {
            let Some((record, later)) = rest.split_at_checked(length) else { break };
            room.extend_from_slice(record.get(UNCHAINED_BYTES..).unwrap_or_default());
            rest = later;
        }
        *blake3::hash(room).as_bytes() == self.after.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// The first frame of a segment; names the predecessor.
    Opening,
    /// The events of one or more appends.
    Events,
    /// Says how far the log is durable, after a pause.
    Close,
    /// The last frame of a segment.
    Seal,
    /// Replaces the frames of appends of which events were scavenged.
    Gap,
}

impl FrameKind {
    /// Returns whether the frame only carries a durable mark.
    pub(crate) const fn is_mark(self) -> bool {
        matches!(self, Self::Close | Self::Seal)
    }

    const fn code(self) -> u8 {
        match self {
            Self::Opening => 1,
            Self::Events => 2,
            Self::Close => 3,
            Self::Seal => 4,
            Self::Gap => 5,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Opening),
            2 => Some(Self::Events),
            3 => Some(Self::Close),
            4 => Some(Self::Seal),
            5 => Some(Self::Gap),
            _ => None,
        }
    }
}

/// The header of a frame, verified by its own checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    /// Header, body and padding, in bytes.
    pub(crate) length: usize,
    pub(crate) records: usize,
    /// The position of the frame's first event, or of the next event if the frame has none.
    pub(crate) first_position: Position,
    /// All bytes of the segment before this offset were durable when the frame was written.
    pub(crate) durable_mark: u64,
    /// The value after this frame.
    pub(crate) chain: Chain,
    pub(super) body_checksum: u32,
}

impl FrameHeader {
    pub(super) fn encode(&self, offset: u64, seed: Seed) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES);
        debug_assert!(self.durable_mark <= offset, "a frame is not durable before it is written");
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(&[self.kind.code(), 0, 0, 0]);
        for number in [self.length, self.records] {
            let number = u32::try_from(number).expect("an append is within its limit");
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.first_position.number().to_le_bytes());
        bytes.extend_from_slice(&self.durable_mark.to_le_bytes());
        bytes.extend_from_slice(&self.chain.0);
        bytes.extend_from_slice(&self.body_checksum.to_le_bytes());
        // Bound to the offset, so a frame that a misdirected write leaves elsewhere does not
        // verify.
        let checksum = seed.of(offset, &bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.try_into().expect("the fields add up to the header's length")
    }

    /// Decodes the header at the front of `bytes`, which begin at `offset` of the segment.
    pub(crate) fn decode(bytes: &[u8], offset: u64, seed: Seed) -> Result<Self, Malformed> {
        let mut fields = Fields(bytes);
        if fields.u32()? != MAGIC {
            return Err(Malformed::Magic);
        }
        let covered = bytes.get(..CHECKSUM_AT).ok_or(Malformed::Short)?;
        // The header is verified before any length in it is used.
        let checksum = Fields(bytes.get(CHECKSUM_AT..).ok_or(Malformed::Short)?).u32()?;
        if checksum != seed.of(offset, covered) && !mutated!(HeaderChecksumIgnored) {
            return Err(Malformed::Checksum("frame header"));
        }
        let [kind, reserved @ ..] = fields.array::<4>()?;
        let kind = FrameKind::from_code(kind).ok_or(Malformed::OtherVersion)?;
        let header = Self {
            kind,
            length: fields.u32()? as usize,
            records: fields.u32()? as usize,
            first_position: Position::new(fields.u64()?),
            durable_mark: fields.u64()?,
            chain: Chain(fields.array()?),
            body_checksum: fields.u32()?,
        };
        // A valid checksum does not exclude a crafted header: bound the number of records by the
        // length before memory is reserved for them.
        let possible = header.records.saturating_mul(RECORD_HEADER_BYTES) + FRAME_HEADER_BYTES;
        // A frame is written after what it calls durable, so a mark past its own offset is not
        // genuine. The least length is that of a header, so loops over frames always move on.
        let whole = header.length.is_multiple_of(ALIGNMENT) && header.length >= possible;
        let sound = whole && reserved == [0; 3] && header.durable_mark <= offset;
        if sound { Ok(header) } else { Err(Malformed::Field("frame header")) }
    }
}

/// The body of an opening frame: the predecessor of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Number of the preceding segment; 0 for the first.
    pub(crate) predecessor: u64,
    /// Number of the predecessor's bytes that belong to the log.
    pub(crate) adopted_length: u64,
    /// The predecessor's salt. Distinguishes files of the same number.
    pub(crate) salt: [u8; 16],
}

impl Opening {
    pub(super) fn encode(&self) -> [u8; OPENING_BYTES] {
        let mut bytes = Vec::with_capacity(OPENING_BYTES);
        bytes.extend_from_slice(&self.predecessor.to_le_bytes());
        bytes.extend_from_slice(&self.adopted_length.to_le_bytes());
        bytes.extend_from_slice(&self.salt);
        bytes.try_into().expect("the fields add up to the body's length")
    }

    fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(body);
        let opening = Self {
            predecessor: fields.u64()?,
            adopted_length: fields.u64()?,
            salt: fields.array()?,
        };
        if fields.0.is_empty() { Ok(opening) } else { Err(Malformed::Field("opening frame")) }
    }
}

/// A verified frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    /// `Some` in an opening frame.
    pub(crate) opening: Option<Opening>,
    /// Each event with its record's offset in the segment.
    pub(crate) events: Vec<(u64, RecordedEvent)>,
    /// `Some` in a gap frame.
    pub(crate) gap: Option<Gap>,
    /// The ranges of `events` that are complete appends.
    appends: Vec<Range<usize>>,
}

impl Frame {
    fn bare(header: FrameHeader, opening: Option<Opening>) -> Self {
        Self { header, opening, events: Vec::new(), gap: None, appends: Vec::new() }
    }

    /// The events of each complete append, with their records' offsets in the segment.
    pub(crate) fn appends(&self) -> impl Iterator<Item = &[(u64, RecordedEvent)]> {
        self.appends.iter().filter_map(|events| self.events.get(events.clone()))
    }

    /// Returns the recorded time of the last event of the frame, scavenged events included.
    pub(crate) fn last_recorded_at(&self) -> Option<RecordedAt> {
        let scavenged = self.gap.as_ref().map(|gap| gap.last_recorded_at);
        scavenged.or(self.events.last().map(|(_, event)| event.recorded_at))
    }

    /// Decodes and verifies the frame at the front of `bytes`, which begin at `offset` of the
    /// segment. `before` is the chain before the frame, or `None` if it is unknown because of
    /// damage.
    pub(crate) fn decode(
        bytes: &Bytes,
        offset: u64,
        seed: Seed,
        before: Option<Chain>,
    ) -> Result<Self, Malformed> {
        let header = FrameHeader::decode(bytes, offset, seed)?;
        // The header is whole, the body was cut.
        if bytes.len() < header.length {
            return Err(Malformed::Short);
        }
        let body = bytes.slice(FRAME_HEADER_BYTES..header.length);
        match header.kind {
            FrameKind::Opening => {
                // Frames without events have to leave the chain unchanged.
                let opening = decode_opening(&header, &body, offset, seed)?;
                check_chain(before, header.chain, |_| {})?;
                Ok(Self::bare(header, Some(opening)))
            }
            FrameKind::Close | FrameKind::Seal => {
                if !body.is_empty() || header.records != 0 {
                    return Err(Malformed::Field("frame without events"));
                }
                check_chain(before, header.chain, |_| {})?;
                Ok(Self::bare(header, None))
            }
            FrameKind::Events => {
                let DecodedRecords { events, continues, used } =
                    decode_events(&header, &body, offset, seed)?;
                // Each record has its own checksum; the chain proves that none is missing or out of
                // order.
                check_chain(before, header.chain, |hasher| hash_records(hasher, &body, used))?;
                let appends = whole_appends(&events, &continues, &[])?;
                Ok(Self { header, opening: None, events, gap: None, appends })
            }
            FrameKind::Gap => {
                // The value after the gap cannot be checked here. The next events frame's value
                // follows from it, and is checked.
                let (gap, DecodedRecords { events, continues, .. }) =
                    decode_gap(&header, &body, offset, seed)?;
                let appends = whole_appends(&events, &continues, &gap.appends)?;
                Ok(Self { header, opening: None, events, gap: Some(gap), appends })
            }
        }
    }

    /// The position after the frame's events.
    pub(crate) fn next(&self) -> Position {
        match (&self.gap, self.events.last()) {
            (Some(gap), _) => gap.next(),
            (None, Some((_, last))) => last.position.next(),
            (None, None) => self.header.first_position,
        }
    }
}

struct DecodedRecords {
    events: Vec<(u64, RecordedEvent)>,
    /// For each event, whether the next one belongs to the same append.
    continues: Vec<bool>,
    /// Number of body bytes up to the end of the records.
    used: usize,
}

/// Returns the ranges of events that are complete appends. The appends in `listed` have lost
/// events.
fn whole_appends(
    events: &[(u64, RecordedEvent)],
    continues: &[bool],
    listed: &[GapAppend],
) -> Result<Vec<Range<usize>>, Malformed> {
    let cut = || Malformed::Field("end of an append");
    let mut appends = Vec::with_capacity(continues.iter().filter(|continues| !**continues).count());
    let mut listed = listed.iter().peekable();
    let mut start = 0;
    for (n, ((_, event), continues)) in events.iter().zip(continues).enumerate() {
        // Skip listed appends that end before this event.
        while listed.next_if(|append| append.end() <= event.position).is_some() {}
        // A listed append has lost events: its remaining events are not an append as a whole.
        if listed.peek().is_some_and(|append| append.position <= event.position) {
            // An append that began before a listed one has not ended.
            if start < n {
                return Err(cut());
            }
            start = n + 1;
        } else if !continues && !mutated!(AppendsMerged) {
            appends.push(start..n + 1);
            start = n + 1;
        }
    }
    // No append is in two frames, so one that has not ended by now was cut.
    match events.len() {
        end if start == end => {}
        end if mutated!(AppendsMerged) || mutated!(PartialFrameVisible) => {
            appends.push(start..end);
        }
        _ => return Err(cut()),
    }
    Ok(appends)
}

/// Decodes a gap frame. Its chain value cannot be verified, because the events that it covers are
/// gone.
fn decode_gap(
    header: &FrameHeader,
    body: &Bytes,
    offset: u64,
    seed: Seed,
) -> Result<(Gap, DecodedRecords), Malformed> {
    let covered = gap::covered(body)?;
    // Covers the lists only. Each record has a checksum of its own.
    if header.body_checksum != seed.of(offset + FRAME_HEADER_BYTES as u64, covered) {
        return Err(Malformed::Checksum("gap frame"));
    }
    let (gap, from) = Gap::decode(body, header.first_position)?;
    let decoded = decode_records(header, body, from, offset, seed)?;
    // Records and scavenged events have to account for every position.
    if !gap.is_filled_by(decoded.events.iter().map(|(_, event)| event.position)) {
        return Err(Malformed::Field("position"));
    }
    Ok((gap, decoded))
}

/// Returns how many positions a gap frame stands for, and the size of its lists, from the beginning
/// of its body.
pub(crate) fn gap_positions(body: &[u8]) -> Result<(u64, usize), Malformed> {
    let lists = gap::covered(body)?.len();
    Ok((u64::from(Fields(body).u32()?), lists))
}

fn check_padding(body: &Bytes, used: usize) -> Result<(), Malformed> {
    let padding = body.get(used..).ok_or(Malformed::Short)?;
    // More padding than needed, or padding that is not zero, would hide bytes.
    if padding.len() >= ALIGNMENT || padding.iter().any(|byte| *byte != 0) {
        return Err(Malformed::Field("frame length"));
    }
    Ok(())
}

fn decode_opening(
    header: &FrameHeader,
    body: &Bytes,
    offset: u64,
    seed: Seed,
) -> Result<Opening, Malformed> {
    if header.body_checksum != seed.of(offset + FRAME_HEADER_BYTES as u64, body) {
        return Err(Malformed::Checksum("opening frame"));
    }
    Opening::decode(body)
}

/// Decodes the records of an events frame, whose positions are contiguous.
fn decode_events(
    header: &FrameHeader,
    body: &Bytes,
    offset: u64,
    seed: Seed,
) -> Result<DecodedRecords, Malformed> {
    let decoded = decode_records(header, body, 0, offset, seed)?;
    let positions = (header.first_position.number()..).map(Position::new);
    if !decoded.events.iter().zip(positions).all(|((_, event), due)| event.position == due) {
        return Err(Malformed::Field("position"));
    }
    // Such a frame is never written. Neither position nor chain would show that it is missing.
    if header.records == 0 {
        return Err(Malformed::Field("frame length"));
    }
    Ok(decoded)
}

/// Decodes a frame's records, which begin at `from` in its body and fill it.
fn decode_records(
    header: &FrameHeader,
    body: &Bytes,
    from: usize,
    offset: u64,
    seed: Seed,
) -> Result<DecodedRecords, Malformed> {
    let mut events = Vec::with_capacity(header.records);
    let mut continues = Vec::with_capacity(header.records);
    let mut used = from;
    let half_visible = header.kind == FrameKind::Events && mutated!(PartialFrameVisible);
    for _ in 0..header.records {
        let rest = body.slice(used..);
        let at = offset + (FRAME_HEADER_BYTES + used) as u64;
        let before = events.last().map(|(_, event)| event);
        // The previous event shares its names, which saves allocations.
        let event = match decode_record(&rest, at, seed, before) {
            Err(_) if half_visible && !events.is_empty() => {
                return Ok(DecodedRecords { events, continues, used: body.len() });
            }
            decoded => decoded?,
        };
        events.push((at, event));
        continues.push(append_continues(&rest));
        used += record_length(&rest)?;
    }
    check_padding(body, used)?;
    Ok(DecodedRecords { events, continues, used })
}

/// Feeds the contents of records, without lengths and checksums, to the chain. Small records are
/// concatenated first: the hash is several times as fast over long inputs.
pub(super) fn hash_records(hasher: &mut blake3::Hasher, body: &[u8], used: usize) {
    let mut rest = body.get(..used).unwrap_or_default();
    let mut said = Vec::with_capacity(used.min(2 * HASHED_TOGETHER_BYTES));
    while let Ok(length) = record_length(rest) {
        let Some((record, later)) = rest.split_at_checked(length) else { break };
        said.extend_from_slice(record.get(UNCHAINED_BYTES..).unwrap_or_default());
        // Bounded, so that large frames are not copied whole.
        if said.len() >= HASHED_TOGETHER_BYTES {
            hasher.update(&said);
            said.clear();
        }
        rest = later;
    }
    hasher.update(&said);
}

fn check_chain(
    before: Option<Chain>,
    after: Chain,
    feed: impl FnOnce(&mut blake3::Hasher),
) -> Result<(), Malformed> {
    // Behind damage the chain is unknown: this frame's value, under the header's checksum, starts
    // it again.
    let Some(before) = before else { return Ok(()) };
    if after == advance(before, feed) || mutated!(PartialFrameVisible) {
        Ok(())
    } else {
        Err(Malformed::Checksum("chain"))
    }
}

/// Returns the chain after what `feed` adds. Unchanged if it adds nothing.
pub(super) fn advance(before: Chain, feed: impl FnOnce(&mut blake3::Hasher)) -> Chain {
    let mut hasher = before.hasher();
    let start = hasher.count();
    feed(&mut hasher);
    // Frames without records must not move the chain, and hashing nothing would.
    if hasher.count() == start { before } else { Chain(*hasher.finalize().as_bytes()) }
}

#[cfg(test)]
mod tests {
    use gesta_store::{
        CorrelationId, EventId, EventType, NewEvent, RecordedAt, Revision, StreamName, Tag,
    };

    use super::{
        super::{
            EventsFrameBuilder, GapEvent, GroupLocation, IdsDigest, Record, encode_gap,
            encode_opening, write_frame_headers,
        },
        *,
    };

    const GENESIS: Chain = Chain([7; 32]);

    fn place() -> GroupLocation {
        GroupLocation { group_offset: 4_096, seed: Seed::new([9; 16], 1) }
    }

    fn events_frame(data: &[u8]) -> Vec<u8> {
        events_frame_of(data, [true, false])
    }

    /// Two records, and for each whether the next one belongs to the same append.
    fn events_frame_of(data: &[u8], continues: [bool; 2]) -> Vec<u8> {
        let stream = StreamName::new("order-1").unwrap();
        let mut event = NewEvent::json(
            EventId::derived_from("test", 0),
            EventType::new("order-placed").unwrap(),
            data.to_vec(),
        );
        event.tags = vec![Tag::of("customer", "1").unwrap()];
        let mut group = Vec::new();
        let records = (1..=2).zip(continues).map(|(number, continues)| Record {
            event: &event,
            stream: &stream,
            revision: Revision::new(number - 1),
            position: Position::new(number),
            recorded_at: RecordedAt::from_micros(5),
            continues,
        });
        let mut frame = EventsFrameBuilder::begin(&mut group, GENESIS, Position::new(1));
        frame.push_append(&mut group, &place(), records, &mut Vec::new());
        let frame = frame.finish(&mut group);
        write_frame_headers(&mut group, &place(), 4_096, &[frame]);
        group
    }

    fn decode(bytes: Vec<u8>) -> Result<Frame, Malformed> {
        Frame::decode(&Bytes::from(bytes), 4_096, place().seed, Some(GENESIS))
    }

    #[test]
    fn a_frame_reads_as_it_was_written() {
        let frame = decode(events_frame(b"{}")).unwrap();
        assert_eq!(frame.header.kind, FrameKind::Events);
        assert_eq!(frame.header.first_position, Position::new(1));
        let (offset, second) = &frame.events[1];
        assert_eq!(second.revision, Revision::new(1));
        assert_eq!(&second.data[..], b"{}");
        assert_eq!(second.tags, vec![Tag::of("customer", "1").unwrap()]);
        assert!(*offset > 4_096 + FRAME_HEADER_BYTES as u64);
    }

    #[test]
    fn appends_end_within_their_frame() {
        let appends = |continues| {
            let frame = decode(events_frame_of(b"{}", continues))?;
            Ok(frame.appends().map(<[_]>::len).collect::<Vec<_>>())
        };
        assert_eq!(appends([true, false]), Ok(vec![2]));
        assert_eq!(appends([false, false]), Ok(vec![1, 1]));
        for cut in [[true, true], [false, true]] {
            assert_eq!(appends(cut), Err(Malformed::Field("end of an append")));
        }
    }

    #[test]
    fn the_links_of_a_segment_are_those_of_all_its_events_frames() {
        let frame = events_frame(b"{}");
        let mut segment = vec![0; 4_096];
        segment.extend_from_slice(&frame);
        segment.extend_from_slice(&frame);
        let end = segment.len() as u64;
        let after = decode(frame.clone()).unwrap().header.chain;
        for (to, expected) in [(4_096, 0), (4_096 + frame.len() as u64, 1), (end, 2)] {
            let links = GENESIS.links(&segment, 4_096, to).unwrap();
            assert_eq!(links.len(), expected);
            let befores = [GENESIS, after];
            for (link, before) in links.iter().zip(befores) {
                assert_eq!((link.before, link.after), (before, after));
                let holds = link.holds(&mut Vec::new());
                assert_eq!(holds, before == GENESIS, "the second one was copied");
            }
        }
        assert!(GENESIS.links(&segment, 4_096, end + 8).is_none(), "there is nothing more");
    }

    #[test]
    fn any_flipped_bit_of_a_frame_is_found() {
        let good = events_frame(b"{}");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_cut_short_is_not_a_frame() {
        let good = events_frame(b"{}");
        for length in 0..good.len() {
            assert!(decode(good[..length].to_vec()).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_frame_of_another_chain_is_found() {
        let frame = Bytes::from(events_frame(b"{}"));
        let other = Frame::decode(&frame, 4_096, place().seed, Some(Chain([8; 32])));
        assert_eq!(other.unwrap_err(), Malformed::Checksum("chain"));
        assert!(Frame::decode(&frame, 4_096, place().seed, None).is_ok());
    }

    fn gap_frame() -> (Gap, Vec<u8>) {
        let stream = StreamName::new("order-1").unwrap();
        let id = EventId::derived_from("test", 0);
        let scavenged = |position, revision| GapEvent {
            position: Position::new(position),
            stream: stream.clone(),
            revision: Revision::new(revision),
            // As if an earlier version had scavenged the first.
            event_type: (revision > 0).then(|| EventType::new("closed").unwrap()),
            correlation_id: (revision > 1).then(|| CorrelationId::new("request").unwrap()),
        };
        let append = |position, events| GapAppend {
            position: Position::new(position),
            events,
            first_event: id,
            ids: IdsDigest::of([id; 2].into_iter()),
        };
        let gap = Gap {
            first: Position::new(1),
            positions: 4,
            last_recorded_at: RecordedAt::from_micros(9),
            appends: vec![append(1, 3), append(4, 1)],
            scavenged: vec![scavenged(1, 0), scavenged(2, 1), scavenged(4, 2)],
        };
        let whole = Frame::decode(&events_frame(b"{}").into(), 4_096, place().seed, None).unwrap();
        let event = NewEvent::json(id, whole.events[0].1.event_type.clone(), "{}");
        let record = Record {
            event: &event,
            stream: &StreamName::new("stock-1").unwrap(),
            revision: Revision::new(7),
            position: Position::new(3),
            recorded_at: RecordedAt::from_micros(5),
            continues: false,
        };
        let mut kept = Vec::new();
        record.encode(&mut kept, 0, Seed::new([3; 16], 1));
        let mut group = Vec::new();
        let frame = encode_gap(&mut group, &place(), GENESIS, &gap, [&kept[..]].into_iter());
        write_frame_headers(&mut group, &place(), 4_096, &[frame]);
        (gap, group)
    }

    #[test]
    fn a_gap_frame_reads_as_it_was_written() {
        let (gap, bytes) = gap_frame();
        let frame = decode(bytes).unwrap();
        assert_eq!((frame.header.kind, frame.next()), (FrameKind::Gap, Position::new(5)));
        assert_eq!(frame.gap, Some(gap));
        let [(_, kept)] = &frame.events[..] else { panic!("{:?}", frame.events) };
        assert_eq!((kept.position, kept.revision), (Position::new(3), Revision::new(7)));
    }

    #[test]
    fn any_flipped_bit_of_a_gap_frame_is_found_and_so_is_a_cut() {
        let (_, good) = gap_frame();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(bad).is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(decode(good[..length].to_vec()).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn an_opening_frame_names_its_predecessor() {
        let opening = Opening { predecessor: 3, adopted_length: 5_000, salt: [1; 16] };
        let mut group = Vec::new();
        let frame = encode_opening(&mut group, &place(), GENESIS, Position::new(9), &opening);
        write_frame_headers(&mut group, &place(), 4_096, &[frame]);
        let frame = decode(group).unwrap();
        assert_eq!(frame.opening, Some(opening));
        assert_eq!(frame.header.first_position, Position::new(9));
        assert_eq!(frame.header.chain, GENESIS, "no events, the same chain");
    }
}
