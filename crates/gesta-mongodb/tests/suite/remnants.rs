//! A server that was killed while it created a collection, and cannot create it any more.
//!
//! FerretDB creates a table for the documents, then enters the collection into a list. A table that
//! is not in the list stands in the way for ever, and each insert fails with an error that might
//! pass.

use gesta_mongodb::{MongoReadModels, OpenError};
use gesta_services::OwnServer;
use gesta_store::{
    CreateReadModel, DatabaseError, ReadModelStore as _, Stage, conformance::block_on,
};
use rusqlite::Connection;

use crate::server::{ORDERS, connect, create, get, put, with_database};

const DATABASE: &str = "shop";

/// Leaves the table of a collection that was not entered into the list.
fn leave_table(server: &mut OwnServer, collection: &str) {
    server.stop().unwrap();
    // FNV-1a, as FerretDB names its tables.
    let hash = collection
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let file = server.data().join(format!("{DATABASE}.sqlite"));
    let sql = format!("CREATE TABLE \"{}_{hash:08x}\" (x)", collection.to_lowercase());
    Connection::open(file).unwrap().execute_batch(&sql).unwrap();
    server.start().unwrap();
}

#[test]
fn a_table_that_cannot_be_created_is_named_as_damage_and_a_rebuild_does_without_it() {
    let Some(mut server) = OwnServer::start_or_skip("ferretdb") else { return };
    let url = format!("{}/{DATABASE}", server.url());
    let id = block_on(create(&connect(&url))).unwrap();
    let collection = MongoReadModels::collection_of(&id, ORDERS);
    leave_table(&mut server, &collection);

    let store = connect(&url);
    let error = block_on(put(&store, &id, ("1", 1))).unwrap_err();
    assert!(matches!(error, DatabaseError::Corrupt { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&collection) && text.contains("rebuild the projection"), "{text}");
    assert_eq!(block_on(get(&store, &id, "1")).unwrap(), None, "nothing is seen of the commit");

    let rebuilt = CreateReadModel::new(&id.projection, 1, Stage::Rebuilding);
    let rebuilt = block_on(store.create_read_model(rebuilt)).unwrap();
    block_on(put(&store, &rebuilt, ("1", 1))).unwrap();
    block_on(store.switch_to(&rebuilt)).unwrap();
    assert_eq!(block_on(get(&store, &rebuilt, "1")).unwrap(), Some(1.into()));
    let names = with_database(&url, async |shop| shop.list_collection_names().await.unwrap());
    assert!(!names.iter().any(|name| name.contains("probe")), "{names:?}");
}

#[test]
fn a_database_without_the_stores_own_collections_is_refused_when_it_is_opened() {
    let Some(mut server) = OwnServer::start_or_skip("ferretdb") else { return };
    let url = format!("{}/{DATABASE}", server.url());
    with_database(&url, async |shop| shop.create_collection("others").await.unwrap());
    leave_table(&mut server, "gesta.heads");
    let error = block_on(MongoReadModels::connect(&url)).unwrap_err();
    assert!(matches!(error, OpenError::Server { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("gesta.heads") && text.contains("another database"), "{text}");
}
