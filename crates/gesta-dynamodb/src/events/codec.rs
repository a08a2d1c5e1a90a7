//! The encoding of appends and events in items.
//!
//! Numbers have variable length, texts and bytes a length before them. Not here: items and keys
//! (`layout.rs`), and the parts of large events (`parts.rs`).

use bytes::{Buf as _, Bytes};
use gesta_store::{
    CausationId, ContentType, CorrelationId, EventId, EventType, InvalidName, NewEvent, Revision,
    StreamName, Tag,
};
use uuid::Uuid;

/// The first byte of a batch.
const FORMAT: u8 = 1;
const INLINE: u8 = 0;
const IN_PARTS: u8 = 1;

/// An append as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoggedAppend {
    pub(super) parts: Vec<LoggedPart>,
}

/// The events of one stream in an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoggedPart {
    pub(super) stream: StreamName,
    pub(super) first: Revision,
    pub(super) events: Vec<LoggedEvent>,
}

/// An event, as the log and its stream have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoggedEvent {
    pub(super) id: EventId,
    pub(super) content: Content,
}

/// The content of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Inline(Bytes),
    InParts(Parts),
}

/// The place of a content that is too large for the log's item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) id: Uuid,
    pub(super) count: u32,
}

/// The bytes do not have this form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Malformed;

impl From<InvalidName> for Malformed {
    fn from(_: InvalidName) -> Self {
        Self
    }
}

impl LoggedAppend {
    pub(super) fn events(&self) -> u64 {
        self.parts.iter().map(|part| part.events.len() as u64).sum()
    }
}

pub(super) fn encode_batch(appends: &[LoggedAppend]) -> Vec<u8> {
    let mut out = vec![FORMAT];
    for append in appends {
        encode_append(&mut out, append);
    }
    out
}

pub(super) fn encode_append(out: &mut Vec<u8>, append: &LoggedAppend) {
    put_number(out, append.parts.len() as u64);
    for part in &append.parts {
        put_bytes(out, part.stream.as_str().as_bytes());
        put_number(out, part.first.number());
        put_number(out, part.events.len() as u64);
        for event in &part.events {
            encode_event(out, event);
        }
    }
}

pub(super) fn encode_event(out: &mut Vec<u8>, event: &LoggedEvent) {
    out.extend_from_slice(event.id.as_uuid().as_bytes());
    match &event.content {
        Content::Inline(content) => {
            out.push(INLINE);
            put_bytes(out, content);
        }
        Content::InParts(parts) => {
            out.push(IN_PARTS);
            out.extend_from_slice(parts.id.as_bytes());
            put_number(out, u64::from(parts.count));
        }
    }
}

pub(super) fn decode_batch(mut bytes: Bytes) -> Result<Vec<LoggedAppend>, Malformed> {
    let input = &mut bytes;
    if take_byte(input)? != FORMAT {
        return Err(Malformed);
    }
    let mut appends = Vec::new();
    while !input.is_empty() {
        let parts = (0..take_number(input)?).map(|_| {
            let stream = StreamName::stored(take_text(input)?)?;
            let first = Revision::new(take_number(input)?);
            let events = (0..take_number(input)?).map(|_| decode_event(input));
            Ok(LoggedPart { stream, first, events: events.collect::<Result<_, Malformed>>()? })
        });
        appends.push(LoggedAppend { parts: parts.collect::<Result<_, Malformed>>()? });
    }
    Ok(appends)
}

pub(super) fn decode_event(input: &mut Bytes) -> Result<LoggedEvent, Malformed> {
    let id = EventId::from(take_uuid(input)?);
    let content = match take_byte(input)? {
        INLINE => Content::Inline(take_bytes(input)?),
        IN_PARTS => {
            let id = take_uuid(input)?;
            let count = u32::try_from(take_number(input)?).map_err(|_| Malformed)?;
            Content::InParts(Parts { id, count })
        }
        _ => return Err(Malformed),
    };
    Ok(LoggedEvent { id, content })
}

/// Encodes all of an event but its id.
pub(super) fn encode_content(event: &NewEvent) -> Bytes {
    let mut out = Vec::with_capacity(event.content_bytes() + 64);
    put_number(&mut out, u64::from(event.schema_version));
    put_bytes(&mut out, event.event_type.as_str().as_bytes());
    put_bytes(&mut out, event.content_type.as_str().as_bytes());
    put_bytes(&mut out, &event.metadata);
    put_number(&mut out, event.tags.len() as u64);
    for tag in &event.tags {
        put_bytes(&mut out, tag.as_str().as_bytes());
    }
    put_optional(&mut out, event.correlation_id.as_ref().map(CorrelationId::as_str));
    put_optional(&mut out, event.causation_id.as_ref().map(CausationId::as_str));
    put_bytes(&mut out, &event.data);
    out.into()
}

pub(super) fn decode_content(id: EventId, mut content: Bytes) -> Result<NewEvent, Malformed> {
    let input = &mut content;
    let schema_version = u16::try_from(take_number(input)?).map_err(|_| Malformed)?;
    let event_type = EventType::stored(take_text(input)?)?;
    let content_type = ContentType::stored(take_text(input)?)?;
    let metadata = take_bytes(input)?;
    let tags = (0..take_number(input)?).map(|_| Ok(Tag::stored(take_text(input)?)?));
    let tags: Vec<Tag> = tags.collect::<Result<_, Malformed>>()?;
    let correlation_id = take_optional(input)?.map(CorrelationId::stored).transpose()?;
    let causation_id = take_optional(input)?.map(CausationId::stored).transpose()?;
    let event = NewEvent::new(id, event_type, content_type, take_bytes(input)?)
        .schema_version(schema_version)
        .metadata(metadata)
        .correlation_id(correlation_id)
        .causation_id(causation_id)
        .tagged(tags);
    Ok(event)
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "seven bits are taken at a time")]
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the rest is below 128")]
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_bytes(out, text.as_bytes());
    }
}

fn take_byte(input: &mut Bytes) -> Result<u8, Malformed> {
    if input.is_empty() { Err(Malformed) } else { Ok(input.get_u8()) }
}

fn take_number(input: &mut Bytes) -> Result<u64, Malformed> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(input)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

fn take_bytes(input: &mut Bytes) -> Result<Bytes, Malformed> {
    let count = usize::try_from(take_number(input)?).map_err(|_| Malformed)?;
    if count > input.len() { Err(Malformed) } else { Ok(input.split_to(count)) }
}

fn take_text(input: &mut Bytes) -> Result<String, Malformed> {
    String::from_utf8(take_bytes(input)?.into()).map_err(|_| Malformed)
}

fn take_optional(input: &mut Bytes) -> Result<Option<String>, Malformed> {
    match take_byte(input)? {
        0 => Ok(None),
        _ => take_text(input).map(Some),
    }
}

fn take_uuid(input: &mut Bytes) -> Result<Uuid, Malformed> {
    if input.len() < 16 {
        return Err(Malformed);
    }
    Uuid::from_slice(&input.split_to(16)).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> NewEvent {
        let event_type = EventType::new("order-placed").unwrap();
        NewEvent::json(EventId::random(), event_type, r#"{"total":7}"#)
    }

    #[test]
    fn an_event_survives_its_encoding() {
        let full = event()
            .schema_version(300)
            .metadata(vec![0, 255])
            .correlation_id(CorrelationId::new("request-42").unwrap())
            .tagged([Tag::of("customer", "é").unwrap()]);
        for event in [event(), full] {
            assert_eq!(decode_content(event.id, encode_content(&event)).unwrap(), event);
        }
    }

    #[test]
    fn a_batch_survives_its_encoding_and_a_cut_one_is_refused() {
        let inline = Content::Inline(encode_content(&event()));
        let parts = Content::InParts(Parts { id: Uuid::new_v4(), count: 200 });
        let events = [inline, parts].map(|content| LoggedEvent { id: EventId::random(), content });
        let stream = StreamName::new("order-1").unwrap();
        let part = LoggedPart { stream, first: Revision::new(1 << 40), events: events.to_vec() };
        let appends = vec![LoggedAppend { parts: vec![part.clone(), part] }; 3];
        let bytes = encode_batch(&appends);
        assert_eq!(decode_batch(bytes.clone().into()).unwrap(), appends);
        let cut = Bytes::from(bytes).slice(..50);
        assert!(decode_batch(cut).is_err());
    }
}
