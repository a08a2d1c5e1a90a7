//! Products as documents: a projection fills them, and a query asks for one field in MongoDB's own
//! language.
//!
//! `cargo run -p gesta-mongodb --example products -- mongodb://127.0.0.1:27017/shop`

use std::{
    env,
    io::{self, Write as _},
};

use gesta::{Query, prelude::*};
use gesta_mongodb::{FindRows, MongoReadModels, MongoReader, MongoTx, bson::doc};

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "product-listed")]
struct ProductListed {
    name: String,
    category: String,
    price_cents: i64,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "product-repriced")]
struct ProductRepriced {
    price_cents: i64,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum ProductEvent {
    Listed(ProductListed),
    Repriced(ProductRepriced),
}

#[derive(Default)]
struct Product {
    price_cents: i64,
}

impl Aggregate for Product {
    const CATEGORY: &'static str = "product";
    type Id = String;
    type Event = ProductEvent;

    fn evolve(&mut self, event: &ProductEvent) {
        self.price_cents = match event {
            ProductEvent::Listed(listed) => listed.price_cents,
            ProductEvent::Repriced(repriced) => repriced.price_cents,
        };
    }
}

#[derive(Debug, PartialEq, thiserror::Error, Rejection)]
#[error("the price is {price_cents} already")]
#[rejection(code = "same-price")]
struct SamePrice {
    price_cents: i64,
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "list-product", on = Product, new)]
struct ListProduct {
    #[command(id)]
    sku: String,
    name: String,
    category: String,
    price_cents: i64,
}

impl Decide for ListProduct {
    type Rejection = SamePrice;

    fn decide(&self, _: &Product) -> Decision<Self> {
        let (name, category) = (self.name.clone(), self.category.clone());
        Ok(ProductListed { name, category, price_cents: self.price_cents }.into())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "reprice-product", on = Product)]
struct RepriceProduct {
    #[command(id)]
    sku: String,
    price_cents: i64,
}

impl Decide for RepriceProduct {
    type Rejection = SamePrice;

    fn decide(&self, product: &Product) -> Decision<Self> {
        if product.price_cents == self.price_cents {
            return Err(SamePrice { price_cents: self.price_cents });
        }
        Ok(ProductRepriced { price_cents: self.price_cents }.into())
    }
}

const PRODUCTS: &str = "products";

/// A product as a document. In MongoDB its fields are below `value`.
#[derive(Serialize, Deserialize)]
struct ProductDocument {
    name: String,
    category: String,
    price_cents: i64,
}

/// Fills the documents of products, by stream.
struct Products;

impl Projection for Products {
    const NAME: &'static str = "products";
    type Event = ProductEvent;
}

impl Apply<MongoTx> for Products {
    async fn apply(
        &self,
        tx: &mut MongoTx,
        events: &[Recorded<ProductEvent>],
    ) -> Result<(), ApplyError> {
        tx.ensure_index(PRODUCTS, doc! { "value.category": 1, "value.price_cents": 1 }).await?;
        for event in events {
            let key = event.stream.as_str();
            let document = match event.event.clone() {
                ProductEvent::Listed(ProductListed { name, category, price_cents }) => {
                    ProductDocument { name, category, price_cents }
                }
                ProductEvent::Repriced(ProductRepriced { price_cents }) => {
                    let Some(stored) = tx.get::<ProductDocument>(PRODUCTS, key).await? else {
                        continue;
                    };
                    ProductDocument { price_cents, ..stored }
                }
            };
            tx.put(PRODUCTS, key, &document).await?;
        }
        Ok(())
    }
}

/// The products of a category, the cheapest first.
struct CheapestOf {
    category: &'static str,
}

impl Query for CheapestOf {
    type Reads = Products;
    type Answer = Vec<ProductDocument>;
}

impl Answer<MongoReader> for CheapestOf {
    async fn answer(&self, reader: &mut MongoReader) -> Result<Vec<ProductDocument>, QueryError> {
        let of = FindRows::of(PRODUCTS, doc! { "value.category": self.category });
        let found = reader.find(of.sort(doc! { "value.price_cents": 1 }).limit(10)).await?;
        let documents = found.into_iter().map(|row| serde_json::from_value(row.value));
        documents.collect::<Result<_, _>>().map_err(|error| QueryError::because(error.to_string()))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let given = env::args().nth(1);
    let url = given.unwrap_or_else(|| "mongodb://127.0.0.1:27017/products".to_owned());
    let read_models = MongoReadModels::connect(&url).await?;
    // Events would be in a store that stays: with those in memory the rows are built anew each
    // time.
    let gesta = Gesta::at("memory:").project(Products, &read_models).open().await?;
    let product = |sku: &str, name: &str, category: &str, price_cents| ListProduct {
        sku: sku.to_owned(),
        name: name.to_owned(),
        category: category.to_owned(),
        price_cents,
    };
    for (sku, name, category, price_cents) in [
        ("L-1", "desk lamp", "lamps", 4_900),
        ("L-2", "floor lamp", "lamps", 8_900),
        ("B-1", "a book about lamps", "books", 1_200),
    ] {
        gesta.execute(product(sku, name, category, price_cents)).await?;
    }
    let receipt =
        gesta.execute(RepriceProduct { sku: "L-2".to_owned(), price_cents: 3_900 }).await?;
    let lamps = gesta.ask(CheapestOf { category: "lamps" }).at_least(&receipt).await?;
    let mut out = io::stdout();
    writeln!(out, "{read_models:?} commits by {:?}", read_models.commits())?;
    for ProductDocument { name, price_cents, .. } in lamps {
        writeln!(out, "{name} at {price_cents}")?;
    }
    Ok(())
}
