//! The sales report, and the statistics of a customer.

use std::cmp::Reverse;

use gesta::{Answer, Caching, Query, QueryError};
use gesta_http::Schema;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Sales, rows as sales_rows,
    sums::{Scope, Sums},
};
use crate::{
    id::CustomerId,
    money::Money,
    read_models::Reader,
    sql::{self, params},
};

/// Number of customers in the report.
const TOP_CUSTOMERS: usize = 10;

/// Reports the shop's sales. Reads the sums of all customers, so its answer is cached.
#[derive(Query, Serialize, Clone, Copy, Debug)]
#[query(reads = Sales, answer = Report, caching = Caching::of)]
pub struct MakeReport;

/// The shop's sales so far; the output of `shop report --json`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Report {
    /// Number of orders, without those that were cancelled unpaid.
    pub orders: i64,
    /// Number of order lines.
    pub order_lines: i64,
    /// Number of ordered pieces.
    pub units_sold: i64,
    /// Number of orders without a customer.
    pub guest_orders: i64,
    /// Sum of the orders' totals.
    pub gross_revenue: Money,
    /// Number of credit notes.
    pub credit_notes: i64,
    /// Sum of credit notes and refunds.
    pub refunded: Money,
    /// Gross revenue minus refunds.
    pub net_revenue: Money,
    /// Number of stock adjustments.
    pub stock_adjustments: i64,
    /// Number of customers with an order or a credit note.
    pub customers: u64,
    /// Number of products ever added.
    pub products: i64,
    /// Sales by country: highest gross revenue first, then by name.
    pub by_country: Vec<CountrySales>,
    /// The ten best customers: highest gross revenue first, then by id.
    pub top_customers: Vec<CustomerSales>,
}

/// Sales to one country.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct CountrySales {
    /// Name of the country.
    pub country: String,
    /// Number of orders.
    pub orders: i64,
    /// Sum of the orders' totals.
    pub gross_revenue: Money,
    /// Sum of credit notes and refunds.
    pub refunded: Money,
}

/// Sales to one customer.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct CustomerSales {
    /// Id of the customer.
    pub customer: String,
    /// Number of orders.
    pub orders: i64,
    /// Sum of the orders' totals.
    pub gross_revenue: Money,
}

impl Answer<Reader> for MakeReport {
    async fn answer(&self, rows: &mut Reader) -> Result<Self::Answer, QueryError> {
        // All reads see one snapshot, so the parts of the report fit together.
        let shop = sums_of(rows, Scope::SHOP, "").await?.unwrap_or_default();
        let customers = all_sums(rows, Scope::CUSTOMER).await?;
        let countries = all_sums(rows, Scope::COUNTRY).await?;
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
            by_country: countries.into_iter().map(country_sales).collect(),
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

/// Reads the sums of one key of a scope.
async fn sums_of(rows: &mut Reader, scope: &str, key: &str) -> Result<Option<Sums>, QueryError> {
    let rows = match rows {
        Reader::Sql(rows) => rows,
        Reader::Rows(rows) => return Ok(sales_rows::sums_of(rows, scope, key).await?),
    };
    let sql = format!("select {} from sums where scope = ?1 and key = ?2", Sums::COLUMNS);
    Ok(rows.find(&sql, params![scope, key], |row| Sums::read(row, 0)).await?)
}

/// Reads all sums of a scope: highest gross revenue first, then by key.
async fn all_sums(rows: &mut Reader, scope: &str) -> Result<Vec<(String, Sums)>, QueryError> {
    let mut found: Vec<(String, Sums)> = match rows {
        Reader::Sql(rows) => {
            let columns = Sums::COLUMNS;
            let sql = format!("select key, {columns} from sums where scope = ?1 order by key");
            let read = |row: &dyn sql::Row| Ok((row.get(0)?, Sums::read(row, 1)?));
            rows.query(&sql, params![scope], read).await?
        }
        Reader::Rows(rows) => sales_rows::all_sums(rows, scope).await?,
    };
    // Amounts are texts there, which a database would compare digit by digit.
    found.sort_by_key(|(_, sums)| Reverse(sums.gross_revenue));
    Ok(found)
}

/// Finds a customer's statistics; `None` for a customer without orders and credit notes.
#[derive(Query, Clone, Debug)]
#[query(reads = Sales, answer = Option<CustomerStatistics>)]
pub struct FindCustomerStatistics {
    /// Id of the customer.
    pub customer_id: CustomerId,
}

/// Totals of a customer's orders and credit notes.
#[derive(Serialize, Clone, Debug, PartialEq, Schema)]
#[serde(rename_all = "camelCase")]
pub struct CustomerStatistics {
    /// Id of the customer.
    pub customer_id: CustomerId,
    /// Number of orders, without those that were cancelled unpaid.
    pub orders: i64,
    /// Number of order lines.
    pub order_lines: i64,
    /// Number of ordered pieces.
    pub units: i64,
    /// Sum of the orders' totals.
    pub gross_revenue: Money,
    /// Average total of an order, rounded to hundredths; absent without orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_order: Option<Money>,
    /// Number of credit notes.
    pub credit_notes: i64,
    /// Sum of credit notes and refunds.
    pub refunded: Money,
    /// Gross revenue minus refunds.
    pub net_revenue: Money,
    /// Time of the first order or credit note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_at: Option<Timestamp>,
    /// Time of the last order or credit note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Timestamp>,
}

impl Answer<Reader> for FindCustomerStatistics {
    async fn answer(&self, rows: &mut Reader) -> Result<Self::Answer, QueryError> {
        let found = sums_of(rows, Scope::CUSTOMER, self.customer_id.as_str()).await?;
        Ok(found.map(|sums| statistics(self.customer_id.clone(), sums)))
    }
}

fn statistics(customer_id: CustomerId, sums: Sums) -> CustomerStatistics {
    // Without orders there is no average: a division by zero gives `None`.
    let orders = u64::try_from(sums.orders).unwrap_or_default();
    CustomerStatistics {
        customer_id,
        orders: sums.orders,
        order_lines: sums.order_lines,
        units: sums.units_sold,
        gross_revenue: sums.gross_revenue,
        average_order: sums.gross_revenue.divided_by(orders),
        credit_notes: sums.credit_notes,
        refunded: sums.refunded,
        net_revenue: sums.gross_revenue - sums.refunded,
        first_at: sums.first_at,
        last_at: sums.last_at,
    }
}
