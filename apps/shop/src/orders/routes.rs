//! Routes of orders, credit notes and customer statistics.

mod credit_notes;
mod details;
mod paths;
mod steps;

use gesta::{AsOf, Position, Revision, store::RecordedAt, stream_of};
use gesta_http::{
    Commands, Created, Cursor, HistoryEntry, JsonBody, ListHistory, PageLimit, Paged, PathOf,
    Problem, Queries, QueryOf, QueryResponse, Resource, Route, Schema, Schemas, Versioned, get,
    object_only, post, request,
};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

use self::paths::{CustomerPath, OrderPath};
use super::{
    Address, DISCOUNTS_MAX, Discount, DiscountType, ITEMS_MAX, Order, OrderCard, OrderDetails,
    OrderItem, OrderStatus, PlaceOrder, catalogue_prices,
    sales::{CustomerStatistics, FindCustomerStatistics},
    summaries::{FindOrders, OrderSummary},
};
use crate::{
    http::{
        occurred_at, page_size, paged,
        values::{AnyAmount, Id, List, Pieces, PositiveAmount, Text, Time, Words},
    },
    id::{AccountId, CustomerId, OrderId, ProductId},
    search::SearchText,
};

/// Scope of this list's cursors; a cursor of another list is refused.
const LIST: &str = "orders";

pub(crate) fn routes() -> Vec<Route> {
    let mut routes = vec![
        post("/v1/orders", place_order, "Places an order")
            .rejects(&["unknown-product", "unit-price-differs"]),
        get("/v1/orders", list_orders, "Searches orders, newest first")
            .rejects(&["unknown-cursor"]),
        get("/v1/orders/{orderId}", find_order, "Returns an order, now or at an earlier time"),
        get("/v1/orders/{orderId}/history", list_history, "Lists the history of an order")
            .rejects(&["unknown-cursor"]),
        get(
            "/v1/customers/{customerId}/statistics",
            find_customer_statistics,
            "Returns the statistics of a customer",
        ),
    ];
    routes.extend(steps::routes());
    routes.extend(credit_notes::routes());
    routes
}

request! {
    /// The order to place.
    struct NewOrder {
        /// Id of the new order; generated if left out.
        order_id: Option<Id<OrderId>>,
        /// Customer; absent for a guest order.
        customer_id: Option<Id<CustomerId>>,
        /// Shipping address.
        shipping_address: Option<NewAddress>,
        /// Products and quantities.
        order_items: List<NewItem, 1, ITEMS_MAX>,
        /// Discounts on the sum of the items.
        discounts: Option<List<NewDiscount, 0, DISCOUNTS_MAX>>,
        /// Account to pay from; left out for other payment methods.
        payment_account_id: Option<Id<AccountId>>,
        /// Business time; defaults to the current time.
        occurred_at: Option<Time>,
    }
}

request! {
    /// A shipping address; every part is optional.
    struct NewAddress {
        /// Street and number.
        street: Option<Text>,
        /// The city.
        city: Option<Text>,
        /// The postal code.
        postal_code: Option<Text>,
        /// The country.
        country: Option<Text>,
    }
}

request! {
    /// A number of pieces of one product.
    struct NewItem {
        /// Code of the product.
        product_id: Id<ProductId>,
        /// Price of a piece. Must be the catalogue's price, which is also the default.
        unit_price: Option<AnyAmount>,
        /// Number of pieces.
        quantity: Pieces,
    }
}

/// A discount on the sum of the items.
#[derive(Deserialize, Clone, Copy, Debug)]
#[serde(remote = "Self", deny_unknown_fields)]
struct NewDiscount {
    #[serde(rename = "type")]
    discount_type: DiscountType,
    value: PositiveAmount,
}

object_only!(NewDiscount);

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
}

fn discount(name: &str, value: &Value) -> Value {
    json!({
        "type": "object",
        "properties": { "type": { "const": name }, "value": value },
        "required": ["type", "value"],
        "additionalProperties": false,
    })
}

async fn place_order(
    commands: Commands,
    JsonBody(order): JsonBody<NewOrder>,
) -> Result<Created, Problem> {
    // Generated at the edge: a decision must give the same result when it is repeated.
    let order_id = order.order_id.map_or_else(|| commands.new_id().into(), |id| id.0);
    let order_items: Vec<_> = order.order_items.0.into_iter().map(item).collect();
    let products: Vec<_> = order_items.iter().map(|item| &item.product_id).collect();
    // Loaded here and not in the decision, which must see the same prices in a repeated request.
    let prices = catalogue_prices(commands.gesta(), products).await?;
    let place = PlaceOrder {
        order_id: order_id.clone(),
        customer_id: order.customer_id.map(|id| id.0),
        shipping_address: order.shipping_address.map(address),
        order_items,
        discounts: order.discounts.map_or_else(Vec::new, |list| discounts(list.0)),
        payment_account_id: order.payment_account_id.map(|id| id.0),
        prices,
        occurred_at: occurred_at(order.occurred_at, commands.now()),
    };
    commands.create(place, order_id, "/v1/orders").await
}

fn item(item: NewItem) -> OrderItem {
    OrderItem {
        product_id: item.product_id.0,
        unit_price: item.unit_price.map(|price| price.0),
        quantity: item.quantity.0,
    }
}

fn address(address: NewAddress) -> Address {
    let text = |given: Option<Text>| given.map(|text| text.0);
    Address {
        street: text(address.street),
        city: text(address.city),
        postal_code: text(address.postal_code),
        country: text(address.country),
    }
}

fn discounts(discounts: Vec<NewDiscount>) -> Vec<Discount> {
    let discount = |NewDiscount { discount_type, value }: NewDiscount| Discount {
        discount_type,
        value: value.0,
    };
    discounts.into_iter().map(discount).collect()
}

request! {
    /// Search for orders; all given conditions must hold.
    struct OrderList {
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
        /// Value of `next` from the previous page.
        cursor: Option<Cursor>,
        /// Maximum number of entries per page.
        limit: Option<PageLimit>,
    }
}

async fn list_orders(
    queries: Queries,
    list: QueryOf<OrderList>,
) -> Result<QueryResponse<Paged<OrderSummary>>, Problem> {
    let QueryOf(list) = list;
    let cursor = list.cursor.map(|cursor| cursor.at(LIST, |place| place.parse().ok()));
    let find = FindOrders {
        customer: list.customer.map(|id| id.0),
        status: list.status,
        from: list.from.map(|time| time.0),
        to: list.to.map(|time| time.0),
        text: list.text.and_then(|words| SearchText::new(&words.0)),
        cursor: cursor.transpose()?,
        size: page_size(list.limit),
    };
    Ok(queries.ask(find).await?.map(|page| paged(LIST, page)))
}

request! {
    /// Point in time to show the order at.
    struct OrderMoment {
        /// A time, `revision:3` or `position:42`; defaults to now.
        at: Option<Moment>,
    }
}

/// A time, a revision or a position.
#[derive(Clone, Copy, Debug)]
struct Moment(AsOf);

impl Moment {
    fn parse(text: &str) -> Option<AsOf> {
        // The prefixes are no beginnings of a time, so the forms cannot be confused.
        if let Some(revision) = text.strip_prefix("revision:") {
            return Some(AsOf::Revision(Revision::new(whole_number(revision)?)));
        }
        if let Some(position) = text.strip_prefix("position:") {
            return Some(AsOf::Position(Position::new(whole_number(position)?)));
        }
        // The store has no events from before 1970, so an earlier time reads as the epoch.
        let micros = Time::parse(text)?.0.as_microsecond().try_into().unwrap_or_default();
        Some(AsOf::Time(RecordedAt::from_micros(micros)))
    }
}

fn whole_number(text: &str) -> Option<u64> {
    // 18 digits always fit into a `u64`, and the schema's pattern says the same.
    let canonical = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits && canonical && text.len() <= 18 { text.parse().ok() } else { None }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let odd = "must be a time such as 2011-01-31T12:00:00Z, or revision:3, or position:42";
        let moment = Self::parse(&String::deserialize(deserializer)?);
        moment.map(Self).ok_or_else(|| D::Error::custom(odd))
    }
}

impl Schema for Moment {
    fn schema(schemas: &mut Schemas) -> Value {
        let place = "^(revision|position):(0|[1-9][0-9]{0,17})$";
        let place = json!({ "type": "string", "pattern": place });
        json!({ "oneOf": [Time::schema(schemas), place] })
    }
}

async fn find_order(
    queries: Queries,
    path: PathOf<OrderPath>,
    moment: QueryOf<OrderMoment>,
) -> Result<Versioned<OrderDetails>, Problem> {
    let as_of = moment.at.map_or(AsOf::Now, |moment| moment.0);
    let found = queries.read::<OrderCard>(&path.order_id.0, as_of).await?;
    // The row is `None` for a stream whose placement is missing at the requested time.
    found.and_then(Versioned::present).ok_or_else(|| Problem::not_found("order"))
}

async fn list_history(
    queries: Queries,
    path: PathOf<OrderPath>,
    list: QueryOf<ListHistory>,
) -> Result<Resource<Paged<HistoryEntry>>, Problem> {
    let id = &path.order_id.0;
    // The history is read from the stream itself: a read model keeps only the current state.
    let stream = stream_of::<Order>(id);
    let stream = stream.map_err(|error| Problem::invalid("orderId", error.to_string()))?;
    queries.history(stream, &list).await?.found("order")
}

async fn find_customer_statistics(
    queries: Queries,
    path: PathOf<CustomerPath>,
) -> Result<Resource<CustomerStatistics>, Problem> {
    // Customers are known by their orders only, so one without any is not found.
    let find = FindCustomerStatistics { customer_id: path.customer_id.0.clone() };
    queries.ask(find).await?.found("customer")
}
