//! Tests of the decoders with arbitrary bytes: they never panic, they agree with each other, and
//! accepted bytes keep their meaning when encoded again.
//!
//! Starts from one valid frame of each kind, mutates it, and makes its checksums valid again for
//! most inputs.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
#![cfg_attr(fuzzing, allow(dead_code, reason = "the fuzzer needs no mutations from seeds"))]

use bytes::Bytes;
use gesta_store::{
    CausationId, ContentType, CorrelationId, EventId, EventType, NewEvent, Position, RecordedAt,
    RecordedEvent, Revision, StreamName, Tag,
};

use super::{
    Chain, EventsFrameBuilder, FRAME_HEADER_BYTES, Frame, FrameKind, Gap, GapAppend, GapEvent,
    GroupLocation, IdsDigest, Opening, Record, Seed, append_continues, borrow_record, encode_bare,
    encode_gap, encode_opening, write_frame_headers,
};

const CASES: u64 = 40_000;
const OFFSET: u64 = 4_096;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }
}

fn place() -> GroupLocation {
    GroupLocation { group_offset: OFFSET, seed: Seed::new([9; 16], 1) }
}

fn events() -> [NewEvent; 2] {
    let event_type = EventType::new("order-placed").unwrap();
    let plain = NewEvent::json(EventId::derived_from("hostile", 0), event_type.clone(), "{}");
    let content_type = ContentType::new("text/plain").unwrap();
    let id = EventId::derived_from("hostile", 1);
    let full = NewEvent::new(id, event_type, content_type, "some text".repeat(9))
        .tagged(vec![Tag::of("customer", "1").unwrap(), Tag::new("urgent").unwrap()])
        .metadata(Bytes::from_static(b"{\"actor\":\"ann\"}"))
        .correlation_id(CorrelationId::new("talk").unwrap())
        .causation_id(CausationId::new("cause").unwrap());
    [plain, full]
}

/// One frame of each kind.
fn frames() -> Vec<Vec<u8>> {
    let (chain, next, stream) =
        (Chain([7; 32]), Position::new(5), StreamName::new("order-1").unwrap());
    let opening = Opening { predecessor: 3, adopted_length: 5_000, salt: [1; 16] };
    let written = |encode: &dyn Fn(&mut Vec<u8>) -> super::PendingFrame| {
        let mut group = Vec::new();
        let frame = encode(&mut group);
        write_frame_headers(&mut group, &place(), OFFSET, &[frame]);
        group
    };
    let records = |group: &mut Vec<u8>, continues: bool| {
        let events = events();
        let records = (5..).zip(&events).map(|(number, event)| Record {
            event,
            stream: &stream,
            revision: Revision::new(number),
            position: Position::new(number),
            recorded_at: RecordedAt::from_micros(5),
            continues: continues && number == 5,
        });
        let mut frame = EventsFrameBuilder::begin(group, chain, next);
        frame.push_append(group, &place(), records, &mut Vec::new());
        frame.finish(group)
    };
    vec![
        written(&|group| encode_opening(group, &place(), chain, next, &opening)),
        written(&|group| encode_bare(group, chain, next, FrameKind::Seal)),
        written(&|group| encode_bare(group, chain, next, FrameKind::Close)),
        written(&|group| {
            encode_gap(group, &place(), chain, &gap(), kept().iter().map(|kept| &kept[..]))
        }),
        written(&|group| records(group, true)),
        written(&|group| records(group, false)),
    ]
}

/// Three appends at positions 5 to 9. The second has lost one of two events.
fn gap() -> Gap {
    let id = EventId::derived_from("hostile", 2);
    let append = GapAppend {
        position: Position::new(7),
        events: 2,
        first_event: id,
        ids: IdsDigest::of([id].into_iter()),
    };
    let stream = StreamName::new("session-1").unwrap();
    let scavenged = GapEvent {
        position: Position::new(7),
        stream,
        revision: Revision::FIRST,
        event_type: Some(EventType::new("closed").unwrap()),
        correlation_id: Some(CorrelationId::new("request").unwrap()),
    };
    Gap {
        first: Position::new(5),
        positions: 5,
        last_recorded_at: RecordedAt::from_micros(5),
        appends: vec![append],
        scavenged: vec![scavenged],
    }
}

/// The remaining records.
fn kept() -> Vec<Vec<u8>> {
    let (stream, [plain, _]) = (StreamName::new("order-1").unwrap(), events());
    let record = |(number, continues)| {
        let record = Record {
            event: &plain,
            stream: &stream,
            revision: Revision::new(number),
            position: Position::new(number),
            recorded_at: RecordedAt::from_micros(5),
            continues,
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes, 0, place().seed);
        bytes
    };
    [(5, true), (6, false), (8, false), (9, false)].into_iter().map(record).collect()
}

fn change(bytes: &mut [u8], from: usize, to: usize, draws: &mut Draws) {
    for _ in 0..=draws.below(3) {
        let at = from + draws.below(to - from);
        bytes[at] = match draws.below(5) {
            0 => 0,
            1 => 0xff,
            2 => bytes[at].wrapping_add(1),
            3 => bytes[at].wrapping_sub(1),
            _ => draws.below(256) as u8,
        };
    }
}

fn put(bytes: &mut [u8], at: usize, checksum: u32) {
    bytes[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// Mutates a frame, and makes its checksums valid again for most inputs.
fn mutate(frame: &mut Vec<u8>, draws: &mut Draws) {
    let seed = place().seed;
    match draws.below(8) {
        0 => {
            let end = frame.len();
            change(frame, 0, end, draws);
        }
        1 => frame.truncate(draws.below(frame.len())),
        2 | 3 => {
            change(frame, 4, 68, draws);
            let checksum = seed.of(OFFSET, &frame[..68]);
            put(frame, 68, checksum);
        }
        _ => {
            let end = frame.len();
            if end > FRAME_HEADER_BYTES {
                // Mostly near the front, where the lengths are.
                let reach =
                    if draws.below(2) == 0 { end } else { end.min(FRAME_HEADER_BYTES + 68) };
                change(frame, FRAME_HEADER_BYTES, reach, draws);
            }
            seal_records(frame);
            seal_header(frame);
        }
    }
}

fn seal_header(frame: &mut [u8]) {
    let seed = place().seed;
    let body = &frame[72..];
    let lists = body.get(4..8).map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().unwrap()));
    let covered = match frame[4] {
        5 => body.get(..lists as usize).unwrap_or(body),
        _ => body,
    };
    let checksum = seed.of(OFFSET + 72, covered);
    put(frame, 64, checksum);
    let checksum = seed.of(OFFSET, &frame[..68]);
    put(frame, 68, checksum);
}

fn seal_records(frame: &mut [u8]) {
    let mut at = FRAME_HEADER_BYTES;
    if let (5, Some(lists)) = (frame[4], frame.get(at + 4..at + 8)) {
        at += u32::from_le_bytes(lists.try_into().unwrap()) as usize;
    }
    while let Some(length) = frame.get(at..at + 4) {
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let Some(record) = frame.get(at + 8..at.saturating_add(length)) else { return };
        let checksum = place().seed.of(OFFSET + at as u64, record);
        put(frame, at + 4, checksum);
        at += length;
    }
}

/// Checks that the other decoder agrees, and that encoding the event again keeps its meaning.
fn check_event(frame: &[u8], offset: u64, event: &RecordedEvent, what: &str) {
    let at = usize::try_from(offset - OFFSET).unwrap();
    let (borrowed, length) = borrow_record(&frame[at..], offset, place().seed).unwrap();
    assert_eq!(borrowed.stream, event.stream.as_str(), "{what}");
    assert_eq!(borrowed.event_type, event.event_type.as_str(), "{what}");
    let places = (borrowed.position, borrowed.revision, borrowed.id);
    assert_eq!(places, (event.position, event.revision, event.id), "{what}");
    assert_eq!((borrowed.data, borrowed.metadata), (&*event.data, &*event.metadata), "{what}");
    assert!(borrowed.tags().eq(event.tags.iter().map(Tag::as_str)), "{what}");
    assert!(at + length <= frame.len(), "{what}");

    let again = Record {
        event: &NewEvent::from(event),
        stream: &event.stream,
        revision: event.revision,
        position: event.position,
        recorded_at: event.recorded_at,
        continues: append_continues(&frame[at..]),
    };
    let mut bytes = Vec::new();
    again.encode(&mut bytes, offset, place().seed);
    let read = super::decode_record(&Bytes::from(bytes), offset, place().seed, None);
    assert_eq!(read.as_ref(), Ok(event), "{what}");
}

/// Decodes bytes as a frame, once as they are and once with valid checksums. Panics if the decoders
/// disagree.
#[cfg(fuzzing)]
pub fn frame(bytes: &[u8]) {
    check_frame(bytes, None, "as it is");
    let mut frame = bytes.to_vec();
    if frame.len() >= FRAME_HEADER_BYTES {
        seal_records(&mut frame);
        seal_header(&mut frame);
        check_frame(&frame, None, "sealed");
    }
}

/// Returns whether the frame is accepted. Panics if the decoders disagree.
fn check_frame(frame: &[u8], before: Option<Chain>, what: &str) -> bool {
    let bytes = Bytes::copy_from_slice(frame);
    let Ok(decoded) = Frame::decode(&bytes, OFFSET, place().seed, before) else { return false };
    assert!(decoded.header.length <= frame.len(), "{what}");
    let listed = decoded.gap.as_ref().map_or(&[][..], |gap| &gap.appends);
    for append in decoded.appends() {
        let positions: Vec<_> = append.iter().map(|(_, event)| event.position).collect();
        assert!(positions.windows(2).all(|pair| pair[0].next() == pair[1]), "{what}");
        let hit = |scavenged: &GapAppend| {
            positions.iter().any(|at| (scavenged.position..scavenged.end()).contains(at))
        };
        assert!(
            !listed.iter().any(hit),
            "{what}: an append is whole, or one of its events is gone"
        );
    }
    for (offset, event) in &decoded.events {
        check_event(frame, *offset, event, what);
    }
    true
}

#[cfg(test)]
#[test]
fn whatever_bytes_are_offered_as_a_frame_are_decoded_alike_or_refused() {
    let frames = frames();
    let (mut accepted, mut refused) = (0, 0);
    for case in 0..CASES {
        let mut draws = Draws(case);
        let mut frame = frames[draws.below(frames.len())].clone();
        mutate(&mut frame, &mut draws);
        let before = if draws.below(2) == 0 { None } else { Some(Chain([7; 32])) };
        match check_frame(&frame, before, &format!("case {case}")) {
            true => accepted += 1,
            false => refused += 1,
        }
    }
    assert!(accepted > 1_000 && refused > 1_000, "{accepted} accepted, {refused} refused");
}
