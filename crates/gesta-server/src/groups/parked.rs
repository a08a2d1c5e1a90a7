//! The stream of parked events of one group: links to events, with the reason.
//!
//! Invariants:
//! - An event is parked once, however often the write is repeated or the server starts again: the
//!   id of a link is derived from the group and the event.
//! - A parked event stays until it was delivered again and finished; then it is hidden by the
//!   stream's `$tb`.

use std::collections::BTreeSet;

use gesta_store::{
    Append, Conflict, ContentType, EventId, EventStore, EventType, ExpectedRevision, NewEvent,
    Ordinal, ReadOrdinals, ReadStream, RecordedEvent, RecordedWhen, Revision, SetStreamMetadata,
    StoreError, StreamDescription, StreamName, StreamState,
};
use serde_json::{Value, json};

use super::{
    configuration::GroupConfig,
    machine::{EventKey, ParkReason},
    name::GroupId,
    repeated::until_known,
};
use crate::{
    node::wall_now,
    streams::{Found, LINK_TYPE, SystemStream, linked_place, visible_event},
};

/// Key of the metadata with the place of the event in its source.
const PLACE: &str = "sourcePlace";
/// Maximum length of a reason, in bytes: it comes from a client.
const REASON_BYTES_MAX: usize = 4_096;

/// The parked events at the start of a group.
#[derive(Debug, Default)]
pub(super) struct ParkedAtStart {
    /// The last revision that is hidden.
    pub(super) hidden: Option<u64>,
    /// Places in the source, after the checkpoint, of events that are parked.
    pub(super) places: BTreeSet<u64>,
}

/// Reads which events are parked.
pub(super) async fn read_at_start(
    store: &dyn EventStore,
    group: &GroupId,
    checkpoint: Option<u64>,
) -> Result<ParkedAtStart, StoreError> {
    let described = store.describe_stream(&group.parked).await?;
    let hidden = first_visible(&described).checked_sub(1);
    let mut places = BTreeSet::new();
    let mut pages = store.read_stream(ReadStream::forwards(group.parked.clone()));
    while let Some(page) = pages.next().await {
        let parked = page?;
        let after = parked.iter().filter_map(source_place);
        places.extend(after.filter(|place| Some(*place) > checkpoint));
    }
    Ok(ParkedAtStart { hidden, places })
}

/// Returns the number of parked events.
pub(super) async fn count(store: &dyn EventStore, group: &GroupId) -> Result<u64, StoreError> {
    let described = store.describe_stream(&group.parked).await?;
    Ok(next_revision(&described).saturating_sub(first_visible(&described)))
}

/// Returns the revision that the next parked event gets.
pub(super) async fn end(store: &dyn EventStore, group: &GroupId) -> Result<u64, StoreError> {
    Ok(next_revision(&store.describe_stream(&group.parked).await?))
}

/// Records a link to an event.
pub(super) async fn park(
    store: &dyn EventStore,
    config: &GroupConfig,
    (key, found): (EventKey, &Found),
    reason: &ParkReason,
) -> Result<(), StoreError> {
    // An event that was parked, delivered again and finished may come again from the source after
    // a crash. It is parked anew then, by its next id.
    for attempt in 0..u64::MAX {
        let link = link(config, key, found, (reason, attempt));
        let stream = config.id.parked.clone();
        let append = Append::to(stream, ExpectedRevision::Any, [link]).privileged();
        let appended = match until_known(|| store.append(append.clone())).await {
            Err(StoreError::Conflict(Conflict::PartialRepeat { .. })) => continue,
            other => other?,
        };
        let recorded = appended.revisions.first().map_or(0, |(_, revision)| revision.number());
        if appended.recorded == RecordedWhen::Now {
            return Ok(());
        }
        let described = store.describe_stream(&config.id.parked).await?;
        if recorded >= first_visible(&described) {
            return Ok(());
        }
    }
    Ok(())
}

/// Hides the parked events before a revision.
pub(super) async fn truncate(
    store: &dyn EventStore,
    group: &GroupId,
    before: u64,
) -> Result<(), StoreError> {
    // Two changes at once must not undo each other.
    loop {
        let described = until_known(|| store.describe_stream(&group.parked)).await?;
        if first_visible(&described) >= before {
            return Ok(());
        }
        let expected = match described.metadata_revision {
            Some(revision) => ExpectedRevision::Exact(revision),
            None => ExpectedRevision::NoStream,
        };
        // Other metadata, such as an access list, stay.
        let metadata = described.metadata.truncate_before(Revision::new(before));
        let change = SetStreamMetadata::new(group.parked.clone(), expected, metadata);
        match until_known(|| store.set_stream_metadata(change.clone())).await {
            Err(StoreError::Conflict(_)) => {}
            other => return other.map(drop),
        }
    }
}

/// Reads parked events from a revision on, each with the event that it stands for.
pub(super) async fn read(
    store: &dyn EventStore,
    group: &GroupId,
    from: u64,
    limit: usize,
) -> Result<Vec<Found>, StoreError> {
    let read = ReadStream::forwards(group.parked.clone())
        .from(Revision::new(from))
        .limit(u64::try_from(limit).unwrap_or(u64::MAX));
    let links = store.read_stream(read).collect_events().await?;
    let mut parked = Vec::with_capacity(links.len());
    for link in links {
        let target = match linked_place(&link.data) {
            Some((stream, revision)) => event_at(store, stream, revision).await?,
            None => None,
        };
        parked.push(Found::Link { link, target: target.map(Box::new) });
    }
    Ok(parked)
}

/// Returns the event at a revision of a stream that is stored, or that the index answers.
async fn event_at(
    store: &dyn EventStore,
    stream: StreamName,
    revision: Revision,
) -> Result<Option<RecordedEvent>, StoreError> {
    let Some(system) = SystemStream::named(&stream) else {
        return visible_event(store, stream, revision).await;
    };
    let ordinal = Ordinal::new(revision.number());
    let read = ReadOrdinals::forwards(system.index.clone()).from(ordinal).limit(1);
    let mut events = store.read_ordinals(read).collect_events().await?;
    events.retain(|event| event.ordinal == ordinal);
    Ok(match system.links(store, events, false).await?.pop() {
        Some(Found::Event(link) | Found::Link { link, .. }) => Some(link),
        None => None,
    })
}

fn link(
    config: &GroupConfig,
    key: EventKey,
    found: &Found,
    (reason, attempt): (&ParkReason, u64),
) -> NewEvent {
    let event = match found {
        Found::Event(event) => event,
        // The link to a link would be resolved once only.
        Found::Link { link, target } => target.as_deref().unwrap_or(link),
    };
    let (cause, ordinal) = match key {
        EventKey::Source(place) => ("source", place),
        EventKey::Replayed(revision) => ("parked", revision),
    };
    let id = EventId::derived_from(&format!("{} {cause} {attempt}", config.life), ordinal);
    let event_type = EventType::new(LINK_TYPE).expect("the type of links is a valid name");
    let data = format!("{}@{}", event.revision, event.stream);
    let mut metadata = json!({ "reason": text(reason), "addedMicros": wall_now().micros() });
    if let (EventKey::Source(place), Some(metadata)) = (key, metadata.as_object_mut()) {
        metadata.insert(PLACE.to_owned(), place.into());
    }
    NewEvent::new(id, event_type, ContentType::OCTET_STREAM, data).metadata(metadata.to_string())
}

fn text(reason: &ParkReason) -> String {
    match reason {
        ParkReason::Retries { max } => format!("Reached max retry count of {max}"),
        ParkReason::Asked(text) => {
            let mut text = format!("Client explicitly NAK'ed message. {text}");
            let end = (0..=REASON_BYTES_MAX.min(text.len())).rev();
            let end = end.into_iter().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
            text.truncate(end);
            text
        }
    }
}

fn source_place(parked: &RecordedEvent) -> Option<u64> {
    let metadata: Value = serde_json::from_slice(&parked.metadata).ok()?;
    metadata.get(PLACE)?.as_u64()
}

fn next_revision(described: &StreamDescription) -> u64 {
    described.head.map_or(0, |head| head.next().number())
}

fn first_visible(described: &StreamDescription) -> u64 {
    match (described.state, described.head) {
        (StreamState::Live, Some(head)) => described.metadata.first_visible(head).number(),
        _ => next_revision(described),
    }
}
