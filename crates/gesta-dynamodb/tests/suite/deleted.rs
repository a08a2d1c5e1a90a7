//! A table of read models that another program deletes: it is noticed, and a rebuild mends it.

use gesta_dynamodb::DynamoReadModels;
use gesta_store::{
    CreateReadModel, DatabaseError, ReadModelId, ReadModelStore as _, ReadModelTx as _,
    ReadRows as _, Rows as _, Stage, conformance::block_on,
};
use serde_json::Value;

use crate::server::{fresh_url, table, with_client};

async fn put(store: &DynamoReadModels, id: &ReadModelId, value: u64) -> Result<(), DatabaseError> {
    let mut tx = store.begin(id).await?;
    tx.put_json("orders", "1", &value.into()).await?;
    tx.commit().await
}

async fn get(store: &DynamoReadModels, id: &ReadModelId) -> Result<Option<Value>, DatabaseError> {
    store.reader(id).await?.get_json("orders", "1").await
}

async fn create(store: &DynamoReadModels, stage: Stage) -> Result<ReadModelId, DatabaseError> {
    store.create_read_model(CreateReadModel::new("orders", 1, stage)).await
}

#[track_caller]
fn assert_damage<T>(url: &str, outcome: Result<T, DatabaseError>) {
    let Err(DatabaseError::Corrupt { reason, .. }) = outcome else { panic!("not noticed") };
    let named = reason.contains(&table(url, "read-models"));
    assert!(named && reason.contains("rebuild the projection"), "{reason}");
}

#[test]
fn a_deleted_table_is_damage_and_a_rebuild_creates_it_again() {
    let Some(endpoint) = gesta_services::url_or_skip("dynamodb") else { return };
    for is_created_again in [false, true] {
        let url = fresh_url(&endpoint);
        let store = block_on(DynamoReadModels::connect(&url)).unwrap();
        let id = block_on(create(&store, Stage::Live)).unwrap();
        block_on(put(&store, &id, 1)).unwrap();
        let open = block_on(store.begin(&id)).unwrap();
        let name = table(&url, "read-models");
        with_client(&url, async |client| {
            client.delete_table().table_name(&name).send().await.unwrap();
        });
        if is_created_again {
            block_on(DynamoReadModels::connect(&url)).unwrap();
        }
        let commit = async {
            let mut open = open;
            open.put_json("orders", "1", &2.into()).await?;
            open.commit().await
        };
        assert_damage(&url, block_on(commit));
        assert_damage(&url, block_on(get(&store, &id)));
        assert_damage(&url, block_on(put(&store, &id, 2)));
        let rebuilt = block_on(create(&store, Stage::Rebuilding)).unwrap();
        assert!(rebuilt.build > id.build, "{rebuilt} after {id}");
        block_on(put(&store, &rebuilt, 3)).unwrap();
        block_on(store.switch_to(&rebuilt)).unwrap();
        assert_eq!(block_on(get(&store, &rebuilt)).unwrap(), Some(3.into()));
    }
}
