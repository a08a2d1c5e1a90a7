//! The engines on which the contract is tested.

use std::time::Duration;

use gesta_search::{IndexDefinition, SearchStore, SearchTx, TextField};
use gesta_services::url_or_skip;
use gesta_store::{
    CreateReadModel, ReadModelId, ReadModelStore as _, ReadModelTx as _, Stage,
    conformance::block_on_within,
};
use tempfile::TempDir;
use uuid::Uuid;

/// Time limit of a test.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// A store without read models.
pub(crate) struct Engine {
    pub(crate) store: SearchStore,
    /// Deleted after the store.
    #[expect(dead_code, reason = "held until it is dropped")]
    directory: Option<TempDir>,
}

pub(crate) fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> T {
    run_within(WITHIN, work)
}

pub(crate) fn run_within<T>(limit: Duration, work: impl Future<Output = anyhow::Result<T>>) -> T {
    block_on_within(limit, work).unwrap()
}

pub(crate) fn tantivy() -> Option<Engine> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("search");
    let store = run(async { Ok(SearchStore::tantivy(path).await?) });
    Some(Engine { store, directory: Some(directory) })
}

/// The server of tests, with names of its own.
pub(crate) fn opensearch() -> Option<Engine> {
    let url = server_url("opensearch")?;
    let store = run(async { Ok(SearchStore::open(&url).await?) });
    Some(Engine { store, directory: None })
}

pub(crate) fn server_url(service: &str) -> Option<String> {
    Some(format!("{}/t{}", url_or_skip(service)?, Uuid::new_v4().simple()))
}

/// The fields of the documents in these tests.
pub(crate) fn definition() -> IndexDefinition {
    IndexDefinition::new()
        .text("name", TextField::new().weight(2.0))
        .text("ids", TextField::new().without_typos())
        .keyword("status")
        .keyword("colours")
        .number("total")
        .date("placedAt")
}

/// Creates a live index with these fields.
pub(crate) async fn create(store: &SearchStore) -> anyhow::Result<ReadModelId> {
    let id = store.create_read_model(CreateReadModel::new("orders", 1, Stage::Live)).await?;
    write(store, &id, |tx| Ok(tx.define(definition())?)).await?;
    Ok(id)
}

/// Makes changes in one transaction.
pub(crate) async fn write(
    store: &SearchStore,
    id: &ReadModelId,
    change: impl FnOnce(&mut SearchTx) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut tx = store.begin(id).await?;
    change(&mut tx)?;
    Ok(tx.commit().await?)
}
