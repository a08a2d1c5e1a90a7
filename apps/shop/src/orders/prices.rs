//! Source of an order's unit prices.
//!
//! Owns: [`Prices`], the part of [`PlaceOrder`](super::PlaceOrder) that the edge fills in.
//! Invariant: the decision sees only prices in the command, so a repeated decision has the same
//! result.

use std::collections::BTreeMap;

use gesta::{Gesta, LoadError};
use serde::{Deserialize, Serialize};

use crate::{catalogue::Product, id::ProductId, money::Money};

/// Source of an order's unit prices.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum Prices {
    /// The catalogue's prices. An item's own price must agree.
    Catalogue(BTreeMap<ProductId, Money>),
    /// The items' own prices; each item must have one. Used for orders sold elsewhere.
    #[default]
    AsGiven,
}

/// Loads the current catalogue prices of products; leaves out unknown products.
///
/// # Errors
/// [`LoadError`] when a product could not be loaded.
pub async fn catalogue_prices(
    gesta: &Gesta,
    products: impl IntoIterator<Item = &ProductId>,
) -> Result<Prices, LoadError> {
    let mut prices = BTreeMap::new();
    for product in products {
        // An order may have several lines of one product.
        if prices.contains_key(product) {
            continue;
        }
        if let Some(loaded) = gesta.load::<Product>(product).await? {
            prices.insert(product.clone(), loaded.state.price());
        }
    }
    Ok(Prices::Catalogue(prices))
}
