//! Commits to read models that were cut off halfway.

use aws_sdk_dynamodb::types::AttributeValue;
use gesta_dynamodb::DynamoReadModels;
use gesta_store::{
    CreateReadModel, DatabaseError, ReadModelId, ReadModelStore as _, ReadModelTx as _,
    ReadRows as _, Rows as _, Stage, conformance::block_on,
};
use serde_json::Value;

use crate::server::{fresh_url, key, number, table, with_client};

const ORDERS: &str = "orders";

async fn put(store: &DynamoReadModels, id: &ReadModelId, value: u64) -> Result<(), DatabaseError> {
    let mut tx = store.begin(id).await?;
    tx.put_json(ORDERS, "1", &value.into()).await?;
    tx.commit().await
}

async fn get(store: &DynamoReadModels, id: &ReadModelId) -> Result<Option<Value>, DatabaseError> {
    store.reader(id).await?.get_json(ORDERS, "1").await
}

/// Writes what a process has written that was killed after its rows and before its version: the
/// commit with this number is in progress, and the row has its value.
fn cut_off(url: &str, id: &ReadModelId, commit: u64) {
    let rows = table(url, "read-models");
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let row = format!("rows#{}#{}#{}#t:{ORDERS}", id.build, id.projection.len(), id.projection);
    with_client(url, async |client| {
        let head = format!("head#{}#{}", id.build, id.projection);
        let head = client.update_item().table_name(&rows).set_key(Some(key(&head, "-")));
        let head = head.update_expression("SET r = :mine, q = :mine, o = :other");
        let head = head.expression_attribute_values(":mine", number(commit));
        head.expression_attribute_values(":other", text("a process")).send().await.unwrap();
        let row = client.update_item().table_name(&rows).set_key(Some(key(&row, "=1")));
        let row = row.update_expression("SET p = c, pv = cv, c = :lost, cv = :mine");
        let row = row.expression_attribute_values(":mine", number(commit));
        row.expression_attribute_values(":lost", text("666")).send().await.unwrap();
    });
}

#[test]
fn a_commit_that_was_cut_off_is_never_seen_and_the_value_before_it_stays() {
    let Some(endpoint) = gesta_services::url_or_skip("dynamodb") else { return };
    let url = fresh_url(&endpoint);
    let outcome = block_on(async {
        let store = DynamoReadModels::connect(&url).await.unwrap();
        let create = CreateReadModel::new("order-summaries", 1, Stage::Live);
        let id = store.create_read_model(create).await?;
        put(&store, &id, 1).await?;
        cut_off(&url, &id, 2);
        assert_eq!(get(&store, &id).await?, Some(1.into()));
        // The next commit changes another row. The first one keeps the value of the commit before.
        let mut tx = store.begin(&id).await?;
        assert_eq!(tx.get_json(ORDERS, "1").await?, Some(1.into()));
        tx.put_json(ORDERS, "2", &2.into()).await?;
        tx.commit().await?;
        assert_eq!(get(&store, &id).await?, Some(1.into()), "a later version does not show it");
        // A second one is cut off on the same row, whose committed value is still the one before.
        let mut reader = store.reader(&id).await?;
        put(&store, &id, 3).await?;
        assert_eq!(get(&store, &id).await?, Some(3.into()));
        assert_eq!(reader.get_json(ORDERS, "1").await?, Some(1.into()), "at its moment");
        Ok::<(), DatabaseError>(())
    });
    outcome.unwrap();
}

#[test]
fn a_reader_whose_moment_has_passed_is_told_so_and_never_sees_two_moments() {
    let Some(endpoint) = gesta_services::url_or_skip("dynamodb") else { return };
    let url = fresh_url(&endpoint);
    let outcome = block_on(async {
        let store = DynamoReadModels::connect(&url).await.unwrap();
        let create = CreateReadModel::new("order-summaries", 1, Stage::Live);
        let id = store.create_read_model(create).await?;
        put(&store, &id, 1).await?;
        let (mut first, mut second) = (store.reader(&id).await?, store.reader(&id).await?);
        assert_eq!(first.get_json(ORDERS, "other").await?, None);
        put(&store, &id, 2).await?;
        put(&store, &id, 3).await?;
        let passed = first.get_json(ORDERS, "1").await.unwrap_err();
        assert!(matches!(passed, DatabaseError::Unavailable { .. }), "{passed}");
        assert_eq!(second.get_json(ORDERS, "1").await?, Some(3.into()), "it had not answered yet");
        Ok::<(), DatabaseError>(())
    });
    outcome.unwrap();
}

#[test]
fn a_transaction_of_thousands_of_rows_is_seen_at_once() {
    let Some(endpoint) = gesta_services::url_or_skip("dynamodb") else { return };
    let url = fresh_url(&endpoint);
    let outcome = block_on(async {
        let store = DynamoReadModels::connect(&url).await.unwrap();
        let create = CreateReadModel::new("order-summaries", 1, Stage::Live);
        let id = store.create_read_model(create).await?;
        let mut tx = store.begin(&id).await?;
        for nth in 0..1_500 {
            tx.put_json(ORDERS, &format!("{nth:05}"), &"x".repeat(1_000).into()).await?;
        }
        let mut before = store.reader(&id).await?;
        tx.commit().await?;
        let all = gesta_store::ListRows::of(ORDERS);
        assert!(before.list_json(all.clone()).await?.is_empty(), "at its moment");
        assert_eq!(store.reader(&id).await?.list_json(all).await?.len(), 1_500);
        Ok::<(), DatabaseError>(())
    });
    outcome.unwrap();
}

#[test]
fn a_value_that_does_not_fit_is_refused_with_the_limit() {
    let Some(endpoint) = gesta_services::url_or_skip("dynamodb") else { return };
    let url = fresh_url(&endpoint);
    let outcome = block_on(async {
        let store = DynamoReadModels::connect(&url).await.unwrap();
        let create = CreateReadModel::new("order-summaries", 1, Stage::Live);
        let id = store.create_read_model(create).await?;
        let mut tx = store.begin(&id).await?;
        let error = tx.put_json(ORDERS, "1", &"x".repeat(200_000).into()).await.unwrap_err();
        assert!(error.to_string().contains("at most 194560 bytes"), "{error}");
        let error = tx.put_json(ORDERS, &"k".repeat(1_024), &1.into()).await.unwrap_err();
        assert!(error.to_string().contains("at most 1023 bytes"), "{error}");
        tx.rollback().await
    });
    outcome.unwrap();
}
