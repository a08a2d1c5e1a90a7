//! Sums of sales for the shop, each country and each customer.
//!
//! Invariant: each batch of events reads and writes each sum once.

use std::collections::BTreeMap;

use gesta::ApplyError;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    money::Money,
    sql::{self, SqlTx, params},
};

pub(super) const TABLE: &str = "
    create table sums (
        scope text not null,
        key text not null,
        orders integer not null,
        guest_orders integer not null,
        order_lines integer not null,
        units_sold integer not null,
        gross_revenue text not null,
        credit_notes integer not null,
        refunded text not null,
        products integer not null,
        stock_adjustments integer not null,
        first_at integer,
        last_at integer,
        primary key (scope, key)
    ) strict, without rowid;
";

/// Scope of a sum.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    Shop,
    Country(String),
    Customer(String),
}

impl Scope {
    pub(super) const SHOP: &'static str = "shop";
    pub(super) const COUNTRY: &'static str = "country";
    pub(super) const CUSTOMER: &'static str = "customer";

    /// Returns the kind of the scope, and its key among those of its kind.
    pub(super) fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Shop => (Self::SHOP, ""),
            Self::Country(name) => (Self::COUNTRY, name),
            Self::Customer(id) => (Self::CUSTOMER, id),
        }
    }
}

/// Counts and amounts of a scope, or a change of them; a change may be negative.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sums {
    pub(super) orders: i64,
    pub(super) guest_orders: i64,
    pub(super) order_lines: i64,
    pub(super) units_sold: i64,
    pub(super) gross_revenue: Money,
    pub(super) credit_notes: i64,
    pub(super) refunded: Money,
    pub(super) products: i64,
    pub(super) stock_adjustments: i64,
    pub(super) first_at: Option<Timestamp>,
    pub(super) last_at: Option<Timestamp>,
}

impl Sums {
    /// Columns in the order of [`read`](Self::read).
    pub(super) const COLUMNS: &'static str = "orders, guest_orders, order_lines, units_sold,
        gross_revenue, credit_notes, refunded, products, stock_adjustments, first_at, last_at";

    /// Reads the sums; `first` is the index of their first column.
    pub(super) fn read(row: &dyn sql::Row, first: usize) -> sql::Result<Self> {
        Ok(Self {
            orders: row.get(first)?,
            guest_orders: row.get(first + 1)?,
            order_lines: row.get(first + 2)?,
            units_sold: row.get(first + 3)?,
            gross_revenue: sql::money(row, first + 4)?,
            credit_notes: row.get(first + 5)?,
            refunded: sql::money(row, first + 6)?,
            products: row.get(first + 7)?,
            stock_adjustments: row.get(first + 8)?,
            first_at: sql::optional_time(row, first + 9)?,
            last_at: sql::optional_time(row, first + 10)?,
        })
    }

    /// Sets the time of the change.
    pub(super) fn at(self, time: Timestamp) -> Self {
        Self { first_at: Some(time), last_at: Some(time), ..self }
    }

    /// Returns the change that undoes this one. The times are not undone.
    pub(super) fn negated(self) -> Self {
        Self {
            orders: -self.orders,
            guest_orders: -self.guest_orders,
            order_lines: -self.order_lines,
            units_sold: -self.units_sold,
            gross_revenue: -self.gross_revenue,
            credit_notes: -self.credit_notes,
            refunded: -self.refunded,
            products: -self.products,
            stock_adjustments: -self.stock_adjustments,
            // Earlier times cannot be restored from sums.
            first_at: None,
            last_at: None,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.orders += other.orders;
        self.guest_orders += other.guest_orders;
        self.order_lines += other.order_lines;
        self.units_sold += other.units_sold;
        self.gross_revenue += other.gross_revenue;
        self.credit_notes += other.credit_notes;
        self.refunded += other.refunded;
        self.products += other.products;
        self.stock_adjustments += other.stock_adjustments;
        // `min` of two options would prefer `None`.
        self.first_at = [self.first_at, other.first_at].into_iter().flatten().min();
        self.last_at = self.last_at.max(other.last_at);
    }
}

/// Pending changes by scope.
#[derive(Debug, Default)]
pub(super) struct SumChanges(BTreeMap<Scope, Sums>);

impl SumChanges {
    /// Adds a change to the sums of the shop.
    pub(super) fn add_to_shop(&mut self, change: &Sums) {
        self.0.entry(Scope::Shop).or_default().add(change);
    }

    /// Adds a change to the sums of the shop, and of the country and customer if known.
    pub(super) fn add_sale(&mut self, buyer: &Buyer, change: &Sums) {
        // A guest order has no customer and may lack a country; it counts for the shop.
        self.add_to_shop(change);
        if let Some(country) = &buyer.country {
            self.0.entry(Scope::Country(country.clone())).or_default().add(change);
        }
        if let Some(customer) = &buyer.customer {
            self.0.entry(Scope::Customer(customer.clone())).or_default().add(change);
        }
    }

    /// The changed scopes, with their changes.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&Scope, &Sums)> {
        self.0.iter()
    }

    /// Adds the changes to the sums in a database with SQL.
    pub(super) async fn write(self, tx: &mut SqlTx) -> Result<(), ApplyError> {
        for (scope, change) in self.iter() {
            write_one(tx, scope, change).await?;
        }
        Ok(())
    }
}

/// Customer and country of a sale.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Buyer {
    pub(super) customer: Option<String>,
    pub(super) country: Option<String>,
}

async fn write_one(tx: &mut SqlTx, scope: &Scope, change: &Sums) -> Result<(), ApplyError> {
    let (scope, key) = scope.parts();
    let select = format!("select {} from sums where scope = ?1 and key = ?2", Sums::COLUMNS);
    let stored = tx.find(&select, params![scope, key], |row| Sums::read(row, 0)).await?;
    // Amounts are text columns, so the sum is computed here and not in SQL.
    let mut sums = stored.unwrap_or_default();
    sums.add(change);
    // One statement for a new and for a known key: all columns are written anyway.
    tx.execute(
        "insert into sums values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
         on conflict (scope, key) do update set
             orders = excluded.orders, guest_orders = excluded.guest_orders,
             order_lines = excluded.order_lines, units_sold = excluded.units_sold,
             gross_revenue = excluded.gross_revenue, credit_notes = excluded.credit_notes,
             refunded = excluded.refunded, products = excluded.products,
             stock_adjustments = excluded.stock_adjustments, first_at = excluded.first_at,
             last_at = excluded.last_at",
        params![
            scope,
            key,
            sums.orders,
            sums.guest_orders,
            sums.order_lines,
            sums.units_sold,
            sums.gross_revenue.to_string(),
            sums.credit_notes,
            sums.refunded.to_string(),
            sums.products,
            sums.stock_adjustments,
            sums.first_at.map(sql::micros),
            sums.last_at.map(sql::micros),
        ],
    )
    .await?;
    Ok(())
}
