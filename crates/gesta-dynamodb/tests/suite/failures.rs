//! A server that crashes, stands still or is not there: clear errors, bounded waiting, and nothing
//! lost or doubled.

use gesta_dynamodb::{DynamoReadModels, DynamoStore, OpenError};
use gesta_services::OwnServer;
use gesta_store::{
    Append, Appended, CreateReadModel, EventId, EventStore as _, EventType, ExpectedRevision,
    NewEvent, Position, ReadAll, ReadModelStore as _, ReadModelTx as _, Rows as _, Stage,
    StoreError, StreamName, conformance::block_on,
};

use crate::server::fresh_url;

fn append(id: EventId) -> Append {
    let event = NewEvent::json(id, EventType::new("happened").unwrap(), "{}");
    Append::to(StreamName::new("order-1").unwrap(), ExpectedRevision::Any, [event])
}

fn append_to(store: &DynamoStore, id: EventId) -> Result<Appended, StoreError> {
    block_on(store.append(append(id)))
}

#[test]
fn acknowledged_appends_survive_a_crash_and_the_store_goes_on_without_being_opened_again() {
    let Some(mut server) = OwnServer::start_or_skip("dynamodb") else { return };
    let store = block_on(DynamoStore::connect(&fresh_url(&server.url()))).unwrap();
    let [first, second] = [EventId::random(), EventId::random()];
    append_to(&store, first).unwrap();
    server.crash().unwrap();
    let error = append_to(&store, second).unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "nothing was sent: {error}");
    assert!(error.to_string().contains(&server.url()), "the server is named: {error}");
    let error = block_on(store.head()).unwrap_err();
    assert!(error.is_transient(), "{error}");

    server.start().unwrap();
    assert_eq!(append_to(&store, second).unwrap().position, Position::new(2));
    let all = block_on(store.read_all(ReadAll::forwards()).collect_events()).unwrap();
    let ids: Vec<EventId> = all.iter().map(|event| event.id).collect();
    assert_eq!(ids, [first, second]);
}

#[test]
fn an_append_to_a_server_that_stands_still_is_an_unknown_outcome_and_is_recorded_once() {
    let Some(server) = OwnServer::start_or_skip("dynamodb") else { return };
    let store = block_on(DynamoStore::connect(&fresh_url(&server.url()))).unwrap();
    let [first, second] = [EventId::random(), EventId::random()];
    append_to(&store, first).unwrap();
    server.pause().unwrap();
    let error = append_to(&store, second).unwrap_err();
    assert!(error.is_transient(), "{error}");
    server.resume().unwrap();
    // The same ids are recorded once, also if the first call has arrived.
    append_to(&store, second).unwrap();
    let all = block_on(store.read_all(ReadAll::forwards()).collect_events()).unwrap();
    let ids: Vec<EventId> = all.iter().map(|event| event.id).collect();
    assert_eq!(ids, [first, second]);
}

#[test]
fn a_commit_while_the_server_is_away_is_transient_and_leaves_nothing() {
    let Some(mut server) = OwnServer::start_or_skip("dynamodb") else { return };
    let store = block_on(DynamoReadModels::connect(&fresh_url(&server.url()))).unwrap();
    let create = CreateReadModel::new("orders", 1, Stage::Live);
    let id = block_on(store.create_read_model(create)).unwrap();
    let commit = |value: u64| {
        block_on(async {
            let mut tx = store.begin(&id).await?;
            tx.put_json("orders", "1", &value.into()).await?;
            tx.commit().await
        })
    };
    let mut open = block_on(store.begin(&id)).unwrap();
    block_on(open.put_json("orders", "1", &1.into())).unwrap();
    server.crash().unwrap();
    let error = block_on(open.commit()).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(commit(2).unwrap_err().is_transient());
    server.start().unwrap();
    commit(3).unwrap();
}

#[test]
fn a_server_that_is_not_there_is_named_when_a_store_is_opened() {
    let url = "dynamodb://local/shop?endpoint=http://127.0.0.1:9&emulator=yes";
    let error = block_on(DynamoStore::connect(url)).unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    assert!(error.to_string().starts_with("http://127.0.0.1:9 does not answer"), "{error}");
    let error = block_on(DynamoReadModels::connect(url)).unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
}
