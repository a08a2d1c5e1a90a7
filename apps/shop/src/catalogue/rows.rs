//! The read model of the catalogue as rows, one by code.

use gesta::{ApplyError, ReadTypedRows as _, Recorded, Revision, TypedRows as _, store::Rows as _};
use serde::{Deserialize, Serialize};

use super::{
    ProductEvent,
    details::{ProductDetails, product_of, words},
};
use crate::{
    rows::{RowsReader, RowsTx, page},
    search::{SearchText, folded_words},
};

/// Key: code of the product.
const PRODUCTS: &str = "products";

/// Rows that a search reads at a time.
const SCANNED: u32 = 200;

#[derive(Serialize, Deserialize)]
struct ProductRow {
    product: ProductDetails,
    revision: u64,
}

impl ProductRow {
    fn details(self) -> ProductDetails {
        ProductDetails { revision: Revision::new(self.revision), ..self.product }
    }
}

pub(super) async fn apply_one(
    tx: &mut RowsTx,
    recorded: &Recorded<ProductEvent>,
) -> Result<(), ApplyError> {
    let key = product_of(&recorded.event).as_str();
    let known = tx.get::<ProductRow>(PRODUCTS, key).await?.map(|row| row.product);
    let Some(product) = ProductDetails::after(known, &recorded.event) else { return Ok(()) };
    // Every event of the stream moves the revision that the ETag shows.
    let revision = recorded.revision.number();
    tx.put(PRODUCTS, key, &ProductRow { product, revision }).await
}

pub(super) async fn forget(tx: &mut RowsTx, product: &str) -> Result<(), ApplyError> {
    Ok(tx.delete(PRODUCTS, product).await?)
}

pub(super) async fn find(
    rows: &mut RowsReader,
    product: &str,
) -> Result<Option<ProductDetails>, ApplyError> {
    Ok(rows.get::<ProductRow>(PRODUCTS, product).await?.map(ProductRow::details))
}

/// Lists products after a code. A search reads all products from there until it has found enough: a
/// full-text index is what `--search` is for.
pub(super) async fn list(
    rows: &mut RowsReader,
    text: Option<&SearchText>,
    after: &str,
    limit: u32,
) -> Result<Vec<ProductDetails>, ApplyError> {
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let of_page = if text.is_some() { SCANNED } else { limit };
    let (mut found, mut after) = (Vec::new(), after.to_owned());
    loop {
        let listed: Vec<(String, ProductRow)> =
            rows.list(page(PRODUCTS, "", &after, of_page)).await?;
        let is_last = listed.len() < usize::try_from(of_page).unwrap_or(usize::MAX);
        if let Some((last, _)) = listed.last() {
            after.clone_from(last);
        }
        let products = listed.into_iter().map(|(_, row)| row.details());
        found.extend(products.filter(|product| text.is_none_or(|text| is_found(product, text))));
        if is_last || found.len() >= wanted {
            found.truncate(wanted);
            return Ok(found);
        }
    }
}

/// Finds several products by their codes, at most `limit` of them.
pub(super) async fn find_many(
    rows: &mut RowsReader,
    ids: &[&str],
    text: Option<&SearchText>,
    limit: u32,
) -> Result<Vec<ProductDetails>, ApplyError> {
    let found: Vec<Option<ProductRow>> = rows.get_many(PRODUCTS, ids).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let products = found.into_iter().flatten().map(ProductRow::details);
    let products = products.filter(|product| text.is_none_or(|text| is_found(product, text)));
    Ok(products.take(limit).collect())
}

fn is_found(product: &ProductDetails, text: &SearchText) -> bool {
    text.is_in(&folded_words(&words(&product.product_id, &product.name)))
}
