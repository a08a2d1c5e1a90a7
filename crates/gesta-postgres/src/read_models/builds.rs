//! Names of the catalogue, and of the schema of each read model.

use gesta_store::ReadModelId;

use crate::schema_name::quoted;

/// Maximum length of the URL's schema, in bytes: names of read models' schemas begin with it.
pub(super) const PREFIX_BYTES_MAX: usize = 40;
/// Maximum length of a schema's name, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// The names of one store.
#[derive(Clone, Debug)]
pub(crate) struct SchemaNames {
    prefix: String,
    /// Name of the catalogue's schema.
    pub(super) catalogue: String,
    quoted: String,
}

impl SchemaNames {
    /// Returns the names of the read models next to the schema of a store.
    pub(crate) fn beside(schema: &str) -> Self {
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

    /// Returns `true` for the name of the catalogue, and for one that a build has or may get.
    pub(crate) fn is_taken(&self, name: &str) -> bool {
        let of_build = || {
            let (build, plain) =
                name.strip_prefix(&self.prefix)?.strip_prefix('_')?.split_once('_')?;
            let is_build = !build.is_empty() && build.bytes().all(|byte| byte.is_ascii_digit());
            Some(is_build && plain.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        };
        name == self.catalogue || of_build().unwrap_or_default()
    }
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
    }

    #[test]
    fn names_of_the_catalogue_and_of_builds_are_taken_and_others_are_free() {
        let names = SchemaNames::beside("gesta");
        for (name, is_taken) in [
            ("gesta_read_models", true),
            ("gesta_7_ordersummaries2", true),
            ("gesta_7_", true),
            ("gesta_archive", false),
            ("gesta_2024", false),
            ("gesta_7_a_b", false),
            ("gesta__a", false),
            ("other_7_ordersummaries2", false),
        ] {
            assert_eq!(names.is_taken(name), is_taken, "{name}");
        }
    }
}
