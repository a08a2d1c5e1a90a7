//! Comparison of encoded events with the JSON schemas of their versions.
//!
//! Invariant: an event passes only if the registry has its version, and its JSON has the schema of
//! that version. Data of other content types is not compared.

use std::collections::BTreeMap;

use gesta_store::ContentType;
use jsonschema::Validator;

use super::{CheckEvent, EncodeError, EncodedEvent, Registry};

/// Compiled schemas by event type and version.
#[derive(Debug)]
pub(crate) struct EventValidators(BTreeMap<(&'static str, u16), Option<Validator>>);

impl EventValidators {
    /// Compiles the schemas of all versions of a registry's events.
    pub(crate) fn of(registry: &Registry) -> Self {
        let of_event = |event| {
            registry.type_shapes(event).into_iter().map(move |known| {
                let is_json = known.content_type == ContentType::JSON.as_str();
                let compiled = is_json.then(|| jsonschema::draft202012::new(&known.schema));
                let compiled = compiled.transpose().expect("a traced schema is a schema");
                ((event, known.version), compiled)
            })
        };
        Self(registry.names().flat_map(of_event).collect())
    }
}

impl CheckEvent for EventValidators {
    fn check(&self, event: &EncodedEvent) -> Result<(), EncodeError> {
        let (event_type, version) = (event.event_type.as_str(), event.schema_version);
        let refused = |path: String, reason: String| EncodeError::Schema {
            event_type: event_type.to_owned(),
            version,
            path,
            reason,
        };
        let known = self.0.get(&(event_type, version));
        let Some(validator) = known else {
            let reason = "the registry has no such version".to_owned();
            return Err(refused(String::new(), reason));
        };
        let Some(validator) = validator else { return Ok(()) };
        let data = serde_json::from_slice(&event.data);
        let data = data.map_err(|error| refused(String::new(), error.to_string()))?;
        validator
            .validate(&data)
            .map_err(|error| refused(error.instance_path().as_str().to_owned(), error.to_string()))
    }
}
