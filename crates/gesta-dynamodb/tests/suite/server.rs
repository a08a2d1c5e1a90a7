//! URLs of stores with tables of their own, and a client that changes their items.

use std::{collections::HashMap, future::Future};

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::AttributeValue,
};
use tokio::runtime::Builder;
use uuid::Uuid;

/// Returns the URL of a store that no other test uses.
pub(crate) fn fresh_url(endpoint: &str) -> String {
    format!("dynamodb://local/test-{}?endpoint={endpoint}&emulator=yes", Uuid::new_v4())
}

/// Returns the name of a table of the store behind a URL.
pub(crate) fn table(url: &str, kind: &str) -> String {
    let url: gesta_dynamodb::DynamoUrl = url.parse().unwrap();
    format!("{}.{kind}", url.prefix())
}

/// Runs work with a client of the server.
pub(crate) fn with_client<F: Future>(url: &str, work: impl FnOnce(Client) -> F) -> F::Output {
    let url: gesta_dynamodb::DynamoUrl = url.parse().unwrap();
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("local"))
        .endpoint_url(url.endpoint().unwrap())
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work(Client::from_conf(config)))
}

/// The key of an item.
pub(crate) fn key(pk: &str, sk: &str) -> HashMap<String, AttributeValue> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    HashMap::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}

/// A number as an attribute.
pub(crate) fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
