//! The state of a build: its fields, checkpoint, properties and dead letters, as JSON.
//!
//! Invariant: it is stored as a whole, so its parts always fit each other.

use std::collections::BTreeMap;

use gesta_store::{
    Checkpoint, DatabaseError, DeadLetter, DeadLetterReason, EventId, EventType, Incarnation,
    Position, RecordedAt, Revision, StreamName,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::IndexDefinition;

/// The state of a build.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BuildState {
    /// `None` before the projection has defined the index.
    pub(crate) definition: Option<IndexDefinition>,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) dead_letters: BTreeMap<Position, DeadLetter>,
}

#[derive(Serialize, Deserialize)]
struct StateJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    definition: Option<IndexDefinition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<(u64, String)>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
    #[serde(default)]
    dead_letters: Vec<LetterJson>,
}

#[derive(Serialize, Deserialize)]
struct LetterJson {
    position: u64,
    event: String,
    event_type: String,
    stream: String,
    revision: u64,
    recorded_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<(String, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    behind: Option<u64>,
}

impl BuildState {
    /// Reads a stored state; the empty one if nothing is stored.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, DatabaseError> {
        let Some(text) = text else { return Ok(Self::default()) };
        let json: StateJson = serde_json::from_str(text).map_err(|error| corrupt(&error))?;
        let checkpoint = json.checkpoint.map(|(position, incarnation)| {
            let incarnation: Uuid = incarnation.parse().map_err(|error| corrupt(&error))?;
            let incarnation = Incarnation::new(incarnation);
            Ok::<_, DatabaseError>(Checkpoint { position: Position::new(position), incarnation })
        });
        let letters = json.dead_letters.into_iter().map(LetterJson::read);
        let letters = letters.map(|letter| letter.map(|letter| (letter.position, letter)));
        Ok(Self {
            definition: json.definition,
            checkpoint: checkpoint.transpose()?,
            properties: json.properties,
            dead_letters: letters.collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn text(&self) -> Result<String, DatabaseError> {
        let checkpoint =
            self.checkpoint.map(|it| (it.position.number(), it.incarnation.as_uuid().to_string()));
        let json = StateJson {
            definition: self.definition.clone(),
            checkpoint,
            properties: self.properties.clone(),
            dead_letters: self.dead_letters.values().map(LetterJson::of).collect(),
        };
        serde_json::to_string(&json).map_err(|error| DatabaseError::rejected(error.to_string()))
    }
}

impl LetterJson {
    fn of(letter: &DeadLetter) -> Self {
        let (failed, behind) = match &letter.reason {
            DeadLetterReason::Failed { error, attempts } => {
                (Some((error.clone(), *attempts)), None)
            }
            DeadLetterReason::Behind { first } => (None, Some(first.number())),
        };
        Self {
            position: letter.position.number(),
            event: letter.event.as_uuid().to_string(),
            event_type: letter.event_type.to_string(),
            stream: letter.stream.to_string(),
            revision: letter.revision.number(),
            recorded_at: letter.recorded_at.micros(),
            failed,
            behind,
        }
    }

    fn read(self) -> Result<DeadLetter, DatabaseError> {
        let reason = match (self.failed, self.behind) {
            (Some((error, attempts)), _) => DeadLetterReason::Failed { error, attempts },
            (None, Some(first)) => DeadLetterReason::Behind { first: Position::new(first) },
            (None, None) => return Err(corrupt(&"a dead letter has no reason")),
        };
        let event: Uuid = self.event.parse().map_err(|error| corrupt(&error))?;
        Ok(DeadLetter {
            position: Position::new(self.position),
            event: EventId::from(event),
            event_type: EventType::new(self.event_type).map_err(|error| corrupt(&error))?,
            stream: StreamName::new(self.stream).map_err(|error| corrupt(&error))?,
            revision: Revision::new(self.revision),
            recorded_at: RecordedAt::from_micros(self.recorded_at),
            reason,
        })
    }
}

fn corrupt(error: &dyn std::fmt::Display) -> DatabaseError {
    let reason = format!("the stored checkpoint of a search index cannot be read: {error}");
    DatabaseError::Corrupt { reason, source: None }
}
