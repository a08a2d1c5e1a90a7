//! The question that an append puts to its streams, kept for the answer to an error.
//!
//! Owns: [`Asked`].

use std::collections::HashMap;

use gesta_store::{EventId, ExpectedRevision, StreamAppend, StreamName};

use crate::streams::repeated::Repeated;

/// The streams of an append with their expectations.
#[derive(Debug)]
pub(super) struct Asked(Vec<AskedPart>);

#[derive(Debug)]
struct AskedPart {
    stream: StreamName,
    expected: ExpectedRevision,
    /// Ids of the records. None for a stream that is only checked.
    ids: Vec<EventId>,
}

impl Asked {
    pub(super) fn of(parts: &[StreamAppend]) -> Self {
        let asked = parts.iter().map(|part| AskedPart {
            stream: part.stream.clone(),
            expected: part.expected,
            ids: part.events.iter().map(|event| event.id).collect(),
        });
        Self(asked.collect())
    }

    /// Returns the streams that get records.
    pub(super) fn written(&self) -> impl Iterator<Item = &StreamName> {
        self.0.iter().filter(|part| part.is_written()).map(|part| &part.stream)
    }

    /// Returns the first stream that gets records, with its expectation.
    pub(super) fn first_written(&self) -> Option<(&StreamName, ExpectedRevision)> {
        let first = self.0.iter().find(|part| part.is_written())?;
        Some((&first.stream, first.expected))
    }

    /// Returns `true` if a stream or its metadata get records.
    pub(super) fn writes_about(&self, stream: &StreamName) -> bool {
        self.written()
            .any(|written| written == stream || written.described_stream().as_ref() == Some(stream))
    }

    /// Returns the records of each stream, whose first part says where they are.
    pub(super) fn repeated(&self) -> Vec<Repeated> {
        let mut places = HashMap::new();
        let mut streams: Vec<Repeated> = Vec::new();
        for AskedPart { stream, expected, ids } in self.0.iter().filter(|part| part.is_written()) {
            let place = *places.entry(stream).or_insert(streams.len());
            match streams.get_mut(place) {
                Some(known) => known.extend(ids),
                None => streams.push(Repeated::new(stream, *expected, ids.clone())),
            }
        }
        streams
    }
}

impl AskedPart {
    fn is_written(&self) -> bool {
        !self.ids.is_empty()
    }
}
