//! Rows as documents: what other programs find, and values that BSON does not hold.

use futures_util::TryStreamExt as _;
use gesta_mongodb::{FindRows, MongoReadModels, bson::doc};
use gesta_store::{
    DatabaseError, ReadModelStore as _, ReadModelTx as _, ReadRows as _, Rows as _,
    conformance::block_on,
};
use mongodb::bson::Document;
use serde_json::json;

use crate::server::{connect, create, fresh_url, with_database};

const PRODUCTS: &str = "products";

#[test]
fn another_program_finds_the_live_build_and_its_rows_by_a_field() {
    let Some(server) = gesta_services::url_or_skip("ferretdb") else { return };
    let url = fresh_url(&server);
    let store = connect(&url);
    let outcome = block_on(async {
        let id = create(&store).await?;
        let mut tx = store.begin(&id).await?;
        tx.ensure_index(PRODUCTS, doc! { "value.price": 1 }).await?;
        for (key, price) in [("lamp", 3_000), ("book", 1_200), ("pen", 200)] {
            tx.put_json(PRODUCTS, key, &json!({ "price": price, "tags": ["new"] })).await?;
        }
        tx.commit().await?;
        let mut tx = store.begin(&id).await?;
        tx.delete(PRODUCTS, "pen").await?;
        tx.commit().await?;
        Ok::<_, DatabaseError>(id)
    });
    let id = outcome.unwrap();
    let (build, found) = with_database(&url, async |database| {
        let lists = database.collection::<Document>("gesta.catalogue");
        let list = lists.find_one(doc! { "_id": &id.projection }).await.unwrap().unwrap();
        let live = list.get_array("readModels").unwrap().iter().find_map(|one| {
            let one = one.as_document()?;
            (one.get_str("stage").unwrap() == "live").then(|| one.get_i64("build").unwrap())
        });
        let build = live.unwrap();
        let name = format!("{}.{build}.{PRODUCTS}", id.projection);
        let rows = database.collection::<Document>(&name);
        let cheap = doc! { "value.price": { "$lt": 2_000 }, "value.tags": "new" };
        let found: Vec<Document> = rows.find(cheap).await.unwrap().try_collect().await.unwrap();
        (build, found)
    });
    assert_eq!(u64::try_from(build).unwrap(), id.build);
    assert_eq!(found.len(), 1);
    let book = found.first().unwrap();
    assert_eq!(book.get_str("_id").unwrap(), "book");
    assert_eq!(book.get_document("value").unwrap().get_i64("price").unwrap(), 1_200);
    assert_eq!(MongoReadModels::collection_of(&id, PRODUCTS), "order-summaries.1.products");
}

#[test]
fn a_reader_finds_rows_by_a_field_in_an_order_and_without_deleted_ones() {
    let Some(server) = gesta_services::url_or_skip("ferretdb") else { return };
    let store = connect(&fresh_url(&server));
    let outcome = block_on(async {
        let id = create(&store).await?;
        let mut tx = store.begin(&id).await?;
        for (key, price) in [("lamp", 3_000), ("book", 1_200), ("pen", 200)] {
            tx.put_json(PRODUCTS, key, &json!({ "price": price })).await?;
        }
        tx.commit().await?;
        let mut tx = store.begin(&id).await?;
        tx.delete(PRODUCTS, "pen").await?;
        tx.commit().await?;
        let mut reader = store.reader(&id).await?;
        let dearest = FindRows::of(PRODUCTS, doc! {}).sort(doc! { "value.price": -1 });
        let keys = async |reader: &mut gesta_mongodb::MongoReader, find: FindRows<'_>| {
            let found = reader.find(find).await?;
            Ok::<Vec<String>, DatabaseError>(found.into_iter().map(|row| row.key).collect())
        };
        assert_eq!(keys(&mut reader, dearest.clone()).await?, ["lamp", "book"]);
        assert_eq!(keys(&mut reader, dearest.clone().limit(1)).await?, ["lamp"]);
        assert_eq!(keys(&mut reader, dearest.limit(0)).await?, [""; 0]);
        let cheap = FindRows::of(PRODUCTS, doc! { "value.price": { "$lt": 2_000 } });
        assert_eq!(keys(&mut reader, cheap).await?, ["book"]);
        let wrong = FindRows::of(PRODUCTS, doc! { "value.price": { "$cheap": 1 } });
        let error = reader.find(wrong).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Rejected { .. }), "{error}");
        Ok::<(), DatabaseError>(())
    });
    outcome.unwrap();
}

#[test]
fn what_bson_does_not_hold_comes_back_and_the_rest_of_it_can_be_queried() {
    let Some(server) = gesta_services::url_or_skip("ferretdb") else { return };
    let store = connect(&fresh_url(&server));
    let value = json!({
        "sku": "A-1",
        "serial": u64::MAX,
        "$price": 1,
        "a.b": { "$set": [[1, [2]], { "x": [[3]] }] },
        "grid": [[1, 2], [3, 4]],
    });
    let outcome = block_on(async {
        let id = create(&store).await?;
        let mut tx = store.begin(&id).await?;
        tx.put_json(PRODUCTS, "1", &value).await?;
        tx.commit().await?;
        let mut reader = store.reader(&id).await?;
        assert_eq!(reader.get_json(PRODUCTS, "1").await?.as_ref(), Some(&value));
        let by_sku = FindRows::of(PRODUCTS, doc! { "value.sku": "A-1" });
        let found = reader.find(by_sku).await?;
        assert_eq!(found.first().map(|row| &row.value), Some(&value));
        Ok::<(), DatabaseError>(())
    });
    outcome.unwrap();
}

#[test]
fn a_value_or_a_name_that_does_not_fit_is_refused_with_the_limit() {
    let Some(server) = gesta_services::url_or_skip("ferretdb") else { return };
    let store = connect(&fresh_url(&server));
    let outcome = block_on(async {
        let id = create(&store).await?;
        let mut tx = store.begin(&id).await?;
        let long = "x".repeat(5 << 20).into();
        let error = tx.put_json(PRODUCTS, "1", &long).await.unwrap_err();
        assert!(error.to_string().contains("at most 4194304 bytes"), "{error}");
        let error = tx.put_json(PRODUCTS, &"k".repeat(1_024), &1.into()).await.unwrap_err();
        assert!(error.to_string().contains("at most 1023 bytes"), "{error}");
        let error = tx.put_json(&"é".repeat(40), "1", &1.into()).await.unwrap_err();
        assert!(error.to_string().contains("at most 190 are possible"), "{error}");
        tx.rollback().await
    });
    outcome.unwrap();
}
