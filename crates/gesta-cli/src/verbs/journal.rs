//! Protection of the journals of process managers, `processes:journal-NAME`.
//!
//! Invariant: entries that are set aside are hidden only with `--forget-set-aside`; the error
//! without it names them. Knows the journal's events by type name and JSON members only.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use futures_executor::block_on;
use gesta_log::LogStore;
use gesta_store::{EventStore as _, ReadStream, RecordedEvent, StreamName};
use serde::Deserialize;

use crate::{counted::counted, events::Printable, exit::Refusal};

const PREFIX: &str = "processes:journal-";
/// Limit on the set-aside streams that an error names.
const NAMED_MAX: usize = 5;

/// Options of commands that hide events.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct ForgetSetAside {
    /// If the stream is the journal of a process manager, also hide inputs set aside in it
    #[arg(long)]
    forget_set_aside: bool,
}

impl ForgetSetAside {
    /// Returns an error if the journal has entries that are set aside, unless
    /// `--forget-set-aside` is given.
    pub(super) fn check(self, stream: &StreamName, store: &LogStore) -> Result<()> {
        let Some(manager) = stream.as_str().strip_prefix(PREFIX) else { return Ok(()) };
        if self.forget_set_aside {
            return Ok(());
        }
        let Some(lost) = Journal::read(stream, store)?.description() else { return Ok(()) };
        let manager = Printable(manager);
        Err(Refusal::refused(
            "would-forget-set-aside",
            format!("nothing was changed: process manager {manager} would lose {lost}"),
        )
        .hint(format!(
            "retry or skip these first (see `gesta processes set-aside {manager}`), or use \
             --forget-set-aside to lose them"
        ))
        .into())
    }
}

/// Set-aside and skipped entries of a journal, as far as they can be parsed.
#[derive(Default)]
struct Journal {
    set_aside: BTreeMap<Subject, Vec<u64>>,
    skipped: u64,
    /// Pieces of an incomplete checkpoint.
    pieces: Vec<Piece>,
}

#[derive(Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
enum Subject {
    Instance(String),
    Source(String),
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Piece {
    queues: Vec<Queue>,
    skipped: Vec<String>,
}

#[derive(Deserialize)]
struct Queue {
    subject: Subject,
    inputs: Vec<InputNumber>,
}

#[derive(Deserialize)]
struct InputNumber {
    number: u64,
}

#[derive(Deserialize)]
struct Checkpointed {
    pieces: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Released {
    subject: Subject,
    numbers: Vec<u64>,
    skipped: Vec<String>,
}

impl Journal {
    fn read(stream: &StreamName, store: &LogStore) -> Result<Self> {
        let mut journal = Self::default();
        let mut pages = store.read_stream(ReadStream::forwards(stream.clone()));
        while let Some(page) = block_on(pages.next()) {
            page?.iter().for_each(|event| journal.take(event));
        }
        Ok(journal)
    }

    /// Applies an event of the journal. Malformed events are ignored, as process managers ignore
    /// them.
    fn take(&mut self, event: &RecordedEvent) {
        let event_type = event.event_type.as_str();
        // Pieces count only if the checkpoint follows them directly. A process manager that stopped
        // in between left pieces without a checkpoint.
        if !matches!(event_type, "process-checkpoint-piece" | "process-checkpointed") {
            self.pieces.clear();
        }
        match event_type {
            "process-checkpoint-piece" => self.pieces.extend(read::<Piece>(event)),
            "process-checkpointed" => {
                let Some(of) = read::<Checkpointed>(event) else { return };
                let pieces = std::mem::take(&mut self.pieces);
                // Older pieces of an unfinished attempt may precede those of the checkpoint.
                let Some(first) = pieces.len().checked_sub(of.pieces) else { return };
                // A checkpoint replaces everything before it.
                (self.set_aside, self.skipped) = Default::default();
                for piece in pieces.into_iter().skip(first) {
                    self.skipped += piece.skipped.len() as u64;
                    piece.queues.into_iter().for_each(|queue| self.add(queue));
                }
            }
            "process-inputs-set-aside" => {
                if let Some(queue) = read(event) {
                    self.add(queue);
                }
            }
            "process-inputs-released" => {
                let Some(Released { subject, numbers, skipped }) = read(event) else { return };
                if let Some(inputs) = self.set_aside.get_mut(&subject) {
                    inputs.retain(|input| !numbers.contains(input));
                }
                self.skipped += skipped.len() as u64;
            }
            // Other events of a journal set nothing aside.
            _ => {}
        }
    }

    fn add(&mut self, Queue { subject, inputs }: Queue) {
        let numbers = inputs.iter().map(|input| input.number);
        self.set_aside.entry(subject).or_default().extend(numbers);
    }

    /// Returns a description for an error message, or `None` if nothing is set aside.
    fn description(&self) -> Option<String> {
        let subjects: Vec<_> =
            self.set_aside.iter().filter(|(_, inputs)| !inputs.is_empty()).collect();
        let inputs: usize = subjects.iter().map(|(_, inputs)| inputs.len()).sum();
        let mut parts = Vec::new();
        if inputs > 0 {
            let mut named: Vec<_> = subjects
                .iter()
                .take(NAMED_MAX)
                .map(|(subject, inputs)| format!("{} of {}", inputs.len(), subject.id()))
                .collect();
            if let Some(more @ 1..) = subjects.len().checked_sub(named.len()) {
                named.push(format!("{more} more"));
            }
            let inputs = counted(inputs as u64, "input");
            parts.push(format!("{inputs} set aside ({})", named.join(", ")));
        }
        if self.skipped > 0 {
            parts.push(counted(self.skipped, "skipped event"));
        }
        (!parts.is_empty()).then(|| parts.join(", and "))
    }
}

impl Subject {
    /// Returns the id by which `gesta processes` names the subject.
    fn id(&self) -> String {
        match self {
            Self::Instance(id) => format!("instance:{}", Printable(id)),
            Self::Source(stream) => format!("stream:{}", Printable(stream)),
        }
    }
}

fn read<T: for<'de> Deserialize<'de>>(event: &RecordedEvent) -> Option<T> {
    serde_json::from_slice(&event.data).ok()
}
