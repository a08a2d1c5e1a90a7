//! Which events are visible: those that a read of their stream shows.
//!
//! Always holds: streams are judged by their metadata as they are now, and each stream of a page
//! once. A store whose streams were never described costs nothing here.

use foldhash::HashMap;
use gesta_store::{Page, Position, RecordedEvent, Revision, StoreError, StreamName};

use super::Reader;
use crate::index::{Index, Life};

/// Judges events by their streams, each of which is looked up once.
#[derive(Debug)]
pub(crate) struct Visible<'a> {
    reader: &'a Reader,
    index: Index,
    streams: HashMap<StreamName, Known>,
}

/// What is known of a stream that has events.
#[derive(Debug)]
struct Known {
    life: Life,
    /// Asked for where it matters.
    head: Option<Revision>,
}

impl<'a> Visible<'a> {
    pub(crate) fn new(reader: &'a Reader) -> Self {
        Self { reader, index: reader.published.index(), streams: HashMap::default() }
    }

    /// Whether a read of the event's stream shows it.
    pub(crate) fn is(&mut self, event: &RecordedEvent) -> Result<bool, StoreError> {
        let Self { reader, index, streams } = self;
        let known = streams
            .entry(event.stream.clone())
            .or_insert_with(|| Known { life: index.life(&event.stream), head: None });
        let Known { life, head } = known;
        let place = (event.revision, event.recorded_at);
        life.shows(place, reader.clock.now(), || {
            if head.is_none() {
                *head = index.stream_head(&event.stream, Position::START)?;
            }
            Ok(*head)
        })
    }
}

impl Reader {
    /// Takes out what is hidden.
    pub(super) fn retain_visible(&self, page: &mut Page) -> Result<(), StoreError> {
        let mut visible = Visible::new(self);
        if visible.index.shows_everything() {
            return Ok(());
        }
        let mut judged = Ok(());
        page.retain(|event| {
            let shown = judged.is_ok().then(|| visible.is(event));
            match shown {
                Some(Ok(shown)) => shown,
                Some(Err(error)) => {
                    judged = Err(error);
                    false
                }
                None => false,
            }
        });
        judged
    }
}
