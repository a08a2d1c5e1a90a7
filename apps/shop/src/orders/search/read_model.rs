//! The index of orders.
//!
//! Invariants: an order is found by the names that its products had at placement. Documents of
//! products are unlisted and keep these names. A document depends on the events of its own stream,
//! and on names, so events that are applied again change nothing.

use gesta::{
    Aggregate as _, Apply, ApplyError, Projection, Recorded, StreamName,
    search::{Document, IndexDefinition, SearchTx, TextField},
};
use jiff::Timestamp;

use crate::{
    id::{CustomerId, ProductId},
    orders::{
        Order, OrderPlaced,
        summaries::{OrderSummary, SummaryEvent},
    },
    read_models,
};

/// Names of the products, for relevance more than the rest.
pub(super) const PRODUCTS: &str = "products";
/// The shipping address.
pub(super) const ADDRESS: &str = "address";
/// Ids of the order and the customer, codes of the products.
pub(super) const CODES: &str = "codes";
pub(super) const CUSTOMER: &str = "customer";
pub(super) const STATUS: &str = "status";
pub(super) const COUNTRY: &str = "country";
pub(super) const PLACED_AT: &str = "placedAt";

/// The projection that maintains the index of orders.
#[derive(Debug)]
pub struct OrderIndex;

impl Projection for OrderIndex {
    const NAME: &'static str = "order-search";
    type Event = SummaryEvent;
}

impl Apply<SearchTx> for OrderIndex {
    async fn prepare(&self, tx: &mut SearchTx) -> Result<(), ApplyError> {
        let definition = IndexDefinition::new()
            .text(PRODUCTS, TextField::new().weight(2.0))
            .text(ADDRESS, TextField::new())
            .text(CODES, TextField::new().without_typos())
            .keyword(CUSTOMER)
            .keyword(STATUS)
            .keyword(COUNTRY)
            .date(PLACED_AT);
        Ok(tx.define(definition)?)
    }

    async fn apply(
        &self,
        tx: &mut SearchTx,
        events: &[Recorded<SummaryEvent>],
    ) -> Result<(), ApplyError> {
        // In one request for the whole batch.
        tx.load(events.iter().flat_map(|event| needed(&event.event))).await?;
        for event in events {
            apply_one(tx, event).await?;
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut SearchTx, stream: &StreamName) -> Result<(), ApplyError> {
        let Some(id) = read_models::id_of(stream, Order::CATEGORY) else { return Ok(()) };
        Ok(tx.forget(id).await?)
    }
}

/// Id of the document with a product's name. No id has a control character.
fn name_of(product: &ProductId) -> String {
    format!("product\u{1}{product}")
}

/// Ids of the documents that an event changes or depends on.
fn needed(event: &SummaryEvent) -> Vec<String> {
    match event {
        SummaryEvent::Placed(placed) => {
            placed.lines.iter().map(|line| name_of(&line.product_id)).collect()
        }
        other => other.order().map(ToString::to_string).into_iter().collect(),
    }
}

async fn apply_one(tx: &mut SearchTx, event: &Recorded<SummaryEvent>) -> Result<(), ApplyError> {
    match &event.event {
        SummaryEvent::ProductAdded(added) => name(tx, event, &added.product_id, &added.name),
        SummaryEvent::ProductRenamed(renamed) => {
            name(tx, event, &renamed.product_id, &renamed.name)
        }
        SummaryEvent::Placed(placed) => place(tx, event, placed).await,
        _ => change(tx, event).await,
    }
}

fn name(
    tx: &mut SearchTx,
    event: &Recorded<SummaryEvent>,
    product: &ProductId,
    name: &str,
) -> Result<(), ApplyError> {
    let document = Document::new(name_of(product)).body(name.into()).unlisted();
    Ok(tx.put(document, event.position)?)
}

async fn place(
    tx: &mut SearchTx,
    event: &Recorded<SummaryEvent>,
    placed: &OrderPlaced,
) -> Result<(), ApplyError> {
    let mut names = Vec::new();
    let mut codes = vec![placed.order_id.to_string()];
    codes.extend(placed.customer_id.iter().map(ToString::to_string));
    for line in &placed.lines {
        codes.push(line.product_id.to_string());
        // The name may be missing, such as after the product's stream was deleted.
        if let Some(known) = tx.get(&name_of(&line.product_id)).await? {
            names.extend(known.body_value().as_str().map(str::to_owned));
        }
    }
    let address = placed.shipping_address.clone().unwrap_or_default();
    let summary = OrderSummary::placed(event.position.number(), placed);
    let parts = [address.street, address.city, address.postal_code, address.country];
    let document = Document::new(placed.order_id.as_str())
        .texts(PRODUCTS, names)
        .texts(CODES, codes)
        .texts(ADDRESS, parts.into_iter().flatten())
        .keyword(STATUS, summary.status.as_str())
        .keyword_set(CUSTOMER, summary.customer_id.as_ref().map(CustomerId::as_str))
        .keyword_set(COUNTRY, summary.country.as_deref())
        .date(PLACED_AT, micros(placed.occurred_at))
        .body(serde_json::to_value(&summary)?);
    Ok(tx.put(document, event.position)?)
}

async fn change(tx: &mut SearchTx, event: &Recorded<SummaryEvent>) -> Result<(), ApplyError> {
    let Some(order) = event.event.order() else { return Ok(()) };
    // None for an order whose stream lost its beginning.
    let Some(document) = tx.get(order.as_str()).await? else { return Ok(()) };
    let summary: OrderSummary = serde_json::from_value(document.body_value().clone())?;
    let summary = summary.after(&event.event);
    let body = serde_json::to_value(&summary)?;
    let document = document.keyword(STATUS, summary.status.as_str()).body(body);
    Ok(tx.put(document, event.position)?)
}

pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}
