//! The question that an append puts to its streams, kept for the answer to an error.
//!
//! Owns: [`Asked`] and [`CheckPlaces`].

use std::collections::HashMap;

use gesta_store::{ExpectedRevision, StreamAppend, StreamName};

/// The place of each stream's check in the request.
pub(super) type CheckPlaces = HashMap<StreamName, usize>;

/// The streams of an append with their expectations.
#[derive(Debug)]
pub(super) struct Asked(Vec<AskedPart>);

#[derive(Debug)]
struct AskedPart {
    stream: StreamName,
    expected: ExpectedRevision,
    is_written: bool,
}

impl Asked {
    pub(super) fn of(parts: &[StreamAppend]) -> Self {
        let asked = parts.iter().map(|part| AskedPart {
            stream: part.stream.clone(),
            expected: part.expected,
            is_written: !part.events.is_empty(),
        });
        Self(asked.collect())
    }

    /// Returns the first stream that gets records, with its expectation.
    pub(super) fn first_written(&self) -> Option<(&StreamName, ExpectedRevision)> {
        let first = self.0.iter().find(|part| part.is_written)?;
        Some((&first.stream, first.expected))
    }

    /// Returns the check of a stream or of its metadata, with its expectation, unless one of them
    /// gets records.
    pub(super) fn only_checked(
        &self,
        stream: &StreamName,
    ) -> Option<(&StreamName, ExpectedRevision)> {
        let is_about = |part: &&AskedPart| {
            part.stream == *stream || part.stream.described_stream().as_ref() == Some(stream)
        };
        if self.0.iter().any(|part| part.is_written && is_about(&part)) {
            return None;
        }
        self.0.iter().find(is_about).map(|part| (&part.stream, part.expected))
    }
}
