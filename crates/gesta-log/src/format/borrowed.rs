//! Decoding a record in place, without copying or allocating.
//!
//! The checksum is verified, and every length checked, before a field is returned.

use gesta_store::{EventId, Position, RecordedAt, Revision};
use uuid::Uuid;

use super::{Fields, Malformed, Seed, record::APPEND_CONTINUES, record_length};

/// A recorded event that borrows its texts and payloads from the buffer it was read into.
///
/// ```
/// use std::ops::ControlFlow;
/// use gesta_log::{LogStore, Options};
/// # use gesta_store::{
/// #     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Position, StreamName,
/// #     conformance::block_on,
/// # };
///
/// # let directory = tempfile::tempdir()?;
/// let store = LogStore::open(directory.path(), Options::default())?;
/// # let event = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
/// # let append = Append::to(StreamName::new("order-1")?, ExpectedRevision::NoStream, [event]);
/// # block_on(store.append(append))?;
/// let mut bytes = 0;
/// let scanned = store.scan(Position::START, |event| {
///     assert_eq!(event.stream, "order-1");
///     bytes += event.data.len();
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!((scanned, bytes), (1, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BorrowedEvent<'a> {
    /// Position in the store.
    pub position: Position,
    /// Revision in the stream.
    pub revision: Revision,
    /// Time at which the store recorded the event.
    pub recorded_at: RecordedAt,
    /// Event id.
    pub id: EventId,
    /// Schema version of the event type.
    pub schema_version: u16,
    /// Stream name.
    pub stream: &'a str,
    /// Event type.
    pub event_type: &'a str,
    /// Metadata, as it was appended.
    pub metadata: &'a [u8],
    /// Data, as it was appended.
    pub data: &'a [u8],
    tags: Tags<'a>,
}

impl<'a> BorrowedEvent<'a> {
    /// The tags, in the order in which they were appended.
    #[must_use]
    pub fn tags(&self) -> Tags<'a> {
        self.tags
    }
}

/// The tags of a borrowed event, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags<'a> {
    /// Lengths and UTF-8 are already checked.
    bytes: &'a [u8],
}

impl<'a> Iterator for Tags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (length, rest) = self.bytes.split_first()?;
        let (tag, rest) = rest.split_at_checked(usize::from(*length))?;
        self.bytes = rest;
        str::from_utf8(tag).ok()
    }
}

/// Decodes the record at the front of `bytes`, which begin at `offset` of the segment. Also returns
/// the record's length.
pub(crate) fn borrow_record(
    bytes: &[u8],
    offset: u64,
    seed: Seed,
) -> Result<(BorrowedEvent<'_>, usize), Malformed> {
    let length = record_length(bytes)?;
    let record = bytes.get(..length).ok_or(Malformed::Short)?;
    let mut fields = Fields(record);
    fields.u32()?;
    // The checksum covers all that follows it.
    if fields.u32()? != seed.of(offset, fields.0) {
        return Err(Malformed::Checksum("record"));
    }
    let position = Position::new(fields.u64()?);
    let revision = Revision::new(fields.u64()?);
    let recorded_at = RecordedAt::from_micros(fields.u64()?);
    let id = EventId::from(Uuid::from_bytes(fields.array()?));
    let schema_version = fields.u16()?;
    let [_content, encoding] = fields.array::<2>()?;
    if encoding != 0 {
        return Err(Malformed::OtherVersion);
    }
    let stream_bytes = usize::from(fields.u16()?);
    let [type_bytes, named_bytes, tag_count, correlation_bytes, causation_bytes, flags] =
        fields.array::<6>()?.map(usize::from);
    if flags & !usize::from(APPEND_CONTINUES) != 0 {
        return Err(Malformed::OtherVersion);
    }
    let (metadata_bytes, data_bytes) = (fields.u32()? as usize, fields.u32()? as usize);
    // One UTF-8 check for both names. `split_at_checked` refuses a cut within a character.
    let names = text(fields.take(stream_bytes + type_bytes)?)?;
    let (stream, event_type) =
        names.split_at_checked(stream_bytes).ok_or(Malformed::Field("text"))?;
    fields.take(named_bytes)?;
    // Tags are validated here, so that their iterator cannot fail.
    let tags = take_tags(&mut fields, tag_count)?;
    // Not part of a borrowed event.
    fields.take(correlation_bytes + causation_bytes)?;
    let (metadata, data) = (fields.take(metadata_bytes)?, fields.take(data_bytes)?);
    if !fields.0.is_empty() {
        return Err(Malformed::Field("record length"));
    }
    let event = BorrowedEvent {
        position,
        revision,
        recorded_at,
        id,
        schema_version,
        stream,
        event_type,
        metadata,
        data,
        tags,
    };
    Ok((event, length))
}

fn take_tags<'a>(fields: &mut Fields<'a>, count: usize) -> Result<Tags<'a>, Malformed> {
    let all = fields.0;
    for _ in 0..count {
        let bytes = usize::from(fields.u8()?);
        text(fields.take(bytes)?)?;
    }
    let bytes = all.get(..all.len() - fields.0.len()).unwrap_or_default();
    Ok(Tags { bytes })
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    str::from_utf8(bytes).map_err(|_| Malformed::Field("text"))
}
