//! Routes of orders, credit notes and customer statistics.

mod credit_notes;
mod steps;

use gesta::Gesta;
use gesta_http::{ApiRoute, Problem, RequestFields, Schema, Schemas, Time};
use serde_json::{Value, json};

use super::{
    Address, DISCOUNTS_MAX, Discount, DiscountType, ITEMS_MAX, Order, OrderCard, OrderItem,
    OrderStatus, PlaceOrder, catalogue_prices, sales::FindCustomerStatistics,
    summaries::FindOrders,
};
use crate::{
    http::values::{AnyAmount, Id, List, Pieces, PositiveAmount, Text, Words},
    id::{AccountId, CustomerId, OrderId, ProductId},
    samples,
    search::SearchText,
};

pub(crate) fn routes() -> Vec<ApiRoute> {
    let mut routes = vec![
        ApiRoute::post("/v1/orders", "Places an order")
            .create_with(NewOrder::into_command, add_prices)
            .rejects(&["unknown-product", "unit-price-differs"]),
        ApiRoute::get("/v1/orders", "Searches orders, the last recorded first")
            .list("orders", |search: OrderSearch, (), page| FindOrders {
                customer: search.customer.map(Into::into),
                status: search.status,
                from: search.from.map(Into::into),
                to: search.to.map(Into::into),
                text: search.text.and_then(|words| SearchText::new(&words.0)),
                page,
            })
            .operation_id("listOrders"),
        ApiRoute::get("/v1/orders/{orderId}", "Returns an order, now or at an earlier time")
            // The row is `None` for a stream whose placement is missing at the requested time.
            .read::<OrderCard, Id<OrderId>, _>("order", |row| row)
            .operation_id("findOrder")
            .example("orderId", samples::ORDER),
        ApiRoute::get("/v1/orders/{orderId}/history", "Lists the history of an order")
            .history::<Order, Id<OrderId>>("order")
            .example("orderId", samples::ORDER),
        // Customers are known by their orders only, so one without any is not found.
        ApiRoute::get(
            "/v1/customers/{customerId}/statistics",
            "Returns the statistics of a customer",
        )
        .find("customer", |Id(customer_id)| FindCustomerStatistics { customer_id })
        .example("customerId", samples::USER),
    ];
    routes.extend(steps::routes());
    routes.extend(credit_notes::routes());
    routes
}

/// The order to place.
#[derive(RequestFields)]
#[request(command = PlaceOrder, default(prices))]
struct NewOrder {
    /// Id of the new order; generated if left out.
    #[request(new_id)]
    order_id: Option<Id<OrderId>>,
    /// Customer; absent for a guest order.
    #[request(example = samples::USER)]
    customer_id: Option<Id<CustomerId>>,
    /// Shipping address.
    #[request(example)]
    shipping_address: Option<NewAddress>,
    /// Products and quantities.
    order_items: List<NewItem, 1, ITEMS_MAX>,
    /// Discounts on the sum of the items.
    #[request(default, example)]
    discounts: Option<List<NewDiscount, 0, DISCOUNTS_MAX>>,
    /// Account to pay from; left out for other payment methods.
    payment_account_id: Option<Id<AccountId>>,
    /// Business time; defaults to the current time.
    #[request(now)]
    occurred_at: Option<Time>,
}

/// A shipping address; every part is optional.
#[derive(RequestFields)]
#[request(into = Address)]
struct NewAddress {
    /// Street and number.
    #[request(example = "High Street 1")]
    street: Option<Text>,
    /// The city.
    #[request(example = "York")]
    city: Option<Text>,
    /// The postal code.
    #[request(example = "YO1 7HP")]
    postal_code: Option<Text>,
    /// The country.
    #[request(example = "United Kingdom")]
    country: Option<Text>,
}

/// A number of pieces of one product.
#[derive(RequestFields)]
#[request(into = OrderItem)]
struct NewItem {
    /// Code of the product.
    #[request(example = samples::PRODUCT)]
    product_id: Id<ProductId>,
    /// Price of a piece. Must be the catalogue's price, which is also the default.
    unit_price: Option<AnyAmount>,
    /// Number of pieces.
    quantity: Pieces,
}

/// A discount on the sum of the items.
#[derive(RequestFields)]
#[request(own_schema, into = Discount)]
struct NewDiscount {
    #[serde(rename = "type")]
    discount_type: DiscountType,
    value: PositiveAmount,
}

impl Schema for NewDiscount {
    fn schema(schemas: &mut Schemas) -> Value {
        schemas.component("NewDiscount", |schemas| {
            // The numbers that `Discount::check` accepts: above 0, up to 100, at most two decimal
            // places.
            let digits = r"^(100(\.0{1,2})?|[1-9][0-9]?(\.[0-9]{1,2})?|0\.([1-9][0-9]?|0[1-9]))$";
            let text = json!({ "type": "string", "pattern": digits });
            let number = json!({
                "type": "number", "exclusiveMinimum": 0, "maximum": 100, "multipleOf": 0.01,
            });
            let percentage = discount("percentage", &json!({ "anyOf": [text, number] }));
            let fixed = discount("fixed", &PositiveAmount::schema(schemas));
            json!({ "oneOf": [percentage, fixed] })
        })
    }

    fn example() -> Option<Value> {
        Some(json!({ "type": "percentage", "value": "10" }))
    }
}

fn discount(name: &str, value: &Value) -> Value {
    json!({
        "type": "object",
        "properties": { "type": { "const": name }, "value": value },
        "required": ["type", "value"],
        "additionalProperties": false,
    })
}

/// Adds the catalogue's prices. They are loaded here and not in the decision, which must see the
/// same prices in a repeated request.
async fn add_prices(gesta: Gesta, mut place: PlaceOrder) -> Result<PlaceOrder, Problem> {
    let products: Vec<_> = place.order_items.iter().map(|item| &item.product_id).collect();
    place.prices = catalogue_prices(&gesta, products).await?;
    Ok(place)
}

/// Search for orders; all given conditions must hold.
#[derive(RequestFields)]
struct OrderSearch {
    /// Customer of the order.
    customer: Option<Id<CustomerId>>,
    /// Current status.
    status: Option<OrderStatus>,
    /// Earliest time of placement, inclusive.
    from: Option<Time>,
    /// Latest time of placement, exclusive.
    to: Option<Time>,
    /// Words that the ids, the address, or the products' codes and names must have; each may be
    /// a prefix.
    text: Option<Words>,
}
