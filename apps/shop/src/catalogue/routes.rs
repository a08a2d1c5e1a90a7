//! The catalogue over HTTP.

use gesta::Revision;
use gesta_http::{
    Commands, Created, Cursor, JsonBody, PageLimit, Paged, PathOf, Problem, Queries, QueryOf,
    QueryResponse, Route, Schema, Schemas, UpdateCommands, Updated, Versioned, get, object_only,
    post, put, request, response,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AddProduct, AdjustStock, FindProduct, ListProducts, ProductDetails, ReceiveStock, StockKeeping,
    UpdateProduct,
};
use crate::{
    http::{
        occurred_at, page_size, paged,
        values::{AmountFromZero, Id, Text, Time, Whole, Words, quantity},
    },
    id::ProductId,
    money::Money,
    quantity::Quantity,
    search::SearchText,
};

/// Scope of this list's cursors; a cursor of another list is refused.
const LIST: &str = "products";

pub(crate) fn routes() -> [Route; 5] {
    [
        post("/v1/products", add_product, "Adds a product to the catalogue"),
        get("/v1/products", list_products, "Lists products, by code").rejects(&["unknown-cursor"]),
        get("/v1/products/{code}", find_product, "Returns a product"),
        put("/v1/products/{code}", update_product, "Replaces a product's name and price"),
        post(
            "/v1/products/{code}/stock",
            change_stock,
            "Receives pieces into stock, or corrects their number",
        )
        .rejects(&["insufficient-stock"]),
    ]
}

request! {
    /// Path of a product.
    struct ProductPath {
        /// Code of the product.
        code: Id<ProductId>,
    }
}

request! {
    /// The product to add.
    struct NewProduct {
        /// Code of the new product; generated if left out.
        product_id: Option<Id<ProductId>>,
        /// Name shown to customers.
        name: Text,
        /// Price of a piece.
        price: AmountFromZero,
        /// Business time; defaults to the current time.
        occurred_at: Option<Time>,
    }
}

async fn add_product(
    commands: Commands,
    JsonBody(product): JsonBody<NewProduct>,
) -> Result<Created, Problem> {
    // Generated at the edge: a decision must give the same result when it is repeated.
    let product_id = product.product_id.map_or_else(|| commands.new_id().into(), |id| id.0);
    let add = AddProduct {
        product_id: product_id.clone(),
        name: product.name.0,
        price: product.price.0,
        stock_keeping: StockKeeping::default(),
        occurred_at: occurred_at(product.occurred_at, commands.now()),
    };
    commands.create(add, product_id, "/v1/products").await
}

request! {
    /// New values of a product.
    struct ProductChange {
        /// Name shown to customers.
        name: Text,
        /// Price of a piece.
        price: AmountFromZero,
        /// Business time; defaults to the current time.
        occurred_at: Option<Time>,
    }
}

async fn update_product(
    commands: UpdateCommands,
    path: PathOf<ProductPath>,
    JsonBody(product): JsonBody<ProductChange>,
) -> Result<Updated, Problem> {
    let update = UpdateProduct {
        product_id: path.code.0.clone(),
        name: product.name.0,
        price: product.price.0,
        occurred_at: occurred_at(product.occurred_at, commands.now()),
    };
    commands.execute(update).await
}

/// A receipt of pieces, or a correction of their number.
#[derive(Deserialize, Clone, Debug)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
struct StockChange {
    #[serde(rename = "type")]
    change_type: StockChangeType,
    quantity: Whole,
    reason: Option<Text>,
    occurred_at: Option<Time>,
}

object_only!(StockChange);

#[derive(Deserialize, Clone, Copy, Debug)]
#[serde(rename_all = "camelCase")]
enum StockChangeType {
    Receive,
    Adjust,
}

async fn change_stock(
    commands: UpdateCommands,
    path: PathOf<ProductPath>,
    JsonBody(change): JsonBody<StockChange>,
) -> Result<Updated, Problem> {
    let product_id = path.code.0.clone();
    let reason = change.reason.map(|reason| reason.0);
    let occurred_at = occurred_at(change.occurred_at, commands.now());
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

async fn find_product(
    queries: Queries,
    path: PathOf<ProductPath>,
) -> Result<Versioned<ProductDetails>, Problem> {
    let find = FindProduct { product_id: path.code.0.clone() };
    let found = queries.ask(find).await?.found("product")?;
    let revision = Revision::new(found.value().revision);
    Ok(found.at(revision))
}

request! {
    /// Search for products.
    struct ProductList {
        /// Words that the code or name must have; each may be a prefix.
        text: Option<Words>,
        /// Value of `next` from the previous page.
        cursor: Option<Cursor>,
        /// Maximum number of entries per page.
        limit: Option<PageLimit>,
    }
}

async fn list_products(
    queries: Queries,
    list: QueryOf<ProductList>,
) -> Result<QueryResponse<Paged<ProductDetails>>, Problem> {
    let after = list.cursor.as_ref().map(|cursor| cursor.at(LIST, |id| ProductId::new(id).ok()));
    // A text without a word, such as `--`, is no condition and finds all products.
    let text = list.text.as_ref().and_then(|words| SearchText::new(&words.0));
    let size = page_size(list.limit);
    let products = queries.ask(ListProducts { text, after: after.transpose()?, size }).await?;
    Ok(products.map(|page| paged(LIST, page)))
}

response! {
    /// A product, as returned by queries.
    ProductDetails {
        /// Code of the product.
        product_id: ProductId,
        /// Name shown to customers.
        name: String,
        /// Price of a piece.
        price: Money,
        /// Pieces available for sale; absent if stock is not tracked.
        stock: Option<i64>,
    }
}
