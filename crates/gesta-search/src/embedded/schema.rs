//! The fields of a Tantivy index, and documents in its form.
//!
//! Invariant: a field of the index is named by its kind and the definition's name, so that names
//! never meet those of the engine's own fields. A document that searches do not find has only
//! those.

use std::collections::HashMap;

use tantivy::{
    TantivyDocument,
    schema::{
        FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing,
        TextOptions,
    },
};

use crate::{FieldKind, FieldValue, IndexDefinition, engine::DocumentWrite, words};

/// Tokenizer that divides at spaces: the words are made by `words`.
const TOKENIZER: &str = "whitespace";

/// Name of the column with the ids.
pub(super) const ID: &str = "id";
/// Name of the column with the versions.
pub(super) const VERSION: &str = "version";

/// The fields of an index.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    pub(super) id: Field,
    version: Field,
    /// 1 for a document that searches find.
    pub(super) listed: Field,
    /// The document as JSON. Missing in a tombstone.
    pub(super) source: Field,
    by_name: HashMap<String, Field>,
}

/// The name of a field in the index.
pub(super) fn column(name: &str, kind: &FieldKind) -> String {
    let letter = match kind {
        FieldKind::Text(_) => 't',
        FieldKind::Keyword => 'k',
        FieldKind::Number => 'n',
        FieldKind::Date => 'd',
    };
    format!("{letter}_{name}")
}

impl Fields {
    /// Builds the schema of an index. The same definition always builds the same one.
    pub(super) fn of(definition: &IndexDefinition) -> (Schema, Self) {
        let mut schema = Schema::builder();
        let id = schema.add_text_field(ID, STRING | FAST);
        let version = schema.add_u64_field(VERSION, FAST);
        let listed = schema.add_u64_field("listed", INDEXED);
        let source = schema.add_text_field("source", STORED);
        let mut by_name = HashMap::new();
        for (name, kind) in definition.fields() {
            let column = column(name, kind);
            let field = match kind {
                FieldKind::Text(_) => schema.add_text_field(&column, words_options()),
                FieldKind::Keyword => schema.add_text_field(&column, STRING | FAST),
                FieldKind::Number => schema.add_f64_field(&column, FAST),
                FieldKind::Date => schema.add_i64_field(&column, FAST),
            };
            by_name.insert(name.to_owned(), field);
        }
        (schema.build(), Self { id, version, listed, source, by_name })
    }

    /// Returns a field of the definition.
    pub(super) fn get(&self, name: &str) -> Field {
        let field = self.by_name.get(name);
        *field.expect("a search is checked against the definition of the index")
    }

    /// Returns the form of a write in the index.
    pub(super) fn document(&self, write: &DocumentWrite) -> TantivyDocument {
        let mut indexed = TantivyDocument::new();
        indexed.add_text(self.id, &write.id);
        indexed.add_u64(self.version, write.version);
        let Some((document, source)) = &write.document else { return indexed };
        indexed.add_text(self.source, source);
        if !document.is_listed() {
            return indexed;
        }
        indexed.add_u64(self.listed, 1);
        for (name, value) in document.fields() {
            let field = self.get(name);
            match value {
                FieldValue::Text(texts) => {
                    let words = words::indexed(texts.iter().map(String::as_str));
                    indexed.add_text(field, words);
                }
                FieldValue::Keyword(values) => {
                    values.iter().for_each(|value| indexed.add_text(field, value));
                }
                FieldValue::Number(number) => indexed.add_f64(field, *number),
                FieldValue::Date(micros) => indexed.add_i64(field, *micros),
            }
        }
        indexed
    }
}

fn words_options() -> TextOptions {
    let indexing = TextFieldIndexing::default().set_tokenizer(TOKENIZER);
    // No search needs the places of words.
    let indexing = indexing.set_index_option(IndexRecordOption::WithFreqs);
    TextOptions::default().set_indexing_options(indexing)
}
