//! The read model of sales.
//!
//! Always holds: an order counts from its placing; cancelled before it was paid, it never counted;
//! cancelled after that, it counts until its money goes back as a refund.

use gesta::{Apply, ApplyError, EventSet, Projection, Recorded};

use super::sums::{self, Buyer, Changes, Sums};
use crate::{
    catalogue::{ProductAdded, StockAdjusted},
    id::{CustomerId, OrderId},
    money::Money,
    orders::{
        OrderCancelled, OrderPaid, OrderPlaced, OrderRefunded, credit_notes::CreditNoteIssued,
    },
    sql::{self, params},
};

/// What came before is needed when an order is cancelled or refunded.
const ORDERS: &str = "
    create table sold (
        order_id text primary key,
        customer text,
        country text,
        lines integer not null,
        units integer not null,
        total text not null,
        paid integer not null
    ) strict, without rowid;
";

/// What sales are made of.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum SalesEvent {
    /// There is a product to sell.
    ProductAdded(ProductAdded),
    /// Somebody counted pieces.
    StockAdjusted(StockAdjusted),
    /// An order was placed.
    Placed(OrderPlaced),
    /// An order was paid.
    Paid(OrderPaid),
    /// An order was called off.
    Cancelled(OrderCancelled),
    /// Money of an order went back.
    Refunded(OrderRefunded),
    /// A credit note was issued.
    CreditNoteIssued(CreditNoteIssued),
}

/// Fills the sums of sales.
#[derive(Debug)]
pub struct Sales;

impl Projection for Sales {
    const NAME: &'static str = "sales";
    type Event = SalesEvent;
}

impl Apply<sql::Tx> for Sales {
    async fn prepare(&self, tx: &mut sql::Tx) -> Result<(), ApplyError> {
        tx.execute_script(sums::TABLE)?;
        Ok(tx.execute_script(ORDERS)?)
    }

    async fn apply(
        &self,
        tx: &mut sql::Tx,
        events: &[Recorded<SalesEvent>],
    ) -> Result<(), ApplyError> {
        let mut changes = Changes::default();
        for event in events {
            count(tx, &mut changes, &event.event)?;
        }
        changes.write(tx)
    }
}

fn count(tx: &mut sql::Tx, changes: &mut Changes, event: &SalesEvent) -> Result<(), ApplyError> {
    match event {
        SalesEvent::ProductAdded(_) => {
            changes.of_shop(&Sums { products: 1, ..Sums::default() });
            Ok(())
        }
        SalesEvent::StockAdjusted(_) => {
            changes.of_shop(&Sums { stock_adjustments: 1, ..Sums::default() });
            Ok(())
        }
        SalesEvent::Placed(placed) => place(tx, changes, placed),
        SalesEvent::Paid(paid) => pay(tx, &paid.order_id),
        SalesEvent::Cancelled(cancelled) => cancel(tx, changes, cancelled),
        SalesEvent::Refunded(refunded) => refund(tx, changes, refunded),
        SalesEvent::CreditNoteIssued(issued) => {
            let buyer = Buyer {
                customer: issued.customer_id.as_ref().map(ToString::to_string),
                country: issued.country.clone(),
            };
            let change = Sums { credit_notes: 1, refunded: issued.total, ..Sums::default() };
            changes.of_sale(&buyer, &change.at(issued.occurred_at));
            Ok(())
        }
    }
}

/// An order as it was placed.
struct Sold {
    buyer: Buyer,
    lines: i64,
    units: i64,
    total: Money,
    paid: bool,
}

impl Sold {
    fn of(placed: &OrderPlaced) -> Self {
        let address = placed.shipping_address.as_ref();
        Self {
            buyer: Buyer {
                customer: placed.customer_id.as_ref().map(ToString::to_string),
                country: address.and_then(|address| address.country.clone()),
            },
            lines: placed.lines.len().try_into().unwrap_or(i64::MAX),
            units: placed.lines.iter().map(|line| i64::from(line.quantity)).sum(),
            total: placed.amounts.total,
            paid: false,
        }
    }

    fn sums(&self) -> Sums {
        Sums {
            orders: 1,
            guest_orders: i64::from(self.buyer.customer.is_none()),
            order_lines: self.lines,
            units_sold: self.units,
            gross_revenue: self.total,
            ..Sums::default()
        }
    }
}

fn place(tx: &mut sql::Tx, changes: &mut Changes, placed: &OrderPlaced) -> Result<(), ApplyError> {
    let sold = Sold::of(placed);
    changes.of_sale(&sold.buyer, &sold.sums().at(placed.occurred_at));
    tx.execute(
        "insert into sold values (?1, ?2, ?3, ?4, ?5, ?6, 0)",
        params![
            placed.order_id.as_str(),
            placed.customer_id.as_ref().map(CustomerId::as_str),
            sold.buyer.country,
            sold.lines,
            sold.units,
            sold.total.to_string(),
        ],
    )?;
    Ok(())
}

fn pay(tx: &mut sql::Tx, order: &OrderId) -> Result<(), ApplyError> {
    tx.execute("update sold set paid = 1 where order_id = ?1", [order.as_str()])?;
    Ok(())
}

fn cancel(
    tx: &mut sql::Tx,
    changes: &mut Changes,
    cancelled: &OrderCancelled,
) -> Result<(), ApplyError> {
    let Some(sold) = find(tx, &cancelled.order_id)? else { return Ok(()) };
    if !sold.paid {
        changes.of_sale(&sold.buyer, &sold.sums().taken_back());
    }
    Ok(())
}

fn refund(
    tx: &mut sql::Tx,
    changes: &mut Changes,
    refunded: &OrderRefunded,
) -> Result<(), ApplyError> {
    let Some(sold) = find(tx, &refunded.order_id)? else { return Ok(()) };
    changes.of_sale(&sold.buyer, &Sums { refunded: refunded.amount, ..Sums::default() });
    Ok(())
}

fn find(tx: &mut sql::Tx, order: &OrderId) -> Result<Option<Sold>, ApplyError> {
    let sql = "select customer, country, lines, units, total, paid from sold where order_id = ?1";
    let found = tx.find(sql, [order.as_str()], |row| {
        Ok(Sold {
            buyer: Buyer { customer: row.get(0)?, country: row.get(1)? },
            lines: row.get(2)?,
            units: row.get(3)?,
            total: sql::money(row, 4)?,
            paid: row.get(5)?,
        })
    })?;
    Ok(found)
}
