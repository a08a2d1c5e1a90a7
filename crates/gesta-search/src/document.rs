//! Documents: what an index keeps for one id.
//!
//! Invariant: a document comes back as it was put, whatever the engine indexes of it. Not here: its
//! version, which the transaction adds.

use std::collections::BTreeMap;

use gesta_store::DatabaseError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{FieldKind, IndexDefinition};

/// Maximum length of a document's id, in bytes.
pub const DOCUMENT_ID_BYTES_MAX: usize = 500;

/// Maximum length of a keyword, in bytes.
pub const KEYWORD_BYTES_MAX: usize = 8_192;

/// Maximum size of a document, as JSON, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 1_048_576;

/// A document of an index.
///
/// ```
/// use gesta_search::Document;
/// use serde_json::json;
///
/// let order = Document::new("536365")
///     .text("products", "White hanging lantern")
///     .keyword("status", "paid")
///     .number("total", 17.85)
///     .date("placedAt", 1_291_191_960_000_000)
///     .body(json!({ "orderId": "536365" }));
/// assert_eq!(order.keywords("status").collect::<Vec<_>>(), ["paid"]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    id: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<String, FieldValue>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    body: Value,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unlisted: bool,
}

/// The value of a field.
///
/// ```
/// use gesta_search::{Document, FieldValue};
///
/// let lamp = Document::new("lamp").number("price", 4.25);
/// assert_eq!(lamp.field("price"), Some(&FieldValue::Number(4.25)));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum FieldValue {
    /// Texts of a text field.
    Text(Vec<String>),
    /// Values of a keyword field.
    Keyword(Vec<String>),
    /// Value of a number field.
    Number(f64),
    /// Value of a date field, in microseconds since the Unix epoch.
    Date(i64),
}

impl Document {
    /// Creates a document without fields.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), fields: BTreeMap::new(), body: Value::Null, unlisted: false }
    }

    /// Sets the text of a text field.
    #[must_use]
    pub fn text(self, field: &str, text: impl Into<String>) -> Self {
        self.texts(field, [text.into()])
    }

    /// Sets the texts of a text field.
    #[must_use]
    pub fn texts(self, field: &str, texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let texts = texts.into_iter().map(Into::into).collect();
        self.with(field, FieldValue::Text(texts))
    }

    /// Sets the value of a keyword field.
    #[must_use]
    pub fn keyword(self, field: &str, value: impl Into<String>) -> Self {
        self.with(field, FieldValue::Keyword(vec![value.into()]))
    }

    /// Sets the values of a keyword field. A filter finds the document by each of them.
    #[must_use]
    pub fn keyword_set(
        self,
        field: &str,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let mut values: Vec<String> = values.into_iter().map(Into::into).collect();
        values.sort_unstable();
        values.dedup();
        self.with(field, FieldValue::Keyword(values))
    }

    /// Sets the value of a number field.
    #[must_use]
    pub fn number(self, field: &str, number: f64) -> Self {
        // Engines differ in the order of the two zeros.
        let number = if number == 0.0 { 0.0 } else { number };
        self.with(field, FieldValue::Number(number))
    }

    /// Sets the value of a date field, in microseconds since the Unix epoch.
    #[must_use]
    pub fn date(self, field: &str, micros: i64) -> Self {
        self.with(field, FieldValue::Date(micros))
    }

    /// Sets the value that searches return and do not look into.
    #[must_use]
    pub fn body(self, body: Value) -> Self {
        Self { body, ..self }
    }

    /// Keeps the document out of searches. It is still returned by its id, such as the name of a
    /// product that later documents need.
    #[must_use]
    pub fn unlisted(self) -> Self {
        Self { unlisted: true, ..self }
    }

    fn with(mut self, field: &str, value: FieldValue) -> Self {
        self.fields.insert(field.to_owned(), value);
        self
    }

    /// Returns the id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the value that was set by [`body`](Self::body), or null.
    #[must_use]
    pub const fn body_value(&self) -> &Value {
        &self.body
    }

    /// Returns the value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldValue> {
        self.fields.get(name)
    }

    /// Returns the values of a keyword field; none if it is another kind of field.
    pub fn keywords(&self, field: &str) -> impl Iterator<Item = &str> {
        let values = match self.fields.get(field) {
            Some(FieldValue::Keyword(values)) => values.as_slice(),
            Some(FieldValue::Text(_) | FieldValue::Number(_) | FieldValue::Date(_)) | None => &[],
        };
        values.iter().map(String::as_str)
    }

    /// Returns all fields, by name.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &FieldValue)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Returns whether searches find the document.
    #[must_use]
    pub const fn is_listed(&self) -> bool {
        !self.unlisted
    }

    /// Checks the document against the fields of its index, and returns it as JSON.
    pub(crate) fn checked(&self, definition: &IndexDefinition) -> Result<String, DatabaseError> {
        let refuse = |reason: String| {
            DatabaseError::rejected(format!("the document {:?}: {reason}", self.id))
        };
        if self.id.is_empty() || self.id.len() > DOCUMENT_ID_BYTES_MAX {
            let length = self.id.len();
            return Err(refuse(format!(
                "its id must have 1 to {DOCUMENT_ID_BYTES_MAX} bytes; got {length}"
            )));
        }
        for (name, value) in &self.fields {
            let kind = definition.known(name)?;
            value.check(kind).map_err(|reason| refuse(format!("the field `{name}` {reason}")))?;
        }
        let text = serde_json::to_string(self).map_err(|error| refuse(error.to_string()))?;
        if text.len() > DOCUMENT_BYTES_MAX {
            let bytes = text.len();
            return Err(refuse(format!(
                "it has {bytes} bytes as JSON; at most {DOCUMENT_BYTES_MAX} are allowed"
            )));
        }
        Ok(text)
    }

    /// Reads a stored document.
    pub(crate) fn parse(text: &str) -> Result<Self, DatabaseError> {
        serde_json::from_str(text).map_err(|error| {
            let reason = format!("a stored document cannot be read: {error}");
            DatabaseError::Corrupt { reason, source: None }
        })
    }
}

impl FieldValue {
    const fn label(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Keyword(_) => "keyword",
            Self::Number(_) => "number",
            Self::Date(_) => "date",
        }
    }

    fn check(&self, kind: &FieldKind) -> Result<(), String> {
        match (self, kind) {
            (Self::Text(_), FieldKind::Text(_)) | (Self::Date(_), FieldKind::Date) => Ok(()),
            (Self::Keyword(values), FieldKind::Keyword) => {
                match values.iter().map(String::len).max() {
                    Some(bytes) if bytes > KEYWORD_BYTES_MAX => Err(format!(
                        "has a keyword of {bytes} bytes; at most {KEYWORD_BYTES_MAX} are allowed"
                    )),
                    Some(_) | None => Ok(()),
                }
            }
            (Self::Number(number), FieldKind::Number) if number.is_finite() => Ok(()),
            (Self::Number(number), FieldKind::Number) => {
                Err(format!("must be a finite number; got {number}"))
            }
            _ => Err(format!("is a {} field; got a {}", kind.label(), self.label())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::TextField;

    fn definition() -> IndexDefinition {
        let definition = IndexDefinition::new().text("name", TextField::new()).keyword("status");
        definition.number("total").date("at")
    }

    #[test]
    fn a_document_comes_back_as_it_was_put() {
        let document = Document::new("1")
            .texts("name", ["White lantern", "Lamp"])
            .keyword_set("status", ["b", "a", "b"])
            .number("total", -0.1)
            .date("at", -1)
            .body(json!({ "a": [1, 2.5, null] }));
        for document in [document.clone(), document.unlisted(), Document::new("é")] {
            let text = document.checked(&definition()).expect("it is right");
            assert_eq!(Document::parse(&text).expect("it is read"), document);
        }
    }

    #[test]
    fn a_document_that_does_not_fit_its_index_is_refused() {
        for (document, reason) in [
            (Document::new(""), "its id must have 1 to 500 bytes; got 0"),
            (Document::new("1").keyword("colour", "red"), "has no field `colour`; its fields are"),
            (Document::new("1").keyword("name", "x"), "the field `name` is a text field; got a"),
            (Document::new("1").number("total", f64::NAN), "must be a finite number; got NaN"),
            (Document::new("1").keyword("status", "x".repeat(9_000)), "keyword of 9000 bytes"),
            (Document::new("1").body("x".repeat(2_000_000).into()), "bytes as JSON; at most"),
        ] {
            let error = document.checked(&definition()).expect_err("it is refused").to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
