//! The search for orders.

use gesta::{Answer, Query, QueryError};
use gesta_http::PageRequest;
use jiff::Timestamp;

use super::{OrderSummaries, OrderSummary};
use crate::{
    id::CustomerId,
    orders::OrderStatus,
    paging::{Page, fetch_limit},
    search::SearchText,
    sql,
};

/// Searches orders, newest first; all given conditions must hold.
#[derive(Query, Clone, Debug, Default)]
#[query(reads = OrderSummaries, answer = Page<OrderSummary>)]
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
    /// Page to return.
    pub page: PageRequest<i64>,
}

impl Answer<sql::Reader> for FindOrders {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Self::Answer, QueryError> {
        // Only fixed texts are inserted into the statement; values are bound as parameters.
        let conditions = self.conditions();
        let sql = format!(
            "select number, order_id, customer_id, country, status, lines, units, total, refunded,
                 placed_at
             from orders {} order by number desc limit {}",
            conditions.clause(),
            fetch_limit(self.page.limit),
        );
        let found = rows.query(&sql, sql::params_from_iter(&conditions.values), summary)?;
        Ok(Page::from_rows(found, self.page.limit, |order| order.number.to_string()))
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
        conditions.add("number < ?", self.page.after);
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
