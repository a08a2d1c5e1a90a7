//! Queries on products.

use gesta::{Answer, Query, QueryError, Revision};
use gesta_http::PageRequest;

use super::{Products, details::ProductDetails, read_model::WORDS, rows as product_rows};
use crate::{
    id::ProductId,
    paging::{Page, fetch_limit, ids_after},
    read_models::Reader,
    search::SearchText,
    sql::{self, SqlReader, params},
};

/// Finds one product.
#[derive(Query, Clone, Debug)]
#[query(reads = Products, answer = Option<ProductDetails>)]
pub struct FindProduct {
    /// Code of the product.
    pub product_id: ProductId,
}

impl Answer<Reader> for FindProduct {
    async fn answer(&self, rows: &mut Reader) -> Result<Self::Answer, QueryError> {
        let sql = "select product_id, name, price, tracked, stock, revision from products
                   where product_id = ?1";
        let id = self.product_id.as_str();
        match rows {
            Reader::Sql(rows) => Ok(rows.find(sql, params![id], product).await?),
            Reader::Rows(rows) => Ok(product_rows::find(rows, id).await?),
        }
    }
}

/// Lists products by code, optionally only some, and only those that match a search.
#[derive(Query, Clone, Debug, Default)]
#[query(reads = Products, answer = Page<ProductDetails>)]
pub struct ListProducts {
    /// Codes of the products to list. Without any, all are listed.
    pub ids: Vec<ProductId>,
    /// Words that the code or name must have.
    pub text: Option<SearchText>,
    /// Page to return.
    pub page: PageRequest<ProductId>,
}

impl Answer<Reader> for ListProducts {
    async fn answer(&self, rows: &mut Reader) -> Result<Self::Answer, QueryError> {
        let after = self.page.after.as_ref().map_or("", ProductId::as_str);
        let limit = fetch_limit(self.page.limit);
        let found = match rows {
            Reader::Sql(rows) => self.select(rows, after, limit).await?,
            Reader::Rows(rows) if self.ids.is_empty() => {
                product_rows::list(rows, self.text.as_ref(), after, limit).await?
            }
            Reader::Rows(rows) => {
                let ids = ids_after(self.ids.iter().map(ProductId::as_str), after);
                product_rows::find_many(rows, &ids, self.text.as_ref(), limit).await?
            }
        };
        Ok(Page::from_rows(found, self.page.limit, |product| product.product_id.to_string()))
    }
}

impl ListProducts {
    async fn select(
        &self,
        rows: &mut SqlReader,
        after: &str,
        limit: u32,
    ) -> sql::Result<Vec<ProductDetails>> {
        let mut conditions = sql::one_of("product_id", 3, self.ids.len());
        let mut values = params![after, limit].to_vec();
        values.extend(self.ids.iter().map(|id| id.as_str().into()));
        // Only a statement with words has a condition on them, so that each has its own query plan.
        if let Some(text) = &self.text {
            let search = rows.search(WORDS, text, values.len() + 1);
            conditions = format!("{conditions} and {}", search.condition);
            values.push(search.value.into());
        }
        let sql = format!(
            "select product_id, name, price, tracked, stock, revision from products
             where product_id > ?1 and {conditions} order by product_id limit ?2"
        );
        rows.query(&sql, &values, product).await
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
