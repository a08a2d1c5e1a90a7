//! The search for orders.

use gesta::{Answer, Query, QueryError};
use gesta_http::PageRequest;
use jiff::Timestamp;

use super::{
    OrderSummaries,
    read_model::WORDS,
    rows::{self as order_rows, OrderConditions},
    summary::OrderSummary,
};
use crate::{
    id::CustomerId,
    orders::OrderStatus,
    paging::{Page, fetch_limit},
    read_models::Reader,
    search::SearchText,
    sql::{self, SqlReader},
};

/// Searches orders, the last recorded first; all given conditions must hold.
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

impl Answer<Reader> for FindOrders {
    async fn answer(&self, rows: &mut Reader) -> Result<Self::Answer, QueryError> {
        let limit = fetch_limit(self.page.limit);
        let found = match rows {
            Reader::Sql(rows) => self.select(rows, limit).await?,
            Reader::Rows(rows) => {
                let conditions = OrderConditions {
                    customer: self.customer.as_ref(),
                    status: self.status,
                    from: self.from,
                    to: self.to,
                    text: self.text.as_ref(),
                };
                order_rows::list(rows, &conditions, self.page.after, limit).await?
            }
        };
        Ok(Page::from_rows(found, self.page.limit, |order| order.number.to_string()))
    }
}

impl FindOrders {
    async fn select(&self, rows: &mut SqlReader, limit: u32) -> sql::Result<Vec<OrderSummary>> {
        // Only fixed texts are inserted into the statement; values are bound as parameters.
        let conditions = self.conditions(rows);
        let sql = format!(
            "select number, order_id, customer_id, country, status, lines, units, total, refunded,
                 placed_at
             from orders {} order by number desc limit {limit}",
            conditions.clause(),
        );
        rows.query(&sql, &conditions.values, summary).await
    }

    fn conditions(&self, rows: &SqlReader) -> Conditions<'_> {
        let mut conditions = Conditions::default();
        conditions.add("customer_id =", self.customer.as_ref().map(CustomerId::as_str));
        conditions.add("status =", self.status.map(OrderStatus::as_str));
        conditions.add("placed_at >=", self.from.map(sql::micros));
        conditions.add("placed_at <", self.to.map(sql::micros));
        // By key and not by offset: a new order does not move the rows of later pages.
        conditions.add("number <", self.page.after);
        if let Some(text) = &self.text {
            let search = rows.search(WORDS, text, conditions.next_parameter());
            conditions.push(search.condition, search.value.into());
        }
        conditions
    }
}

/// SQL conditions joined by `and`, with their values.
#[derive(Default)]
struct Conditions<'v> {
    texts: Vec<String>,
    values: Vec<sql::Value<'v>>,
}

impl<'v> Conditions<'v> {
    /// Adds a comparison if there is a value for it.
    fn add(&mut self, comparison: &str, value: Option<impl Into<sql::Value<'v>>>) {
        if let Some(value) = value {
            self.push(format!("{comparison} ?{}", self.next_parameter()), value.into());
        }
    }

    /// Adds a condition on the next parameter, with its value.
    fn push(&mut self, text: String, value: sql::Value<'v>) {
        self.texts.push(text);
        self.values.push(value);
    }

    fn next_parameter(&self) -> usize {
        self.values.len() + 1
    }

    fn clause(&self) -> String {
        if self.texts.is_empty() {
            return String::new();
        }
        format!("where {}", self.texts.join(" and "))
    }
}

fn summary(row: &dyn sql::Row) -> sql::Result<OrderSummary> {
    Ok(OrderSummary {
        number: row.get(0)?,
        order_id: sql::parsed(row, 1)?,
        customer_id: sql::optional_parsed(row, 2)?,
        country: row.optional(3)?,
        status: sql::parsed(row, 4)?,
        lines: row.get(5)?,
        units: row.get(6)?,
        total: sql::money(row, 7)?,
        refunded: sql::money(row, 8)?,
        placed_at: sql::time(row, 9)?,
    })
}
