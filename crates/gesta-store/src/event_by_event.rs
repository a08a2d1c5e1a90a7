//! Events of a refused append that are in their stream already.
//!
//! Owns: the comparison behind [`EventStore::find_events`](crate::EventStore::find_events).
//! Invariant: an answer stays true, because recorded events keep their revisions. Not here: repeats
//! of whole appends, which each store recognizes when it appends.

use crate::{Appended, EventId, Pages, Revision, StoreError, StreamName};

/// Compares the events of a stream with these ids, one by one from a revision on.
pub(crate) async fn compare(
    mut pages: Pages,
    (stream, first): (StreamName, Revision),
    ids: Vec<EventId>,
) -> Result<Option<Appended>, StoreError> {
    let (mut ids, mut next, mut last) = (ids.into_iter(), first, None);
    while let Some(page) = pages.next().await {
        for event in page? {
            // Hidden events leave a gap.
            if event.revision != next || ids.next() != Some(event.id) {
                return Ok(None);
            }
            next = next.next();
            last = Some((event.position, event.revision));
        }
    }
    if ids.next().is_some() {
        return Ok(None);
    }
    let found = last.map(|(position, head)| Appended::new(position, vec![(stream, head)]));
    Ok(found.map(Appended::earlier))
}
