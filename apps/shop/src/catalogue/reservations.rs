//! Stock that is set aside for an order, of all its products at once.
//!
//! Always holds: either everything that an order wants is set aside, or nothing is; asking again
//! for the same order changes nothing.

use std::collections::HashSet;

use gesta::prelude::*;

use super::{Product, ProductEvent, StockRejection, StockReleased, StockReserved};
use crate::{
    id::{OrderId, ProductId},
    quantity::Quantity,
};

/// So many pieces of a product.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    /// Which one.
    pub product_id: ProductId,
    /// How many.
    pub quantity: Quantity,
}

/// Sets pieces aside for an order.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "reserve-stock", on = Vec<Product>, either, id = ReserveStock::ids, validate = ReserveStock::check)]
#[serde(rename_all = "camelCase")]
pub struct ReserveStock {
    /// For which one.
    pub order_id: OrderId,
    /// What it wants, each product once.
    pub items: Vec<Wanted>,
}

impl ReserveStock {
    fn ids(&self) -> Vec<ProductId> {
        self.items.iter().map(|item| item.product_id.clone()).collect()
    }

    fn check(&self) -> Result<(), InvalidField> {
        check_products("items", self.items.iter().map(|item| &item.product_id))
    }
}

impl Decide for ReserveStock {
    type Rejection = StockRejection;

    fn decide(&self, products: &Vec<Product>) -> Decision<Self> {
        let wanted = self.items.iter().zip(products);
        wanted.map(|(item, product)| self.reserve(item, product)).collect()
    }
}

impl ReserveStock {
    fn reserve(
        &self,
        item: &Wanted,
        product: &Product,
    ) -> Result<Events<ProductEvent>, StockRejection> {
        let Wanted { product_id, quantity } = item.clone();
        if !product.is_known() {
            return Err(StockRejection::UnknownProduct { product: product_id });
        }
        if product.reserved_for(&self.order_id).is_some() {
            return Ok(Events::none());
        }
        product.can_spare(&product_id, quantity.into())?;
        Ok(StockReserved { product_id, order_id: self.order_id.clone(), quantity }.into())
    }
}

/// Sets free what was set aside for an order.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "release-stock", on = Vec<Product>, either, id = ReleaseStock::ids, validate = ReleaseStock::check)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStock {
    /// For which one.
    pub order_id: OrderId,
    /// Of which products, each once.
    pub product_ids: Vec<ProductId>,
}

impl ReleaseStock {
    fn ids(&self) -> Vec<ProductId> {
        self.product_ids.clone()
    }

    fn check(&self) -> Result<(), InvalidField> {
        check_products("productIds", self.product_ids.iter())
    }
}

impl Decide for ReleaseStock {
    type Rejection = std::convert::Infallible;

    fn decide(&self, products: &Vec<Product>) -> Decision<Self> {
        let pairs = self.product_ids.iter().zip(products);
        Ok(pairs.map(|(product_id, product)| self.release(product_id, product)).collect())
    }
}

impl ReleaseStock {
    fn release(&self, product_id: &ProductId, product: &Product) -> Events<ProductEvent> {
        let Some(quantity) = product.reserved_for(&self.order_id) else { return Events::none() };
        let (product_id, order_id) = (product_id.clone(), self.order_id.clone());
        StockReleased { product_id, order_id, quantity }.into()
    }
}

/// At least one product, and none of them twice.
fn check_products<'p>(
    field: &str,
    products: impl Iterator<Item = &'p ProductId>,
) -> Result<(), InvalidField> {
    let mut products = products.peekable();
    if products.peek().is_none() {
        return Err(InvalidField::new(field, "is empty"));
    }
    let mut seen = HashSet::new();
    match products.find(|product| !seen.insert(*product)) {
        Some(twice) => Err(InvalidField::new(field, format!("{twice} is named twice"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use gesta::testing::given;
    use jiff::Timestamp;

    use super::*;
    use crate::catalogue::{ProductAdded, StockKeeping, StockReceived};

    fn product(id: &str) -> ProductId {
        ProductId::new(id).unwrap()
    }

    fn order() -> OrderId {
        OrderId::new("1").unwrap()
    }

    fn pieces(number: u64) -> Quantity {
        Quantity::new(number).unwrap()
    }

    fn with_stock(id: &str, quantity: u64) -> Vec<ProductEvent> {
        let added = ProductAdded {
            product_id: product(id),
            name: id.to_owned(),
            price: "1".parse().unwrap(),
            stock_keeping: StockKeeping::Tracked,
            occurred_at: Timestamp::UNIX_EPOCH,
        };
        let received = StockReceived {
            product_id: product(id),
            quantity: pieces(quantity),
            reason: None,
            occurred_at: Timestamp::UNIX_EPOCH,
        };
        vec![added.into(), received.into()]
    }

    fn reserve(items: &[(&str, u64)]) -> ReserveStock {
        let wanted = |(id, number): &(&str, u64)| Wanted {
            product_id: product(id),
            quantity: pieces(*number),
        };
        ReserveStock { order_id: order(), items: items.iter().map(wanted).collect() }
    }

    fn reserved(id: &str, quantity: u64) -> StockReserved {
        StockReserved { product_id: product(id), order_id: order(), quantity: pieces(quantity) }
    }

    #[test]
    fn everything_that_an_order_wants_is_set_aside() {
        given::<Vec<Product>>([with_stock("mug", 3), with_stock("jug", 1)])
            .when(reserve(&[("mug", 2), ("jug", 1)]))
            .then([reserved("mug", 2).into(), reserved("jug", 1).into()]);
    }

    #[test]
    fn nothing_is_set_aside_when_one_product_is_short() {
        given::<Vec<Product>>([with_stock("mug", 3), with_stock("jug", 1)])
            .when(reserve(&[("mug", 2), ("jug", 2)]))
            .then_rejected(StockRejection::Insufficient {
                product: product("jug"),
                wanted: 2,
                free: 1,
            });
    }

    #[test]
    fn what_is_set_aside_for_one_order_is_not_there_for_another() {
        let mut history = with_stock("mug", 3);
        let other = OrderId::new("2").unwrap();
        history.push(StockReserved { order_id: other, ..reserved("mug", 2) }.into());
        given::<Vec<Product>>([history]).when(reserve(&[("mug", 2)])).then_rejected(
            StockRejection::Insufficient { product: product("mug"), wanted: 2, free: 1 },
        );
    }

    #[test]
    fn asking_again_for_the_same_order_changes_nothing() {
        let mut history = with_stock("mug", 2);
        history.push(reserved("mug", 2).into());
        given::<Vec<Product>>([history]).when(reserve(&[("mug", 2)])).then([Events::none()]);
    }

    #[test]
    fn a_product_that_was_never_added_is_not_set_aside() {
        given::<Vec<Product>>([vec![]])
            .when(reserve(&[("mug", 1)]))
            .then_rejected(StockRejection::UnknownProduct { product: product("mug") });
    }

    #[test]
    fn nothing_at_all_or_one_product_twice_makes_no_sense() {
        given::<Vec<Product>>([]).when(reserve(&[])).then_invalid("items");
        let twice = reserve(&[("mug", 1), ("mug", 1)]);
        given::<Vec<Product>>([vec![], vec![]]).when(twice).then_invalid("items");
    }

    #[test]
    fn what_was_set_aside_is_set_free_once() {
        let release = || ReleaseStock { order_id: order(), product_ids: vec![product("mug")] };
        let released =
            StockReleased { product_id: product("mug"), order_id: order(), quantity: pieces(2) };
        let mut history = with_stock("mug", 2);
        history.push(reserved("mug", 2).into());
        given::<Vec<Product>>([history.clone()]).when(release()).then([released.clone().into()]);
        history.push(released.into());
        given::<Vec<Product>>([history]).when(release()).then([Events::none()]);
    }
}
