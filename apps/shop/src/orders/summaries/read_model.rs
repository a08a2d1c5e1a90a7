//! The read model of order summaries.
//!
//! Invariant: an order is found by the names that its products had at placement. The projection
//! therefore also handles events of the catalogue.

use gesta::{Aggregate as _, Apply, ApplyError, Projection, Recorded, StreamName};

use super::{
    rows,
    summary::{OrderSummary, SummaryEvent, words},
};
use crate::{
    id::{CustomerId, OrderId, ProductId},
    orders::{Order, OrderPlaced, OrderRefunded, OrderStatus},
    read_models::{self, Tx},
    sql::{self, SqlTx, params},
};

const TABLES: &str = "
    create table orders (
        number integer primary key,
        order_id text not null unique,
        customer_id text,
        country text,
        status text not null,
        lines integer not null,
        units integer not null,
        total text not null,
        refunded text not null,
        placed_at integer not null
    ) strict;
    create index orders_by_customer on orders (customer_id, number);
    create index orders_by_status on orders (status, number);
    create table product_names (
        product_id text primary key,
        name text not null
    ) strict, without rowid;
";

/// The index of the orders' words.
pub(super) const WORDS: &str = "order_words";

/// The projection that maintains the table of order summaries and its search index.
#[derive(Debug)]
pub struct OrderSummaries;

impl Projection for OrderSummaries {
    const NAME: &'static str = "order-summaries";
    type Event = SummaryEvent;
}

impl Apply<Tx> for OrderSummaries {
    async fn prepare(&self, tx: &mut Tx) -> Result<(), ApplyError> {
        if let Tx::Sql(tx) = tx {
            tx.create(TABLES).await?;
            tx.create_words(WORDS).await?;
        }
        Ok(())
    }

    async fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<SummaryEvent>],
    ) -> Result<(), ApplyError> {
        match tx {
            Tx::Sql(tx) => {
                for event in events {
                    apply_one(tx, event).await?;
                }
                Ok(())
            }
            Tx::Rows(tx) => rows::apply(tx, events).await,
        }
    }

    async fn forget(&self, tx: &mut Tx, stream: &StreamName) -> Result<(), ApplyError> {
        let Some(id) = read_models::id_of(stream, Order::CATEGORY) else { return Ok(()) };
        match tx {
            // The order's words stay in the full-text index, since their texts are not stored. A
            // match without a row in `orders` is not returned.
            Tx::Sql(tx) => {
                Ok(tx.execute("delete from orders where order_id = ?1", params![id]).await?)
            }
            Tx::Rows(tx) => rows::forget(tx, id).await,
        }
    }
}

async fn apply_one(tx: &mut SqlTx, event: &Recorded<SummaryEvent>) -> Result<(), ApplyError> {
    match &event.event {
        SummaryEvent::ProductAdded(added) => name(tx, &added.product_id, &added.name).await,
        SummaryEvent::ProductRenamed(renamed) => name(tx, &renamed.product_id, &renamed.name).await,
        // The position is the sort key: higher numbers are newer orders.
        SummaryEvent::Placed(placed) => place(tx, event.position.number(), placed).await,
        SummaryEvent::Paid(paid) => set_status(tx, &paid.order_id, OrderStatus::Paid).await,
        SummaryEvent::Shipped(shipped) => {
            set_status(tx, &shipped.order_id, OrderStatus::Shipped).await
        }
        SummaryEvent::Delivered(delivered) => {
            set_status(tx, &delivered.order_id, OrderStatus::Delivered).await
        }
        SummaryEvent::Cancelled(cancelled) => {
            set_status(tx, &cancelled.order_id, OrderStatus::Cancelled).await
        }
        SummaryEvent::Refunded(refunded) => refund(tx, refunded).await,
    }
}

async fn name(tx: &mut SqlTx, product: &ProductId, name: &str) -> Result<(), ApplyError> {
    let sql = "insert into product_names values (?1, ?2)
               on conflict (product_id) do update set name = excluded.name";
    Ok(tx.execute(sql, params![product.as_str(), name]).await?)
}

async fn place(tx: &mut SqlTx, number: u64, placed: &OrderPlaced) -> Result<(), ApplyError> {
    let summary = OrderSummary::placed(number, placed);
    // Items and discounts are left out: a list shows none, and details come from the events.
    tx.execute(
        "insert into orders values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, '0', ?9)",
        params![
            number,
            summary.order_id.as_str(),
            summary.customer_id.as_ref().map(CustomerId::as_str),
            summary.country.as_deref(),
            summary.status.as_str(),
            summary.lines,
            summary.units,
            summary.total.to_string(),
            sql::micros(summary.placed_at),
        ],
    )
    .await?;
    // Indexed once, with the product names of this moment.
    let mut names = Vec::new();
    for line in &placed.lines {
        let sql = "select name from product_names where product_id = ?1";
        names.push(tx.find(sql, params![line.product_id.as_str()], |row| row.get(0)).await?);
    }
    Ok(tx.add_words(WORDS, number, &words(placed, &names)).await?)
}

async fn set_status(
    tx: &mut SqlTx,
    order: &OrderId,
    status: OrderStatus,
) -> Result<(), ApplyError> {
    // No row for an order whose stream lost its beginning; the update then changes nothing.
    let sql = "update orders set status = ?2 where order_id = ?1";
    Ok(tx.execute(sql, params![order.as_str(), status.as_str()]).await?)
}

async fn refund(tx: &mut SqlTx, event: &OrderRefunded) -> Result<(), ApplyError> {
    let sql = "select status, refunded from orders where order_id = ?1";
    let order = params![event.order_id.as_str()];
    let found =
        tx.find(sql, order, |row| Ok((sql::parsed::<OrderStatus>(row, 0)?, sql::money(row, 1)?)));
    let Some((status, refunded)) = found.await? else { return Ok(()) };
    // A partial refund keeps the status.
    let status = status.after_refund(event.left);
    let refunded = refunded + event.amount;
    let sql = "update orders set status = ?2, refunded = ?3 where order_id = ?1";
    let values = params![event.order_id.as_str(), status.as_str(), refunded.to_string()];
    Ok(tx.execute(sql, values).await?)
}
