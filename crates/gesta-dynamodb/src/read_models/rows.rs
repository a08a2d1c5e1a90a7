//! Rows with versions: the value of the last change, and the one before.
//!
//! Owns: the item of a row, its change under the number of a commit, and what a moment sees of it.
//! Not here: the numbers (`head.rs`).

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use gesta_store::{
    DatabaseError, ReadModelId, VisitRows, row_by_key,
    staged::{Area, RowRange, Wanted},
};
use serde_json::Value;

use super::head::Moment;
use crate::{
    clock,
    errors::CallError,
    item::{Attributes as _, Item, SK, damaged, key, number, text},
    table::{KEYS_MAX, Query, Range, Table, Update},
};

/// The value, and the number of the commit that has written it. No value: the row is deleted.
const VALUE: &str = "c";
const VALUE_OF: &str = "cv";
/// The value before, and its number.
const BEFORE: &str = "p";
const BEFORE_OF: &str = "pv";
/// Epoch seconds after which the server removes the remains of a deleted row.
pub(super) const GONE: &str = "tg";
/// Time for which the remains of a deleted row are kept, for readers of earlier moments.
const REMAINS_SECONDS: u64 = 24 * 60 * 60;

/// Limit of a page that is asked for. Longer lists are read in the server's own pages of 1 MB.
const PAGE_ROWS_MAX: usize = 1_000;
/// Bytes of a key and of the name of a table.
const KEY_BYTES_MAX: usize = 1_023;
const TABLE_BYTES_MAX: usize = 512;
/// Bytes of a value as JSON. Two values of a row have to fit into an item of 400 KB.
const VALUE_BYTES_MAX: usize = 190 * 1_024;

/// The partition of an area's rows, by the text of the area.
pub(super) fn partition(id: &ReadModelId, area: &str) -> String {
    // The length keeps two projections apart whose names contain the separator.
    format!("rows#{}#{}#{}#{area}", id.build, id.projection.len(), id.projection)
}

/// Sort keys are never empty, keys of rows may be.
fn sort_key(key: &str) -> String {
    format!("={key}")
}

/// Refuses what does not fit into an item.
pub(super) fn check(table: &str, key: &str, value: Option<&str>) -> Result<(), DatabaseError> {
    let within = |what: &str, bytes: usize, max: usize| match bytes > max {
        true => Err(DatabaseError::rejected(format!(
            "{what} must be at most {max} bytes in DynamoDB; got {bytes} in table {table}"
        ))),
        false => Ok(()),
    };
    within("the name of a table", table.len(), TABLE_BYTES_MAX)?;
    within("a key", key.len(), KEY_BYTES_MAX)?;
    within("a value as JSON", value.map_or(0, str::len), VALUE_BYTES_MAX)
}

/// Refuses keys that do not fit into an item.
pub(super) fn check_keys(table: &str, keys: &[&str]) -> Result<(), DatabaseError> {
    keys.iter().try_for_each(|key| check(table, key, None))
}

/// The reason why a row could not be read.
#[derive(Debug)]
pub(super) enum RowError {
    Call(CallError),
    /// The row has changed more than once since the moment.
    Passed,
}

impl From<CallError> for RowError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl RowError {
    pub(super) fn into_database(self) -> DatabaseError {
        match self {
            Self::Call(error) => error.into_database(),
            Self::Passed => DatabaseError::unavailable(
                "a row has changed more than once since the read began; begin the read again",
            ),
        }
    }
}

/// Keys with their values.
pub(super) type Found = Vec<(String, Value)>;

/// Returns the value of a row at a moment.
fn seen(item: &Item, moment: &Moment) -> Result<Option<Value>, RowError> {
    let value = |name| {
        let value = item.opt_text(name)?.map(serde_json::from_str).transpose();
        value.map_err(|_| damaged(item, name))
    };
    if moment.sees(item.number(VALUE_OF)?) {
        return Ok(value(VALUE)?);
    }
    // The value before was committed when it was replaced, so it is not an aborted one.
    if item.number(BEFORE_OF)? <= moment.version {
        return Ok(value(BEFORE)?);
    }
    Err(RowError::Passed)
}

/// A lookup in an area.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) partition: String,
    pub(super) wanted: Wanted,
}

impl Lookup {
    pub(super) fn new(id: &ReadModelId, area: &Area, wanted: Wanted) -> Self {
        Self { partition: partition(id, &area.text()), wanted }
    }

    /// Reads keys and values at a moment.
    pub(super) async fn at(&self, table: &Table, moment: &Moment) -> Result<Found, RowError> {
        match &self.wanted {
            Wanted::Row(key) => match table.get(&self.partition, &sort_key(key)).await? {
                Some(item) => {
                    Ok(seen(&item, moment)?.map(|value| (key.clone(), value)).into_iter().collect())
                }
                None => Ok(Vec::new()),
            },
            Wanted::Rows(keys) => several(table, &self.partition, keys, moment).await,
            Wanted::Range(wanted) => list(table, &self.partition, wanted, moment).await,
        }
    }
}

async fn several(
    table: &Table,
    partition: &str,
    keys: &BTreeSet<String>,
    moment: &Moment,
) -> Result<Found, RowError> {
    let of_items = keys.iter().map(|row| key(partition, &sort_key(row))).collect();
    let mut rows = Vec::new();
    for item in table.get_all(of_items, KEYS_MAX).await? {
        if let Some(value) = seen(&item, moment)? {
            rows.push((row_key(&item)?.to_owned(), value));
        }
    }
    Ok(rows)
}

/// Returns the key of a row from that of its item.
fn row_key(item: &Item) -> Result<&str, CallError> {
    item.text(SK)?.get(1..).ok_or_else(|| damaged(item, SK))
}

async fn list(
    table: &Table,
    partition: &str,
    list: &RowRange,
    moment: &Moment,
) -> Result<Found, RowError> {
    let mut after = match &list.after {
        // Keys with the prefix are together: all of them are before this key.
        Some(after) if *after > list.prefix && !after.starts_with(&list.prefix) => {
            return Ok(Vec::new());
        }
        Some(after) if *after >= list.prefix => Some(sort_key(after)),
        Some(_) | None => None,
    };
    let prefix = sort_key(&list.prefix);
    let mut rows = Vec::new();
    while rows.len() < list.limit {
        let left = list.limit - rows.len();
        let query = Query {
            range: Range::Prefix(&prefix),
            limit: Some(left).filter(|left| *left < PAGE_ROWS_MAX),
            after: after.as_deref(),
            ..Query::of(partition)
        };
        let page = table.query(query).await?;
        for item in &page.items {
            let Some(value) = seen(item, moment)? else { continue };
            rows.push((row_key(item)?.to_owned(), value));
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(rows)
}

/// Hands the rows of a table to a visitor, by key, page by page.
pub(super) async fn visit(
    table: &Table,
    (id, name): (&ReadModelId, &str),
    moment: &Moment,
    visitor: &mut impl VisitRows,
) -> Result<(), RowError> {
    let partition = partition(id, &Area::Table(name.to_owned()).text());
    let mut after = None;
    loop {
        let query = Query { after: after.as_deref(), ..Query::of(&partition) };
        let page = table.query(query).await?;
        for item in &page.items {
            if let Some(value) = seen(item, moment)? {
                visitor.visit(name, &row_by_key(row_key(item)?, &value.to_string()));
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Changes a row under the number of a commit. Safe to repeat. Fails with
/// [`CallError::Condition`] if a later commit has changed it: this one was given up.
pub(super) async fn change(
    table: &Table,
    (partition, key): (&str, &str),
    value: Option<&str>,
    (mine, aborted): (u64, &[u64]),
) -> Result<(), CallError> {
    let sk = sort_key(key);
    let stored = value.map_or(AttributeValue::Null(true), text);
    let replacement = |change, condition| {
        let update = Update { change, condition, ..Update::default() };
        update.value(":value", stored.clone()).value(":mine", number(mine))
    };
    let (condition, numbers) = of_earlier_commit(value.is_some(), aborted);
    let mut update = replacement(
        "SET p = if_not_exists(c, :none), pv = if_not_exists(cv, :zero), c = :value, cv = :mine \
         REMOVE tg",
        &condition,
    )
    .value(":none", AttributeValue::Null(true))
    .value(":zero", number(0));
    update.values.extend(numbers);
    let found = match table.update(partition, &sk, update).await {
        Err(CallError::Condition(Some(found))) => found,
        // A row that never was needs no deletion.
        Err(CallError::Condition(None)) if value.is_none() => return Ok(()),
        outcome => return outcome,
    };
    let of = found.number(VALUE_OF)?;
    if of == mine {
        // The client has sent it twice, and the first one arrived.
        return Ok(());
    }
    if !aborted.contains(&of) {
        return Err(CallError::Condition(Some(found)));
    }
    // The value is of a commit that was cut off. It is replaced, and the one before it stays.
    let update = replacement("SET c = :value, cv = :mine REMOVE tg", "cv = :of");
    match table.update(partition, &sk, update.value(":of", number(of))).await {
        Err(CallError::Condition(Some(found))) if found.number(VALUE_OF)? == mine => Ok(()),
        outcome => outcome,
    }
}

/// The condition that a row is of an earlier commit, and not of an aborted one, with its values. A
/// row that is not there may be written, and is not deleted.
fn of_earlier_commit(
    is_written: bool,
    aborted: &[u64],
) -> (String, HashMap<String, AttributeValue>) {
    let value = |(nth, of): (usize, &u64)| (format!(":a{nth}"), number(*of));
    let values: HashMap<_, _> = aborted.iter().enumerate().map(value).collect();
    let mut condition = "cv < :mine".to_owned();
    if !values.is_empty() {
        let mut names: Vec<&str> = values.keys().map(String::as_str).collect();
        names.sort_unstable();
        condition = format!("({condition} AND NOT (cv IN ({})))", names.join(", "));
    }
    if is_written {
        condition = format!("attribute_not_exists(cv) OR {condition}");
    }
    (condition, values)
}

/// Lets the server remove the remains of a row that this commit has deleted. Called after the
/// commit: what an aborted one deletes has to stay.
pub(super) async fn let_go(
    table: &Table,
    (partition, key): (&str, &str),
    mine: u64,
) -> Result<(), CallError> {
    let update = Update { change: "SET tg = :gone", condition: "cv = :mine", ..Update::default() }
        .value(":gone", number(clock::epoch_seconds() + REMAINS_SECONDS))
        .value(":mine", number(mine));
    match table.update(partition, &sort_key(key), update).await {
        // A later commit has written it, or it never was.
        Err(CallError::Condition(_)) => Ok(()),
        outcome => outcome,
    }
}
