//! Lookups of rows by key and by prefix, at a version of the read model.

use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;
use gesta_store::{
    DatabaseError, ReadModelId, VisitRows, row_by_key,
    staged::{Area, RowRange, Wanted},
};
use mongodb::{
    Collection,
    bson::{Document, doc},
};
use serde_json::Value;

use super::{
    connection::Place,
    fields::{Fields as _, ID},
    head, marks,
    rows::{Passed, StoredRow},
};
use crate::{client::within, errors::CallError};

/// Rows of a page that is asked for.
const PAGE_ROWS_MAX: usize = 1_000;
/// Moments that the first read of a reader tries.
const MOMENTS_MAX: u32 = 8;

/// A lookup in an area.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) area: Area,
    pub(super) wanted: Wanted,
}

/// Returns the condition on the keys of a range after this one.
fn filter(range: &RowRange, after: Option<&str>) -> Document {
    let mut keys = match after {
        Some(after) if after >= range.prefix.as_str() => doc! { "$gt": after },
        Some(_) | None => doc! { "$gte": &range.prefix },
    };
    if let Some(end) = end_of(&range.prefix) {
        keys.insert("$lt", end);
    }
    doc! { ID: keys }
}

/// Returns the first text after all texts with a prefix, or `None` if there is none.
fn end_of(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The order of characters is that of their bytes in UTF-8. Surrogates are no characters.
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// The reason why rows could not be read.
#[derive(Debug)]
pub(super) enum LookupError {
    Call(CallError),
    /// A row has changed more than once since the moment.
    Passed,
}

impl From<CallError> for LookupError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<Passed> for LookupError {
    fn from(_: Passed) -> Self {
        Self::Passed
    }
}

impl From<LookupError> for CallError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Call(error) => error,
            LookupError::Passed => Self::Final(DatabaseError::unavailable(
                "a row has changed more than once since the read began; begin the read again",
            )),
        }
    }
}

/// Keys with their values.
pub(super) type Found = Vec<(String, Value)>;

impl Lookup {
    /// Reads keys and values at a version.
    pub(super) async fn at(
        &self,
        place: &Place,
        id: &ReadModelId,
        moment: u64,
    ) -> Result<Found, LookupError> {
        let rows = place.rows(id, &self.area);
        match &self.wanted {
            Wanted::Row(key) => {
                let document = within(rows.find_one(doc! { ID: key })).await?;
                let row = document.map(|document| seen(&rows, &document, moment)).transpose()?;
                Ok(row.flatten().into_iter().collect())
            }
            Wanted::Rows(keys) => several(&rows, keys, moment).await,
            Wanted::Range(wanted) => list(&rows, wanted, moment).await,
        }
    }
}

async fn several(
    rows: &Collection<Document>,
    keys: &BTreeSet<String>,
    moment: u64,
) -> Result<Found, LookupError> {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    for some in keys.chunks(PAGE_ROWS_MAX) {
        let wanted = doc! { ID: { "$in": some } };
        for document in page(rows, wanted, some.len()).await? {
            found.extend(seen(rows, &document, moment)?);
        }
    }
    Ok(found)
}

async fn list(
    rows: &Collection<Document>,
    wanted: &RowRange,
    moment: u64,
) -> Result<Found, LookupError> {
    let mut after = wanted.after.clone();
    let mut found = Vec::new();
    while found.len() < wanted.limit {
        // Rows that are not seen are skipped, so a page may have fewer than it asks for.
        let size = (wanted.limit - found.len()).min(PAGE_ROWS_MAX);
        let page = page(rows, filter(wanted, after.as_deref()), size).await?;
        let is_last = page.len() < size;
        for document in &page {
            found.extend(seen(rows, document, moment)?);
        }
        let last = page.last().and_then(|document| document.get_str(ID).ok());
        match last {
            Some(last) if !is_last => after = Some(last.to_owned()),
            _ => break,
        }
    }
    Ok(found)
}

/// Hands the rows of a table to a visitor, by key, page by page.
pub(super) async fn visit(
    place: &Place,
    (id, table): (&ReadModelId, &str),
    moment: u64,
    visitor: &mut impl VisitRows,
) -> Result<(), LookupError> {
    let rows = place.rows(id, &Area::Table(table.to_owned()));
    let mut after: Option<String> = None;
    loop {
        let found = page(&rows, filter(&RowRange::ALL, after.as_deref()), PAGE_ROWS_MAX).await?;
        for document in &found {
            if let Some((key, value)) = seen(&rows, document, moment)? {
                visitor.visit(table, &row_by_key(&key, &value.to_string()));
            }
        }
        match found.last() {
            Some(last) if found.len() == PAGE_ROWS_MAX => after = Some(last.text(ID)?.to_owned()),
            _ => break,
        }
    }
    // Rows of a collection that was dropped meanwhile are missing.
    Ok(marks::require(place, rows.name()).await?)
}

async fn page(
    rows: &Collection<Document>,
    filter: Document,
    size: usize,
) -> Result<Vec<Document>, CallError> {
    let limit = i64::try_from(size).unwrap_or(i64::MAX);
    within(async {
        let cursor = rows.find(filter).sort(doc! { ID: 1 }).limit(limit).await?;
        cursor.try_collect().await
    })
    .await
}

/// Returns the row at a version, or `None` if it was not there.
fn seen(
    rows: &Collection<Document>,
    document: &Document,
    moment: u64,
) -> Result<Option<(String, Value)>, LookupError> {
    let row = StoredRow::parse(document)?;
    let Some(cell) = row.at(moment)? else { return Ok(None) };
    let damaged = || {
        let (collection, key) = (rows.name(), &row.key);
        CallError::Damaged(format!("row {key:?} of collection {collection} is no JSON value"))
    };
    let value = cell.value().ok_or_else(damaged)?;
    Ok(Some((row.key, value)))
}

/// Reads at a version, or at a later one if the rows have changed too often since. Without a
/// version the read begins at the newest one. Returns the version of the result.
pub(super) async fn look_up(
    place: &Place,
    id: &ReadModelId,
    first: Option<u64>,
    lookup: &Lookup,
) -> Result<(Found, u64), CallError> {
    let mut next = first;
    for _ in 0..MOMENTS_MAX {
        let moment = match next.take() {
            Some(moment) => moment,
            None => {
                // A reader that is open goes on after a drop.
                match head::load(place, id).await? {
                    Some(head) => head.version,
                    None => return Err(marks::absence(place, id).await?),
                }
            }
        };
        match lookup.at(place, id, moment).await {
            Ok(found) => {
                if found.is_empty() {
                    marks::confirm_absence(place, id, &lookup.area).await?;
                }
                return Ok((found, moment));
            }
            Err(LookupError::Passed) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(LookupError::Passed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_a_prefix_end_before_the_next_text() {
        assert_eq!(end_of("b-").as_deref(), Some("b."));
        assert_eq!(end_of("é").as_deref(), Some("ê"));
        assert_eq!(end_of("\u{d7ff}").as_deref(), Some("\u{e000}"), "no surrogate");
        assert_eq!(end_of("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!((end_of(""), end_of("\u{10ffff}")), (None, None));
    }
}
