//! Names of the catalogue, and of the schema of each read model.

use gesta_store::ReadModelId;

/// Maximum length of the URL's schema, in bytes: names of read models' schemas begin with it.
pub(super) const PREFIX_BYTES_MAX: usize = 40;
/// Maximum length of a schema's name, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// The names of one store.
#[derive(Clone, Debug)]
pub(super) struct SchemaNames {
    prefix: String,
    /// Name of the catalogue's schema.
    pub(super) catalogue: String,
    quoted: String,
}

impl SchemaNames {
    /// Returns the names of the read models beside the schema of a store.
    pub(super) fn beside(schema: &str) -> Self {
        let catalogue = format!("{schema}_read_models");
        let quoted = quoted(&catalogue);
        Self { prefix: schema.to_owned(), catalogue, quoted }
    }

    /// Puts the quoted name of the catalogue into a statement, in place of `{schema}`.
    pub(super) fn fill(&self, statement: &str) -> String {
        statement.replace("{schema}", &self.quoted)
    }

    /// Returns the name of a read model's schema: prefix, build, and letters and digits of the
    /// projection.
    ///
    /// The last part has no `_`, so no two stores of a database give the same name.
    pub(super) fn schema_of(&self, id: &ReadModelId) -> String {
        let plain = id.projection.chars().filter(char::is_ascii_alphanumeric);
        let plain: String = plain.map(|c| c.to_ascii_lowercase()).collect();
        let mut name = format!("{}_{}_{plain}", self.prefix, id.build);
        name.truncate(NAME_BYTES_MAX);
        name
    }
}

/// Quotes a name for a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_named_by_store_build_and_projection() {
        let id = ReadModelId { projection: "Order_summaries 2".to_owned(), build: 7 };
        assert_eq!(SchemaNames::beside("gesta").schema_of(&id), "gesta_7_ordersummaries2");
        let long = ReadModelId { projection: "p".repeat(200), build: u64::MAX };
        assert_eq!(SchemaNames::beside(&"s".repeat(40)).schema_of(&long).len(), NAME_BYTES_MAX);
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
