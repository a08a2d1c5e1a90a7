//! The fields of an index on the server, and documents in their form.
//!
//! Invariant: fields are named as in the embedded engine, by kind and name. The server gets words
//! that are already divided and folded, and stores a document as one text.

use gesta_store::ReadModelId;
use serde_json::{Map, Value, json};

use crate::{FieldKind, FieldValue, IndexDefinition, engine::DocumentWrite, words};

/// Id of the document with the state. Documents of projections begin with another letter.
pub(super) const STATE_ID: &str = "state";
/// Field with the document as JSON.
pub(super) const SOURCE: &str = "source";
/// Place of that field in an answer with a document.
pub(super) const SOURCE_POINTER: &str = "/_source/source";
/// Field with the id, to sort by.
pub(super) const ID: &str = "id";
/// Field that marks documents that searches find.
pub(super) const LISTED: &str = "listed";

pub(super) fn document_id(id: &str) -> String {
    format!("d:{id}")
}

/// The name of a field in the index.
pub(super) fn field(name: &str, kind: &FieldKind) -> String {
    let letter = match kind {
        FieldKind::Text(_) => 't',
        FieldKind::Keyword => 'k',
        FieldKind::Number => 'n',
        FieldKind::Date => 'd',
    };
    format!("{letter}_{name}")
}

/// The body that creates an index without fields of a projection.
pub(super) fn index(id: &ReadModelId, version: u32, aliases: &[String]) -> Value {
    let aliases: Map<String, Value> =
        aliases.iter().map(|alias| (alias.clone(), json!({}))).collect();
    json!({
        "settings": { "index": {
            // One shard counts facets exactly.
            "number_of_shards": 1,
            "auto_expand_replicas": "0-1",
            // Every commit refreshes by itself.
            "refresh_interval": "-1",
        } },
        "mappings": {
            "dynamic": "strict",
            "_meta": { "gesta": {
                "projection": id.projection, "build": id.build, "version": version,
            } },
            // The searchable fields are made from the document again when the index is rebuilt.
            "_source": { "includes": [SOURCE] },
            "properties": {
                (ID): { "type": "keyword" },
                (LISTED): { "type": "boolean" },
                (SOURCE): { "type": "keyword", "index": false, "doc_values": false },
            },
        },
        "aliases": aliases,
    })
}

/// The body that adds the fields of a definition.
pub(super) fn fields(definition: &IndexDefinition) -> Value {
    let property = |(name, kind): (&str, &FieldKind)| {
        let property = match kind {
            FieldKind::Text(_) => {
                json!({ "type": "text", "analyzer": "whitespace", "index_options": "freqs" })
            }
            FieldKind::Keyword => json!({ "type": "keyword" }),
            FieldKind::Number => json!({ "type": "double" }),
            FieldKind::Date => json!({ "type": "long" }),
        };
        (field(name, kind), property)
    };
    let properties: Map<String, Value> = definition.fields().map(property).collect();
    json!({ "properties": properties })
}

/// The form of a write in the index.
pub(super) fn document(write: &DocumentWrite, definition: &IndexDefinition) -> Value {
    let mut indexed = Map::new();
    // A tombstone, and a document that searches do not find, have nothing to be found by.
    let Some((document, source)) = &write.document else { return Value::Object(indexed) };
    indexed.insert(SOURCE.to_owned(), source.as_str().into());
    if !document.is_listed() {
        return Value::Object(indexed);
    }
    indexed.insert(ID.to_owned(), write.id.as_str().into());
    indexed.insert(LISTED.to_owned(), true.into());
    for (name, value) in document.fields() {
        let Some(kind) = definition.kind_of(name) else { continue };
        let value = match value {
            FieldValue::Text(texts) => words::indexed(texts.iter().map(String::as_str)).into(),
            FieldValue::Keyword(values) => json!(values),
            FieldValue::Number(number) => json!(number),
            FieldValue::Date(micros) => json!(micros),
        };
        indexed.insert(field(name, kind), value);
    }
    Value::Object(indexed)
}
