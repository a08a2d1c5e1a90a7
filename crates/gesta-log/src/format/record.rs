//! Records: one event each, readable and verifiable on its own.

use std::{str, sync::Arc};

use bytes::Bytes;
use gesta_store::{
    CausationId, ContentType, CorrelationId, EventId, EventType, NewEvent, Position, RecordedAt,
    RecordedEvent, Revision, StreamName, Tag,
};
use uuid::Uuid;

use super::{Fields, Malformed, Seed};
use crate::mutations::mutated;

/// Size of a record before its first text.
pub(crate) const RECORD_HEADER_BYTES: usize = 68;
/// Length and checksum; not covered by the record's checksum.
const UNCOVERED_BYTES: usize = 8;
/// Offset of the flags.
const FLAGS_AT: usize = 59;
/// Flag: the next record of the frame belongs to the same append.
pub(super) const APPEND_CONTINUES: u8 = 1;

const PLAIN: u8 = 0;
const CONTENT_NAMED: u8 = 0;
const CONTENT_JSON: u8 = 1;
const CONTENT_OCTET_STREAM: u8 = 2;

/// An event and its place in the log, ready to be encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) event: &'a NewEvent,
    pub(crate) stream: &'a StreamName,
    pub(crate) revision: Revision,
    pub(crate) position: Position,
    pub(crate) recorded_at: RecordedAt,
    /// True if the next record belongs to the same append.
    pub(crate) continues: bool,
}

impl Record<'_> {
    /// Size of the encoded record.
    pub(crate) fn encoded_bytes(event: &NewEvent, stream: &StreamName) -> usize {
        let (code, _) = content_code(&event.content_type);
        let named = if code == CONTENT_NAMED { event.content_type.as_str().len() } else { 0 };
        RECORD_HEADER_BYTES
            + stream.as_str().len()
            + event.content_bytes()
            + event.tags.len() // a length byte for each
            + named
    }

    /// Appends the record to `frame`, which begins at `frame_offset` of the segment. Returns the
    /// record's offset in the segment.
    pub(crate) fn encode(&self, frame: &mut Vec<u8>, frame_offset: u64, seed: Seed) -> u64 {
        let start = frame.len();
        let offset = frame_offset + start as u64;
        // Length and checksum are filled in below, when the rest is known.
        frame.extend_from_slice(&[0; UNCOVERED_BYTES]);
        self.encode_fixed(frame);
        self.encode_texts(frame);
        let record = frame.get_mut(start..).expect("the frame only grew");
        debug_assert_eq!(
            record.len(),
            Self::encoded_bytes(self.event, self.stream),
            "room for records is reserved by their predicted size"
        );
        let length = u32::try_from(record.len()).expect("an event is within its limit");
        // The offset and the segment's salt are part of it: a record that is read at a stale
        // offset, or from a file that was rewritten, does not verify.
        let checksum = seed.of(offset, record.get(UNCOVERED_BYTES..).expect("it was just added"));
        for (target, byte) in
            record.iter_mut().zip(length.to_le_bytes().into_iter().chain(checksum.to_le_bytes()))
        {
            *target = byte;
        }
        offset
    }

    fn encode_fixed(&self, frame: &mut Vec<u8>) {
        let event = self.event;
        let (content, named) = content_code(&event.content_type);
        frame.extend_from_slice(&self.position.number().to_le_bytes());
        frame.extend_from_slice(&self.revision.number().to_le_bytes());
        frame.extend_from_slice(&self.recorded_at.micros().to_le_bytes());
        frame.extend_from_slice(event.id.as_uuid().as_bytes());
        frame.extend_from_slice(&event.schema_version.to_le_bytes());
        frame.extend_from_slice(&[content, PLAIN]);
        let stream = u16::try_from(self.stream.as_str().len()).expect("a checked name");
        frame.extend_from_slice(&stream.to_le_bytes());
        frame.extend_from_slice(&[
            short(event.event_type.as_str()),
            short(named),
            u8::try_from(event.tags.len()).expect("tags are within their limit"),
            event.correlation_id.as_ref().map_or(0, |id| short(id.as_str())),
            event.causation_id.as_ref().map_or(0, |id| short(id.as_str())),
            if self.continues { APPEND_CONTINUES } else { 0 },
        ]);
        for length in [event.metadata.len(), event.data.len()] {
            let length = u32::try_from(length).expect("an event is within its limit");
            frame.extend_from_slice(&length.to_le_bytes());
        }
    }

    fn encode_texts(&self, frame: &mut Vec<u8>) {
        let event = self.event;
        frame.extend_from_slice(self.stream.as_str().as_bytes());
        frame.extend_from_slice(event.event_type.as_str().as_bytes());
        frame.extend_from_slice(content_code(&event.content_type).1.as_bytes());
        for tag in &event.tags {
            frame.push(short(tag.as_str()));
            frame.extend_from_slice(tag.as_str().as_bytes());
        }
        for id in [
            event.correlation_id.as_ref().map(CorrelationId::as_str),
            event.causation_id.as_ref().map(CausationId::as_str),
        ]
        .into_iter()
        .flatten()
        {
            frame.extend_from_slice(id.as_bytes());
        }
        // Payloads last: all that precedes them has a bounded size.
        frame.extend_from_slice(&event.metadata);
        frame.extend_from_slice(&event.data);
    }
}

/// Returns the code of a content type, and its name if it has no code.
fn content_code(content: &ContentType) -> (u8, &str) {
    if *content == ContentType::JSON {
        (CONTENT_JSON, "")
    } else if *content == ContentType::OCTET_STREAM {
        (CONTENT_OCTET_STREAM, "")
    } else {
        (CONTENT_NAMED, content.as_str())
    }
}

fn short(text: &str) -> u8 {
    u8::try_from(text.len()).expect("a checked name of at most 255 bytes")
}

/// Reads the length of the record at the front of `bytes`.
pub(crate) fn record_length(bytes: &[u8]) -> Result<usize, Malformed> {
    let length = Fields(bytes).u32()? as usize;
    // At least a header, so that loops over records always move on.
    if length < RECORD_HEADER_BYTES { Err(Malformed::Field("record length")) } else { Ok(length) }
}

/// Returns whether the verified record at the front of `bytes` is followed by one of the same
/// append.
pub(crate) fn append_continues(bytes: &[u8]) -> bool {
    bytes.get(FLAGS_AT).is_some_and(|flags| flags & APPEND_CONTINUES != 0)
}

/// Copies a record from another segment to `frame`, which begins at `frame_offset` of this segment.
pub(crate) fn copy_record(record: &[u8], frame: &mut Vec<u8>, frame_offset: u64, seed: Seed) {
    let offset = frame_offset + frame.len() as u64;
    // The contents are unchanged; only the checksum depends on the location.
    let (length, covered) = (record.get(..4), record.get(UNCOVERED_BYTES..));
    let (length, covered) = length.zip(covered).expect("the record was verified");
    frame.extend_from_slice(length);
    frame.extend_from_slice(&seed.of(offset, covered).to_le_bytes());
    frame.extend_from_slice(covered);
}

/// Decodes the record at the front of `bytes`, which begin at `offset` of the segment.
///
/// Payloads are slices of `bytes`. Names that are equal to those of `like`, usually the previous
/// event, are shared with it.
pub(crate) fn decode_record(
    bytes: &Bytes,
    offset: u64,
    seed: Seed,
    like: Option<&RecordedEvent>,
) -> Result<RecordedEvent, Malformed> {
    let length = record_length(bytes)?;
    let record = bytes.get(..length).ok_or(Malformed::Short)?;
    let mut fields = Fields(record);
    fields.u32()?;
    if fields.u32()? != seed.of(offset, fields.0) && !mutated!(RecordChecksumIgnored) {
        return Err(Malformed::Checksum("record"));
    }
    decode_fields(fields, bytes, like)
}

fn decode_fields(
    mut fields: Fields<'_>,
    record: &Bytes,
    like: Option<&RecordedEvent>,
) -> Result<RecordedEvent, Malformed> {
    let position = Position::new(fields.u64()?);
    let revision = Revision::new(fields.u64()?);
    let recorded_at = RecordedAt::from_micros(fields.u64()?);
    let id = EventId::from(Uuid::from_bytes(fields.array()?));
    let schema_version = fields.u16()?;
    let (content, encoding) = (fields.u8()?, fields.u8()?);
    // No other encoding is defined in this version.
    if encoding != PLAIN {
        return Err(Malformed::OtherVersion);
    }
    let stream_bytes = usize::from(fields.u16()?);
    let [type_bytes, named_bytes, tag_count, correlation_bytes, causation_bytes, flags] =
        fields.array::<6>()?;
    // An unknown flag may change the meaning of the record.
    if flags & !APPEND_CONTINUES != 0 {
        return Err(Malformed::OtherVersion);
    }
    let (metadata_bytes, data_bytes) = (fields.u32()? as usize, fields.u32()? as usize);
    let stream = decode_stream(fields.take(stream_bytes)?, like.map(|like| &like.stream))?;
    let event_type = fields.take(usize::from(type_bytes))?;
    let event_type = decode_event_type(event_type, like.map(|like| &like.event_type))?;
    // Empty for content types with a code.
    let named = fields.take(usize::from(named_bytes))?;
    let named = str::from_utf8(named).map_err(|_| Malformed::Field("text"))?;
    let content_type = decode_content(content, named)?;
    let mut tags = Vec::with_capacity(usize::from(tag_count));
    for at in 0..usize::from(tag_count) {
        let like = like.and_then(|like| like.tags.get(at));
        tags.push(decode_tag(&mut fields, like)?);
    }
    let correlation_id = optional(&mut fields, correlation_bytes, |text| {
        CorrelationId::stored(text).map_err(|_| Malformed::Field("correlation id"))
    })?;
    let causation_id = optional(&mut fields, causation_bytes, |text| {
        CausationId::stored(text).map_err(|_| Malformed::Field("causation id"))
    })?;
    // Payloads share the buffer's reference count; nothing is copied.
    let metadata = record.slice_ref(fields.take(metadata_bytes)?);
    let data = record.slice_ref(fields.take(data_bytes)?);
    // Bytes after the last field would be covered by the checksum, but no reader would see them.
    if !fields.0.is_empty() {
        return Err(Malformed::Field("record length"));
    }
    let event = NewEvent::new(id, event_type, content_type, data)
        .schema_version(schema_version)
        .metadata(metadata)
        .tagged(tags)
        .correlation_id(correlation_id)
        .causation_id(causation_id);
    Ok(RecordedEvent::new(event, stream, revision, position, recorded_at))
}

/// Shares the name with the event before, if it is the same: comparing bytes is cheaper than
/// validating and allocating a name.
fn decode_stream(bytes: &[u8], like: Option<&StreamName>) -> Result<StreamName, Malformed> {
    match like {
        Some(like) if like.as_str().as_bytes() == bytes => Ok(like.clone()),
        _ => StreamName::stored(text(bytes)?).map_err(|_| Malformed::Field("stream name")),
    }
}

fn decode_event_type(bytes: &[u8], like: Option<&EventType>) -> Result<EventType, Malformed> {
    match like {
        Some(like) if like.as_str().as_bytes() == bytes => Ok(like.clone()),
        _ => EventType::stored(text(bytes)?).map_err(|_| Malformed::Field("event type")),
    }
}

fn text(bytes: &[u8]) -> Result<Arc<str>, Malformed> {
    str::from_utf8(bytes).map(Arc::from).map_err(|_| Malformed::Field("text"))
}

fn optional<T>(
    fields: &mut Fields<'_>,
    bytes: u8,
    parse: impl FnOnce(Arc<str>) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    if bytes == 0 { Ok(None) } else { parse(text(fields.take(usize::from(bytes))?)?).map(Some) }
}

fn decode_tag(fields: &mut Fields<'_>, like: Option<&Tag>) -> Result<Tag, Malformed> {
    let length = usize::from(fields.u8()?);
    match (fields.take(length)?, like) {
        (bytes, Some(like)) if like.as_str().as_bytes() == bytes => Ok(like.clone()),
        (bytes, _) => Tag::stored(text(bytes)?).map_err(|_| Malformed::Field("tag")),
    }
}

fn decode_content(code: u8, name: &str) -> Result<ContentType, Malformed> {
    match (code, name) {
        (CONTENT_JSON, "") => Ok(ContentType::JSON),
        (CONTENT_OCTET_STREAM, "") => Ok(ContentType::OCTET_STREAM),
        (CONTENT_NAMED, name) => {
            ContentType::stored(name).map_err(|_| Malformed::Field("content type"))
        }
        _ => Err(Malformed::Field("content type")),
    }
}
