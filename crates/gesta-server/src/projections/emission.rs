//! Events that a projection appends.
//!
//! Owns: their ids, metadata and streams, and [`Emissions`], which collects them. Invariants:
//! - The id of an event depends on the projection, its epoch, the position of the source event and
//!   the event's number among those of the source event, and on nothing else.
//! - A script appends to no stream of the system, so that it cannot give itself rights or change
//!   what servers keep there.

use std::collections::{BTreeMap, HashMap};

use gesta_scripts::{Definition, Emitted};
use gesta_store::{
    CausationId, ContentType, EventId, EventType, ExpectedRevision, NewEvent, StreamAppend,
    StreamName,
};
use serde_json::value::{RawValue, to_raw_value};

use super::{
    config::ProjectionConfig,
    fold::{Output, OutputKind},
    names,
    source::Input,
};

/// Types of the events of a result stream.
const RESULT: &str = "Result";
const RESULT_REMOVED: &str = "ResultRemoved";

/// Events for the next append, by stream, in the order in which they were emitted.
#[derive(Debug, Default)]
pub(super) struct Emissions {
    streams: Vec<StreamAppend>,
    places: HashMap<StreamName, usize>,
    pub(super) count: usize,
}

impl Emissions {
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    pub(super) fn push(&mut self, stream: StreamName, event: NewEvent) {
        let next = self.streams.len();
        let place = *self.places.entry(stream.clone()).or_insert(next);
        if place == next {
            self.streams.push(StreamAppend::new(stream, ExpectedRevision::Any, []));
        }
        if let Some(part) = self.streams.get_mut(place) {
            part.events.push(event);
            self.count += 1;
        }
    }

    pub(super) fn streams(&self) -> &[StreamAppend] {
        &self.streams
    }
}

/// Ids of the events of one source event.
pub(super) struct Numbering<'a> {
    config: &'a ProjectionConfig,
    input: usize,
    next: u64,
}

impl<'a> Numbering<'a> {
    pub(super) fn new(config: &'a ProjectionConfig) -> Self {
        Self { config, input: usize::MAX, next: 0 }
    }

    /// Returns the id of the next event; outputs come in the order of their inputs.
    fn next(&mut self, index: usize, input: &Input) -> EventId {
        if self.input != index {
            (self.input, self.next) = (index, 0);
        }
        let number = self.next;
        self.next += 1;
        let ProjectionConfig { id, epoch, .. } = self.config;
        EventId::derived_from(&format!("{id} {epoch} {}", input.position), number)
    }
}

/// Makes the event of an output. An error is the reason why it cannot be appended.
pub(super) fn event_of(
    numbering: &mut Numbering<'_>,
    definition: &Definition,
    inputs: &[Input],
    output: Output,
) -> Result<(StreamName, NewEvent), String> {
    let Output { input: index, kind } = output;
    let input = inputs.get(index).ok_or("an output belongs to no event")?;
    let id = numbering.next(index, input);
    let config = numbering.config;
    match kind {
        OutputKind::Emitted(emitted) => {
            if !config.may_emit {
                return Err("the script emits events, and the projection may not; \
                            create or update it with emitting enabled"
                    .to_owned());
            }
            emitted_event(id, input, emitted)
        }
        OutputKind::Result { partition, result } => {
            let name = result_stream(definition, &config.name, &partition);
            let is_default = name == names::results(&config.name, &partition);
            let stream = if is_default { valid_name(&name)? } else { user_stream(&name)? };
            let event_type = if result.is_some() { RESULT } else { RESULT_REMOVED };
            let event_type = EventType::new(event_type).map_err(|invalid| invalid.to_string())?;
            let event = NewEvent::json(id, event_type, result.unwrap_or_else(|| "null".to_owned()));
            Ok((stream, caused(event, input, None)))
        }
    }
}

fn result_stream(definition: &Definition, projection: &str, partition: &str) -> String {
    match (partition, &definition.result_stream, &definition.partition_result_stream) {
        ("", Some(stream), _) => stream.clone(),
        ("", None, _) => names::results(projection, ""),
        (partition, _, Some(pattern)) => pattern.replace("{0}", partition),
        (partition, Some(stream), None) => format!("{stream}-{partition}"),
        (partition, None, None) => names::results(projection, partition),
    }
}

fn emitted_event(
    id: EventId,
    input: &Input,
    emitted: Emitted,
) -> Result<(StreamName, NewEvent), String> {
    let Emitted { stream, event_type, data, is_json, metadata, .. } = emitted;
    let stream = user_stream(&stream)?;
    let event_type = EventType::new(event_type.as_str())
        .map_err(|invalid| format!("cannot emit an event of the type `{event_type}`: {invalid}"))?;
    let content_type = if is_json { ContentType::JSON } else { ContentType::OCTET_STREAM };
    let event = NewEvent::new(id, event_type, content_type, data);
    Ok((stream, caused(event, input, metadata)))
}

fn user_stream(name: &str) -> Result<StreamName, String> {
    if name.starts_with('$') {
        return Err(format!("a script cannot emit to `{name}`, a stream of the system"));
    }
    valid_name(name)
}

fn valid_name(name: &str) -> Result<StreamName, String> {
    StreamName::new(name).map_err(|invalid| format!("cannot emit to `{name}`: {invalid}"))
}

/// Names the source event as the cause, in the way of the protocol's users. Other metadata are kept
/// as the script wrote them, however deep they are.
fn caused(event: NewEvent, input: &Input, metadata: Option<String>) -> NewEvent {
    let cause = &input.event;
    let about = metadata.and_then(|json| serde_json::from_str(&json).ok());
    let mut about: BTreeMap<String, Box<RawValue>> = about.unwrap_or_default();
    about.insert("$causedBy".to_owned(), text(&cause.id.to_string()));
    if let Some(id) = &cause.correlation_id {
        about.entry("$correlationId".to_owned()).or_insert_with(|| text(id.as_str()));
    }
    let about = serde_json::to_vec(&about).expect("entries are JSON");
    event
        .metadata(about)
        .correlation_id(cause.correlation_id.clone())
        .causation_id(CausationId::new(cause.id.to_string()).ok())
}

fn text(value: &str) -> Box<RawValue> {
    to_raw_value(value).expect("a text is JSON")
}
