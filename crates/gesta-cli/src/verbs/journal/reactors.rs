//! The journal of a reactor, as far as it says what is handled and what is set aside.
//!
//! Knows the journal's events by type name and JSON members only.

use std::collections::BTreeSet;

use gesta_store::RecordedEvent;
use serde::Deserialize;

use super::fold::{Folded, Forgotten, named, read};
use crate::{counted::counted, events::Printable};

/// The position and the dead letters of a journal, as far as they can be parsed.
#[derive(Default)]
pub(super) struct ReactorJournal {
    position: Option<u64>,
    /// Streams whose first unhandled event is a dead letter.
    letters: BTreeSet<String>,
}

#[derive(Deserialize)]
struct ReactorAdvanced {
    place: Reached,
    #[serde(default)]
    held: Vec<HeldStream>,
    #[serde(default)]
    released: Vec<String>,
}

#[derive(Deserialize)]
struct ReactorCheckpointed {
    place: Reached,
}

#[derive(Deserialize)]
struct Reached {
    position: u64,
}

#[derive(Deserialize)]
struct HeldStream {
    stream: String,
    letter: Option<serde::de::IgnoredAny>,
}

impl Folded for ReactorJournal {
    fn take(&mut self, event: &RecordedEvent) {
        match event.event_type.as_str() {
            "reactor-checkpointed" => {
                let Some(ReactorCheckpointed { place }) = read(event) else { return };
                // A checkpoint replaces everything before it.
                *self = Self { position: Some(place.position), letters: BTreeSet::new() };
            }
            "reactor-advanced" => {
                let Some(ReactorAdvanced { place, held, released }) = read(event) else { return };
                self.position = Some(place.position);
                for HeldStream { stream, letter } in held {
                    match letter {
                        Some(_) => self.letters.insert(stream),
                        None => self.letters.remove(&stream),
                    };
                }
                self.letters.retain(|stream| !released.contains(stream));
            }
            _ => {}
        }
    }

    /// A reactor loses its position even if it has no dead letter.
    fn forgotten(&self, reactor: &str) -> Option<Forgotten> {
        let position = self.position?;
        let mut lost = format!("reactor {reactor} would lose its position {position}");
        if !self.letters.is_empty() {
            let letters = counted(self.letters.len() as u64, "dead letter");
            let of = self.letters.iter().map(|stream| format!("stream {}", Printable(stream)));
            lost.push_str(&format!(", and {letters} ({})", named(of)));
        }
        let remedy = "a reactor without its journal begins as a new one: effects happen once more, \
                      or never. Use --forget-set-aside to accept that";
        Some(Forgotten { lost, remedy: remedy.to_owned() })
    }
}
