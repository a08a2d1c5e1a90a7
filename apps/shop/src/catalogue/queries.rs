//! Queries on products.

use gesta::{Answer, Query, QueryError};

use super::{ProductDetails, Products};
use crate::{
    id::ProductId,
    paging::{Page, PageSize},
    search::SearchText,
    sql::{self, params},
};

/// Finds one product.
#[derive(Clone, Debug)]
pub struct FindProduct {
    /// Code of the product.
    pub product_id: ProductId,
}

impl Query for FindProduct {
    type Reads = Products;
    type Answer = Option<ProductDetails>;
}

impl Answer<sql::Reader> for FindProduct {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Option<ProductDetails>, QueryError> {
        let sql = "select product_id, name, price, tracked, stock, revision from products
                   where product_id = ?1";
        Ok(rows.find(sql, [self.product_id.as_str()], product)?)
    }
}

/// Lists products by code, optionally only those that match a search.
#[derive(Clone, Debug, Default)]
pub struct ListProducts {
    /// Words that the code or name must have.
    pub text: Option<SearchText>,
    /// Last code of the previous page.
    pub after: Option<ProductId>,
    /// Maximum number of rows per page.
    pub size: PageSize,
}

impl Query for ListProducts {
    type Reads = Products;
    type Answer = Page<ProductDetails>;
}

impl Answer<sql::Reader> for ListProducts {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Page<ProductDetails>, QueryError> {
        let after = self.after.as_ref().map_or("", ProductId::as_str);
        let limit = self.size.fetch_limit();
        // Two statements, so that each has its own query plan.
        let found = match &self.text {
            None => {
                let sql = "select product_id, name, price, tracked, stock, revision from products
                           where product_id > ?1 order by product_id limit ?2";
                rows.query(sql, params![after, limit], product)
            }
            Some(text) => {
                let sql = "select product_id, name, price, tracked, stock, revision from products
                           where product_id > ?1 and number in
                               (select rowid from product_words where product_words match ?3)
                           order by product_id limit ?2";
                rows.query(sql, params![after, limit, text.as_match()], product)
            }
        }?;
        Ok(Page::from_rows(found, self.size, |product| product.product_id.to_string()))
    }
}

fn product(row: &sql::Row<'_>) -> sql::Result<ProductDetails> {
    let tracked: bool = row.get(3)?;
    let stock: i64 = row.get(4)?;
    Ok(ProductDetails {
        product_id: sql::parsed(row, 0)?,
        name: row.get(1)?,
        price: sql::money(row, 2)?,
        stock: tracked.then_some(stock),
        revision: row.get(5)?,
    })
}
