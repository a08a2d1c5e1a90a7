//! An append to several streams while its records are read.
//!
//! Owns: [`JointAppend`]. Invariants: records are appended in the order in which they came, unless
//! the store takes one part of a stream only, which then has all records of the stream; the
//! expectation of a stream is on its first part. The memory is bounded by the store's limit of an
//! append, and the record that exceeds it refuses the append.

use std::collections::HashMap;

use gesta_store::{
    Append, Appended, Capability, ExpectedRevision, Invalid, Limits, StoreError, StreamAppend,
    StreamName,
};
use tonic::Status;

use super::{asked::Asked, refusals};
use crate::{
    access::{Caller, Right, Sender},
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
    /// Index of the first part of each stream.
    places: HashMap<StreamName, usize>,
    /// The store takes several parts of one stream.
    takes_several: bool,
    limits: Limits,
    bytes: usize,
    /// Kept until the answer: the store has the events until then.
    reserved: Reserved,
}

impl JointAppend {
    pub(super) fn new(node: &Node) -> Self {
        let capabilities = node.store().capabilities();
        Self {
            parts: Vec::new(),
            places: HashMap::new(),
            takes_several: capabilities.has(Capability::StreamParts),
            limits: capabilities.limits,
            bytes: 0,
            reserved: node.incoming().reserve_none(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Adds a stream. Returns `false` if it was added before.
    pub(super) fn add(&mut self, stream: &StreamName, expected: ExpectedRevision) -> bool {
        let is_new = !self.places.contains_key(stream);
        if is_new {
            self.begin_part(stream, expected);
        }
        is_new
    }

    /// Adds an expectation on a stream, besides those that it has.
    pub(super) fn expect(&mut self, stream: &StreamName, expected: ExpectedRevision) {
        let first = self.places.get(stream).and_then(|place| self.parts.get_mut(*place));
        match first {
            Some(part) if part.expected == expected => {}
            Some(part) if part.expected == ExpectedRevision::Any => part.expected = expected,
            Some(_) | None => drop(self.begin_part(stream, expected)),
        }
    }

    /// Returns `true` if the stream gets records.
    pub(super) fn writes(&self, stream: &StreamName) -> bool {
        let part = self.places.get(stream).and_then(|place| self.parts.get(*place));
        part.is_some_and(|part| !part.events.is_empty())
    }

    fn begin_part(&mut self, stream: &StreamName, expected: ExpectedRevision) -> &mut StreamAppend {
        let place = self.parts.len();
        self.places.entry(stream.clone()).or_insert(place);
        self.parts.push(StreamAppend::new(stream.clone(), expected, []));
        self.parts.get_mut(place).expect("the part was just added")
    }

    /// Returns the part of a stream that gets its next record.
    fn part(&mut self, stream: &StreamName) -> &mut StreamAppend {
        let last = self.parts.len().checked_sub(1);
        let is_of_stream =
            |place: &usize| self.parts.get(*place).is_some_and(|part| part.stream == *stream);
        // Metadata of a stream have one part in each append.
        let place = match self.takes_several && stream.described_stream().is_none() {
            true => last.filter(is_of_stream),
            false => self.places.get(stream).copied(),
        };
        match place {
            Some(place) => self.parts.get_mut(place).expect("a known stream has a part"),
            None => self.begin_part(stream, ExpectedRevision::Any),
        }
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
        sender: &Sender,
    ) -> Result<Appended, (StoreError, Asked)> {
        let Self { parts, reserved: _reserved, .. } = self;
        let asked = Asked::of(&parts);
        let repeated = asked.repeated();
        if let Some(found) = Repeated::find_all_recent(node, &repeated).await {
            return Ok(found);
        }
        match run_append(node, sender, Append::of(parts)).await {
            Ok(appended) => {
                repeated.iter().for_each(|part| part.record(node, &appended));
                Ok(appended)
            }
            Err(error) => {
                if matches!(error, StoreError::Conflict(_))
                    && let Some(found) = Repeated::find_all(node, &repeated).await
                {
                    return Ok(found);
                }
                Err((error, asked))
            }
        }
    }
}
