//! The read model of the catalogue: one row per product, and a full-text index.

use gesta::{Aggregate as _, Apply, ApplyError, Projection, Recorded, StreamName};

use super::{
    Product, ProductAdded, ProductEvent, StockKeeping,
    details::{product_of, words},
    rows,
};
use crate::{
    id::ProductId,
    read_models::{self, Tx},
    search,
    sql::{self, SqlTx, params},
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

impl Apply<Tx> for Products {
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
        events: &[Recorded<ProductEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            match tx {
                Tx::Sql(tx) => {
                    apply_one(tx, event).await?;
                    // Every event of the stream moves the revision that the ETag shows.
                    set_revision(tx, event).await?;
                }
                Tx::Rows(tx) => rows::apply_one(tx, event).await?,
            }
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut Tx, stream: &StreamName) -> Result<(), ApplyError> {
        let Some(id) = read_models::id_of(stream, Product::CATEGORY) else { return Ok(()) };
        match tx {
            Tx::Sql(tx) => forget(tx, id).await,
            Tx::Rows(tx) => rows::forget(tx, id).await,
        }
    }
}

async fn forget(tx: &mut SqlTx, id: &str) -> Result<(), ApplyError> {
    let Some((number, name)) = find(tx, id).await? else { return Ok(()) };
    // Before the row: its name is needed to remove the words.
    tx.remove_words(WORDS, number, &search::words([id, &name])).await?;
    tx.execute("delete from products where number = ?1", params![number]).await?;
    Ok(())
}

async fn apply_one(tx: &mut SqlTx, event: &Recorded<ProductEvent>) -> Result<(), ApplyError> {
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

async fn set_revision(tx: &mut SqlTx, event: &Recorded<ProductEvent>) -> Result<(), ApplyError> {
    let sql = "update products set revision = ?2 where product_id = ?1";
    Ok(tx.execute(sql, params![product_of(&event.event).as_str(), event.revision.number()]).await?)
}

async fn add(tx: &mut SqlTx, number: u64, added: &ProductAdded) -> Result<(), ApplyError> {
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

async fn rename(tx: &mut SqlTx, product: &ProductId, name: &str) -> Result<(), ApplyError> {
    // Missing if the product's stream lost its beginning; there is then no row to rename.
    let Some((number, before)) = find(tx, product.as_str()).await? else { return Ok(()) };
    tx.remove_words(WORDS, number, &words(product, &before)).await?;
    tx.add_words(WORDS, number, &words(product, name)).await?;
    let sql = "update products set name = ?2 where number = ?1";
    Ok(tx.execute(sql, params![number, name]).await?)
}

/// Finds the row number and name of a product.
async fn find(tx: &mut SqlTx, product: &str) -> sql::Result<Option<(u64, String)>> {
    let sql = "select number, name from products where product_id = ?1";
    tx.find(sql, params![product], |row| Ok((row.get(0)?, row.get(1)?))).await
}

async fn count(tx: &mut SqlTx, product: &ProductId, pieces: i64) -> Result<(), ApplyError> {
    let sql = "update products set stock = stock + ?2 where product_id = ?1";
    Ok(tx.execute(sql, params![product.as_str(), pieces]).await?)
}
