//! An append to several streams while its records are read.
//!
//! Owns: [`JointAppend`]. Invariants: each stream has one part; its memory is bounded by the
//! store's limit of an append, and the record that exceeds it refuses the append.

use std::collections::HashMap;

use gesta_store::{
    Append, Appended, ExpectedRevision, Invalid, Limits, StoreError, StreamAppend, StreamName,
};
use tonic::Status;

use super::{asked::Asked, refusals};
use crate::{
    access::{Caller, Right},
    incoming::Reserved,
    node::Node,
    proto::streams_v2::AppendRecord,
    streams::{read::is_of_index, repeated::Repeated, run_append::run_append},
    wire::{new_record, record_id, status},
};

/// The streams, their expectations, and the records so far.
#[derive(Debug)]
pub(super) struct JointAppend {
    parts: Vec<StreamAppend>,
    /// Index of each stream in `parts`.
    places: HashMap<StreamName, usize>,
    limits: Limits,
    bytes: usize,
    /// Kept until the answer: the store has the events until then.
    reserved: Reserved,
}

impl JointAppend {
    pub(super) fn new(node: &Node) -> Self {
        let limits = node.store().capabilities().limits;
        let reserved = node.incoming().reserve_none();
        Self { parts: Vec::new(), places: HashMap::new(), limits, bytes: 0, reserved }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Adds a stream. Returns `false` if it was added before.
    pub(super) fn add(&mut self, stream: &StreamName, expected: ExpectedRevision) -> bool {
        let is_new = !self.places.contains_key(stream);
        if is_new {
            self.expect(stream, expected);
        }
        is_new
    }

    /// Sets what a stream is expected at, which may be added before.
    pub(super) fn expect(&mut self, stream: &StreamName, expected: ExpectedRevision) {
        self.part(stream).expected = expected;
    }

    /// Returns `true` if the stream gets records.
    pub(super) fn writes(&self, stream: &StreamName) -> bool {
        let part = self.places.get(stream).and_then(|place| self.parts.get(*place));
        part.is_some_and(|part| !part.events.is_empty())
    }

    /// Returns the part of a stream, which expects nothing if it is new.
    fn part(&mut self, stream: &StreamName) -> &mut StreamAppend {
        let place = *self.places.entry(stream.clone()).or_insert(self.parts.len());
        if place == self.parts.len() {
            self.parts.push(StreamAppend::new(stream.clone(), ExpectedRevision::Any, []));
        }
        self.parts.get_mut(place).expect("a known stream has a part")
    }

    /// Adds a record to a stream. A stream that the index answers takes none.
    pub(super) fn push(&mut self, stream: &StreamName, record: AppendRecord) -> Result<(), Status> {
        if is_of_index(stream) {
            let stream = stream.clone();
            return Err(status(&StoreError::from(Invalid::SystemStream { stream })));
        }
        let event = new_record(record_id(&record)?, record)?;
        let (size, max) = (event.content_bytes(), self.limits.event_bytes_max);
        if size > max {
            return Err(refusals::record_too_large(stream, event.id, size, max));
        }
        self.bytes += size + stream.as_str().len() + self.limits.event_overhead_bytes;
        if self.bytes > self.limits.append_bytes_max {
            return Err(refusals::append_too_large(self.bytes, self.limits.append_bytes_max));
        }
        self.reserved.resize(self.bytes)?;
        self.part(stream).events.push(event);
        Ok(())
    }

    /// Checks the right of the caller to append to the streams.
    pub(super) async fn check_rights(&self, node: &Node, caller: &Caller) -> Result<(), Status> {
        for part in &self.parts {
            node.access().check_stream(caller, &part.stream, Right::Append).await?;
        }
        Ok(())
    }

    /// Appends the events. Also returns the streams with their expectations, for the answer to an
    /// error.
    pub(super) async fn run(
        self,
        node: &Node,
        caller: &Caller,
    ) -> Result<Appended, (StoreError, Asked)> {
        let Self { parts, reserved: _reserved, .. } = self;
        let asked = Asked::of(&parts);
        match run_append(node, caller, Append::of(parts)).await {
            Ok(appended) => Ok(appended),
            Err(error) => {
                if matches!(error, StoreError::Conflict(_))
                    && let Some(found) = Repeated::find_all(node.store(), asked.repeated()).await
                {
                    return Ok(found);
                }
                Err((error, asked))
            }
        }
    }
}
