//! The report, and the statistics of a customer.

use std::cmp::Reverse;

use gesta::{Answer, Query, QueryError};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Sales,
    sums::{Scope, Sums},
};
use crate::{
    id::CustomerId,
    money::Money,
    sql::{self, params},
};

/// Customers that the report names.
const TOP_CUSTOMERS: usize = 10;

/// What the shop sold so far.
#[derive(Clone, Copy, Debug)]
pub struct MakeReport;

/// What the shop sold so far, as `shop report --json` says it.
#[derive(Serialize, Clone, Debug, PartialEq)]
pub struct Report {
    /// Orders, without those that were cancelled unpaid.
    pub orders: i64,
    /// Their lines.
    pub order_lines: i64,
    /// Their pieces.
    pub units_sold: i64,
    /// Those without a customer.
    pub guest_orders: i64,
    /// What they cost.
    pub gross_revenue: Money,
    /// Credit notes.
    pub credit_notes: i64,
    /// What went back, by credit notes and by refunds of orders.
    pub refunded: Money,
    /// What is left of the revenue.
    pub net_revenue: Money,
    /// How often stock was adjusted.
    pub stock_adjustments: i64,
    /// Customers with an order or a credit note.
    pub customers: u64,
    /// Products that were ever added.
    pub products: i64,
    /// By gross revenue, the greatest first; then by name.
    pub by_country: Vec<CountrySales>,
    /// The first ten by gross revenue, the greatest first; then by id.
    pub top_customers: Vec<CustomerSales>,
}

/// What was sold to a country.
#[derive(Serialize, Clone, Debug, PartialEq)]
pub struct CountrySales {
    /// Which one.
    pub country: String,
    /// Orders.
    pub orders: i64,
    /// What they cost.
    pub gross_revenue: Money,
    /// What went back.
    pub refunded: Money,
}

/// What was sold to a customer.
#[derive(Serialize, Clone, Debug, PartialEq)]
pub struct CustomerSales {
    /// Who.
    pub customer: String,
    /// Orders.
    pub orders: i64,
    /// What they cost.
    pub gross_revenue: Money,
}

impl Query for MakeReport {
    type Reads = Sales;
    type Answer = Report;
}

impl Answer<sql::Reader> for MakeReport {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Report, QueryError> {
        let (shop, customers) = (of_shop(rows)?, of_each(rows, Scope::CUSTOMER)?);
        Ok(Report {
            orders: shop.orders,
            order_lines: shop.order_lines,
            units_sold: shop.units_sold,
            guest_orders: shop.guest_orders,
            gross_revenue: shop.gross_revenue,
            credit_notes: shop.credit_notes,
            refunded: shop.refunded,
            net_revenue: shop.gross_revenue - shop.refunded,
            stock_adjustments: shop.stock_adjustments,
            customers: customers.len().try_into().unwrap_or(u64::MAX),
            products: shop.products,
            by_country: of_each(rows, Scope::COUNTRY)?.into_iter().map(country_sales).collect(),
            top_customers: customers.into_iter().take(TOP_CUSTOMERS).map(customer_sales).collect(),
        })
    }
}

fn country_sales((country, sums): (String, Sums)) -> CountrySales {
    let Sums { orders, gross_revenue, refunded, .. } = sums;
    CountrySales { country, orders, gross_revenue, refunded }
}

fn customer_sales((customer, sums): (String, Sums)) -> CustomerSales {
    let Sums { orders, gross_revenue, .. } = sums;
    CustomerSales { customer, orders, gross_revenue }
}

fn of_shop(rows: &mut sql::Reader) -> Result<Sums, sql::DatabaseError> {
    let sql = format!("select {} from sums where scope = ?1", Sums::COLUMNS);
    let found = rows.find(&sql, [Scope::SHOP], |row| Sums::read(row, 0))?;
    Ok(found.unwrap_or_default())
}

/// All sums of a scope, by gross revenue and key. Sorted here: the database would compare the
/// digits of the revenue as texts.
fn of_each(rows: &mut sql::Reader, scope: &str) -> Result<Vec<(String, Sums)>, sql::DatabaseError> {
    let sql = format!("select key, {} from sums where scope = ?1 order by key", Sums::COLUMNS);
    let mut found = rows.query(&sql, [scope], |row| Ok((row.get(0)?, Sums::read(row, 1)?)))?;
    found.sort_by_key(|(_, sums): &(String, Sums)| Reverse(sums.gross_revenue));
    Ok(found)
}

/// What a customer bought so far; nothing for one who never did.
#[derive(Clone, Debug)]
pub struct FindCustomerStatistics {
    /// Who.
    pub customer_id: CustomerId,
}

/// What a customer bought so far.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CustomerStatistics {
    /// Who.
    pub customer_id: CustomerId,
    /// Orders, without those that were cancelled unpaid.
    pub orders: i64,
    /// Their lines.
    pub order_lines: i64,
    /// Their pieces.
    pub units: i64,
    /// What they cost.
    pub gross_revenue: Money,
    /// What an order costs in the middle, to the hundredth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_order: Option<Money>,
    /// Credit notes.
    pub credit_notes: i64,
    /// What went back.
    pub refunded: Money,
    /// What is left of the revenue.
    pub net_revenue: Money,
    /// When they first bought something or gave something back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_at: Option<Timestamp>,
    /// When they last did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Timestamp>,
}

impl Query for FindCustomerStatistics {
    type Reads = Sales;
    type Answer = Option<CustomerStatistics>;
}

impl Answer<sql::Reader> for FindCustomerStatistics {
    async fn answer(
        &self,
        rows: &mut sql::Reader,
    ) -> Result<Option<CustomerStatistics>, QueryError> {
        let sql = format!("select {} from sums where scope = ?1 and key = ?2", Sums::COLUMNS);
        let key = params![Scope::CUSTOMER, self.customer_id.as_str()];
        let found = rows.find(&sql, key, |row| Sums::read(row, 0))?;
        Ok(found.map(|sums| statistics(self.customer_id.clone(), sums)))
    }
}

fn statistics(customer_id: CustomerId, sums: Sums) -> CustomerStatistics {
    let orders = u64::try_from(sums.orders).unwrap_or_default();
    CustomerStatistics {
        customer_id,
        orders: sums.orders,
        order_lines: sums.order_lines,
        units: sums.units_sold,
        gross_revenue: sums.gross_revenue,
        average_order: sums.gross_revenue.part_of(orders),
        credit_notes: sums.credit_notes,
        refunded: sums.refunded,
        net_revenue: sums.gross_revenue - sums.refunded,
        first_at: sums.first_at,
        last_at: sums.last_at,
    }
}
