//! Where an order's unit prices come from.
//!
//! Owns: [`Prices`], the part of [`PlaceOrder`](super::PlaceOrder) that the edge fills. Always
//! holds: a price that is decided upon was in the command, so the decision is the same each time.

use std::collections::BTreeMap;

use gesta::{Gesta, LoadError};
use serde::{Deserialize, Serialize};

use super::{OrderItem, PlaceRejection};
use crate::{catalogue::Product, id::ProductId, money::Money};

/// Where an order's unit prices come from.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum Prices {
    /// From these list prices. A price that stands in an item has to agree.
    Catalogue(BTreeMap<ProductId, Money>),
    /// From the items, each of which has one: what was sold elsewhere keeps its price.
    #[default]
    AsGiven,
}

impl Prices {
    /// What a piece of an item costs.
    pub(super) fn unit_price(&self, item: &OrderItem) -> Result<Money, PlaceRejection> {
        let product = || item.product_id.clone();
        let list_price = match (self, item.unit_price) {
            (Self::AsGiven, Some(given)) => return Ok(given),
            (Self::AsGiven, None) => None,
            (Self::Catalogue(prices), _) => prices.get(&item.product_id).copied(),
        };
        let list_price =
            list_price.ok_or_else(|| PlaceRejection::UnknownProduct { product: product() })?;
        match item.unit_price {
            Some(given) if given != list_price => {
                Err(PlaceRejection::PriceDiffers { product: product(), given, list_price })
            }
            Some(_) | None => Ok(list_price),
        }
    }
}

/// The list prices of these products at this moment; unknown products are left out.
///
/// # Errors
/// [`LoadError`] when a product could not be loaded.
pub async fn catalogue_prices(
    gesta: &Gesta,
    products: impl IntoIterator<Item = &ProductId>,
) -> Result<Prices, LoadError> {
    let mut prices = BTreeMap::new();
    for product in products {
        if prices.contains_key(product) {
            continue;
        }
        if let Some(loaded) = gesta.load::<Product>(product).await? {
            prices.insert(product.clone(), loaded.state.price());
        }
    }
    Ok(Prices::Catalogue(prices))
}
