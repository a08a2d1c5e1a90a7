//! Commands on products, except those on stock.

use std::convert::Infallible;

use gesta::prelude::*;
use jiff::Timestamp;

use super::{Product, ProductAdded, ProductRenamed, ProductRepriced, StockKeeping};
use crate::{checks, id::ProductId, money::Money};

/// Adds a product to the catalogue.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "add-product", on = Product, new, validate = AddProduct::check)]
#[serde(rename_all = "camelCase")]
pub struct AddProduct {
    /// Code of the new product.
    #[command(id)]
    pub product_id: ProductId,
    /// Name shown to customers.
    pub name: String,
    /// Price of a piece.
    pub price: Money,
    /// Stock keeping of the product.
    #[serde(default)]
    pub stock_keeping: StockKeeping,
    /// Business time of the change.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

impl AddProduct {
    fn check(&self) -> Result<(), InvalidField> {
        checks::text("name", &self.name)?;
        checks::not_negative("price", self.price)
    }
}

impl Decide for AddProduct {
    type Rejection = Infallible;

    fn decide(&self, _: &Product) -> Decision<Self> {
        Ok(ProductAdded {
            product_id: self.product_id.clone(),
            name: self.name.clone(),
            price: self.price,
            stock_keeping: self.stock_keeping,
            occurred_at: self.occurred_at,
        }
        .into())
    }
}

/// Replaces a product's name and price.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "update-product", on = Product, validate = UpdateProduct::check)]
#[serde(rename_all = "camelCase")]
pub struct UpdateProduct {
    /// Code of the product.
    #[command(id)]
    pub product_id: ProductId,
    /// Name shown to customers.
    pub name: String,
    /// Price of a piece.
    pub price: Money,
    /// Business time of the change.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

impl UpdateProduct {
    fn check(&self) -> Result<(), InvalidField> {
        checks::text("name", &self.name)?;
        checks::not_negative("price", self.price)
    }
}

impl Decide for UpdateProduct {
    type Rejection = Infallible;

    /// One event for each thing that is different.
    fn decide(&self, product: &Product) -> Decision<Self> {
        // Two events with one meaning each: a reader of names need not look at prices. Without a
        // difference there is none, and the ETag stays valid.
        let mut happens = Events::none();
        if product.name != self.name {
            happens = happens.and(ProductRenamed {
                product_id: self.product_id.clone(),
                name: self.name.clone(),
                occurred_at: self.occurred_at,
            });
        }
        if product.price != self.price {
            happens = happens.and(ProductRepriced {
                product_id: self.product_id.clone(),
                price: self.price,
                occurred_at: self.occurred_at,
            });
        }
        Ok(happens)
    }
}

#[cfg(test)]
mod tests {
    use gesta::testing::given;

    use super::*;

    fn lantern() -> ProductAdded {
        ProductAdded {
            product_id: ProductId::new("71053").unwrap(),
            name: "WHITE METAL LANTERN".to_owned(),
            price: "3.39".parse().unwrap(),
            stock_keeping: StockKeeping::Tracked,
            occurred_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn add(price: &str) -> AddProduct {
        let ProductAdded { product_id, name, stock_keeping, occurred_at, .. } = lantern();
        AddProduct { product_id, name, price: price.parse().unwrap(), stock_keeping, occurred_at }
    }

    fn update(name: &str, price: &str) -> UpdateProduct {
        UpdateProduct {
            product_id: lantern().product_id,
            name: name.to_owned(),
            price: price.parse().unwrap(),
            occurred_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_product_is_added() {
        given::<Product>([]).when(add("3.39")).then(lantern());
    }

    #[test]
    fn a_product_has_a_price_of_zero_or_more_with_at_most_four_decimals() {
        given::<Product>([]).when(add("-0.01")).then_invalid("price");
        given::<Product>([]).when(add("0.00001")).then_invalid("price");
    }

    #[test]
    fn an_update_is_an_event_for_each_thing_that_is_different() {
        let ProductAdded { product_id, name, occurred_at, .. } = lantern();
        let price = "4".parse().unwrap();
        let repriced = ProductRepriced { product_id: product_id.clone(), price, occurred_at };
        let renamed = ProductRenamed { product_id, name: "LAMP".to_owned(), occurred_at };
        given::<Product>([lantern()]).when(update(&name, "3.390")).then(Events::none());
        given::<Product>([lantern()]).when(update(&name, "4")).then(repriced.clone());
        given::<Product>([lantern()])
            .when(update("LAMP", "4"))
            .then(Events::none().and(renamed).and(repriced));
    }
}
