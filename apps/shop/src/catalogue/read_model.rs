//! The read model of the catalogue: one row per product, and a full-text index.

use gesta::{Aggregate as _, Apply, ApplyError, Projection, Recorded, Revision, StreamName};
use gesta_http::Schema;
use serde::Serialize;

use super::{Product, ProductAdded, ProductEvent, StockKeeping};
use crate::{
    id::ProductId,
    money::Money,
    search,
    sql::{self, params},
};

const TABLES: &str = "
    create table products (
        number integer primary key,
        product_id text not null unique,
        name text not null,
        price text not null,
        tracked integer not null,
        stock integer not null,
        revision integer not null
    ) strict;
";

/// The index of the products' words.
pub(super) const WORDS: &str = "product_words";

/// The projection that maintains the table of products and its search index.
#[derive(Debug)]
pub struct Products;

impl Projection for Products {
    const NAME: &'static str = "products";
    type Event = ProductEvent;
}

impl Apply<sql::Tx> for Products {
    async fn prepare(&self, tx: &mut sql::Tx) -> Result<(), ApplyError> {
        tx.create(TABLES).await?;
        Ok(tx.create_words(WORDS).await?)
    }

    async fn apply(
        &self,
        tx: &mut sql::Tx,
        events: &[Recorded<ProductEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            apply_one(tx, event).await?;
            // Every event of the stream moves the revision that the ETag shows.
            set_revision(tx, event).await?;
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut sql::Tx, stream: &StreamName) -> Result<(), ApplyError> {
        let Some(id) = sql::id_of(stream, Product::CATEGORY) else { return Ok(()) };
        let Some((number, name)) = find(tx, id).await? else { return Ok(()) };
        // Before the row: its name is needed to remove the words.
        tx.remove_words(WORDS, number, &search::words([id, &name])).await?;
        tx.execute("delete from products where number = ?1", params![number]).await?;
        Ok(())
    }
}

async fn apply_one(tx: &mut sql::Tx, event: &Recorded<ProductEvent>) -> Result<(), ApplyError> {
    match &event.event {
        // The position makes a stable row number: a rebuild assigns the same one.
        ProductEvent::Added(added) => add(tx, event.position.number(), added).await,
        ProductEvent::Renamed(renamed) => rename(tx, &renamed.product_id, &renamed.name).await,
        ProductEvent::Repriced(repriced) => {
            let sql = "update products set price = ?2 where product_id = ?1";
            let values = params![repriced.product_id.as_str(), repriced.price.to_string()];
            Ok(tx.execute(sql, values).await?)
        }
        ProductEvent::StockReceived(received) => {
            count(tx, &received.product_id, received.quantity.into()).await
        }
        ProductEvent::StockAdjusted(adjusted) => {
            count(tx, &adjusted.product_id, adjusted.quantity).await
        }
        ProductEvent::StockReserved(reserved) => {
            count(tx, &reserved.product_id, -i64::from(reserved.quantity)).await
        }
        ProductEvent::StockReleased(released) => {
            count(tx, &released.product_id, released.quantity.into()).await
        }
    }
}

async fn set_revision(tx: &mut sql::Tx, event: &Recorded<ProductEvent>) -> Result<(), ApplyError> {
    let product = match &event.event {
        ProductEvent::Added(added) => &added.product_id,
        ProductEvent::Renamed(renamed) => &renamed.product_id,
        ProductEvent::Repriced(repriced) => &repriced.product_id,
        ProductEvent::StockReceived(received) => &received.product_id,
        ProductEvent::StockAdjusted(adjusted) => &adjusted.product_id,
        ProductEvent::StockReserved(reserved) => &reserved.product_id,
        ProductEvent::StockReleased(released) => &released.product_id,
    };
    let sql = "update products set revision = ?2 where product_id = ?1";
    Ok(tx.execute(sql, params![product.as_str(), event.revision.number()]).await?)
}

async fn add(tx: &mut sql::Tx, number: u64, added: &ProductAdded) -> Result<(), ApplyError> {
    tx.execute(
        "insert into products values (?1, ?2, ?3, ?4, ?5, 0, 0)",
        params![
            number,
            added.product_id.as_str(),
            &added.name,
            added.price.to_string(),
            added.stock_keeping == StockKeeping::Tracked,
        ],
    )
    .await?;
    Ok(tx.add_words(WORDS, number, &words(&added.product_id, &added.name)).await?)
}

async fn rename(tx: &mut sql::Tx, product: &ProductId, name: &str) -> Result<(), ApplyError> {
    // Missing if the product's stream lost its beginning; there is then no row to rename.
    let Some((number, before)) = find(tx, product.as_str()).await? else { return Ok(()) };
    tx.remove_words(WORDS, number, &words(product, &before)).await?;
    tx.add_words(WORDS, number, &words(product, name)).await?;
    let sql = "update products set name = ?2 where number = ?1";
    Ok(tx.execute(sql, params![number, name]).await?)
}

/// Finds the row number and name of a product.
async fn find(tx: &mut sql::Tx, product: &str) -> sql::Result<Option<(u64, String)>> {
    let sql = "select number, name from products where product_id = ?1";
    tx.find(sql, params![product], |row| Ok((row.get(0)?, row.get(1)?))).await
}

fn words(product: &ProductId, name: &str) -> String {
    search::words([product.as_str(), name])
}

async fn count(tx: &mut sql::Tx, product: &ProductId, pieces: i64) -> Result<(), ApplyError> {
    let sql = "update products set stock = stock + ?2 where product_id = ?1";
    Ok(tx.execute(sql, params![product.as_str(), pieces]).await?)
}

/// A product, as returned by queries.
#[derive(Serialize, Clone, Debug, PartialEq, Schema)]
#[serde(rename_all = "camelCase")]
pub struct ProductDetails {
    /// Code of the product.
    pub product_id: ProductId,
    /// Name shown to customers.
    pub name: String,
    /// Price of a piece.
    pub price: Money,
    /// Pieces available for sale; absent if stock is not tracked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stock: Option<i64>,
    /// Revision of the product's stream, for the ETag.
    #[serde(skip)]
    pub revision: Revision,
}
