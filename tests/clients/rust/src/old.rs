//! The package `eventstore`.

#[path = "groups.rs"]
mod groups;
#[path = "operations.rs"]
mod operations;
#[path = "projections.rs"]
mod projections;
#[path = "streams.rs"]
mod streams;

use ::eventstore as package;
use package::{
    AppendToStreamOptions, Client, ClientSettings, ExpectedRevision, RecordedEvent,
    SubscriptionEvent,
};

use crate::{Outcome, Report, Server};

/// The expectation of an append.
pub(super) type Expected = ExpectedRevision;

pub(super) fn expecting(expected: Expected) -> AppendToStreamOptions {
    AppendToStreamOptions::default().expected_revision(expected)
}

pub(super) const fn exactly(revision: u64) -> Expected {
    ExpectedRevision::Exact(revision)
}

pub(super) fn stream_of(event: &RecordedEvent) -> &str {
    &event.stream_id
}

pub(super) const fn is_caught_up(event: &SubscriptionEvent) -> bool {
    matches!(event, SubscriptionEvent::CaughtUp)
}

pub(crate) async fn run(server: &Server, report: &mut Report) -> Outcome {
    let settings: ClientSettings = server.url("esdb").parse()?;
    let client = Client::new(settings)?;
    streams::run(&client, report).await;
    groups::run(&client, report).await;
    projections::run(&client, report).await;
    operations::run(&client, server, report).await;
    Ok(())
}
