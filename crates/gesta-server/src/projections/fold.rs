//! Handlers, called for a few events on the script's thread.
//!
//! Invariants:
//! - An event is handled completely or not at all: states and outputs end after a whole event.
//! - A failing event keeps nothing of what it did; the events before it are handled.

use std::collections::HashMap;

use gesta_scripts::{Emitted, Outputs, Script, ScriptError, ScriptEvent, StreamDeletion};

use super::{checkpoint::PartitionState, source::Input};

/// Size of outputs after which no further event is handled before they are appended.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Bytes that are counted for each output besides its data.
const OUTPUT_OVERHEAD_BYTES: usize = 200;
/// Steps of the script after which no further event is handled: a fraction of a second, so that a
/// projection stops soon.
const STEPS_MAX: u64 = 10_000_000;
/// Number of partitions after which no further one begins.
const PARTITIONS_MAX: usize = 500;

/// States that handlers are called with.
#[derive(Clone, Debug, Default)]
pub(super) struct States {
    pub(super) partitions: HashMap<String, PartitionState>,
    /// The state that partitions share, as JSON.
    pub(super) shared: Option<String>,
}

/// An output of one event.
#[derive(Debug)]
pub(super) struct Output {
    /// Index of the input.
    pub(super) input: usize,
    pub(super) kind: OutputKind,
}

#[derive(Debug)]
pub(super) enum OutputKind {
    Emitted(Emitted),
    /// The partition's result is another one now; `None` if there is none any more.
    Result {
        partition: String,
        result: Option<String>,
    },
}

/// Inputs that were handled, with everything that came of it.
#[derive(Debug, Default)]
pub(super) struct Folded {
    pub(super) states: States,
    pub(super) outputs: Vec<Output>,
    /// Number of inputs that were handled.
    pub(super) handled: usize,
    pub(super) lines: Vec<String>,
    /// The error of the next input.
    pub(super) failure: Option<ScriptError>,
}

/// An input whose handler failed.
struct Failed {
    index: usize,
    error: ScriptError,
}

/// Calls the script's handlers for some of the inputs, at least one.
pub(super) fn fold(script: &mut Script, inputs: &[Input], states: States) -> Folded {
    match attempt(script, inputs, states.clone()) {
        Ok(folded) => folded,
        Err(Failed { index, error }) => {
            // The failing handler has touched the state; the events before it are done once more.
            let before = inputs.get(..index).unwrap_or_default();
            match attempt(script, before, states) {
                Ok(folded) => Folded { failure: Some(error), ..folded },
                Err(Failed { error, .. }) => Folded { failure: Some(error), ..Folded::default() },
            }
        }
    }
}

/// Returns the partition of inputs by the script's own key, at least of one, up to the first
/// failure.
pub(super) fn keys(script: &mut Script, inputs: &[Input]) -> (Vec<String>, Option<ScriptError>) {
    let mut keys = Vec::with_capacity(inputs.len());
    let steps_before = script.steps();
    for input in inputs {
        if script.steps() - steps_before >= STEPS_MAX {
            break;
        }
        match Texts::of(input).with(input, |event| script.partition(&event)) {
            Ok(key) => keys.push(key),
            Err(error) => return (keys, Some(error)),
        }
    }
    (keys, None)
}

fn attempt(script: &mut Script, inputs: &[Input], states: States) -> Result<Folded, Failed> {
    let mut folding = Folding {
        folded: Folded { states, ..Folded::default() },
        loaded: None,
        touched: 0,
        output_bytes: 0,
        steps_before: script.steps(),
    };
    for (index, input) in inputs.iter().enumerate() {
        if folding.is_full(script, input) {
            break;
        }
        folding.step(script, index, input).map_err(|error| Failed { index, error })?;
        folding.folded.handled = index + 1;
    }
    let index = folding.folded.handled.saturating_sub(1);
    folding.save(script).map_err(|error| Failed { index, error })?;
    Ok(folding.folded)
}

struct Folding {
    folded: Folded,
    /// The partition whose state the script has.
    loaded: Option<String>,
    touched: usize,
    output_bytes: usize,
    steps_before: u64,
}

impl Folding {
    fn is_full(&self, script: &Script, next: &Input) -> bool {
        if script.steps() - self.steps_before >= STEPS_MAX {
            return true;
        }
        let is_other = self.loaded.as_deref() != Some(next.partition.as_str());
        self.output_bytes >= OUTPUT_BYTES_MAX || is_other && self.touched >= PARTITIONS_MAX
    }

    fn step(
        &mut self,
        script: &mut Script,
        index: usize,
        input: &Input,
    ) -> Result<(), ScriptError> {
        if self.loaded.as_deref() != Some(input.partition.as_str()) {
            self.save(script)?;
            let state = self.folded.states.partitions.get(&input.partition);
            let state = state.and_then(|state| state.state.as_deref());
            script.load(state, self.folded.states.shared.as_deref())?;
            self.loaded = Some(input.partition.clone());
            self.touched += 1;
        }
        let outputs = call(script, input)?;
        let Outputs { emitted, lines, .. } = outputs;
        self.folded.lines.extend(lines);
        for emitted in emitted {
            self.output_bytes += emitted.data.len() + OUTPUT_OVERHEAD_BYTES;
            self.push(index, OutputKind::Emitted(emitted));
        }
        if script.definition().outputs_state {
            self.take_result(script, index, &input.partition)?;
        }
        Ok(())
    }

    fn take_result(
        &mut self,
        script: &mut Script,
        index: usize,
        partition: &str,
    ) -> Result<(), ScriptError> {
        let result = script.result()?;
        let state = self.folded.states.partitions.entry(partition.to_owned()).or_default();
        if state.result != result {
            state.result.clone_from(&result);
            self.output_bytes += result.as_ref().map_or(0, String::len) + OUTPUT_OVERHEAD_BYTES;
            let partition = partition.to_owned();
            self.push(index, OutputKind::Result { partition, result });
        }
        Ok(())
    }

    fn push(&mut self, input: usize, kind: OutputKind) {
        self.folded.outputs.push(Output { input, kind });
    }

    /// Takes the state out of the script.
    fn save(&mut self, script: &mut Script) -> Result<(), ScriptError> {
        let Some(partition) = self.loaded.take() else { return Ok(()) };
        let state = self.folded.states.partitions.entry(partition).or_default();
        let text = script.state()?;
        self.output_bytes += text.len();
        state.state = Some(text);
        state.result = script.result()?;
        state.is_dirty = true;
        if let Some(shared) = script.shared()? {
            self.folded.states.shared = Some(shared);
        }
        Ok(())
    }
}

fn call(script: &mut Script, input: &Input) -> Result<Outputs, ScriptError> {
    if let Some(deletion) = &input.deletion {
        return script.deleted(&StreamDeletion {
            stream: deletion.stream.as_str(),
            is_tombstone: deletion.is_tombstone,
            deleted_millis: millis(input),
        });
    }
    Texts::of(input).with(input, |event| script.handle(&event, &input.partition))
}

/// The bytes of an event as text. JavaScript has no other.
struct Texts {
    id: String,
    data: String,
    metadata: String,
    link_metadata: Option<String>,
}

impl Texts {
    fn of(input: &Input) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            id: input.event.id.to_string(),
            data: text(&input.event.data),
            metadata: text(&input.event.metadata),
            link_metadata: input.link_metadata.as_deref().map(text),
        }
    }

    fn with<T>(&self, input: &Input, call: impl FnOnce(ScriptEvent<'_>) -> T) -> T {
        let event = &input.event;
        call(ScriptEvent {
            stream: event.stream.as_str(),
            event_type: event.event_type.as_str(),
            id: &self.id,
            revision: event.revision.number(),
            is_json: event.content_type.is_json(),
            data: &self.data,
            metadata: &self.metadata,
            link_metadata: self.link_metadata.as_deref(),
            created_millis: millis(input),
        })
    }
}

fn millis(input: &Input) -> i64 {
    i64::try_from(input.event.recorded_at.micros() / 1_000).unwrap_or(i64::MAX)
}
