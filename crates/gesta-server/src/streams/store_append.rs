//! An append of the store, in a span of its own, with a line in the log if it was slow.

use std::future::Future;

use gesta_store::{Appended, StoreError, StreamName};
use tokio::time::Instant;

use crate::{node::Node, spans::trace_append};

/// Runs an append, which is named by its first stream.
pub(super) async fn observed(
    node: &Node,
    stream: &StreamName,
    events: u64,
    append: impl Future<Output = Result<Appended, StoreError>>,
) -> Result<Appended, StoreError> {
    let began = Instant::now();
    let outcome = trace_append(stream.as_str(), events, append).await;
    node.call_log().append_ended(stream.as_str(), events, began.elapsed());
    outcome
}
