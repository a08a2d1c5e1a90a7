//! Appends, reads, subscriptions, metadata and deletion.

use serde_json::Value;
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    Expected, exactly, expecting, is_caught_up,
    package::{
        Client, Error, EventData, ReadAllOptions, ReadStream, ReadStreamOptions, ResolvedEvent,
        StreamMetadataBuilder, StreamMetadataResult, StreamPosition, SubscribeToAllOptions,
        SubscribeToStreamOptions, Subscription, SubscriptionEvent, SubscriptionFilter,
    },
    stream_of,
};
use crate::{Outcome, PATIENCE, Report, check, fresh, numbered};

pub(super) async fn run(client: &Client, report: &mut Report) {
    report.add("appends with each expectation and reads back", appends(client).await);
    report.add("appends in batches over one call", appends_in_batches(client).await);
    report.add("a wrong revision and a lost stream are own errors", own_errors(client).await);
    report.add("the whole store is read from a position", reads_all(client).await);
    report.add("a category is followed with its links resolved", follows_category(client).await);
    report.add("the whole store is followed with checkpoints", follows_all(client).await);
    report.add("metadata, deletion and tombstone", hides(client).await);
}

pub(super) fn placed(n: u64) -> EventData {
    let event = EventData::json("placed", &numbered(n)).expect("a number is valid JSON");
    event.id(Uuid::new_v4())
}

/// Returns the number in the data of an event.
pub(super) fn number(event: &ResolvedEvent) -> Option<u64> {
    event.event.as_ref()?.as_json::<Value>().ok()?.get("n")?.as_u64()
}

pub(super) async fn collect(mut events: ReadStream) -> Result<Vec<ResolvedEvent>, Error> {
    let mut all = Vec::new();
    while let Some(event) = events.next().await? {
        all.push(event);
    }
    Ok(all)
}

pub(super) async fn read(
    client: &Client,
    stream: &str,
    options: &ReadStreamOptions,
) -> Result<Vec<ResolvedEvent>, Error> {
    collect(client.read_stream(stream, options).await?).await
}

async fn appends(client: &Client) -> Outcome {
    let (stream, first) = (fresh("order"), placed(1));
    let no_stream = expecting(Expected::NoStream);
    let written = client.append_to_stream(stream.as_str(), &no_stream, first.clone()).await?;
    check!(written.next_expected_version == 0, "the first append was answered by {written:?}");
    check!(written.position.commit > 0, "the first append was answered by {written:?}");
    let two = vec![placed(2), placed(3)];
    client.append_to_stream(stream.as_str(), &expecting(exactly(0)), two).await?;
    let exists = expecting(Expected::StreamExists);
    client.append_to_stream(stream.as_str(), &exists, placed(4)).await?;
    client.append_to_stream(stream.as_str(), &expecting(Expected::Any), placed(5)).await?;
    let again = client.append_to_stream(stream.as_str(), &no_stream, first).await?;
    check!(again.position == written.position, "a repeat was answered by {again:?}");
    let forwards = ReadStreamOptions::default();
    let all = read(client, &stream, &forwards).await?;
    let numbers: Vec<_> = all.iter().filter_map(number).collect();
    check!(numbers == [1, 2, 3, 4, 5], "read {numbers:?}");
    let rest = forwards.clone().position(StreamPosition::Position(3)).max_count(1);
    let rest = read(client, &stream, &rest).await?;
    check!(rest.len() == 1 && number(&rest[0]) == Some(4), "read {rest:?} from a revision");
    let back = read(client, &stream, &forwards.position(StreamPosition::End).max_count(1)).await?;
    check!(back.len() == 1 && number(&back[0]) == Some(5), "read {back:?} backwards");
    Ok(())
}

async fn appends_in_batches(client: &Client) -> Outcome {
    let stream = fresh("order");
    let batches = client.batch_append(&Default::default()).await?;
    let first = batches.append_to_stream(&stream, Expected::NoStream, vec![placed(1), placed(2)]);
    let written = timeout(PATIENCE, first).await??;
    check!(written.current_revision() == Some(1), "the batch was answered by {written:?}");
    let wrong = batches.append_to_stream(&stream, exactly(7), vec![placed(3)]);
    let wrong = timeout(PATIENCE, wrong).await?;
    check!(wrong.is_err(), "a wrong revision was answered by {wrong:?}");
    // The package ends the call after an append that was refused.
    let batches = client.batch_append(&Default::default()).await?;
    let next = batches.append_to_stream(&stream, exactly(1), vec![placed(3)]);
    let written = timeout(PATIENCE, next).await??;
    check!(written.current_revision() == Some(2), "the batch was answered by {written:?}");
    Ok(())
}

async fn own_errors(client: &Client) -> Outcome {
    let stream = fresh("order");
    let lost = read(client, &stream, &Default::default()).await;
    check!(matches!(lost, Err(Error::ResourceNotFound)), "an unknown stream was read: {lost:?}");
    client.append_to_stream(stream.as_str(), &Default::default(), placed(1)).await?;
    for wrong in [exactly(7), Expected::NoStream] {
        let conflict = client.append_to_stream(stream.as_str(), &expecting(wrong), placed(2)).await;
        check!(
            matches!(&conflict, Err(Error::WrongExpectedVersion { .. })),
            "a wrong revision was answered by {conflict:?}"
        );
    }
    let unknown = fresh("order");
    let exists = expecting(Expected::StreamExists);
    let conflict = client.append_to_stream(unknown.as_str(), &exists, placed(1)).await;
    check!(
        matches!(&conflict, Err(Error::WrongExpectedVersion { .. })),
        "an append to no stream was answered by {conflict:?}"
    );
    Ok(())
}

async fn reads_all(client: &Client) -> Outcome {
    let stream = fresh("order");
    let events = vec![placed(1), placed(2)];
    client.append_to_stream(stream.as_str(), &Default::default(), events).await?;
    let all = ReadAllOptions::default().position(StreamPosition::End).max_count(2);
    let last = collect(client.read_all(&all).await?).await?;
    let numbers: Vec<_> = last.iter().filter_map(number).collect();
    check!(numbers == [2, 1], "read {numbers:?} from the end");
    let at = last[1].event.as_ref().map(|event| event.position).ok_or("there is no event")?;
    let all = ReadAllOptions::default().position(StreamPosition::Position(at));
    let rest = collect(client.read_all(&all).await?).await?;
    let first = rest.first().and_then(|found| found.event.as_ref());
    check!(first.is_some_and(|first| stream_of(first) == stream), "read {first:?} from a position");
    Ok(())
}

/// Returns the next event of a subscription.
async fn next(subscription: &mut Subscription) -> Result<SubscriptionEvent, Error> {
    let next = timeout(PATIENCE, subscription.next_subscription_event()).await;
    next.unwrap_or(Err(Error::DeadlineExceeded))
}

async fn next_resolved(subscription: &mut Subscription) -> Result<ResolvedEvent, Error> {
    loop {
        if let SubscriptionEvent::EventAppeared(event) = next(subscription).await? {
            return Ok(event);
        }
    }
}

async fn follows_category(client: &Client) -> Outcome {
    let category = fresh("user").replace('-', "");
    let one = format!("{category}-1");
    client.append_to_stream(one.as_str(), &Default::default(), placed(1)).await?;
    let options = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
    let source = format!("$ce-{category}");
    let mut subscription =
        client.subscribe_to_stream(source.as_str(), &options.resolve_link_tos()).await;
    let first = next_resolved(&mut subscription).await?;
    check!(number(&first) == Some(1) && first.is_resolved(), "received {first:?}");
    while !is_caught_up(&next(&mut subscription).await?) {}
    let two = format!("{category}-2");
    client.append_to_stream(two.as_str(), &Default::default(), placed(2)).await?;
    let second = next_resolved(&mut subscription).await?;
    check!(number(&second) == Some(2), "received {second:?}");
    let revision = second.link.as_ref().map(|link| link.revision);
    check!(revision == Some(1), "the link has the revision {revision:?}");
    Ok(())
}

async fn follows_all(client: &Client) -> Outcome {
    let (noise, wanted) = (fresh("noise"), fresh("wanted"));
    let many = (0..100).map(placed).collect::<Vec<_>>();
    client.append_to_stream(noise.as_str(), &Default::default(), many).await?;
    client.append_to_stream(wanted.as_str(), &Default::default(), placed(1)).await?;
    let filter = SubscriptionFilter::on_stream_name().add_prefix(&wanted).max(1);
    let options = SubscribeToAllOptions::default().filter(filter);
    let mut subscription = client.subscribe_to_all(&options).await;
    let (mut checkpoints, mut events) = (0, Vec::new());
    loop {
        let event = next(&mut subscription).await?;
        match event {
            SubscriptionEvent::EventAppeared(event) => events.push(event),
            SubscriptionEvent::Checkpoint(_) => checkpoints += 1,
            event if is_caught_up(&event) => break,
            _ => {}
        }
    }
    check!(events.len() == 1, "received {events:?} before the end");
    check!(checkpoints > 0, "no checkpoint came");
    client.append_to_stream(wanted.as_str(), &Default::default(), placed(2)).await?;
    let live = next_resolved(&mut subscription).await?;
    check!(number(&live) == Some(2), "received {live:?} live");
    Ok(())
}

async fn hides(client: &Client) -> Outcome {
    let (stream, forwards) = (fresh("order"), ReadStreamOptions::default());
    let events = vec![placed(1), placed(2), placed(3)];
    client.append_to_stream(stream.as_str(), &Default::default(), events).await?;
    let metadata = StreamMetadataBuilder::new().max_count(1).build();
    client.set_stream_metadata(stream.as_str(), &Default::default(), &metadata).await?;
    let kept = read(client, &stream, &forwards).await?;
    check!(kept.len() == 1 && number(&kept[0]) == Some(3), "a maximum of one left {kept:?}");
    let found = client.get_stream_metadata(stream.as_str(), &forwards).await?;
    check!(matches!(found, StreamMetadataResult::Success(_)), "the metadata are {found:?}");
    let deleted = client.delete_stream(stream.as_str(), &Default::default()).await?;
    check!(deleted.is_some_and(|at| at.commit > 0), "deleted at {deleted:?}");
    let lost = read(client, &stream, &forwards).await;
    check!(matches!(lost, Err(Error::ResourceNotFound)), "a deleted stream was read: {lost:?}");
    client.append_to_stream(stream.as_str(), &Default::default(), placed(4)).await?;
    let revived = read(client, &stream, &forwards).await?;
    let revisions: Vec<_> =
        revived.iter().filter_map(|one| one.event.as_ref()).map(|event| event.revision).collect();
    check!(revisions == [3], "a revived stream has the revisions {revisions:?}");
    client.tombstone_stream(stream.as_str(), &Default::default()).await?;
    let gone = read(client, &stream, &forwards).await;
    check!(matches!(gone, Err(Error::ResourceDeleted)), "a tombstone was read: {gone:?}");
    let refused = client.append_to_stream(stream.as_str(), &Default::default(), placed(5)).await;
    check!(matches!(refused, Err(Error::ResourceDeleted)), "appended to a tombstone: {refused:?}");
    Ok(())
}
