//! The changes of a transaction, and requests for the stored rows below them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde_json::Value;

use crate::{DatabaseError, ListRows};

/// A kind of rows of a read model: a table of the projection, or what the framework keeps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// Rows of a table, by its name.
    Table(String),
    /// Dead letters, by the position of their event.
    Letters,
    /// Properties, by their name.
    Properties,
}

impl Area {
    /// Returns the area as a text, which no other area has.
    ///
    /// ```
    /// use gesta_store::staged::Area;
    ///
    /// let orders = Area::Table("orders".to_owned());
    /// assert_eq!(orders.text(), "t:orders");
    /// assert_eq!(Area::parse(&orders.text()), Some(orders));
    /// ```
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Table(name) => format!("t:{name}"),
            Self::Letters => "letters".to_owned(),
            Self::Properties => "properties".to_owned(),
        }
    }

    /// Reads an area from its [text](Self::text).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "letters" => Some(Self::Letters),
            "properties" => Some(Self::Properties),
            _ => text.strip_prefix("t:").map(|name| Self::Table(name.to_owned())),
        }
    }
}

/// The rows of an area that a lookup asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One row by its key.
    Row(String),
    /// Rows by their keys, each once.
    Rows(BTreeSet<String>),
    /// Rows by the order of their keys.
    Range(RowRange),
}

/// Rows of an area, by increasing key.
///
/// ```
/// use gesta_store::{ListRows, staged::RowRange};
///
/// let page = RowRange::from(&ListRows::of("orders").prefix("de-").after("de-7").limit(10));
/// assert!(page.has("de-8") && !page.has("de-7") && !page.has("fr-1"));
/// assert!(RowRange::ALL.has(""));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowRange {
    /// Prefix of the keys; empty for all.
    pub prefix: String,
    /// The key after which the range begins.
    pub after: Option<String>,
    /// Maximum number of rows.
    pub limit: usize,
}

impl RowRange {
    /// All rows of an area.
    pub const ALL: Self = Self { prefix: String::new(), after: None, limit: usize::MAX };

    /// Returns whether the range has a key, whatever its limit.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        let is_after = self.after.as_deref().is_none_or(|after| key > after);
        key.starts_with(&self.prefix) && is_after
    }
}

impl From<&ListRows<'_>> for RowRange {
    fn from(list: &ListRows<'_>) -> Self {
        let after = list.after.map(str::to_owned);
        Self { prefix: list.prefix.to_owned(), after, limit: list.limit }
    }
}

/// The changed rows of a transaction: their JSON, or `None` for a deleted row.
///
/// A transaction looks up stored rows as they were when it began, and reads them with its changes.
///
/// ```
/// use gesta_store::staged::{Area, RowRange, StagedRows, Wanted};
/// use serde_json::json;
///
/// let orders = Area::Table("orders".to_owned());
/// let mut rows = StagedRows::default();
/// rows.set(orders.clone(), "1", None);
/// rows.set(orders.clone(), "2", Some("\"paid\"".to_owned()));
///
/// let first = RowRange { limit: 1, ..RowRange::ALL };
/// let wider = RowRange { limit: 3, ..RowRange::ALL };
/// assert_eq!(rows.below(&orders, &first), Wanted::Range(wider), "a change may hide each row");
/// let stored = vec![("1".to_owned(), json!("placed")), ("3".to_owned(), json!("placed"))];
/// assert_eq!(rows.over(&orders, &first, stored)?, [("2".to_owned(), json!("paid"))]);
/// # Ok::<(), gesta_store::DatabaseError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StagedRows(BTreeMap<Area, BTreeMap<String, Option<String>>>);

impl StagedRows {
    /// Sets the JSON of a row, or deletes the row.
    pub fn set(&mut self, area: Area, key: &str, json: Option<String>) {
        self.0.entry(area).or_default().insert(key.to_owned(), json);
    }

    /// Returns whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the changed rows of each area.
    pub fn areas(&self) -> impl Iterator<Item = (&Area, &BTreeMap<String, Option<String>>)> {
        self.0.iter()
    }

    fn of(&self, area: &Area) -> impl Iterator<Item = (&String, &Option<String>)> {
        self.0.get(area).into_iter().flatten()
    }

    /// Returns the changed value of a row: the inner `None` if it is deleted, the outer one if it
    /// is not changed.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Corrupt`] if it was set to a text that is no JSON.
    pub fn get(&self, area: &Area, key: &str) -> Result<Option<Option<Value>>, DatabaseError> {
        let changed = self.0.get(area).and_then(|rows| rows.get(key));
        changed.map(|json| json.as_deref().map(parse).transpose()).transpose()
    }

    /// Returns the stored rows that are needed to read rows by their keys: those that are not
    /// changed.
    #[must_use]
    pub fn below_keys(&self, area: &Area, keys: &[&str]) -> Wanted {
        let changed = self.0.get(area);
        let is_changed = |key: &str| changed.is_some_and(|rows| rows.contains_key(key));
        let unchanged = keys.iter().filter(|key| !is_changed(key));
        Wanted::Rows(unchanged.map(|key| (*key).to_owned()).collect())
    }

    /// Returns the values of rows in the order of their keys, with those that are stored
    /// [below](Self::below_keys).
    ///
    /// # Errors
    ///
    /// The same as [`get`](Self::get).
    pub fn over_keys(
        &self,
        area: &Area,
        keys: &[&str],
        stored: Vec<(String, Value)>,
    ) -> Result<Vec<Option<Value>>, DatabaseError> {
        let stored: HashMap<String, Value> = stored.into_iter().collect();
        let value =
            |key: &&str| Ok(self.get(area, key)?.unwrap_or_else(|| stored.get(*key).cloned()));
        keys.iter().map(value).collect()
    }

    /// Returns the stored rows that are needed to read a range.
    #[must_use]
    pub fn below(&self, area: &Area, range: &RowRange) -> Wanted {
        // Each changed row may hide a stored one.
        let hidden = self.of(area).filter(|(key, _)| range.has(key)).count();
        Wanted::Range(RowRange { limit: range.limit.saturating_add(hidden), ..range.clone() })
    }

    /// Returns the rows of a range, with those that are stored [below](Self::below).
    ///
    /// # Errors
    ///
    /// The same as [`get`](Self::get).
    pub fn over(
        &self,
        area: &Area,
        range: &RowRange,
        stored: Vec<(String, Value)>,
    ) -> Result<Vec<(String, Value)>, DatabaseError> {
        let mut rows: BTreeMap<String, Value> = stored.into_iter().collect();
        for (key, json) in self.of(area).filter(|(key, _)| range.has(key)) {
            match json {
                Some(json) => drop(rows.insert(key.clone(), parse(json)?)),
                None => drop(rows.remove(key)),
            }
        }
        Ok(rows.into_iter().take(range.limit).collect())
    }
}

fn parse(json: &str) -> Result<Value, DatabaseError> {
    serde_json::from_str(json).map_err(|error| DatabaseError::Corrupt {
        reason: format!("a row is not JSON: {error}"),
        source: Some(Arc::new(error)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn orders() -> Area {
        Area::Table("orders".to_owned())
    }

    fn changed(rows: &[(&str, Option<&str>)]) -> StagedRows {
        let mut staged = StagedRows::default();
        for (key, json) in rows {
            staged.set(orders(), key, json.map(str::to_owned));
        }
        staged
    }

    fn row(key: &str, value: u64) -> (String, Value) {
        (key.to_owned(), json!(value))
    }

    #[test]
    fn changes_hide_stored_rows() {
        let staged = changed(&[("1", Some("10")), ("2", None)]);
        assert_eq!(staged.get(&orders(), "1").unwrap(), Some(Some(json!(10))));
        assert_eq!(staged.get(&orders(), "2").unwrap(), Some(None), "deleted");
        assert_eq!(staged.get(&orders(), "3").unwrap(), None, "not changed");
        assert_eq!(staged.get(&Area::Letters, "1").unwrap(), None, "of another area");
        let keys = ["3", "2", "1", "4"];
        let below = ["3", "4"].map(str::to_owned).into();
        assert_eq!(staged.below_keys(&orders(), &keys), Wanted::Rows(below));
        let read = staged.over_keys(&orders(), &keys, vec![row("3", 3)]).unwrap();
        assert_eq!(read, [Some(json!(3)), None, Some(json!(10)), None]);
    }

    #[test]
    fn a_page_is_full_although_rows_before_its_end_are_deleted() {
        let staged = changed(&[("1", None), ("2", None), ("9", Some("9")), ("x", None)]);
        let page = RowRange { prefix: String::new(), after: Some("0".to_owned()), limit: 2 };
        let below = RowRange { limit: 6, ..page.clone() };
        assert_eq!(staged.below(&orders(), &page), Wanted::Range(below));
        let stored = (1..=6).map(|number| row(&number.to_string(), number)).collect();
        assert_eq!(staged.over(&orders(), &page, stored).unwrap(), [row("3", 3), row("4", 4)]);
    }

    #[test]
    fn a_page_has_no_changed_rows_before_its_beginning_and_beyond_its_prefix() {
        let staged = changed(&[("a1", Some("1")), ("a3", Some("3")), ("b1", Some("4"))]);
        let page =
            RowRange { prefix: "a".to_owned(), after: Some("a1".to_owned()), limit: usize::MAX };
        let read = staged.over(&orders(), &page, vec![row("a2", 2)]).unwrap();
        assert_eq!(read, [row("a2", 2), row("a3", 3)]);
    }
}
