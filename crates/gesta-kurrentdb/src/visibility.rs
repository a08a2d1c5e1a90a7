//! Visible reads of the whole store, which the protocol does not have: the client leaves out what
//! metadata hide.
//!
//! Invariant: an event is judged by the metadata that were in force when its page was made. Age is
//! measured by this machine's clock.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use gesta_store::{
    Filter, Position, ReadAll, RecordedAt, RecordedEvent, Revision, StoreError, StreamName,
};

use crate::{
    core::Core,
    head::head,
    hidden::HiddenStreams,
    read::{PageReader, Tail, tail},
};

/// Leaves out the events that are hidden now.
pub(crate) async fn retain_visible(
    core: &Arc<Core>,
    events: &mut Vec<RecordedEvent>,
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let mut hidden = core.hidden.lock().await;
    bring_up_to_date(core, &mut hidden).await?;
    let mut heads: HashMap<StreamName, Revision> = HashMap::new();
    for event in events.iter() {
        if hidden.needs_head(&event.stream) && !heads.contains_key(&event.stream) {
            let head = match tail(core, &event.stream).await? {
                Tail::Live(head) => head,
                // Nothing of it is visible.
                Tail::Empty | Tail::Tombstoned => Revision::MAX,
            };
            heads.insert(event.stream.clone(), head);
        }
    }
    let now = now();
    events.retain(|event| {
        let head = heads.get(&event.stream).copied().unwrap_or(event.revision);
        hidden.shows(event, head, now)
    });
    Ok(())
}

/// Reads the changes since the last time.
async fn bring_up_to_date(core: &Arc<Core>, hidden: &mut HiddenStreams) -> Result<(), StoreError> {
    let head = head(core).await?;
    if head <= hidden.up_to {
        return Ok(());
    }
    let types = HiddenStreams::EVENT_TYPES.map(str::to_owned).to_vec();
    let filter = Filter::EventTypePrefixes(types);
    let read = ReadAll::forwards().filter(filter);
    // The event at the start is taken in again, which changes nothing.
    let read = if hidden.up_to == Position::START { read } else { read.from(hidden.up_to) };
    let mut changes = PageReader::of_all(Arc::clone(core), read);
    while let Some(events) = changes.next_page().await? {
        for event in &events {
            hidden.take(event);
        }
    }
    hidden.up_to = head;
    Ok(())
}

/// Returns the time of this machine, by which events grow too old.
#[expect(clippy::disallowed_methods, reason = "this is the client's clock")]
fn now() -> RecordedAt {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RecordedAt::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
