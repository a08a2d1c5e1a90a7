//! Shipment of an order from the catalogue's stock.
//!
//! Invariant: the order ships and its pieces leave the stock in one append, or neither happens.
//! Products without stock keeping ship without a count. Not here: imported orders, which were
//! shipped elsewhere, and orders that fulfilment ships after it reserved their stock; both use
//! [`ShipOrder`](super::ShipOrder).

use std::collections::BTreeMap;

use gesta::prelude::*;
use jiff::Timestamp;

use super::{Line, Order, OrderRejection, ShipOrder};
use crate::{
    catalogue::{Product, ProductEvent, StockRejection, StockReserved},
    checks,
    id::{OrderId, ProductId},
    quantity::Quantity,
};

/// An order with the products of its lines.
type WithProducts = (Order, Vec<Product>);

/// Ships a paid order and takes its pieces out of stock.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "dispatch-order", on = WithProducts, id = DispatchOrder::ids, validate = DispatchOrder::check)]
#[serde(rename_all = "camelCase")]
pub struct DispatchOrder {
    /// Id of the order.
    pub order_id: OrderId,
    /// The carrier's tracking number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking: Option<String>,
    /// Pieces of each product, summed over the order's lines ([`pieces_of`]).
    #[command(edge)]
    #[serde(default)]
    pub pieces: BTreeMap<ProductId, u64>,
    /// Business time of the shipment.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

/// Adds up the pieces of each product.
#[must_use]
pub fn pieces_of(lines: &[Line]) -> BTreeMap<ProductId, u64> {
    let mut pieces: BTreeMap<ProductId, u64> = BTreeMap::new();
    for line in lines {
        let product = pieces.entry(line.product_id.clone()).or_default();
        // Saturates far beyond any stock; such an order is refused when it ships.
        *product = product.saturating_add(line.quantity.into());
    }
    pieces
}

impl DispatchOrder {
    fn ids(&self) -> (OrderId, Vec<ProductId>) {
        // The products come from the edge, which has read the order. A command names its boundary
        // before anything is loaded, so the decision itself could not add them.
        (self.order_id.clone(), self.pieces.keys().cloned().collect())
    }

    fn check(&self) -> Result<(), InvalidField> {
        checks::optional_text("tracking", self.tracking.as_deref())
    }

    fn take_out(
        &self,
        product_id: &ProductId,
        pieces: u64,
        product: &Product,
    ) -> Result<Events<ProductEvent>, StockRejection> {
        // Fulfilment or an earlier attempt may have reserved the pieces.
        if !product.is_tracked() || product.reserved_for(&self.order_id).is_some() {
            return Ok(Events::none());
        }
        let requested = i64::try_from(pieces).unwrap_or(i64::MAX);
        product.check_available(product_id, requested)?;
        // A quantity beyond the maximum also exceeds what one event can reserve.
        let quantity =
            Quantity::new(pieces).map_err(|_| product.insufficient_stock(product_id, requested))?;
        let (product_id, order_id) = (product_id.clone(), self.order_id.clone());
        Ok(StockReserved { product_id, order_id, quantity }.into())
    }
}

impl Decide for DispatchOrder {
    type Rejection = DispatchRejection;

    fn decide(&self, (order, products): &WithProducts) -> Decision<Self> {
        let ship = ShipOrder {
            order_id: self.order_id.clone(),
            tracking: self.tracking.clone(),
            occurred_at: self.occurred_at,
        };
        // The order's rules come first: an unpaid order is rejected regardless of the stock.
        let shipped = ship.decide(order)?;
        // A map iterates by key, which is the order in which `ids` named the products.
        let products = self.pieces.iter().zip(products);
        let taken = products
            .map(|((product_id, pieces), product)| self.take_out(product_id, *pieces, product))
            .collect::<Result<_, _>>()?;
        Ok((shipped, taken))
    }
}

/// Business reasons to refuse a shipment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DispatchRejection {
    /// The order's status does not allow a shipment.
    #[error(transparent)]
    Order(#[from] OrderRejection),
    /// A product is not in stock.
    #[error(transparent)]
    Stock(#[from] StockRejection),
}

impl Rejection for DispatchRejection {
    fn code(&self) -> &'static str {
        // Clients see the code of the reason, whichever of the two aggregates gave it.
        match self {
            Self::Order(rejection) => rejection.code(),
            Self::Stock(rejection) => rejection.code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use gesta::testing::given;

    use super::*;
    use crate::{
        catalogue::{ProductAdded, StockKeeping, StockReceived},
        orders::{Amounts, OrderEvent, OrderPaid, OrderPlaced, OrderShipped},
    };

    const THEN: Timestamp = Timestamp::UNIX_EPOCH;

    fn mug() -> ProductId {
        ProductId::new("mug").unwrap()
    }

    fn order() -> OrderId {
        OrderId::new("1").unwrap()
    }

    fn line() -> Line {
        let quantity = Quantity::new(4).unwrap();
        Line { product_id: mug(), unit_price: "2.5".parse().unwrap(), quantity }
    }

    fn paid() -> Vec<OrderEvent> {
        let placed = OrderPlaced {
            order_id: order(),
            customer_id: None,
            shipping_address: None,
            lines: vec![line()],
            discounts: vec![],
            amounts: Amounts::of(&[line()], &[]),
            payment_account_id: None,
            occurred_at: THEN,
        };
        let amount = placed.amounts.total;
        let method = "invoice".to_owned();
        let paid =
            OrderPaid { order_id: order(), method, reference: None, amount, occurred_at: THEN };
        vec![placed.into(), paid.into()]
    }

    fn product(stock_keeping: StockKeeping, pieces: u64) -> Vec<ProductEvent> {
        let (name, price) = ("Mug".to_owned(), "2.5".parse().unwrap());
        let added =
            ProductAdded { product_id: mug(), name, price, stock_keeping, occurred_at: THEN };
        let mut events = vec![added.into()];
        if let Ok(quantity) = Quantity::new(pieces) {
            let received =
                StockReceived { product_id: mug(), quantity, reason: None, occurred_at: THEN };
            events.push(received.into());
        }
        events
    }

    fn dispatch() -> DispatchOrder {
        let pieces = pieces_of(&[line()]);
        DispatchOrder { order_id: order(), tracking: None, pieces, occurred_at: THEN }
    }

    fn shipped() -> OrderShipped {
        OrderShipped { order_id: order(), tracking: None, occurred_at: THEN }
    }

    #[test]
    fn tracked_goods_that_are_not_in_stock_do_not_ship() {
        let insufficient =
            StockRejection::Insufficient { product: mug(), requested: 4, available: 3 };
        given::<WithProducts>((paid(), vec![product(StockKeeping::Tracked, 3)]))
            .when(dispatch())
            .then_rejected(DispatchRejection::Stock(insufficient));
    }

    #[test]
    fn an_order_that_ships_takes_its_pieces_out_of_stock() {
        let reserved = StockReserved {
            product_id: mug(),
            order_id: order(),
            quantity: Quantity::new(4).unwrap(),
        };
        given::<WithProducts>((paid(), vec![product(StockKeeping::Tracked, 4)]))
            .when(dispatch())
            .then((shipped().into(), vec![reserved.into()]));
    }

    #[test]
    fn goods_without_stock_keeping_ship_uncounted() {
        given::<WithProducts>((paid(), vec![product(StockKeeping::Untracked, 0)]))
            .when(dispatch())
            .then((shipped().into(), vec![Events::none()]));
    }

    #[test]
    fn an_unpaid_order_is_refused_before_its_stock_is_looked_at() {
        let placed = paid().into_iter().take(1).collect::<Vec<_>>();
        given::<WithProducts>((placed, vec![product(StockKeeping::Tracked, 0)]))
            .when(dispatch())
            .then_rejected(DispatchRejection::Order(OrderRejection::NotPaid));
    }
}
