//! Opening a store that is there, or not.

use gesta_dynamodb::{DynamoStore, DynamoUrl, OpenError, OpenMode};
use gesta_store::{
    Append, EventId, EventStore as _, EventType, ExpectedRevision, NewEvent, ReadAll, StreamName,
    conformance::block_on,
};

use crate::server::{fresh_url, table, with_client};

fn existing(url: &str) -> Result<DynamoStore, OpenError> {
    let url: DynamoUrl = url.parse().unwrap();
    block_on(DynamoStore::connect_to(url, OpenMode::Existing))
}

fn has_table(url: &str) -> bool {
    let name = table(url, "events");
    with_client(url, async |client| client.describe_table().table_name(&name).send().await.is_ok())
}

#[test]
fn a_store_that_is_not_there_is_refused_and_not_created() {
    let Some(endpoint) = gesta_services::url_or_skip("dynamodb") else { return };
    let url = fresh_url(&endpoint);
    let error = existing(&url).unwrap_err();
    assert!(matches!(error, OpenError::NoStore { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&table(&url, "events")) && text.contains(&endpoint), "{text}");
    assert!(!has_table(&url));
}

#[test]
fn a_store_that_is_there_is_opened_and_read() {
    let Some(endpoint) = gesta_services::url_or_skip("dynamodb") else { return };
    let url = fresh_url(&endpoint);
    let store = block_on(DynamoStore::connect(&url)).unwrap();
    assert!(has_table(&url));
    let event = NewEvent::json(EventId::random(), EventType::new("opened").unwrap(), "{}");
    let append = Append::to(StreamName::new("door-1").unwrap(), ExpectedRevision::Any, [event]);
    block_on(store.append(append)).unwrap();
    let read = existing(&url).unwrap();
    assert_eq!(block_on(read.head()).unwrap(), block_on(store.head()).unwrap());
    let events = block_on(read.read_all(ReadAll::forwards()).collect_events()).unwrap();
    assert_eq!(events.len(), 1);
}
