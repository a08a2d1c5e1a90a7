//! The state of a build: its fields, checkpoint, properties and dead letters, as JSON.
//!
//! Invariant: it is stored as a whole, so its parts always fit each other.

use std::collections::BTreeMap;

use gesta_store::{Checkpoint, DatabaseError, DeadLetter, Incarnation, Position};
use serde::{Deserialize, Serialize};
use serde_json::Value;
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
    dead_letters: Vec<Value>,
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
        let letters = json.dead_letters.iter().map(|letter| {
            let letter = DeadLetter::from_json(letter);
            let letter = letter.ok_or_else(|| corrupt(&"a dead letter is damaged"))?;
            Ok::<_, DatabaseError>((letter.position, letter))
        });
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
            dead_letters: self.dead_letters.values().map(DeadLetter::to_json).collect(),
        };
        serde_json::to_string(&json).map_err(|error| DatabaseError::rejected(error.to_string()))
    }
}

fn corrupt(error: &dyn std::fmt::Display) -> DatabaseError {
    let reason = format!("the stored checkpoint of a search index cannot be read: {error}");
    DatabaseError::Corrupt { reason, source: None }
}
