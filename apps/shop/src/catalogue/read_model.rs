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
    create virtual table product_words using fts5(words, content='');
";

/// The projection that maintains the table of products and its search index.
#[derive(Debug)]
pub struct Products;

impl Projection for Products {
    const NAME: &'static str = "products";
    type Event = ProductEvent;
}

impl Apply<sql::Tx> for Products {
    async fn prepare(&self, tx: &mut sql::Tx) -> Result<(), ApplyError> {
        Ok(tx.execute_script(TABLES)?)
    }

    async fn apply(
        &self,
        tx: &mut sql::Tx,
        events: &[Recorded<ProductEvent>],
    ) -> Result<(), ApplyError> {
        events.iter().try_for_each(|event| {
            apply_one(tx, event)?;
            // Every event of the stream moves the revision that the ETag shows.
            set_revision(tx, event)
        })
    }

    async fn forget(&self, tx: &mut sql::Tx, stream: &StreamName) -> Result<(), ApplyError> {
        let Some(id) = sql::id_of(stream, Product::CATEGORY) else { return Ok(()) };
        let Some((number, name)) = find(tx, id)? else { return Ok(()) };
        // Before the row: its name is needed to remove the words.
        remove_words(tx, number, &search::words([id, &name]))?;
        tx.execute("delete from products where number = ?1", [number])?;
        Ok(())
    }
}

fn apply_one(tx: &mut sql::Tx, event: &Recorded<ProductEvent>) -> Result<(), ApplyError> {
    match &event.event {
        // The position makes a stable row number: a rebuild assigns the same one.
        ProductEvent::Added(added) => add(tx, event.position.number(), added),
        ProductEvent::Renamed(renamed) => rename(tx, &renamed.product_id, &renamed.name),
        ProductEvent::Repriced(repriced) => {
            let sql = "update products set price = ?2 where product_id = ?1";
            let values = params![repriced.product_id.as_str(), repriced.price.to_string()];
            tx.execute(sql, values)?;
            Ok(())
        }
        ProductEvent::StockReceived(received) => {
            count(tx, &received.product_id, received.quantity.into())
        }
        ProductEvent::StockAdjusted(adjusted) => count(tx, &adjusted.product_id, adjusted.quantity),
        ProductEvent::StockReserved(reserved) => {
            count(tx, &reserved.product_id, -i64::from(reserved.quantity))
        }
        ProductEvent::StockReleased(released) => {
            count(tx, &released.product_id, released.quantity.into())
        }
    }
}

fn set_revision(tx: &mut sql::Tx, event: &Recorded<ProductEvent>) -> Result<(), ApplyError> {
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
    tx.execute(sql, params![product.as_str(), event.revision.number()])?;
    Ok(())
}

fn add(tx: &mut sql::Tx, number: u64, added: &ProductAdded) -> Result<(), ApplyError> {
    tx.execute(
        "insert into products values (?1, ?2, ?3, ?4, ?5, 0, 0)",
        params![
            number,
            added.product_id.as_str(),
            added.name,
            added.price.to_string(),
            added.stock_keeping == StockKeeping::Tracked,
        ],
    )?;
    let words = words(&added.product_id, &added.name);
    tx.execute("insert into product_words (rowid, words) values (?1, ?2)", params![number, words])?;
    Ok(())
}

fn rename(tx: &mut sql::Tx, product: &ProductId, name: &str) -> Result<(), ApplyError> {
    // Missing if the product's stream lost its beginning; there is then no row to rename.
    let Some((number, before)) = find(tx, product.as_str())? else { return Ok(()) };
    remove_words(tx, number, &words(product, &before))?;
    let after = words(product, name);
    tx.execute("insert into product_words (rowid, words) values (?1, ?2)", params![number, after])?;
    tx.execute("update products set name = ?2 where number = ?1", params![number, name])?;
    Ok(())
}

/// Finds the row number and name of a product.
fn find(tx: &mut sql::Tx, product: &str) -> Result<Option<(i64, String)>, ApplyError> {
    let sql = "select number, name from products where product_id = ?1";
    Ok(tx.find(sql, [product], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

fn remove_words(tx: &mut sql::Tx, number: i64, words: &str) -> Result<(), ApplyError> {
    // The index stores no texts, so the row's words must be given to be removed.
    tx.execute(
        "insert into product_words (product_words, rowid, words) values ('delete', ?1, ?2)",
        params![number, words],
    )?;
    Ok(())
}

fn words(product: &ProductId, name: &str) -> String {
    search::words([product.as_str(), name])
}

fn count(tx: &mut sql::Tx, product: &ProductId, pieces: i64) -> Result<(), ApplyError> {
    let sql = "update products set stock = stock + ?2 where product_id = ?1";
    tx.execute(sql, params![product.as_str(), pieces])?;
    Ok(())
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
