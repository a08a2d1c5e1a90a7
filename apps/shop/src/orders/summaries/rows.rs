//! The read model of order summaries as rows: one for an order, its words in a row of their own,
//! and its key under its customer and its status.
//!
//! Invariant: each list is a range of one table, newest first. A list by customer or by status
//! reads the rows of these orders only; a search by words without a customer reads the words of all
//! orders, until it has found enough. Further conditions leave out what was read: a full-text index
//! is what `--search` is for.

use std::collections::{BTreeSet, HashMap};

use gesta::{
    ApplyError, ReadTypedRows as _, Recorded, TypedRows as _,
    store::{ReadRows as _, Rows as _},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::summary::{OrderSummary, SummaryEvent, words};
use crate::{
    id::{CustomerId, OrderId},
    orders::{OrderPlaced, OrderStatus},
    rows::{
        RowsReader, RowsTx, delete_parts, joined, list_parts, newest_first, page, put_parts,
        whole_micros,
    },
    search::{SearchText, folded_words},
};

/// Key: number of the order, newest first.
const ORDERS: &str = "orders";
/// Key: id of the order. Value: number of the order.
const NUMBERS: &str = "order-numbers";
/// Key: id of the customer, and number of the order.
const BY_CUSTOMER: &str = "orders-by-customer";
/// Key: status, and number of the order.
const BY_STATUS: &str = "orders-by-status";
/// Key: number of the order.
const WORDS: &str = "order-words";
/// Key: number of the order, and the part of the list.
const MORE_WORDS: &str = "order-words-more";
/// Key: code of the product.
const NAMES: &str = "product-names";

/// Bytes of words that fit into one row, as JSON. The stores with the least take 190 KB.
const WORDS_BYTES_MAX: usize = 100 * 1_024;
/// Rows that a list with further conditions reads at a time.
const SCANNED: u32 = 200;

/// The words of an order, each once.
#[derive(Serialize, Deserialize)]
struct StoredWords {
    words: Vec<String>,
    /// The words are in rows of their own.
    #[serde(default)]
    is_long: bool,
}

/// Names of products that a batch of events needs, as of the event that is applied.
type Names = HashMap<String, String>;

pub(super) async fn apply(
    tx: &mut RowsTx,
    events: &[Recorded<SummaryEvent>],
) -> Result<(), ApplyError> {
    let mut names = names_for(tx, events).await?;
    for event in events {
        match &event.event {
            SummaryEvent::ProductAdded(it) => {
                name(tx, &mut names, it.product_id.as_str(), &it.name).await?;
            }
            SummaryEvent::ProductRenamed(it) => {
                name(tx, &mut names, it.product_id.as_str(), &it.name).await?;
            }
            // The position is the sort key: higher numbers are newer orders.
            SummaryEvent::Placed(it) => place(tx, &names, event.position.number(), it).await?,
            changed => change(tx, changed).await?,
        }
    }
    Ok(())
}

/// Reads the names of all products that are ordered in a batch, together.
async fn names_for(
    tx: &mut RowsTx,
    events: &[Recorded<SummaryEvent>],
) -> Result<Names, ApplyError> {
    let placed = events.iter().filter_map(|event| match &event.event {
        SummaryEvent::Placed(placed) => Some(placed),
        _ => None,
    });
    let lines = placed.flat_map(|placed| &placed.lines);
    let needed: BTreeSet<&str> = lines.map(|line| line.product_id.as_str()).collect();
    let needed: Vec<&str> = needed.into_iter().collect();
    let known = tx.get_many::<String>(NAMES, &needed).await?;
    let known = needed.iter().zip(known);
    Ok(known.filter_map(|(id, name)| Some(((*id).to_owned(), name?))).collect())
}

async fn name(
    tx: &mut RowsTx,
    names: &mut Names,
    product: &str,
    name: &str,
) -> Result<(), ApplyError> {
    names.insert(product.to_owned(), name.to_owned());
    tx.put(NAMES, product, &name).await
}

async fn place(
    tx: &mut RowsTx,
    names: &Names,
    number: u64,
    placed: &OrderPlaced,
) -> Result<(), ApplyError> {
    let mut summary = OrderSummary::placed(number, placed);
    summary.placed_at = whole_micros(summary.placed_at);
    let key = newest_first(number);
    tx.put(NUMBERS, placed.order_id.as_str(), &number).await?;
    if let Some(customer) = &placed.customer_id {
        tx.put(BY_CUSTOMER, &joined(&[customer.as_str(), &key]), &()).await?;
    }
    tx.put(BY_STATUS, &joined(&[summary.status.as_str(), &key]), &()).await?;
    tx.put(ORDERS, &key, &summary).await?;
    // Kept once, with the product names of this moment.
    let of_lines: Vec<Option<String>> =
        placed.lines.iter().map(|line| names.get(line.product_id.as_str()).cloned()).collect();
    put_words(tx, &key, &words(placed, &of_lines)).await
}

async fn put_words(tx: &mut RowsTx, key: &str, text: &str) -> Result<(), ApplyError> {
    let words: BTreeSet<String> = folded_words(text).into_iter().collect();
    let words: Vec<String> = words.into_iter().collect();
    // With quotes and a comma.
    let bytes: usize = words.iter().map(|word| word.len() + 3).sum();
    if bytes <= WORDS_BYTES_MAX {
        return tx.put(WORDS, key, &StoredWords { words, is_long: false }).await;
    }
    tx.put(WORDS, key, &StoredWords { words: Vec::new(), is_long: true }).await?;
    put_parts(tx, MORE_WORDS, key, &words).await
}

/// Reads the summary in a row. Its number is in the key only.
fn summary_of(key: &str, value: Value) -> Result<OrderSummary, ApplyError> {
    let number = key.parse().map(|key: u64| u64::MAX - key).map_err(ApplyError::because)?;
    Ok(OrderSummary { number, ..serde_json::from_value(value)? })
}

/// Finds an order with its key. `None` for an order whose stream lost its beginning.
async fn find(tx: &mut RowsTx, order: &str) -> Result<Option<(String, OrderSummary)>, ApplyError> {
    let Some(number) = tx.get(NUMBERS, order).await? else { return Ok(None) };
    let key = newest_first(number);
    match tx.get_json(ORDERS, &key).await? {
        Some(value) => {
            let summary = summary_of(&key, value)?;
            Ok(Some((key, summary)))
        }
        None => Ok(None),
    }
}

async fn change(tx: &mut RowsTx, event: &SummaryEvent) -> Result<(), ApplyError> {
    let Some(order) = event.order().map(OrderId::as_str) else { return Ok(()) };
    let Some((key, before)) = find(tx, order).await? else { return Ok(()) };
    let old = before.status;
    let after = before.after(event);
    if after.status != old {
        tx.delete(BY_STATUS, &joined(&[old.as_str(), &key])).await?;
        tx.put(BY_STATUS, &joined(&[after.status.as_str(), &key]), &()).await?;
    }
    tx.put(ORDERS, &key, &after).await
}

pub(super) async fn forget(tx: &mut RowsTx, order: &str) -> Result<(), ApplyError> {
    let Some((key, summary)) = find(tx, order).await? else { return Ok(()) };
    if let Some(customer) = &summary.customer_id {
        tx.delete(BY_CUSTOMER, &joined(&[customer.as_str(), &key])).await?;
    }
    tx.delete(BY_STATUS, &joined(&[summary.status.as_str(), &key])).await?;
    delete_parts(tx, MORE_WORDS, &key).await?;
    tx.delete(WORDS, &key).await?;
    tx.delete(ORDERS, &key).await?;
    Ok(tx.delete(NUMBERS, order).await?)
}

/// The conditions of a list, all of which must hold.
pub(super) struct OrderConditions<'a> {
    pub(super) customer: Option<&'a CustomerId>,
    pub(super) status: Option<OrderStatus>,
    /// Inclusive.
    pub(super) from: Option<Timestamp>,
    /// Exclusive.
    pub(super) to: Option<Timestamp>,
    pub(super) text: Option<&'a SearchText>,
}

/// Lists orders with numbers below `before`, newest first.
pub(super) async fn list(
    rows: &mut RowsReader,
    conditions: &OrderConditions<'_>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<OrderSummary>, ApplyError> {
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let (table, prefix) = conditions.range();
    let of_page = if conditions.are_of_range() { limit } else { SCANNED };
    // No order has a number below 0.
    let before = before.map(|before| u64::try_from(before).unwrap_or(0));
    let mut after = before.map_or_else(|| prefix.clone(), |it| prefix.clone() + &newest_first(it));
    let mut found = Vec::new();
    loop {
        let listed = rows.list_json(page(table, &prefix, &after, of_page)).await?;
        let is_last = listed.len() < usize::try_from(of_page).unwrap_or(usize::MAX);
        if let Some(last) = listed.last() {
            after.clone_from(&last.key);
        }
        let orders = if table == ORDERS {
            listed
                .into_iter()
                .map(|row| summary_of(&row.key, row.value))
                .collect::<Result<_, _>>()?
        } else {
            let keys = listed.iter().filter_map(|row| row.key.strip_prefix(&prefix)).collect();
            conditions.look_up(rows, keys).await?
        };
        found.extend(orders.into_iter().filter(|summary| conditions.hold_for(summary)));
        if is_last || found.len() >= wanted {
            found.truncate(wanted);
            return Ok(found);
        }
    }
}

impl OrderConditions<'_> {
    /// Returns the table with the least rows that have all orders of the list, and the prefix of
    /// their keys.
    fn range(&self) -> (&'static str, String) {
        match (self.customer, self.text, self.status) {
            (Some(customer), ..) => (BY_CUSTOMER, joined(&[customer.as_str(), ""])),
            (None, Some(_), _) => (WORDS, String::new()),
            (None, None, Some(status)) => (BY_STATUS, joined(&[status.as_str(), ""])),
            (None, None, None) => (ORDERS, String::new()),
        }
    }

    /// Returns whether the range has no other orders.
    fn are_of_range(&self) -> bool {
        let has_times = self.from.is_some() || self.to.is_some();
        let has_both = self.customer.is_some() && self.status.is_some();
        self.text.is_none() && !has_times && !has_both
    }

    /// Reads the orders with these keys, without those that lack words.
    async fn look_up(
        &self,
        rows: &mut RowsReader,
        mut keys: Vec<&str>,
    ) -> Result<Vec<OrderSummary>, ApplyError> {
        if let Some(text) = self.text {
            keys = with_words(rows, text, keys).await?;
        }
        let found = keys.iter().zip(rows.get_many_json(ORDERS, &keys).await?);
        found.filter_map(|(key, value)| value.map(|value| summary_of(key, value))).collect()
    }

    /// Returns whether all conditions but the one on words hold.
    fn hold_for(&self, summary: &OrderSummary) -> bool {
        let placed_at = summary.placed_at.as_microsecond();
        self.customer.is_none_or(|customer| summary.customer_id.as_ref() == Some(customer))
            && self.status.is_none_or(|status| summary.status == status)
            && self.from.is_none_or(|from| placed_at >= from.as_microsecond())
            && self.to.is_none_or(|to| placed_at < to.as_microsecond())
    }
}

/// Returns the keys of the orders that have all words.
async fn with_words<'k>(
    rows: &mut RowsReader,
    text: &SearchText,
    keys: Vec<&'k str>,
) -> Result<Vec<&'k str>, ApplyError> {
    let mut found = Vec::new();
    for (key, words) in keys.iter().zip(rows.get_many::<StoredWords>(WORDS, &keys).await?) {
        let words = match words {
            Some(StoredWords { is_long: true, .. }) => list_parts(rows, MORE_WORDS, key).await?,
            Some(StoredWords { words, .. }) => words,
            None => continue,
        };
        if text.is_in(&words) {
            found.push(*key);
        }
    }
    Ok(found)
}
