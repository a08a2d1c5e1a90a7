//! The read model of order summaries.
//!
//! Invariant: an order is found by the names that its products had at placement. The projection
//! therefore also handles events of the catalogue.

use gesta::{Aggregate as _, Apply, ApplyError, EventSet, Projection, Recorded, StreamName};
use gesta_http::Schema;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    catalogue::{ProductAdded, ProductRenamed},
    id::{CustomerId, OrderId, ProductId},
    money::Money,
    orders::{
        Order, OrderCancelled, OrderDelivered, OrderPaid, OrderPlaced, OrderRefunded, OrderShipped,
        OrderStatus,
    },
    search,
    sql::{self, params},
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

/// The events that order summaries are computed from.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum SummaryEvent {
    /// A product was added.
    ProductAdded(ProductAdded),
    /// A product's name changed.
    ProductRenamed(ProductRenamed),
    /// An order was placed.
    Placed(OrderPlaced),
    /// An order was paid.
    Paid(OrderPaid),
    /// An order was shipped.
    Shipped(OrderShipped),
    /// An order arrived.
    Delivered(OrderDelivered),
    /// An order was cancelled.
    Cancelled(OrderCancelled),
    /// A payment was refunded.
    Refunded(OrderRefunded),
}

/// The projection that maintains the table of order summaries and its search index.
#[derive(Debug)]
pub struct OrderSummaries;

impl Projection for OrderSummaries {
    const NAME: &'static str = "order-summaries";
    type Event = SummaryEvent;
}

impl Apply<sql::Tx> for OrderSummaries {
    async fn prepare(&self, tx: &mut sql::Tx) -> Result<(), ApplyError> {
        tx.create(TABLES).await?;
        Ok(tx.create_words(WORDS).await?)
    }

    async fn apply(
        &self,
        tx: &mut sql::Tx,
        events: &[Recorded<SummaryEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            apply_one(tx, event).await?;
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut sql::Tx, stream: &StreamName) -> Result<(), ApplyError> {
        let Some(id) = sql::id_of(stream, Order::CATEGORY) else { return Ok(()) };
        // The order's words stay in the full-text index, since their texts are not stored. A match
        // without a row in `orders` is not returned.
        tx.execute("delete from orders where order_id = ?1", params![id]).await?;
        Ok(())
    }
}

async fn apply_one(tx: &mut sql::Tx, event: &Recorded<SummaryEvent>) -> Result<(), ApplyError> {
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

async fn name(tx: &mut sql::Tx, product: &ProductId, name: &str) -> Result<(), ApplyError> {
    let sql = "insert into product_names values (?1, ?2)
               on conflict (product_id) do update set name = excluded.name";
    Ok(tx.execute(sql, params![product.as_str(), name]).await?)
}

async fn place(tx: &mut sql::Tx, number: u64, placed: &OrderPlaced) -> Result<(), ApplyError> {
    let units: u64 = placed.lines.iter().map(|line| u64::from(line.quantity)).sum();
    let address = placed.shipping_address.as_ref();
    // Items and discounts are left out: a list shows none, and details come from the events.
    tx.execute(
        "insert into orders values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, '0', ?9)",
        params![
            number,
            placed.order_id.as_str(),
            placed.customer_id.as_ref().map(CustomerId::as_str),
            address.and_then(|address| address.country.as_deref()),
            OrderStatus::Placed.as_str(),
            placed.lines.len(),
            units,
            placed.amounts.total.to_string(),
            sql::micros(placed.occurred_at),
        ],
    )
    .await?;
    // Indexed once, with the product names of this moment.
    let words = words(tx, placed).await?;
    Ok(tx.add_words(WORDS, number, &words).await?)
}

async fn words(tx: &mut sql::Tx, placed: &OrderPlaced) -> Result<String, ApplyError> {
    let mut texts = vec![placed.order_id.to_string()];
    texts.extend(placed.customer_id.iter().map(ToString::to_string));
    if let Some(address) = &placed.shipping_address {
        let parts = [&address.street, &address.city, &address.postal_code, &address.country];
        texts.extend(parts.into_iter().flatten().cloned());
    }
    for line in &placed.lines {
        // The name may be missing, such as after the product's stream was deleted.
        texts.push(line.product_id.to_string());
        let sql = "select name from product_names where product_id = ?1";
        let name = tx.find(sql, params![line.product_id.as_str()], |row| row.get(0)).await?;
        texts.extend::<Option<String>>(name);
    }
    Ok(search::words(texts.iter().map(String::as_str)))
}

async fn set_status(
    tx: &mut sql::Tx,
    order: &OrderId,
    status: OrderStatus,
) -> Result<(), ApplyError> {
    // No row for an order whose stream lost its beginning; the update then changes nothing.
    let sql = "update orders set status = ?2 where order_id = ?1";
    Ok(tx.execute(sql, params![order.as_str(), status.as_str()]).await?)
}

async fn refund(tx: &mut sql::Tx, event: &OrderRefunded) -> Result<(), ApplyError> {
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

/// Summary of an order, for lists.
#[derive(Serialize, Clone, Debug, PartialEq, Schema)]
#[serde(rename_all = "camelCase")]
pub struct OrderSummary {
    /// Id of the order.
    pub order_id: OrderId,
    /// Customer; absent for a guest order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// Country of the shipping address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Current status.
    pub status: OrderStatus,
    /// Number of lines.
    pub lines: u64,
    /// Number of pieces.
    pub units: u64,
    /// Amount to pay.
    pub total: Money,
    /// Sum of the refunds.
    pub refunded: Money,
    /// Time of placement.
    pub placed_at: Timestamp,
    /// Sort key of the list: the position of the order's first event.
    #[serde(skip)]
    pub(super) number: u64,
}
