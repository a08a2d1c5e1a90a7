//! Collections that another program drops or empties: they are noticed, by a process that runs and
//! by one that starts, and a rebuild mends them.

use std::future::Future;

use gesta_mongodb::{FindRows, MongoReadModels, bson::doc};
use gesta_store::{
    CreateReadModel, DatabaseError, ListRows, ReadModelId, ReadModelStore as _, ReadModelTx as _,
    ReadRows as _, Stage, VisitRows, conformance::block_on,
};
use mongodb::{Database, bson::Document};

use crate::server::{ORDERS, connect, create, fresh_url, get, put, with_database};

/// A store with one row, and the URL of its database.
fn with_one_row() -> Option<(MongoReadModels, ReadModelId, String)> {
    let server = gesta_services::url_or_skip("ferretdb")?;
    let url = fresh_url(&server);
    let store = connect(&url);
    let id = block_on(create(&store)).unwrap();
    block_on(put(&store, &id, ("1", 1))).unwrap();
    Some((store, id, url))
}

fn drop_collection(url: &str, name: &str) {
    let dropped = |shop: Database| async move { shop.collection::<Document>(name).drop().await };
    with_database(url, dropped).unwrap();
}

/// Asserts that a call fails because of a collection, and says what to do.
#[track_caller]
fn assert_damaged<T>(collection: &str, call: impl Future<Output = Result<T, DatabaseError>>) {
    match block_on(call) {
        Err(DatabaseError::Corrupt { reason, .. }) => {
            let parts = [collection, "another program", "rebuild the projection"];
            assert!(parts.iter().all(|part| reason.contains(part)), "{reason}");
        }
        Err(error) => panic!("expected damage, got {error}"),
        Ok(_) => panic!("the dropped collection {collection} was not noticed"),
    }
}

/// Rebuilds, and checks that the new read model is used under another build.
fn rebuild(store: &MongoReadModels, id: &ReadModelId) -> ReadModelId {
    let rebuilt = CreateReadModel::new(&id.projection, 1, Stage::Rebuilding);
    let rebuilt = block_on(store.create_read_model(rebuilt)).unwrap();
    assert!(rebuilt.build > id.build, "{rebuilt} after {id}");
    block_on(put(store, &rebuilt, ("1", 2))).unwrap();
    block_on(store.switch_to(&rebuilt)).unwrap();
    assert_eq!(block_on(get(store, &rebuilt, "1")).unwrap(), Some(2.into()));
    rebuilt
}

/// Counts rows.
struct CountRows(usize);

impl VisitRows for CountRows {
    fn visit(&mut self, _: &str, _: &str) {
        self.0 += 1;
    }
}

async fn walk(store: &MongoReadModels, id: &ReadModelId) -> Result<usize, DatabaseError> {
    let mut reader = store.reader(id).await?;
    Ok(MongoReadModels::visit_rows(&mut reader, CountRows(0)).await?.0)
}

async fn find_all(store: &MongoReadModels, id: &ReadModelId) -> Result<usize, DatabaseError> {
    let mut reader = store.reader(id).await?;
    Ok(reader.find(FindRows::of(ORDERS, doc! {})).await?.len())
}

async fn list(store: &MongoReadModels, id: &ReadModelId) -> Result<usize, DatabaseError> {
    let mut reader = store.reader(id).await?;
    Ok(reader.list_json(ListRows::of(ORDERS)).await?.len())
}

/// Reads a row in a transaction.
async fn get_in_tx(store: &MongoReadModels, id: &ReadModelId) -> Result<(), DatabaseError> {
    let mut tx = store.begin(id).await?;
    tx.get_json(ORDERS, "1").await?;
    tx.rollback().await
}

#[test]
fn a_dropped_collection_of_rows_is_damage_for_every_read_and_write_and_a_rebuild_mends_it() {
    let Some((store, id, url)) = with_one_row() else { return };
    let collection = MongoReadModels::collection_of(&id, ORDERS);
    drop_collection(&url, &collection);
    assert_damaged(&collection, get(&store, &id, "1"));
    assert_damaged(&collection, list(&store, &id));
    assert_damaged(&collection, find_all(&store, &id));
    assert_damaged(&collection, walk(&store, &id));
    assert_damaged(&collection, get_in_tx(&store, &id));
    assert_damaged(&collection, put(&store, &id, ("2", 2)));
    assert_damaged(&collection, put(&store, &id, ("2", 2)));
    let next = connect(&url);
    assert_damaged(&collection, put(&next, &id, ("2", 2)));
    assert_damaged(&collection, next.reader(&id));
    rebuild(&store, &id);
}

#[test]
fn a_collection_that_was_emptied_is_damage() {
    let Some((store, id, url)) = with_one_row() else { return };
    let collection = MongoReadModels::collection_of(&id, ORDERS);
    let rows = collection.as_str();
    let emptied = |shop: Database| async move {
        shop.collection::<Document>(rows).delete_many(doc! {}).await
    };
    with_database(&url, emptied).unwrap();
    assert_damaged(&collection, get(&store, &id, "1"));
    assert_damaged(&collection, put(&store, &id, ("1", 2)));
}

#[test]
fn a_dropped_collection_is_noticed_by_readers_of_other_rows() {
    let Some((store, id, url)) = with_one_row() else { return };
    let outcome = block_on(async {
        let mut tx = store.begin(&id).await?;
        gesta_store::Rows::put_json(&mut tx, "others", "1", &1.into()).await?;
        tx.commit().await
    });
    outcome.unwrap();
    drop_collection(&url, &MongoReadModels::collection_of(&id, "others"));
    // A process that starts looks at once, and one that runs looks once a second.
    let opened = async { connect(&url).reader(&id).await };
    assert_damaged("others", opened);
}

#[test]
fn a_table_that_never_had_rows_is_empty_and_no_damage() {
    let Some((store, id, _)) = with_one_row() else { return };
    let outcome = block_on(async {
        let mut reader = store.reader(&id).await?;
        assert_eq!(reader.get_json("others", "1").await?, None);
        let mut tx = store.begin(&id).await?;
        assert_eq!(tx.get_json("others", "1").await?, None);
        tx.delete_dead_letter(gesta_store::Position::new(7)).await?;
        tx.rollback().await?;
        gesta_store::ReadModelStore::dead_letters(&store, &id).await
    });
    assert_eq!(outcome.unwrap(), []);
}

#[test]
fn dropped_heads_and_a_dropped_list_of_builds_are_damage_and_a_rebuild_takes_a_new_build() {
    for own in ["gesta.heads", "gesta.catalogue"] {
        let Some((store, id, url)) = with_one_row() else { return };
        drop_collection(&url, own);
        // A process that starts has not looked yet.
        assert_damaged(own, async { connect(&url).reader(&id).await });
        if own == "gesta.heads" {
            assert_damaged(own, get(&store, &id, "1"));
            assert_damaged(own, put(&store, &id, ("1", 2)));
        }
        rebuild(&store, &id);
    }
}

#[test]
fn a_dropped_database_is_damage_for_a_process_that_runs_and_a_rebuild_takes_a_new_build() {
    let Some((store, id, url)) = with_one_row() else { return };
    let open = block_on(store.begin(&id)).unwrap();
    with_database(&url, async |shop| shop.drop().await).unwrap();
    assert_damaged("gesta.catalogue", async {
        let mut open = open;
        gesta_store::Rows::put_json(&mut open, ORDERS, "1", &2.into()).await?;
        open.commit().await
    });
    assert_damaged("gesta.catalogue", get(&store, &id, "1"));
    rebuild(&store, &id);
}

#[test]
fn a_process_that_starts_after_the_list_of_builds_was_dropped_begins_with_a_new_build() {
    let Some((_, id, url)) = with_one_row() else { return };
    drop_collection(&url, "gesta.catalogue");
    let next = connect(&url);
    assert_eq!(block_on(next.list_read_models(&id.projection)).unwrap(), []);
    let begun = block_on(create(&next)).unwrap();
    assert!(begun.build > id.build, "{begun} after {id}");
    assert_eq!(block_on(get(&next, &begun, "1")).unwrap(), None, "no row of the old one");
}
