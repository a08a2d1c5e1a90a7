//! Names of collections: those of the store, and those of the tables of a read model.
//!
//! A table `orders` of the projection `summaries`, build 3, is the collection `summaries.3.orders`.
//! Other characters than letters, digits, `-` and `_` are written as `%` and two digits. Names of
//! two tables are never the same. Not here: which build is live (`read_models/catalogue.rs`).

use std::fmt::Write as _;

use gesta_store::{DatabaseError, ReadModelId, staged::Area};

/// One document for each projection, with its read models.
pub(crate) const CATALOGUE: &str = "gesta.catalogue";
/// One document for each read model, with its version and its checkpoint.
pub(crate) const HEADS: &str = "gesta.heads";
/// Parts of staged batches that are too large for the head.
pub(crate) const STAGED: &str = "gesta.staged";
/// Checkpoints of consumers without a read model.
pub(crate) const CONSUMERS: &str = "gesta.consumers";
pub(crate) const SNAPSHOTS: &str = "gesta.snapshots";
/// The collections that every store has.
pub(crate) const OWN: [&str; 5] = [CATALOGUE, HEADS, STAGED, CONSUMERS, SNAPSHOTS];

/// Bytes of the name of a collection. The server allows 255 with the name of the database.
const NAME_BYTES_MAX: usize = 190;

/// Returns the text that the names of all collections of a projection begin with.
pub(crate) fn of_projection(projection: &str) -> String {
    // Names that begin with `system.` belong to the server.
    match projection {
        "system" => "%73ystem.".to_owned(),
        name => format!("{}.", escaped(name)),
    }
}

/// Returns the text that the names of all collections of a read model begin with.
pub(crate) fn of_read_model(id: &ReadModelId) -> String {
    format!("{}{}.", of_projection(&id.projection), id.build)
}

/// Returns the `_id` of a read model's head.
pub(crate) fn of_head(id: &ReadModelId) -> String {
    of_read_model(id).trim_end_matches('.').to_owned()
}

/// Returns the name of a table's collection.
pub(crate) fn of_table(id: &ReadModelId, table: &str) -> String {
    format!("{}{}", of_read_model(id), escaped(table))
}

/// Returns the table that a collection of a read model belongs to. `None` if it is none of a table.
pub(crate) fn table_of(id: &ReadModelId, collection: &str) -> Option<String> {
    let escaped = collection.strip_prefix(&of_read_model(id))?;
    if escaped == "%" {
        return Some(String::new());
    }
    let mut parts = escaped.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// Returns the name of the collection of an area.
pub(crate) fn of_area(id: &ReadModelId, area: &Area) -> String {
    match area {
        Area::Table(name) => of_table(id, name),
        Area::Letters => of_kept(id, "letters"),
        Area::Properties => of_kept(id, "properties"),
    }
}

/// Returns the name of a collection with what the framework keeps of a read model.
fn of_kept(id: &ReadModelId, kind: &str) -> String {
    format!("gesta.{kind}.{}", of_head(id))
}

/// Refuses names that are too long for a collection.
pub(crate) fn check(projection: &str, table: &str) -> Result<(), DatabaseError> {
    let id = ReadModelId { projection: projection.to_owned(), build: u64::MAX };
    let bytes = of_table(&id, table).len().max(of_kept(&id, "properties").len());
    if bytes <= NAME_BYTES_MAX {
        return Ok(());
    }
    let table = if table.is_empty() { String::new() } else { format!(" and of table {table}") };
    Err(DatabaseError::rejected(format!(
        "the name of projection {projection}{table} needs {bytes} bytes as a collection of \
         MongoDB; at most {NAME_BYTES_MAX} are possible"
    )))
}

fn escaped(name: &str) -> String {
    if name.is_empty() {
        // A name may not end with a point.
        return "%".to_owned();
    }
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02x}").expect("a text takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_names_of_their_own() {
        let id = |projection: &str| ReadModelId { projection: projection.to_owned(), build: 3 };
        assert_eq!(of_table(&id("order-summaries"), "orders"), "order-summaries.3.orders");
        assert_eq!(of_table(&id("a.3"), "$é"), "a%2e3.3.%24%c3%a9");
        assert_eq!(of_table(&id("system"), "users"), "%73ystem.3.users");
        assert_eq!(of_table(&id("a"), ""), "a.3.%");
        assert_eq!(of_kept(&id("gesta"), "letters"), "gesta.letters.gesta.3");
    }

    #[test]
    fn a_table_is_told_from_the_name_of_its_collection() {
        let id = ReadModelId { projection: "a.3".to_owned(), build: 3 };
        for table in ["orders", "$é", "", "%", "a.b", "a%2eb"] {
            assert_eq!(table_of(&id, &of_table(&id, table)).as_deref(), Some(table));
        }
        let other = ReadModelId { build: 33, ..id.clone() };
        assert_eq!(table_of(&id, &of_table(&other, "orders")), None);
        assert_eq!(table_of(&id, &of_area(&id, &Area::Letters)), None);
    }

    #[test]
    fn a_name_that_is_too_long_is_refused_with_the_limit() {
        check("order-summaries", "orders").unwrap();
        let error = check(&"é".repeat(40), "orders").unwrap_err().to_string();
        assert!(error.contains("at most 190"), "{error}");
    }
}
