//! URLs of stores with databases of their own, short calls, and a client that looks at documents.

use std::future::Future;

use gesta_mongodb::MongoReadModels;
use gesta_store::{
    CreateReadModel, DatabaseError, ReadModelId, ReadModelStore as _, ReadModelTx as _,
    ReadRows as _, Rows as _, Stage, conformance::block_on,
};
use mongodb::{Client, Database};
use serde_json::Value;
use tokio::runtime::Builder;
use uuid::Uuid;

pub(crate) const ORDERS: &str = "orders";

/// Returns the URL of a store that no other test uses.
pub(crate) fn fresh_url(server: &str) -> String {
    format!("{server}/test-{}", Uuid::new_v4().simple())
}

/// Opens a store.
pub(crate) fn connect(url: &str) -> MongoReadModels {
    block_on(MongoReadModels::connect(url)).unwrap()
}

/// Creates a live read model.
pub(crate) async fn create(store: &MongoReadModels) -> Result<ReadModelId, DatabaseError> {
    store.create_read_model(CreateReadModel::new("order-summaries", 1, Stage::Live)).await
}

/// Commits one row of the table `orders`.
pub(crate) async fn put(
    store: &MongoReadModels,
    id: &ReadModelId,
    (key, value): (&str, u64),
) -> Result<(), DatabaseError> {
    let mut tx = store.begin(id).await?;
    tx.put_json(ORDERS, key, &value.into()).await?;
    tx.commit().await
}

/// Returns a row of the table `orders`, as a new reader sees it.
pub(crate) async fn get(
    store: &MongoReadModels,
    id: &ReadModelId,
    key: &str,
) -> Result<Option<Value>, DatabaseError> {
    store.reader(id).await?.get_json(ORDERS, key).await
}

/// Runs work with a client of the database, as another program has it.
pub(crate) fn with_database<F: Future>(url: &str, work: impl FnOnce(Database) -> F) -> F::Output {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::with_uri_str(url).await.unwrap();
        work(client.default_database().unwrap()).await
    })
}
