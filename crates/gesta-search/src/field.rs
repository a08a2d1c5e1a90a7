//! The fields of an index: their names, and what each can do in a search.
//!
//! Invariant: a name has letters, digits and underscores only, so that it is a field's name in
//! every engine. Not here: the values of fields (`document`).

use std::collections::BTreeMap;

use gesta_store::DatabaseError;
use serde::{Deserialize, Serialize};

/// Maximum length of a field's name, in bytes.
pub const FIELD_NAME_BYTES_MAX: usize = 64;

/// Maximum number of fields of an index.
pub const FIELDS_MAX: usize = 64;

/// The fields of an index, set once by [`SearchTx::define`](crate::SearchTx::define).
///
/// ```
/// use gesta_search::{IndexDefinition, TextField};
///
/// let orders = IndexDefinition::new()
///     .text("products", TextField::new())
///     .text("ids", TextField::new().weight(2.0).without_typos())
///     .keyword("status")
///     .number("total")
///     .date("placedAt");
/// assert!(orders.check().is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IndexDefinition {
    fields: BTreeMap<String, FieldKind>,
}

/// The kind of a field.
///
/// ```
/// use gesta_search::{FieldKind, IndexDefinition};
///
/// let products = IndexDefinition::new().keyword("colour");
/// assert_eq!(products.kind_of("colour"), Some(&FieldKind::Keyword));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum FieldKind {
    /// Words, found by [`Search::text`](crate::Search::text).
    Text(TextField),
    /// Whole values, for filters and facets.
    Keyword,
    /// A number, for filters and for sorting.
    Number,
    /// A time in microseconds since the Unix epoch, for filters and for sorting.
    Date,
}

/// The options of a text field.
///
/// ```
/// use gesta_search::TextField;
///
/// let title = TextField::new().weight(3.0);
/// assert_ne!(title, TextField::new());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextField {
    pub(crate) weight: f32,
    pub(crate) typos: bool,
}

impl Default for TextField {
    fn default() -> Self {
        Self::new()
    }
}

impl TextField {
    /// A field of weight 1 whose words may have typos.
    #[must_use]
    pub const fn new() -> Self {
        Self { weight: 1.0, typos: true }
    }

    /// Sets the weight of the field's matches for relevance. It must be above 0 and at most 100.
    #[must_use]
    pub const fn weight(self, weight: f32) -> Self {
        Self { weight, ..self }
    }

    /// Finds words as they are or by a prefix only, such as codes.
    #[must_use]
    pub const fn without_typos(self) -> Self {
        Self { typos: false, ..self }
    }
}

impl IndexDefinition {
    /// Creates a definition without fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field of words.
    #[must_use]
    pub fn text(self, name: &str, options: TextField) -> Self {
        self.field(name, FieldKind::Text(options))
    }

    /// Adds a field of whole values.
    #[must_use]
    pub fn keyword(self, name: &str) -> Self {
        self.field(name, FieldKind::Keyword)
    }

    /// Adds a field with a number.
    #[must_use]
    pub fn number(self, name: &str) -> Self {
        self.field(name, FieldKind::Number)
    }

    /// Adds a field with a time.
    #[must_use]
    pub fn date(self, name: &str) -> Self {
        self.field(name, FieldKind::Date)
    }

    fn field(mut self, name: &str, kind: FieldKind) -> Self {
        self.fields.insert(name.to_owned(), kind);
        self
    }

    /// Returns the kind of a field, or `None` if there is none of this name.
    #[must_use]
    pub fn kind_of(&self, name: &str) -> Option<&FieldKind> {
        self.fields.get(name)
    }

    /// Returns all fields, by name.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &FieldKind)> {
        self.fields.iter().map(|(name, kind)| (name.as_str(), kind))
    }

    pub(crate) fn text_fields(&self) -> impl Iterator<Item = (&str, &TextField)> {
        self.fields().filter_map(|(name, kind)| match kind {
            FieldKind::Text(options) => Some((name, options)),
            FieldKind::Keyword | FieldKind::Number | FieldKind::Date => None,
        })
    }

    /// Checks names and weights.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Rejected`] with the field and what is expected of it.
    pub fn check(&self) -> Result<(), DatabaseError> {
        if self.fields.len() > FIELDS_MAX {
            let count = self.fields.len();
            let reason = format!("an index has at most {FIELDS_MAX} fields; got {count}");
            return Err(DatabaseError::rejected(reason));
        }
        for (name, kind) in &self.fields {
            check_name(name)?;
            if let FieldKind::Text(TextField { weight, .. }) = kind
                && !(*weight > 0.0 && *weight <= 100.0)
            {
                let reason = format!(
                    "the weight of the field `{name}` must be above 0 and at most 100; got {weight}"
                );
                return Err(DatabaseError::rejected(reason));
            }
        }
        Ok(())
    }

    /// Returns the kind of a field.
    pub(crate) fn known(&self, name: &str) -> Result<&FieldKind, DatabaseError> {
        self.kind_of(name).ok_or_else(|| {
            let names: Vec<_> = self.fields.keys().map(String::as_str).collect();
            let names = names.join(", ");
            DatabaseError::rejected(format!(
                "the index has no field `{name}`; its fields are {names}"
            ))
        })
    }
}

impl FieldKind {
    /// The kind, for people.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Keyword => "keyword",
            Self::Number => "number",
            Self::Date => "date",
        }
    }
}

fn check_name(name: &str) -> Result<(), DatabaseError> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if starts && is_plain && name.len() <= FIELD_NAME_BYTES_MAX {
        return Ok(());
    }
    Err(DatabaseError::rejected(format!(
        "the field name {name:?} must start with a letter, have letters, digits and `_` only, and \
         at most {FIELD_NAME_BYTES_MAX} bytes"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_that_an_engine_could_not_have_is_refused() {
        for (definition, reason) in [
            (IndexDefinition::new().keyword("a.b"), "the field name \"a.b\" must start"),
            (IndexDefinition::new().keyword("_id"), "the field name \"_id\" must start"),
            (IndexDefinition::new().text("t", TextField::new().weight(0.0)), "the weight of the"),
            (IndexDefinition::new().text("t", TextField::new().weight(f32::NAN)), "the weight of"),
        ] {
            let error = definition.check().expect_err("it is refused").to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_definition_comes_back_as_it_was_stored() {
        let definition = IndexDefinition::new()
            .text("name", TextField::new().weight(2.5).without_typos())
            .keyword("status")
            .number("total")
            .date("placedAt");
        let text = serde_json::to_string(&definition).expect("it is encoded");
        assert_eq!(serde_json::from_str::<IndexDefinition>(&text).expect("JSON"), definition);
    }
}
