//! Queries on products.

use gesta::{Answer, Query, QueryError, Revision};
use gesta_http::PageRequest;

use super::{ProductDetails, Products, read_model::WORDS};
use crate::{
    id::ProductId,
    paging::{Page, fetch_limit},
    search::SearchText,
    sql::{self, params},
};

/// Finds one product.
#[derive(Query, Clone, Debug)]
#[query(reads = Products, answer = Option<ProductDetails>)]
pub struct FindProduct {
    /// Code of the product.
    pub product_id: ProductId,
}

impl Answer<sql::Reader> for FindProduct {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Self::Answer, QueryError> {
        let sql = "select product_id, name, price, tracked, stock, revision from products
                   where product_id = ?1";
        Ok(rows.find(sql, params![self.product_id.as_str()], product).await?)
    }
}

/// Lists products by code, optionally only those that match a search.
#[derive(Query, Clone, Debug, Default)]
#[query(reads = Products, answer = Page<ProductDetails>)]
pub struct ListProducts {
    /// Words that the code or name must have.
    pub text: Option<SearchText>,
    /// Page to return.
    pub page: PageRequest<ProductId>,
}

impl Answer<sql::Reader> for ListProducts {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Self::Answer, QueryError> {
        let after = self.page.after.as_ref().map_or("", ProductId::as_str);
        let limit = fetch_limit(self.page.limit);
        // Two statements, so that each has its own query plan.
        let found = match &self.text {
            None => {
                let sql = "select product_id, name, price, tracked, stock, revision from products
                           where product_id > ?1 order by product_id limit ?2";
                rows.query(sql, params![after, limit], product).await
            }
            Some(text) => {
                let search = rows.search(WORDS, text, 3);
                let sql = format!(
                    "select product_id, name, price, tracked, stock, revision from products
                     where product_id > ?1 and {} order by product_id limit ?2",
                    search.condition,
                );
                rows.query(&sql, params![after, limit, search.value], product).await
            }
        }?;
        Ok(Page::from_rows(found, self.page.limit, |product| product.product_id.to_string()))
    }
}

fn product(row: &dyn sql::Row) -> sql::Result<ProductDetails> {
    let tracked: bool = row.get(3)?;
    let stock: i64 = row.get(4)?;
    Ok(ProductDetails {
        product_id: sql::parsed(row, 0)?,
        name: row.get(1)?,
        price: sql::money(row, 2)?,
        stock: tracked.then_some(stock),
        revision: Revision::new(row.get(5)?),
    })
}
