//! A store whose appends and reads fail, told over HTTP.

use std::sync::Arc;

use gesta_store::{
    Append, Appended, Capabilities, EventStore, Head, Overload, Pages, ReadAll, ReadStream,
    StoreError, StoreFuture, StreamDescription, StreamName, Subscribe, Subscription,
    memory::MemoryStore,
};
use serde_json::{Value, json};

use super::http_client::Api;
use crate::scene::Scene;

/// A store that records appends, and then fails in the way that the stream's name says.
struct UnsureStore(MemoryStore);

impl EventStore for UnsureStore {
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        Box::pin(async move {
            let name = append.streams.first().map(|part| part.stream.to_string());
            match name.as_deref() {
                Some("full-1") => {
                    Err(StoreError::Overloaded(Overload::DiskFull { reason: "/data".to_owned() }))
                }
                Some("broken-1") => {
                    self.0.append(append).await?;
                    Err(StoreError::unavailable("the connection broke"))
                }
                _ => self.0.append(append).await,
            }
        })
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        match read.stream.as_str() {
            "broken-1" => Pages::failed(StoreError::unavailable("the connection broke")),
            _ => self.0.read_stream(read),
        }
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        self.0.read_all(read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        self.0.subscribe(subscribe)
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        self.0.describe_stream(stream)
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        self.0.head()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

fn append(stream: &str) -> Value {
    let event = json!({ "id": "0190a0de-7f51-7c9f-8b6b-111111111111", "type": "a" });
    json!({ "streams": [{ "stream": stream, "events": [event] }] })
}

#[tokio::test]
async fn an_unknown_outcome_and_a_definite_failure_have_different_codes() {
    let scene = Scene::of_store(Arc::new(UnsureStore(MemoryStore::new()))).await;
    let api = Api::of(&scene);
    let unknown = api.append(&append("broken-1")).await;
    assert_eq!(unknown.header("retry-after"), Some("1"));
    assert_eq!(unknown.refused(503, "outcome-unknown")["outcome"], "unknown");
    let full = api.append(&append("full-1")).await.refused(503, "overloaded");
    assert_eq!(full.get("outcome"), None);
    let read = api.get("/v1/streams/broken-1").await.refused(503, "store-unreachable");
    assert_eq!(read.get("outcome"), None);
    // The store has the event, as the unknown outcome left open.
    let all = api.get("/v1/all").await.done();
    assert_eq!(all["events"][0]["stream"], "broken-1");
}

#[tokio::test]
async fn a_feature_that_the_store_lacks_is_named() {
    let scene = Scene::of_store(Arc::new(UnsureStore(MemoryStore::new()))).await;
    let api = Api::of(&scene);
    let refused = api.get("/v1/streams").await.refused(501, "not-supported");
    assert!(refused["detail"].as_str().unwrap().contains("listing streams"), "{refused}");
    let refused = api.get("/v1/streams/$streams").await.refused(501, "not-supported");
    assert!(refused["advice"].as_str().unwrap().contains("?index=streams"), "{refused}");
    let refused = api.get("/v1/streams/$bc-1").await.refused(501, "not-supported");
    assert!(refused["advice"].as_str().unwrap().contains("?index=correlation"), "{refused}");
}
