//! An event as the checks compare it, whichever form it was decoded into.

use gesta_store::{Position, RecordedEvent, Revision};

use crate::format::{BorrowedEvent, GapEvent};

/// The fields of an event that are compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct ComparedEvent<'a> {
    pub(super) position: Position,
    pub(super) revision: Revision,
    pub(super) stream: &'a str,
}

impl<'a> From<&BorrowedEvent<'a>> for ComparedEvent<'a> {
    fn from(event: &BorrowedEvent<'a>) -> Self {
        let BorrowedEvent { position, revision, stream, .. } = *event;
        Self { position, revision, stream }
    }
}

impl<'a> From<&'a RecordedEvent> for ComparedEvent<'a> {
    fn from(event: &'a RecordedEvent) -> Self {
        let RecordedEvent { position, revision, stream, .. } = event;
        Self { position: *position, revision: *revision, stream: stream.as_str() }
    }
}

impl<'a> From<&'a GapEvent> for ComparedEvent<'a> {
    fn from(event: &'a GapEvent) -> Self {
        let GapEvent { position, revision, stream, .. } = event;
        Self { position: *position, revision: *revision, stream: stream.as_str() }
    }
}
