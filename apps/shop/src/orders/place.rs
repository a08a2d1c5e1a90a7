//! The command that places an order.

use gesta::prelude::*;
use jiff::Timestamp;

use super::{Address, Amounts, Discount, Line, Order, OrderPlaced, Prices};
use crate::{
    checks,
    id::{AccountId, CustomerId, OrderId, ProductId},
    money::Money,
    quantity::Quantity,
};

/// Maximum number of items of an order.
pub const ITEMS_MAX: usize = 5_000;

/// Maximum number of discounts of an order.
pub const DISCOUNTS_MAX: usize = 10;

/// Places an order.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "place-order", on = Order, new, validate = PlaceOrder::check)]
#[serde(rename_all = "camelCase")]
pub struct PlaceOrder {
    /// Id of the new order.
    #[command(id)]
    pub order_id: OrderId,
    /// Customer; absent for a guest order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// Shipping address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    /// Products and quantities.
    pub order_items: Vec<OrderItem>,
    /// Discounts on the sum of the lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<Discount>,
    /// Account to pay from; `None` for other payment methods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_account_id: Option<AccountId>,
    /// Source of unit prices, filled in at the edge.
    #[command(edge)]
    #[serde(default)]
    pub prices: Prices,
    /// Business time of the change.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

/// A number of pieces of one product to order.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OrderItem {
    /// Code of the product.
    pub product_id: ProductId,
    /// Price of a piece; defaults to the catalogue's price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_price: Option<Money>,
    /// Number of pieces.
    pub quantity: Quantity,
}

impl PlaceOrder {
    fn check(&self) -> Result<(), InvalidField> {
        checks::count("orderItems", self.order_items.len(), 1..=ITEMS_MAX)?;
        checks::count("discounts", self.discounts.len(), 0..=DISCOUNTS_MAX)?;
        for (place, item) in self.order_items.iter().enumerate() {
            let field = format!("orderItems[{place}].unitPrice");
            item.unit_price.map_or(Ok(()), |price| checks::amount(&field, price))?;
        }
        for (place, discount) in self.discounts.iter().enumerate() {
            discount.check(&format!("discounts[{place}].value"))?;
        }
        self.shipping_address.as_ref().map_or(Ok(()), check_address)
    }

    fn lines(&self) -> Result<Vec<Line>, PlaceRejection> {
        let line = |item: &OrderItem| {
            Ok(Line {
                product_id: item.product_id.clone(),
                unit_price: self.unit_price(item)?,
                quantity: item.quantity,
            })
        };
        self.order_items.iter().map(line).collect()
    }

    fn unit_price(&self, item: &OrderItem) -> Result<Money, PlaceRejection> {
        let product = || item.product_id.clone();
        let list_price = match (&self.prices, item.unit_price) {
            (Prices::AsGiven, Some(given)) => return Ok(given),
            // Without a price of either kind the item cannot be sold.
            (Prices::AsGiven, None) => None,
            (Prices::Catalogue(prices), _) => prices.get(&item.product_id).copied(),
        };
        let list_price =
            list_price.ok_or_else(|| PlaceRejection::UnknownProduct { product: product() })?;
        match item.unit_price {
            // The customer saw a price that is no longer the current one, and has to agree again.
            Some(given) if given != list_price => {
                Err(PlaceRejection::PriceDiffers { product: product(), given, list_price })
            }
            Some(_) | None => Ok(list_price),
        }
    }
}

fn check_address(address: &Address) -> Result<(), InvalidField> {
    checks::optional_text("shippingAddress.street", address.street.as_deref())?;
    checks::optional_text("shippingAddress.city", address.city.as_deref())?;
    checks::optional_text("shippingAddress.postalCode", address.postal_code.as_deref())?;
    checks::optional_text("shippingAddress.country", address.country.as_deref())
}

impl Decide for PlaceOrder {
    type Rejection = PlaceRejection;

    fn decide(&self, _: &Order) -> Decision<Self> {
        // Prices and amounts are copied into the event: a later change of the catalogue or of the
        // rounding must not change what a customer has agreed to pay.
        let lines = self.lines()?;
        Ok(OrderPlaced {
            order_id: self.order_id.clone(),
            customer_id: self.customer_id.clone(),
            shipping_address: self.shipping_address.clone(),
            amounts: Amounts::of(&lines, &self.discounts),
            lines,
            discounts: self.discounts.clone(),
            payment_account_id: self.payment_account_id.clone(),
            occurred_at: self.occurred_at,
        }
        .into())
    }
}

/// Business reasons to refuse an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Rejection)]
pub enum PlaceRejection {
    /// The catalogue does not have a product.
    #[error("product {product} has no price in the catalogue")]
    #[rejection(code = "unknown-product")]
    UnknownProduct {
        /// Code of the product.
        product: ProductId,
    },
    /// An item's price is not the catalogue's.
    #[error("product {product} costs {list_price}, not {given}")]
    #[rejection(code = "unit-price-differs")]
    PriceDiffers {
        /// Code of the product.
        product: ProductId,
        /// Price in the order.
        given: Money,
        /// Price in the catalogue.
        list_price: Money,
    },
}

#[cfg(test)]
mod tests {
    use gesta::testing::given;

    use super::*;
    use crate::orders::DiscountType;

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    fn product(id: &str) -> ProductId {
        ProductId::new(id).unwrap()
    }

    fn item(id: &str, unit_price: Option<&str>, quantity: u64) -> OrderItem {
        let quantity = Quantity::new(quantity).unwrap();
        OrderItem { product_id: product(id), unit_price: unit_price.map(money), quantity }
    }

    fn place(order_items: Vec<OrderItem>) -> PlaceOrder {
        PlaceOrder {
            order_id: OrderId::new("536365").unwrap(),
            customer_id: Some(CustomerId::new("17850").unwrap()),
            shipping_address: None,
            order_items,
            discounts: vec![],
            payment_account_id: None,
            prices: Prices::AsGiven,
            occurred_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn from_catalogue(order_items: Vec<OrderItem>) -> PlaceOrder {
        let list = [(product("mug"), money("2.5")), (product("jug"), money("10"))];
        PlaceOrder { prices: Prices::Catalogue(list.into()), ..place(order_items) }
    }

    fn placed(lines: &[(&str, &str, u64)], total: &str) -> OrderPlaced {
        let line = |(id, price, quantity): &(&str, &str, u64)| Line {
            product_id: product(id),
            unit_price: money(price),
            quantity: Quantity::new(*quantity).unwrap(),
        };
        let total = money(total);
        OrderPlaced {
            order_id: OrderId::new("536365").unwrap(),
            customer_id: Some(CustomerId::new("17850").unwrap()),
            shipping_address: None,
            lines: lines.iter().map(line).collect(),
            discounts: vec![],
            amounts: Amounts { subtotal: total, discount: Money::ZERO, total },
            payment_account_id: None,
            occurred_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_order_costs_what_its_items_say_where_they_were_sold_elsewhere() {
        given::<Order>([])
            .when(place(vec![item("mug", Some("3.39"), 6), item("mug", Some("3"), 1)]))
            .then(placed(&[("mug", "3.39", 6), ("mug", "3", 1)], "23.34"));
    }

    #[test]
    fn a_price_that_is_left_out_is_the_catalogues() {
        given::<Order>([])
            .when(from_catalogue(vec![item("mug", None, 2), item("jug", Some("10.00"), 1)]))
            .then(placed(&[("mug", "2.5", 2), ("jug", "10", 1)], "15"));
    }

    #[test]
    fn a_price_that_is_not_the_catalogues_is_refused() {
        given::<Order>([]).when(from_catalogue(vec![item("mug", Some("2.49"), 2)])).then_rejected(
            PlaceRejection::PriceDiffers {
                product: product("mug"),
                given: money("2.49"),
                list_price: money("2.5"),
            },
        );
    }

    #[test]
    fn a_product_that_the_catalogue_does_not_have_is_refused() {
        let unknown = || PlaceRejection::UnknownProduct { product: product("hat") };
        given::<Order>([])
            .when(from_catalogue(vec![item("hat", Some("1"), 1)]))
            .then_rejected(unknown());
        given::<Order>([]).when(place(vec![item("hat", None, 1)])).then_rejected(unknown());
    }

    #[test]
    fn discounts_make_it_cost_less() {
        let discount = Discount { discount_type: DiscountType::Percentage, value: money("10") };
        let amounts =
            Amounts { subtotal: money("25"), discount: money("2.5"), total: money("22.5") };
        let happens = OrderPlaced {
            discounts: vec![discount],
            amounts,
            ..placed(&[("mug", "2.5", 10)], "25")
        };
        let items = vec![item("mug", None, 10)];
        let command = PlaceOrder { discounts: vec![discount], ..from_catalogue(items) };
        given::<Order>([]).when(command).then(happens);
    }

    #[test]
    fn an_order_without_items_makes_no_sense() {
        given::<Order>([]).when(place(vec![])).then_invalid("orderItems");
    }

    #[test]
    fn a_discount_of_more_than_everything_or_of_nothing_makes_no_sense() {
        let with = |value: &str| PlaceOrder {
            discounts: vec![Discount {
                discount_type: DiscountType::Percentage,
                value: money(value),
            }],
            ..place(vec![item("mug", Some("1"), 1)])
        };
        given::<Order>([]).when(with("100.01")).then_invalid("discounts[0].value");
        given::<Order>([]).when(with("0")).then_invalid("discounts[0].value");
        given::<Order>([]).when(with("1.001")).then_invalid("discounts[0].value");
    }

    #[test]
    fn a_repeat_is_known_though_the_price_has_changed_in_between() {
        let items = || vec![item("mug", None, 1)];
        let later = PlaceOrder { prices: Prices::AsGiven, ..from_catalogue(items()) };
        let first = from_catalogue(items()).payload_digest().unwrap();
        assert_eq!(first, later.payload_digest().unwrap());
    }

    #[test]
    fn the_json_of_the_command_is_the_one_that_clients_send() {
        let json = r#"{"orderId":"1","orderItems":[{"productId":"mug","unitPrice":2.50,
            "quantity":2}],"discounts":[{"type":"fixed","value":"0.5"}],
            "shippingAddress":{"postalCode":"1234"},"occurredAt":"2010-12-01T08:26:00Z"}"#;
        let command: PlaceOrder = serde_json::from_str(json).unwrap();
        assert_eq!(command.order_items, [item("mug", Some("2.5"), 2)]);
        assert_eq!(command.shipping_address.unwrap().postal_code.as_deref(), Some("1234"));
    }
}
