//! The read model of sales.
//!
//! Invariant: an order counts from its placement. An order that is cancelled unpaid is subtracted
//! again; one that is cancelled after its payment counts until the payment is refunded.

use gesta::{Apply, ApplyError, EventSet, Projection, Recorded};

use super::{
    rows,
    sold::SoldOrder,
    sums::{self, Buyer, SumChanges, Sums},
};
use crate::{
    catalogue::{ProductAdded, StockAdjusted},
    id::OrderId,
    orders::{
        OrderCancelled, OrderPaid, OrderPlaced, OrderRefunded, credit_notes::CreditNoteIssued,
    },
    read_models::Tx,
    sql::{self, SqlTx, params},
};

/// Orders by id: a cancellation or refund must find the order's amounts again.
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

/// The events that sales are computed from.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum SalesEvent {
    /// A product was added.
    ProductAdded(ProductAdded),
    /// Stock was corrected.
    StockAdjusted(StockAdjusted),
    /// An order was placed.
    Placed(OrderPlaced),
    /// An order was paid.
    Paid(OrderPaid),
    /// An order was cancelled.
    Cancelled(OrderCancelled),
    /// A payment was refunded.
    Refunded(OrderRefunded),
    /// A credit note was issued.
    CreditNoteIssued(CreditNoteIssued),
}

/// The projection that maintains the sums of sales.
#[derive(Debug)]
pub struct Sales;

impl Projection for Sales {
    const NAME: &'static str = "sales";
    type Event = SalesEvent;
}

impl Apply<Tx> for Sales {
    async fn prepare(&self, tx: &mut Tx) -> Result<(), ApplyError> {
        if let Tx::Sql(tx) = tx {
            tx.create(sums::TABLE).await?;
            tx.create(ORDERS).await?;
        }
        Ok(())
    }

    async fn apply(&self, tx: &mut Tx, events: &[Recorded<SalesEvent>]) -> Result<(), ApplyError> {
        // Collects the changes of the batch first: a sum is written once per batch, not per event.
        let mut changes = SumChanges::default();
        for event in events {
            count(tx, &mut changes, &event.event).await?;
        }
        match tx {
            Tx::Sql(tx) => changes.write(tx).await,
            Tx::Rows(tx) => rows::write(tx, &changes).await,
        }
    }
}

async fn count(
    tx: &mut Tx,
    changes: &mut SumChanges,
    event: &SalesEvent,
) -> Result<(), ApplyError> {
    match event {
        SalesEvent::ProductAdded(_) => {
            changes.add_to_shop(&Sums { products: 1, ..Sums::default() });
            Ok(())
        }
        SalesEvent::StockAdjusted(_) => {
            changes.add_to_shop(&Sums { stock_adjustments: 1, ..Sums::default() });
            Ok(())
        }
        SalesEvent::Placed(placed) => place(tx, changes, placed).await,
        SalesEvent::Paid(paid) => pay(tx, &paid.order_id).await,
        SalesEvent::Cancelled(cancelled) => cancel(tx, changes, cancelled).await,
        SalesEvent::Refunded(refunded) => refund(tx, changes, refunded).await,
        SalesEvent::CreditNoteIssued(issued) => {
            let buyer = Buyer {
                customer: issued.customer_id.as_ref().map(ToString::to_string),
                country: issued.country.clone(),
            };
            let change = Sums { credit_notes: 1, refunded: issued.total, ..Sums::default() };
            changes.add_sale(&buyer, &change.at(issued.occurred_at));
            Ok(())
        }
    }
}

async fn place(
    tx: &mut Tx,
    changes: &mut SumChanges,
    placed: &OrderPlaced,
) -> Result<(), ApplyError> {
    let sold = SoldOrder::of(placed);
    changes.add_sale(&sold.buyer, &sold.sums().at(placed.occurred_at));
    match tx {
        Tx::Sql(tx) => insert(tx, &placed.order_id, &sold).await,
        Tx::Rows(tx) => rows::put(tx, &placed.order_id, &sold).await,
    }
}

async fn insert(tx: &mut SqlTx, order: &OrderId, sold: &SoldOrder) -> Result<(), ApplyError> {
    tx.execute(
        "insert into sold values (?1, ?2, ?3, ?4, ?5, ?6, 0)",
        params![
            order.as_str(),
            sold.buyer.customer.as_deref(),
            sold.buyer.country.as_deref(),
            sold.lines,
            sold.units,
            // Text, like every amount: the sums must subtract exactly what they added.
            sold.total.to_string(),
        ],
    )
    .await?;
    Ok(())
}

async fn pay(tx: &mut Tx, order: &OrderId) -> Result<(), ApplyError> {
    match tx {
        Tx::Sql(tx) => {
            let sql = "update sold set paid = 1 where order_id = ?1";
            Ok(tx.execute(sql, params![order.as_str()]).await?)
        }
        Tx::Rows(tx) => match rows::find(tx, order).await? {
            Some(sold) => rows::put(tx, order, &SoldOrder { paid: true, ..sold }).await,
            None => Ok(()),
        },
    }
}

async fn cancel(
    tx: &mut Tx,
    changes: &mut SumChanges,
    cancelled: &OrderCancelled,
) -> Result<(), ApplyError> {
    // Missing if the order's stream lost its beginning; it was then never counted.
    let Some(sold) = find(tx, &cancelled.order_id).await? else { return Ok(()) };
    // A paid order counts until its refund.
    if !sold.paid {
        changes.add_sale(&sold.buyer, &sold.sums().negated());
    }
    Ok(())
}

async fn refund(
    tx: &mut Tx,
    changes: &mut SumChanges,
    refunded: &OrderRefunded,
) -> Result<(), ApplyError> {
    let Some(sold) = find(tx, &refunded.order_id).await? else { return Ok(()) };
    changes.add_sale(&sold.buyer, &Sums { refunded: refunded.amount, ..Sums::default() });
    Ok(())
}

async fn find(tx: &mut Tx, order: &OrderId) -> Result<Option<SoldOrder>, ApplyError> {
    match tx {
        Tx::Sql(tx) => Ok(select(tx, order).await?),
        Tx::Rows(tx) => rows::find(tx, order).await,
    }
}

async fn select(tx: &mut SqlTx, order: &OrderId) -> sql::Result<Option<SoldOrder>> {
    let sql = "select customer, country, lines, units, total, paid from sold where order_id = ?1";
    tx.find(sql, params![order.as_str()], |row| {
        Ok(SoldOrder {
            buyer: Buyer { customer: row.optional(0)?, country: row.optional(1)? },
            lines: row.get(2)?,
            units: row.get(3)?,
            total: sql::money(row, 4)?,
            paid: row.get(5)?,
        })
    })
    .await
}
