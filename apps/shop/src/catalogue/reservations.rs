//! Reservations of stock for an order.
//!
//! Invariant: all products of an order are reserved, or none is. Reserving again for the same order
//! changes nothing.

use std::collections::HashSet;

use gesta::prelude::*;

use super::{Product, ProductEvent, StockRejection, StockReleased, StockReserved};
use crate::{
    id::{OrderId, ProductId},
    quantity::Quantity,
};

/// Pieces of one product to reserve.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ReservationItem {
    /// Code of the product.
    pub product_id: ProductId,
    /// Number of pieces.
    pub quantity: Quantity,
}

/// Reserves pieces of all products of an order.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "reserve-stock", on = Vec<Product>, either, id = ReserveStock::ids, validate = ReserveStock::check)]
#[serde(rename_all = "camelCase")]
pub struct ReserveStock {
    /// Order to reserve for.
    pub order_id: OrderId,
    /// Products and quantities; each product once.
    pub items: Vec<ReservationItem>,
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
        // Products come in the order of `ids`. The first without enough stock rejects the whole
        // command.
        let wanted = self.items.iter().zip(products);
        wanted.map(|(item, product)| self.reserve(item, product)).collect()
    }
}

impl ReserveStock {
    fn reserve(
        &self,
        item: &ReservationItem,
        product: &Product,
    ) -> Result<Events<ProductEvent>, StockRejection> {
        let ReservationItem { product_id, quantity } = item.clone();
        if !product.is_known() {
            return Err(StockRejection::UnknownProduct { product: product_id });
        }
        // A retry of the command: the pieces are reserved already.
        if product.reserved_for(&self.order_id).is_some() {
            return Ok(Events::none());
        }
        product.check_available(&product_id, quantity.into())?;
        Ok(StockReserved { product_id, order_id: self.order_id.clone(), quantity }.into())
    }
}

/// Releases the reservations of an order.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "release-stock", on = Vec<Product>, either, id = ReleaseStock::ids, validate = ReleaseStock::check)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStock {
    /// Order to release the pieces of.
    pub order_id: OrderId,
    /// Products to release; each once.
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
        // Idempotent: fulfilment releases all products of an order, reserved or not.
        let Some(quantity) = product.reserved_for(&self.order_id) else { return Events::none() };
        let (product_id, order_id) = (product_id.clone(), self.order_id.clone());
        StockReleased { product_id, order_id, quantity }.into()
    }
}

fn check_products<'p>(
    field: &str,
    products: impl Iterator<Item = &'p ProductId>,
) -> Result<(), InvalidField> {
    let mut products = products.peekable();
    if products.peek().is_none() {
        return Err(InvalidField::new(field, "must not be empty"));
    }
    // A product given twice would be loaded twice, and each time with all its pieces available.
    let mut seen = HashSet::new();
    match products.find(|product| !seen.insert(*product)) {
        Some(twice) => Err(InvalidField::new(
            field,
            format!("must name each product once; {twice} appears twice"),
        )),
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
        let wanted = |(id, number): &(&str, u64)| ReservationItem {
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
                requested: 2,
                available: 1,
            });
    }

    #[test]
    fn what_is_set_aside_for_one_order_is_not_there_for_another() {
        let mut history = with_stock("mug", 3);
        let other = OrderId::new("2").unwrap();
        history.push(StockReserved { order_id: other, ..reserved("mug", 2) }.into());
        given::<Vec<Product>>([history]).when(reserve(&[("mug", 2)])).then_rejected(
            StockRejection::Insufficient { product: product("mug"), requested: 2, available: 1 },
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
    fn no_product_or_one_product_twice_is_invalid() {
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
