//! Names of indexes and aliases.
//!
//! Invariant: different projections have different names, whatever characters they have. Names have
//! three parts with dots in between, and no part has one.

use gesta_store::{DatabaseError, ReadModelId};

/// Maximum length of an index's name, in bytes.
const INDEX_NAME_BYTES_MAX: usize = 255;

#[derive(Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) const fn new(prefix: String) -> Self {
        Self { prefix }
    }

    /// The index whose document counts builds. No projection has this name: after `_` come two
    /// digits.
    pub(super) fn builds(&self) -> String {
        format!("{}._builds", self.prefix)
    }

    pub(super) fn index(&self, id: &ReadModelId) -> Result<String, DatabaseError> {
        self.name(&id.projection, &format!(".{}", id.build))
    }

    /// The alias that writes go to. Unlike a name of an index, it is not created by a late write to
    /// a build that was dropped.
    pub(super) fn writes(&self, id: &ReadModelId) -> Result<String, DatabaseError> {
        self.name(&id.projection, &format!(".{}.write", id.build))
    }

    /// A pattern for all indexes of a projection.
    pub(super) fn pattern(&self, projection: &str) -> Result<String, DatabaseError> {
        self.name(projection, ".*")
    }

    /// The alias of the live index, for other programs as well.
    pub(super) fn live(&self, projection: &str) -> Result<String, DatabaseError> {
        self.name(projection, "")
    }

    pub(super) fn retired(&self, projection: &str) -> Result<String, DatabaseError> {
        self.name(projection, ".retired")
    }

    fn name(&self, projection: &str, end: &str) -> Result<String, DatabaseError> {
        let name = format!("{}.{}{end}", self.prefix, escaped(projection));
        if name.len() <= INDEX_NAME_BYTES_MAX {
            return Ok(name);
        }
        Err(DatabaseError::rejected(format!(
            "the index name {name:?} is longer than {INDEX_NAME_BYTES_MAX} bytes; shorten the \
             projection's name or the prefix in the URL"
        )))
    }
}

/// Keeps lower-case letters, digits and `-`; any other byte is `_` and two digits.
fn escaped(projection: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' {
            char::from(byte).to_string()
        } else {
            format!("_{byte:02x}")
        }
    };
    projection.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projections_have_names_of_their_own() {
        let names = Names::new("shop".to_owned());
        let index = |projection: &str| {
            names
                .index(&ReadModelId { projection: projection.to_owned(), build: 7 })
                .expect("short")
        };
        assert_eq!(index("order-search"), "shop.order-search.7");
        assert_eq!(index("Orders_2.é"), "shop._4frders_5f2_2e_c3_a9.7");
        let long = names.live(&"É".repeat(100)).expect_err("too long").to_string();
        assert!(long.contains("longer than 255 bytes"), "{long}");
    }
}
