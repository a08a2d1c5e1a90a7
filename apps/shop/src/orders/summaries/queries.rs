//! Searching orders.

use std::{fmt, num::ParseIntError, str::FromStr};

use gesta::{Answer, Query, QueryError};
use jiff::Timestamp;

use super::{OrderSummaries, OrderSummary};
use crate::{
    id::CustomerId,
    orders::OrderStatus,
    paging::{Page, PageSize},
    search::SearchText,
    sql,
};

/// Orders, the last one first; those that have everything that is given.
#[derive(Clone, Debug, Default)]
pub struct FindOrders {
    /// Of this customer.
    pub customer: Option<CustomerId>,
    /// So far.
    pub status: Option<OrderStatus>,
    /// Placed at this time or later.
    pub from: Option<Timestamp>,
    /// Placed before this time.
    pub to: Option<Timestamp>,
    /// With all of these words: ids, address, products' codes and names.
    pub text: Option<SearchText>,
    /// After what this page ended with.
    pub cursor: Option<OrderCursor>,
    /// How many at once.
    pub size: PageSize,
}

/// Where a page of orders ended.
///
/// ```
/// use shop::orders::summaries::OrderCursor;
///
/// let cursor: OrderCursor = "42".parse()?;
/// assert_eq!(cursor.to_string(), "42");
/// # Ok::<(), std::num::ParseIntError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderCursor(u64);

impl fmt::Display for OrderCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for OrderCursor {
    type Err = ParseIntError;

    /// No further than the database counts.
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse::<i64>().map(|number| Self(number.unsigned_abs()))
    }
}

impl Query for FindOrders {
    type Reads = OrderSummaries;
    type Answer = Page<OrderSummary>;
}

impl Answer<sql::Reader> for FindOrders {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Page<OrderSummary>, QueryError> {
        let wanted = self.conditions();
        let sql = format!(
            "select number, order_id, customer_id, country, status, lines, units, total, refunded,
                 placed_at
             from orders {} order by number desc limit {}",
            wanted.clause(),
            self.size.and_one_more(),
        );
        let found = rows.query(&sql, sql::params_from_iter(&wanted.values), summary)?;
        Ok(Page::cut(found, self.size, |order| OrderCursor(order.number).to_string()))
    }
}

impl FindOrders {
    fn conditions(&self) -> Conditions<'_> {
        let mut wanted = Conditions::default();
        wanted.add("customer_id = ?", self.customer.as_ref().map(CustomerId::as_str));
        wanted.add("status = ?", self.status.map(OrderStatus::as_str));
        wanted.add("placed_at >= ?", self.from.map(sql::micros));
        wanted.add("placed_at < ?", self.to.map(sql::micros));
        let with_words = "number in (select rowid from order_words where order_words match ?)";
        wanted.add(with_words, self.text.as_ref().map(SearchText::as_match));
        wanted.add("number < ?", self.cursor.map(|cursor| cursor.0));
        wanted
    }
}

/// Conditions that all hold, and their values.
#[derive(Default)]
struct Conditions<'v> {
    texts: Vec<&'static str>,
    values: Vec<Box<dyn sql::ToSql + 'v>>,
}

impl<'v> Conditions<'v> {
    /// Where there is a value, the condition holds for it.
    fn add(&mut self, text: &'static str, value: Option<impl sql::ToSql + 'v>) {
        if let Some(value) = value {
            self.texts.push(text);
            self.values.push(Box::new(value));
        }
    }

    fn clause(&self) -> String {
        if self.texts.is_empty() {
            return String::new();
        }
        format!("where {}", self.texts.join(" and "))
    }
}

fn summary(row: &sql::Row<'_>) -> sql::Result<OrderSummary> {
    Ok(OrderSummary {
        number: row.get(0)?,
        order_id: sql::parsed(row, 1)?,
        customer_id: sql::optional_parsed(row, 2)?,
        country: row.get(3)?,
        status: sql::parsed(row, 4)?,
        lines: row.get(5)?,
        units: row.get(6)?,
        total: sql::money(row, 7)?,
        refunded: sql::money(row, 8)?,
        placed_at: sql::time(row, 9)?,
    })
}
