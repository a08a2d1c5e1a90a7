//! The index of products.

use gesta::{
    Aggregate as _, Apply, ApplyError, Projection, Recorded, StreamName,
    search::{Document, IndexDefinition, SearchTx, TextField},
};

use crate::{
    catalogue::{
        Product, ProductEvent,
        details::{ProductDetails, product_of},
    },
    read_models,
};

pub(super) const NAME: &str = "name";
pub(super) const CODE: &str = "code";
/// `inStock`, `soldOut` or `untracked`.
pub(super) const STOCK: &str = "stock";

/// The projection that maintains the index of products.
#[derive(Debug)]
pub struct ProductIndex;

impl Projection for ProductIndex {
    const NAME: &'static str = "product-search";
    type Event = ProductEvent;
}

impl Apply<SearchTx> for ProductIndex {
    async fn prepare(&self, tx: &mut SearchTx) -> Result<(), ApplyError> {
        let definition = IndexDefinition::new()
            .text(NAME, TextField::new().weight(2.0))
            .text(CODE, TextField::new().without_typos())
            .keyword(STOCK);
        Ok(tx.define(definition)?)
    }

    async fn apply(
        &self,
        tx: &mut SearchTx,
        events: &[Recorded<ProductEvent>],
    ) -> Result<(), ApplyError> {
        // In one request for the whole batch.
        tx.load(events.iter().map(|event| product_of(&event.event).as_str())).await?;
        for event in events {
            apply_one(tx, event).await?;
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut SearchTx, stream: &StreamName) -> Result<(), ApplyError> {
        let Some(id) = read_models::id_of(stream, Product::CATEGORY) else { return Ok(()) };
        Ok(tx.forget(id).await?)
    }
}

async fn apply_one(tx: &mut SearchTx, event: &Recorded<ProductEvent>) -> Result<(), ApplyError> {
    let known = tx.get(product_of(&event.event).as_str()).await?;
    let known = known.map(|document| serde_json::from_value(document.body_value().clone()));
    let known: Option<ProductDetails> = known.transpose()?;
    // None for a product whose stream lost its beginning.
    let Some(product) = ProductDetails::after(known, &event.event) else { return Ok(()) };
    let stock = match product.stock {
        None => "untracked",
        Some(1..) => "inStock",
        Some(_) => "soldOut",
    };
    let document = Document::new(product.product_id.as_str())
        .text(NAME, &product.name)
        .text(CODE, product.product_id.as_str())
        .keyword(STOCK, stock)
        .body(serde_json::to_value(&product)?);
    Ok(tx.put(document, event.position)?)
}
