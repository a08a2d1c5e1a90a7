//! Appends: to one stream by the first version of the streams, to several by the second.
//!
//! Owns: the choice, and the translation of answers. Invariant: one append of the contract is one
//! call, so that it is recorded whole or not at all. Not here: errors
//! ([`failure`](crate::failure)).

use futures_util::FutureExt as _;
use gesta_store::{
    Append, Appended, Capability, Conflict, EventId, ExpectedRevision, Limits, NewEvent, Overload,
    Position, Revision, StoreError, StreamAppend, StreamDescription, StreamName, StreamState,
};
use prost_types::{Value, value::Kind};
use serde_json::value::RawValue;

use crate::{
    append_one::{EVENT_OVERHEAD_BYTES, send_part},
    core::{Core, MESSAGE_BYTES_MAX},
    describe::describe,
    envelope::Envelope,
    failure::Subject,
    head::head,
    proto::{
        appends::{FindReq, appends_client::AppendsClient},
        streams_v2::{
            AppendRecord, AppendRecordsRequest, ConsistencyCheck, SchemaFormat, SchemaInfo,
            consistency_check::{StreamStateCheck, Type},
            streams_service_client::StreamsServiceClient,
        },
    },
    wire::{head_of_number, malformed, number_of_expected, stream_of, uuid},
};

/// Room for the envelope of one event.
const ENVELOPE_BYTES: usize = 64 << 10;

/// Looks at several streams until nothing changes in between.
const LOOKS_MAX: usize = 16;

/// The largest input that a server takes with its default settings.
pub(crate) fn limits() -> Limits {
    let mut limits = Limits::DEFAULT;
    limits.event_bytes_max -= ENVELOPE_BYTES;
    limits.append_bytes_max -= limits.append_bytes_max / 4;
    limits.event_overhead_bytes = EVENT_OVERHEAD_BYTES;
    limits
}

/// Appends events, or checks expectations only.
pub(crate) async fn append(core: &Core, append: Append) -> Result<Appended, StoreError> {
    let Some(first_event) = append.events().next().map(|event| event.id) else {
        return check(core, append.streams).await;
    };
    let known = core.offer(first_event);
    let mut streams = append.streams;
    let answer = match streams.pop() {
        Some(part) if streams.is_empty() => append_to_one(core, part).await,
        last => {
            streams.extend(last);
            append_records(core, streams, first_event).await
        }
    };
    core.settle(first_event, known, answer)
}

async fn append_to_one(core: &Core, part: StreamAppend) -> Result<Appended, StoreError> {
    let stream = part.stream.clone();
    let (head, position) = send_part(core, part).await?;
    let position = position.ok_or_else(|| malformed(0, "an append has no position"))?;
    let head = head.ok_or_else(|| malformed(position.number(), "an append has no revision"))?;
    Ok(Appended::new(position, vec![(stream, head)]))
}

/// Checks what streams are expected at, and returns the head.
async fn check(core: &Core, streams: Vec<StreamAppend>) -> Result<Appended, StoreError> {
    match <[StreamAppend; 1]>::try_from(streams) {
        Ok([part]) => {
            send_part(core, part).await?;
        }
        Err(several) => check_several(core, &several).await?,
    }
    Ok(Appended::new(head(core).await?, Vec::new()))
}

/// Checks several streams in one state of the store: a look at all of them that finds the same as
/// the look before it. A stream never returns to a state that it had, because its revisions
/// continue.
async fn check_several(core: &Core, parts: &[StreamAppend]) -> Result<(), StoreError> {
    let mut before = look(core, parts).await?;
    for _ in 0..LOOKS_MAX {
        let now = look(core, parts).await?;
        if now == before {
            return parts.iter().zip(&now).try_for_each(|(part, found)| admit(part, found));
        }
        before = now;
    }
    Err(StoreError::Overloaded(Overload::Throttled { retry_after: None }))
}

async fn look(core: &Core, parts: &[StreamAppend]) -> Result<Vec<StreamDescription>, StoreError> {
    let mut found = Vec::with_capacity(parts.len());
    for part in parts {
        found.push(describe(core, &part.stream).await?);
    }
    Ok(found)
}

fn admit(part: &StreamAppend, found: &StreamDescription) -> Result<(), StoreError> {
    let StreamAppend { stream, expected, .. } = part;
    let head = match (found.state, expected) {
        (StreamState::Tombstoned, _) => {
            return Err(StoreError::Deleted { stream: stream.clone() });
        }
        (StreamState::Live, _) | (StreamState::Deleted, ExpectedRevision::Exact(_)) => found.head,
        (StreamState::Missing | StreamState::Deleted, _) => None,
    };
    match expected.admits(head) {
        true => Ok(()),
        false => Err(Conflict::Stream { stream: stream.clone(), expected: *expected, head }.into()),
    }
}

/// Appends to several streams, and checks those without events.
async fn append_records(
    core: &Core,
    streams: Vec<StreamAppend>,
    first_event: EventId,
) -> Result<Appended, StoreError> {
    let sizes = streams.iter().flat_map(|part| &part.events);
    let subject = Subject {
        first_event: Some(first_event),
        bytes: sizes.map(|event| event.content_bytes() + EVENT_OVERHEAD_BYTES).sum(),
        needs: Some(Capability::MultiStreamAppend),
        ..Subject::default()
    };
    let checked = streams.iter().filter(|part| part.expected != ExpectedRevision::Any);
    let checks = checked.map(|part| ConsistencyCheck {
        r#type: Some(Type::StreamState(StreamStateCheck {
            stream: part.stream.as_str().to_owned(),
            expected_state: number_of_expected(part.expected),
        })),
    });
    let checks = checks.collect();
    let records = streams.into_iter().flat_map(|StreamAppend { stream, events, .. }| {
        events.into_iter().map(move |event| record(&stream, event))
    });
    let request = AppendRecordsRequest { records: records.collect(), checks };
    let answer = core.cluster.call(|lease| {
        let origin = lease.link.origin();
        let mut client = StreamsServiceClient::with_origin(lease.link.clone(), origin)
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        async move {
            let answer = client.append_records(request).await;
            drop(lease);
            answer.map(tonic::Response::into_inner)
        }
        .boxed()
    });
    let answer = answer.await.map_err(|failure| failure.of_change(&subject))?;
    let unreadable = || malformed(0, "the answer to an append has no position or revisions");
    let position = u64::try_from(answer.position).map_err(|_| unreadable())?;
    let revisions = answer.revisions.into_iter().map(|of| {
        let stream = StreamName::stored(of.stream).ok()?;
        Some((stream, head_of_number(of.revision)?))
    });
    let revisions = revisions.collect::<Option<_>>().ok_or_else(unreadable)?;
    Ok(Appended::new(Position::new(position), revisions))
}

fn record(stream: &StreamName, event: NewEvent) -> AppendRecord {
    let format = match event.content_type.is_json() {
        true => SchemaFormat::Json,
        false => SchemaFormat::Bytes,
    };
    let properties = match Envelope::of_properties(&event) {
        Envelope::Plain(_) => Default::default(),
        Envelope::Entries(entries) => {
            entries.into_iter().map(|(name, value)| (name, property(&value))).collect()
        }
    };
    AppendRecord {
        record_id: Some(event.id.to_string()),
        properties,
        schema: Some(SchemaInfo {
            format: format.into(),
            name: event.event_type.as_str().to_owned(),
            id: None,
        }),
        data: event.data,
        stream: stream.as_str().to_owned(),
    }
}

/// Translates an entry: a text or one of the three names, as the envelope has them for properties.
fn property(value: &RawValue) -> Value {
    let kind = match serde_json::from_str(value.get()) {
        Ok(serde_json::Value::String(text)) => Kind::StringValue(text),
        Ok(serde_json::Value::Bool(is)) => Kind::BoolValue(is),
        _ => Kind::NullValue(0),
    };
    Value { kind: Some(kind) }
}

/// Finds the append whose first event has this id.
pub(crate) async fn find(
    core: &Core,
    first_event: EventId,
) -> Result<Option<Appended>, StoreError> {
    let request = FindReq { first_event_id: Some(uuid(first_event)) };
    let answer = core.cluster.call(|lease| {
        let origin = lease.link.origin();
        let mut client = AppendsClient::with_origin(lease.link.clone(), origin);
        async move {
            let answer = client.find(request).await;
            drop(lease);
            answer.map(tonic::Response::into_inner)
        }
        .boxed()
    });
    let subject = Subject { needs: Some(Capability::FindAppend), ..Subject::default() };
    let answer = answer.await.map_err(|failure| failure.of_read(&subject))?;
    let Some(found) = answer.found else { return Ok(None) };
    let heads = found.heads.iter().map(|head| {
        Some((stream_of(head.stream_identifier.as_ref())?, Revision::new(head.revision)))
    });
    let revisions = heads.collect::<Option<_>>();
    let revisions = revisions.ok_or_else(|| malformed(found.position, "no stream's name"))?;
    let position = Position::new(found.position);
    core.see(position);
    Ok(Some(Appended::new(position, revisions).earlier()))
}
