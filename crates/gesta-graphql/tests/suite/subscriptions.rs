//! Subscriptions as server-sent events.

use std::time::Duration;

use axum::body::BodyDataStream;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{Client, posted};

/// Time for the next event, which is long for a machine under load only.
const PATIENCE: Duration = Duration::from_secs(60);

/// A subscription of a client.
pub(crate) struct Live {
    body: BodyDataStream,
    text: String,
}

impl Live {
    pub(crate) async fn open(client: &Client, query: &str) -> Self {
        Self::open_as(client, query, &[]).await
    }

    /// Opens a subscription with further headers.
    pub(crate) async fn open_as(client: &Client, query: &str, headers: &[(&str, &str)]) -> Self {
        let headers = [&[("accept", "text/event-stream")], headers].concat();
        let request = posted(query, json!({}), &headers);
        let response = client.raw(request).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// Returns the next response, or `None` once the subscription is complete.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        self.said().await.expect("the stream is not cut")
    }

    /// Returns whether the stream ends here without `complete`.
    async fn is_cut(&mut self) -> bool {
        self.said().await.is_none()
    }

    /// Returns the next response, `Some(None)` for `complete`, or `None` at a cut.
    async fn said(&mut self) -> Option<Option<Value>> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if block.starts_with("event: complete") {
                    return Some(None);
                }
                let data = block.lines().find_map(|line| line.strip_prefix("data: "));
                if let Some(data) = data {
                    return Some(Some(serde_json::from_str(data).unwrap()));
                }
            }
            let chunk = timeout(PATIENCE, self.body.next()).await.unwrap()?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn a_feed_resumes_after_a_position() {
    let client = Client::new().await;
    for book in ["dracula", "emma"] {
        client.add(book).await;
    }
    let query = "subscription { events(after: 1) { position stream type data } }";
    let mut events = Live::open(&client, query).await;
    let emma = events.next().await.unwrap();
    let expected = json!({
        "position": 2, "stream": "book-emma", "type": "book-added", "data": { "title": "emma!" },
    });
    assert_eq!(emma["data"]["events"], expected);
    assert_eq!(emma["extensions"]["position"], 2);
    client.add("faust").await;
    let faust = events.next().await.unwrap();
    assert_eq!(faust["data"]["events"]["stream"], "book-faust");
}

#[tokio::test]
async fn a_feed_takes_filters_and_refuses_what_the_http_interface_refuses() {
    let client = Client::new().await;
    client.add("emma").await;
    let none = "subscription { events(stream: [\"book-faust\"], after: 0) { stream } }";
    let mut events = Live::open(&client, none).await;
    client.add("dracula").await;
    client.add("faust").await;
    assert_eq!(events.next().await.unwrap()["data"]["events"]["stream"], "book-faust");
    let beyond = "subscription { events(after: 99) { stream } }";
    let mut events = Live::open(&client, beyond).await;
    let error = events.next().await.unwrap()["errors"][0].clone();
    assert_eq!(error["extensions"]["code"], "position-beyond-head");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_live_query_answers_again_when_its_answer_has_changed() {
    let client = Client::new().await;
    let position = client.add("emma").await;
    let query = format!(
        "subscription {{ book(book: \"emma\", atLeast: {position}) {{ state lentTo revision }} }}"
    );
    let mut live = Live::open(&client, &query).await;
    let first = live.next().await.unwrap();
    let shelf = json!({ "state": "on_the_shelf", "lentTo": null, "revision": 0 });
    assert_eq!(first["data"]["book"], shelf);
    // Another book changes nothing of this one.
    client.add("faust").await;
    client.ok("mutation { lendBook(book: \"emma\", input: { to: \"ann\" }) { __typename } }").await;
    let second = live.next().await.unwrap();
    let lent = json!({ "state": "lent", "lentTo": "ann", "revision": 1 });
    assert_eq!(second["data"]["book"], lent);
    assert_eq!(second["extensions"]["position"], 3);
}

#[tokio::test]
async fn a_shutdown_cuts_subscriptions_and_does_not_complete_them() {
    let client = Client::new().await;
    client.add("emma").await;
    let mut events = Live::open(&client, "subscription { events { stream } }").await;
    let mut live = Live::open(&client, "subscription { books { next } }").await;
    assert!(events.next().await.is_some());
    assert!(live.next().await.is_some());
    client.state.close();
    // A client that is told `complete` would not subscribe again at the next server.
    assert!(events.is_cut().await);
    assert!(live.is_cut().await);
}

#[tokio::test]
async fn a_query_over_a_stream_is_one_answer() {
    let client = Client::new().await;
    let mut once = Live::open(&client, "{ books { next } }").await;
    assert_eq!(once.next().await.unwrap()["data"]["books"]["next"], Value::Null);
    assert_eq!(once.next().await, None);
}

#[tokio::test]
async fn a_subscription_without_a_stream_is_told_how_to_get_one() {
    let client = Client::new().await;
    let answer = client.ask("subscription { events { stream } }", json!({}), &[]).await;
    assert_eq!((answer.status, &answer.json["code"]), (406, &json!("subscription-needs-stream")));
}
