//! The journal of a process manager, as far as it says what is set aside.
//!
//! Knows the journal's events by type name and JSON members only.

use std::collections::BTreeMap;

use gesta_store::RecordedEvent;
use serde::Deserialize;

use super::fold::{Folded, Forgotten, named, read};
use crate::{counted::counted, events::Printable};

/// Set-aside and skipped entries of a journal, as far as they can be parsed.
#[derive(Default)]
pub(super) struct ProcessJournal {
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

impl Folded for ProcessJournal {
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

    fn forgotten(&self, manager: &str) -> Option<Forgotten> {
        Some(Forgotten {
            lost: format!("process manager {manager} would lose {}", self.description()?),
            remedy: format!(
                "retry or skip these first (see `gesta processes set-aside {manager}`), or use \
                 --forget-set-aside to lose them"
            ),
        })
    }
}

impl ProcessJournal {
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
            let of = subjects
                .iter()
                .map(|(subject, inputs)| format!("{} of {}", inputs.len(), subject.id()));
            parts.push(format!("{} set aside ({})", counted(inputs as u64, "input"), named(of)));
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
