//! The search for orders.

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

/// Searches orders, newest first; all given conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct FindOrders {
    /// Customer of the order.
    pub customer: Option<CustomerId>,
    /// Current status.
    pub status: Option<OrderStatus>,
    /// Earliest time of placement, inclusive.
    pub from: Option<Timestamp>,
    /// Latest time of placement, exclusive.
    pub to: Option<Timestamp>,
    /// Words that the ids, the address, or the products' codes and names must have.
    pub text: Option<SearchText>,
    /// End of the previous page.
    pub cursor: Option<OrderCursor>,
    /// Maximum number of rows per page.
    pub size: PageSize,
}

/// End of a page of orders.
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

    /// Rejects numbers beyond the database's integers.
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        // SQLite stores 64-bit signed integers.
        text.parse::<i64>().map(|number| Self(number.unsigned_abs()))
    }
}

impl Query for FindOrders {
    type Reads = OrderSummaries;
    type Answer = Page<OrderSummary>;
}

impl Answer<sql::Reader> for FindOrders {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Page<OrderSummary>, QueryError> {
        // Only fixed texts are inserted into the statement; values are bound as parameters.
        let conditions = self.conditions();
        let sql = format!(
            "select number, order_id, customer_id, country, status, lines, units, total, refunded,
                 placed_at
             from orders {} order by number desc limit {}",
            conditions.clause(),
            self.size.fetch_limit(),
        );
        let found = rows.query(&sql, sql::params_from_iter(&conditions.values), summary)?;
        Ok(Page::from_rows(found, self.size, |order| OrderCursor(order.number).to_string()))
    }
}

impl FindOrders {
    fn conditions(&self) -> Conditions<'_> {
        let mut conditions = Conditions::default();
        conditions.add("customer_id = ?", self.customer.as_ref().map(CustomerId::as_str));
        conditions.add("status = ?", self.status.map(OrderStatus::as_str));
        conditions.add("placed_at >= ?", self.from.map(sql::micros));
        conditions.add("placed_at < ?", self.to.map(sql::micros));
        let with_words = "number in (select rowid from order_words where order_words match ?)";
        conditions.add(with_words, self.text.as_ref().map(SearchText::as_match));
        // By key and not by offset: a new order does not move the rows of later pages.
        conditions.add("number < ?", self.cursor.map(|cursor| cursor.0));
        conditions
    }
}

/// SQL conditions joined by `and`, with their values.
#[derive(Default)]
struct Conditions<'v> {
    texts: Vec<&'static str>,
    values: Vec<Box<dyn sql::ToSql + 'v>>,
}

impl<'v> Conditions<'v> {
    /// Adds a condition if there is a value for it.
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
