//! The catalogue over HTTP.

use gesta_http::{
    ApiRoute, JsonBody, PathOf, Problem, Repeated, RequestFields, Schema, Schemas, Time,
    UpdateCommands, Updated,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{AddProduct, AdjustStock, FindProduct, ListProducts, ReceiveStock, UpdateProduct};
use crate::{
    http::values::{AmountFromZero, Id, Text, Whole, Words, ids_of, quantity},
    id::ProductId,
    quantity::Quantity,
    samples,
    search::SearchText,
};

pub(crate) fn routes() -> [ApiRoute; 5] {
    [
        ApiRoute::post("/v1/products", "Adds a product to the catalogue")
            .create(NewProduct::into_command),
        ApiRoute::get("/v1/products", "Lists products, by code")
            .list("products", |search: ProductSearch, (), page| ListProducts {
                ids: ids_of(search.product_id),
                text: search.text.and_then(|words| SearchText::new(&words.0)),
                page,
            })
            .finds_many("findProduct", "productId"),
        ApiRoute::get("/v1/products/{code}", "Returns a product")
            .find_versioned(
                "product",
                |Id(product_id)| FindProduct { product_id },
                |it| it.revision,
            )
            .example("code", samples::PRODUCT),
        ApiRoute::put("/v1/products/{code}", "Replaces a product's name and price")
            .update(ProductChange::into_command)
            .example("code", samples::PRODUCT),
        ApiRoute::post(
            "/v1/products/{code}/stock",
            "Receives pieces into stock, or corrects their number",
        )
        .handle(change_stock)
        .example("code", samples::PRODUCT)
        .rejects(&["insufficient-stock"]),
    ]
}

/// The product to add.
#[derive(RequestFields)]
#[request(command = AddProduct, default(stock_keeping))]
struct NewProduct {
    /// Code of the new product; generated if left out.
    #[request(new_id)]
    product_id: Option<Id<ProductId>>,
    /// Name shown to customers.
    #[request(example = "Teapot")]
    name: Text,
    /// Price of a piece.
    price: AmountFromZero,
    /// Business time; defaults to the current time.
    #[request(now)]
    occurred_at: Option<Time>,
}

/// New values of a product.
#[derive(RequestFields)]
#[request(command = UpdateProduct, path(product_id: Id<ProductId>))]
struct ProductChange {
    /// Name shown to customers.
    #[request(example = "Mug with a spoon")]
    name: Text,
    /// Price of a piece.
    price: AmountFromZero,
    /// Business time; defaults to the current time.
    #[request(now)]
    occurred_at: Option<Time>,
}

/// Search for products.
#[derive(RequestFields)]
struct ProductSearch {
    /// Only products with these codes.
    product_id: Option<Repeated<Id<ProductId>>>,
    /// Words that the code or name must have; each may be a prefix.
    text: Option<Words>,
}

/// Path of a product.
#[derive(RequestFields)]
struct ProductPath {
    /// Code of the product.
    code: Id<ProductId>,
}

/// A receipt of pieces, or a correction of their number.
#[derive(RequestFields)]
#[request(own_schema)]
struct StockChange {
    #[serde(rename = "type")]
    change_type: StockChangeType,
    quantity: Whole,
    reason: Option<Text>,
    occurred_at: Option<Time>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum StockChangeType {
    Receive,
    Adjust,
}

async fn change_stock(
    commands: UpdateCommands,
    PathOf(ProductPath { code: Id(product_id) }): PathOf<ProductPath>,
    JsonBody(change): JsonBody<StockChange>,
) -> Result<Updated, Problem> {
    let reason = change.reason.map(Into::into);
    let occurred_at = commands.edge().or_now(change.occurred_at)?;
    // One route, two commands: only a correction can be refused for lack of stock.
    match change.change_type {
        StockChangeType::Receive => {
            let quantity = quantity(change.quantity.0)
                .map_err(|reason| Problem::invalid("quantity", reason))?;
            commands.execute(ReceiveStock { product_id, quantity, reason, occurred_at }).await
        }
        StockChangeType::Adjust => {
            let quantity = change.quantity.0;
            commands.execute(AdjustStock { product_id, quantity, reason, occurred_at }).await
        }
    }
}

/// Has one alternative per type, because the type decides the range of quantities.
impl Schema for StockChange {
    fn schema(schemas: &mut Schemas) -> Value {
        schemas.component("StockChange", |schemas| {
            let max = Quantity::MAX;
            // `receive` takes positive quantities; a correction has either sign, but is not zero.
            let more = json!({ "type": "integer", "minimum": 1, "maximum": max });
            let fewer = json!({ "type": "integer", "minimum": -i64::from(max), "maximum": -1 });
            let adjusted = json!({ "anyOf": [more, fewer] });
            let received = stock_change("receive", &more, schemas);
            json!({ "oneOf": [received, stock_change("adjust", &adjusted, schemas)] })
        })
    }

    fn example() -> Option<Value> {
        Some(json!({ "type": "receive", "quantity": 12, "reason": "delivery" }))
    }
}

fn stock_change(name: &str, quantity: &Value, schemas: &mut Schemas) -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": { "const": name },
            "quantity": quantity,
            "reason": Option::<Text>::schema(schemas),
            "occurredAt": Option::<Time>::schema(schemas),
        },
        "required": ["type", "quantity"],
        "additionalProperties": false,
    })
}
