//! JSON schemas of events, as components of the documents.
//!
//! Owns: [`EventSchemas`]. Invariant: every version that the registry has is a component, so that
//! a reader of the feed finds the schema of old events, too.

use gesta::{Registry, store::ContentType};
use serde_json::{Map, Value, json};

/// The JSON schemas of all versions of an application's events.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventSchemas(Vec<EventSchema>);

/// The schema of one version of an event.
#[derive(Clone, Debug)]
pub(crate) struct EventSchema {
    pub(crate) event: &'static str,
    pub(crate) version: u16,
    /// The data of the event is JSON; otherwise the schema is that of the decoded data.
    pub(crate) is_json: bool,
    schema: Value,
    /// Examples of the current version.
    pub(crate) examples: Vec<Value>,
}

impl EventSchemas {
    pub(crate) fn of(registry: &Registry) -> Self {
        let of_event = |event| {
            let versions = registry.type_shapes(event);
            let newest = versions.last().map(|last| last.version);
            versions.into_iter().map(move |known| EventSchema {
                event,
                version: known.version,
                is_json: known.content_type == ContentType::JSON.as_str(),
                schema: known.schema,
                // Examples have the form that is written.
                examples: match Some(known.version) == newest {
                    true => registry.examples(event).to_vec(),
                    false => Vec::new(),
                },
            })
        };
        Self(registry.names().flat_map(of_event).collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &EventSchema> {
        self.0.iter()
    }

    /// Adds the components to those of a document.
    pub(crate) fn add_to(&self, components: &mut Map<String, Value>) {
        components.extend(self.0.iter().map(|schema| (schema.component(), schema.described())));
    }
}

impl EventSchema {
    /// Returns the name of the component, such as `event.order-placed.v1`.
    pub(crate) fn component(&self) -> String {
        // Names of components have these characters only.
        let plain = |letter: char| match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_' => letter,
            _ => '_',
        };
        let event: String = self.event.chars().map(plain).collect();
        format!("event.{event}.v{}", self.version)
    }

    pub(crate) fn reference(&self) -> Value {
        json!({ "$ref": format!("#/components/schemas/{}", self.component()) })
    }

    fn described(&self) -> Value {
        let mut schema = match &self.schema {
            Value::Object(members) => members.clone(),
            // A schema that is true or false.
            other => Map::from_iter([("allOf".to_owned(), json!([other]))]),
        };
        let Self { event, version, examples, .. } = self;
        let about = format!("Data of the event `{event}`, version {version}.");
        schema.insert("description".to_owned(), about.into());
        if !examples.is_empty() {
            schema.insert("examples".to_owned(), json!(examples));
        }
        Value::Object(schema)
    }
}

#[cfg(test)]
mod tests {
    use gesta::prelude::*;

    use super::*;

    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(name = "door/opened")]
    struct DoorOpenedV1 {
        key: String,
    }

    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(name = "door/opened", version = 2, from = DoorOpenedV1)]
    struct DoorOpened {
        key: String,
        times: u8,
    }

    impl From<DoorOpenedV1> for DoorOpened {
        fn from(old: DoorOpenedV1) -> Self {
            Self { key: old.key, times: 1 }
        }
    }

    #[derive(EventSet, Clone)]
    enum DoorEvent {
        Opened(DoorOpened),
    }

    #[test]
    fn each_version_of_an_event_is_a_component_and_the_current_one_has_the_examples() {
        let registry = Registry::of::<DoorEvent>();
        let gold = DoorOpened { key: "gold".to_owned(), times: 2 };
        let registry = registry.example(&gold).unwrap();
        let mut components = Map::new();
        EventSchemas::of(&registry).add_to(&mut components);
        let names: Vec<_> = components.keys().map(String::as_str).collect();
        assert_eq!(names, ["event.door_opened.v1", "event.door_opened.v2"]);
        let (first, second) = (&components[names[0]], &components[names[1]]);
        assert_eq!(first["required"], json!(["key"]));
        assert!(first.get("examples").is_none());
        assert_eq!(second["required"], json!(["key", "times"]));
        assert_eq!(second["examples"], json!([{ "key": "gold", "times": 2 }]));
    }
}
