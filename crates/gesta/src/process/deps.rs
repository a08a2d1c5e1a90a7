//! The dependencies of a manager's tasks, and the route of an event.

use std::{sync::Arc, time::UNIX_EPOCH};

use gesta_store::{EventStore, RecordedAt, RecordedEvent, StreamName};

use super::{
    ProcessManager, Routing,
    setup::Identity,
    trouble::{InputError, guarded},
};
use crate::{Begin, Clock, Pipeline, Recorded};

/// Dependencies of a process manager.
pub(super) struct ProcessDeps<P> {
    pub(super) manager: P,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pipeline: Pipeline,
    pub(super) identity: Arc<Identity>,
    pub(super) begins: Begin,
    pub(super) set_aside_max: usize,
}

impl<P> ProcessDeps<P> {
    pub(super) fn now(&self) -> RecordedAt {
        let since_1970 = self.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        RecordedAt::from_micros(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
    }
}

/// The process that an event is routed to.
pub(super) struct Routed {
    pub(super) id: String,
    pub(super) stream: StreamName,
    pub(super) starts: bool,
}

impl<P: ProcessManager> ProcessDeps<P> {
    /// Routes an event. Returns `None` if the event set drops it or means another category. An
    /// event that an upcaster splits is one input of one process.
    pub(super) fn route(&self, event: &RecordedEvent) -> Result<Option<Routed>, InputError> {
        let parts = guarded::<P, _>(|| Recorded::<P::Event>::read_all([event]))??;
        let mut routed: Option<(String, bool)> = None;
        for part in &parts {
            let (id, starts) = match guarded::<P, _>(|| P::route(part))? {
                Routing::Start(id) => (id, true),
                Routing::Continue(id) => (id, false),
                Routing::Ignore => continue,
            };
            match &mut routed {
                None => routed = Some((id, starts)),
                // Parts of one stored event form one input, so they must agree on the process.
                Some((first, begins)) if *first == id => *begins |= starts,
                Some((first, _)) => {
                    return Err(InputError::SeveralProcesses { first: first.clone(), other: id });
                }
            }
        }
        let Some((id, starts)) = routed else { return Ok(None) };
        let stream = self.identity.stream(&id)?;
        Ok(Some(Routed { id, stream, starts }))
    }
}
