//! The package `kurrentdb`.

#[path = "filters.rs"]
mod filters;
#[path = "groups.rs"]
mod groups;
#[path = "operations.rs"]
mod operations;
#[path = "projections.rs"]
mod projections;
#[path = "streams.rs"]
mod streams;

use ::kurrentdb as package;
use package::{
    AppendToStreamOptions, Client, ClientSettings, RecordedEvent, StreamState, SubscriptionEvent,
};

use crate::{Outcome, Report, Server};

/// The expectation of an append.
pub(super) type Expected = StreamState;

pub(super) fn expecting(expected: Expected) -> AppendToStreamOptions {
    AppendToStreamOptions::default().stream_state(expected)
}

pub(super) const fn exactly(revision: u64) -> Expected {
    StreamState::StreamRevision(revision)
}

pub(super) fn stream_of(event: &RecordedEvent) -> &str {
    event.stream_id()
}

pub(super) const fn is_caught_up(event: &SubscriptionEvent) -> bool {
    matches!(event, SubscriptionEvent::CaughtUp(_))
}

pub(crate) async fn run(server: &Server, report: &mut Report) -> Outcome {
    let settings: ClientSettings = server.url("kurrentdb").parse()?;
    let client = Client::new(settings)?;
    streams::run(&client, report).await;
    filters::run(&client, report).await;
    groups::run(&client, report).await;
    projections::run(&client, report).await;
    operations::run(&client, server, report).await;
    Ok(())
}
