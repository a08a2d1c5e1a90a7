//! Reads of the whole store with a filter, which the package `eventstore` does not have.

use uuid::Uuid;

use super::{
    package::{Client, EventData, ReadAllOptions, StreamPosition, SubscriptionFilter},
    stream_of,
    streams::{collect, placed},
};
use crate::{Outcome, Report, check, fresh, numbered};

pub(super) async fn run(client: &Client, report: &mut Report) {
    report.add("the whole store is read with filters", reads_filtered(client).await);
}

async fn reads_filtered(client: &Client) -> Outcome {
    let stream = fresh("order");
    let shipped = EventData::json("shipped", &numbered(2))?.id(Uuid::new_v4());
    let events = vec![placed(1), shipped];
    client.append_to_stream(stream.as_str(), &Default::default(), events).await?;
    let by_prefix = SubscriptionFilter::on_stream_name().add_prefix(&stream);
    let options = ReadAllOptions::default().filter(by_prefix);
    let found = collect(client.read_all(&options).await?).await?;
    check!(found.len() == 2, "a prefix of the stream found {found:?}");
    let by_type = SubscriptionFilter::on_event_type().regex("^ship.*$");
    let options = ReadAllOptions::default().filter(by_type).position(StreamPosition::End);
    let found = collect(client.read_all(&options.max_count(1)).await?).await?;
    let last = found.first().and_then(|found| found.event.as_ref());
    check!(last.is_some_and(|last| stream_of(last) == stream), "a type found {found:?}");
    Ok(())
}
