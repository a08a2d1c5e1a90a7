//! Documents of rows: the value of the last change, and the one before.
//!
//! Owns: the document, what a version sees of it, and the limits of keys and values. Not here:
//! writes (`apply.rs`) and queries (`lookup.rs`).
//!
//! ```text
//! { _id: KEY, v: VERSION, value: VALUE, json: TEXT?, before: { v, value?, json? }?,
//!   gone: SECONDS? }
//! ```
//!
//! `json` is there if BSON does not hold the value exactly. A deleted row has no `value`, and
//! `gone` has the time of its deletion.

use gesta_store::{DatabaseError, ReadModelId};
use mongodb::bson::{Bson, Document, doc};
use serde_json::Value;

use super::fields::{Fields as _, ID, damaged, number};
use crate::{client::Deployment, errors::CallError, json, names};

pub(super) const VERSION: &str = "v";
pub(super) const VALUE: &str = "value";
const JSON: &str = "json";
const BEFORE: &str = "before";
/// Epoch seconds of the deletion.
pub(super) const GONE: &str = "gone";

/// Bytes of a key.
const KEY_BYTES_MAX: usize = 1_023;
/// Bytes of a value, as JSON and as BSON. Two values of a row have to fit into 16 MB.
const VALUE_BYTES_MAX: usize = 4 << 20;
/// A shorter JSON text is within the limit as BSON, too: an item of a list takes 17 bytes at most.
const SURE_BYTES_MAX: usize = VALUE_BYTES_MAX / 9;
/// Levels of arrays and objects in a value. The server has 100 for the whole document.
const LEVELS_MAX: usize = 90;

/// Refuses a table or a key that does not fit.
pub(super) fn check_key(id: &ReadModelId, table: &str, key: &str) -> Result<(), DatabaseError> {
    names::check(&id.projection, table)?;
    if key.len() > KEY_BYTES_MAX {
        return Err(DatabaseError::rejected(format!(
            "a key must be at most {KEY_BYTES_MAX} bytes in MongoDB; got {} in table {table}",
            key.len()
        )));
    }
    Ok(())
}

/// Refuses a table or keys that do not fit.
pub(super) fn check_keys(
    id: &ReadModelId,
    table: &str,
    keys: &[&str],
) -> Result<(), DatabaseError> {
    keys.iter().try_for_each(|key| check_key(id, table, key))
}

/// Returns the JSON text of a value, and refuses one that does not fit into a document.
pub(super) fn text_of(table: &str, value: &Value) -> Result<String, DatabaseError> {
    let levels = json::depth(value);
    if levels > LEVELS_MAX {
        return Err(DatabaseError::rejected(format!(
            "a value must have at most {LEVELS_MAX} levels in MongoDB; got {levels} in table \
             {table}"
        )));
    }
    let text = value.to_string();
    let mut bytes = text.len();
    if (SURE_BYTES_MAX..=VALUE_BYTES_MAX).contains(&bytes) {
        let document = doc! { VALUE: json::encode(value, true).value };
        bytes = document.to_vec().map_or(usize::MAX, |encoded| encoded.len());
    }
    if bytes > VALUE_BYTES_MAX {
        return Err(DatabaseError::rejected(format!(
            "a value must be at most {VALUE_BYTES_MAX} bytes in MongoDB; got {bytes} in table \
             {table}"
        )));
    }
    Ok(text)
}

/// A stored value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    value: Bson,
    json: Option<String>,
}

impl Cell {
    /// Makes the cell of a value that is given as JSON.
    pub(super) fn of(text: &str, deployment: Deployment) -> Result<Self, CallError> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| CallError::Damaged(format!("a staged row is not JSON: {error}")))?;
        let encoded = json::encode(&value, deployment.has_nested_arrays);
        let json = (!encoded.is_exact).then(|| text.to_owned());
        Ok(Self { value: encoded.value, json })
    }

    fn parse(document: &Document) -> Result<Option<Self>, CallError> {
        let Some(value) = document.get(VALUE) else { return Ok(None) };
        let json = document.opt_text(JSON)?.map(str::to_owned);
        Ok(Some(Self { value: value.clone(), json }))
    }

    fn put_into(self, document: &mut Document) {
        document.insert(VALUE, self.value);
        if let Some(json) = self.json {
            document.insert(JSON, json);
        }
    }

    /// Returns the value as it was given. `None` if it is damaged.
    pub(super) fn value(&self) -> Option<Value> {
        match &self.json {
            Some(text) => serde_json::from_str(text).ok(),
            None => json::decode(&self.value),
        }
    }
}

/// A row as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredRow {
    pub(super) key: String,
    pub(super) version: u64,
    /// `None` if the row is deleted.
    pub(super) cell: Option<Cell>,
    before: Option<(u64, Option<Cell>)>,
}

/// The row has changed more than once since the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed;

impl StoredRow {
    pub(super) fn parse(document: &Document) -> Result<Self, CallError> {
        let before = document.opt_document(BEFORE)?;
        let before = before.map(|before| Ok((before.number(VERSION)?, Cell::parse(before)?)));
        Ok(Self {
            key: document.text(ID)?.to_owned(),
            version: document.number(VERSION)?,
            cell: Cell::parse(document)?,
            before: before.transpose().map_err(|_: CallError| damaged(document, BEFORE))?,
        })
    }

    /// Returns the value at a version of the read model, or `None` if the row was not there.
    pub(super) fn at(&self, moment: u64) -> Result<Option<&Cell>, Passed> {
        if self.version <= moment {
            return Ok(self.cell.as_ref());
        }
        match &self.before {
            // It was written for the first time after the moment.
            None => Ok(None),
            Some((version, cell)) if *version <= moment => Ok(cell.as_ref()),
            Some(_) => Err(Passed),
        }
    }
}

/// The change of a row under the version of a commit.
#[derive(Clone, Debug)]
pub(super) struct RowChange<'a> {
    pub(super) key: &'a str,
    /// `None` deletes the row.
    pub(super) cell: Option<Cell>,
    pub(super) version: u64,
    pub(super) now_seconds: u64,
}

impl RowChange<'_> {
    /// Returns the new document of the row, or `None` if there is nothing to write.
    pub(super) fn on(self, stored: Option<StoredRow>) -> Option<Document> {
        let is_written = stored.as_ref().is_some_and(|row| row.version >= self.version);
        let is_there = stored.as_ref().is_some_and(|row| row.cell.is_some());
        if is_written || (self.cell.is_none() && !is_there) {
            return None;
        }
        let mut document = doc! { ID: self.key, VERSION: number(self.version) };
        match self.cell {
            Some(cell) => cell.put_into(&mut document),
            None => drop(document.insert(GONE, number(self.now_seconds))),
        }
        if let Some(row) = stored {
            let mut before = doc! { VERSION: number(row.version) };
            if let Some(cell) = row.cell {
                cell.put_into(&mut before);
            }
            document.insert(BEFORE, before);
        }
        Some(document)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALONE: Deployment = Deployment {
        has_transactions: false,
        has_nested_arrays: true,
        replacements_max: usize::MAX,
    };

    fn written(text: Option<&str>, version: u64, stored: Option<StoredRow>) -> Option<StoredRow> {
        let cell = text.map(|text| Cell::of(text, ALONE).unwrap());
        let change = RowChange { key: "1", cell, version, now_seconds: 7 };
        change.on(stored).map(|document| StoredRow::parse(&document).unwrap())
    }

    fn seen(row: &StoredRow, moment: u64) -> Result<Option<Value>, Passed> {
        Ok(row.at(moment)?.map(|cell| cell.value().unwrap()))
    }

    #[test]
    fn a_row_shows_its_value_before_to_earlier_versions() {
        let first = written(Some("1"), 3, None).unwrap();
        assert_eq!((seen(&first, 2), seen(&first, 3)), (Ok(None), Ok(Some(json!(1)))));
        let second = written(Some("2"), 5, Some(first)).unwrap();
        assert_eq!((seen(&second, 4), seen(&second, 5)), (Ok(Some(json!(1))), Ok(Some(json!(2)))));
        assert_eq!(seen(&second, 2), Err(Passed));
        let deleted = written(None, 6, Some(second)).unwrap();
        assert_eq!((seen(&deleted, 5), seen(&deleted, 6)), (Ok(Some(json!(2))), Ok(None)));
    }

    #[test]
    fn a_late_change_and_a_deletion_of_nothing_write_nothing() {
        let row = written(Some("1"), 5, None);
        assert_eq!(written(Some("2"), 5, row.clone()), None);
        assert_eq!(written(None, 4, row.clone()), None);
        assert_eq!(written(None, 6, None), None);
        let deleted = written(None, 6, row);
        assert_eq!(written(None, 7, deleted), None);
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused_with_the_limit() {
        let long = json!("x".repeat(5 << 20));
        let error = text_of("orders", &long).unwrap_err().to_string();
        assert!(error.contains("at most 4194304 bytes"), "{error}");
        let wide = json!(vec![1; 600_000]);
        assert!(text_of("orders", &wide).is_err(), "as BSON");
        let deep = (0..91).fold(json!(1), |value, _| json!([value]));
        let error = text_of("orders", &deep).unwrap_err().to_string();
        assert!(error.contains("at most 90 levels"), "{error}");
    }
}
