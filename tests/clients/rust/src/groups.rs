//! Consumer groups: acknowledgements, retries, parked events.

use tokio::time::timeout;
use uuid::Uuid;

use super::{
    package::{
        Client, Error, NakAction, PersistentSubscription, PersistentSubscriptionEvent,
        PersistentSubscriptionInfo, PersistentSubscriptionOptions,
        PersistentSubscriptionToAllOptions, ResolvedEvent, StreamPosition, SubscriptionFilter,
    },
    stream_of,
    streams::{number, placed},
};
use crate::{Outcome, PATIENCE, Report, check, fresh};

const GROUP: &str = "mail";

pub(super) async fn run(client: &Client, report: &mut Report) {
    report.add("events are acknowledged, retried, parked and replayed", shares(client).await);
    report.add("a group of the whole store has a filter", shares_all(client).await);
    report.add("groups are changed, listed and refused", manages(client).await);
}

/// Options by which each finished event is worth a checkpoint at once.
fn eager() -> PersistentSubscriptionOptions {
    PersistentSubscriptionOptions::default()
        .start_from(StreamPosition::Start)
        .checkpoint_lower_bound(1)
        .checkpoint_upper_bound(1)
        .max_retry_count(1)
}

/// Returns the next event of a consumer, and how often it had failed.
async fn next(consumer: &mut PersistentSubscription) -> Result<(ResolvedEvent, usize), Error> {
    loop {
        let next = timeout(PATIENCE, consumer.next_subscription_event()).await;
        if let PersistentSubscriptionEvent::EventAppeared { event, retry_count } =
            next.unwrap_or(Err(Error::DeadlineExceeded))?
        {
            return Ok((event, retry_count));
        }
    }
}

/// Returns the id by which an event is acknowledged.
fn id(event: &ResolvedEvent) -> Uuid {
    event.get_original_event().id
}

/// Waits until the description of a group satisfies a condition.
async fn eventually(
    client: &Client,
    stream: &str,
    condition: impl Fn(&PersistentSubscriptionInfo<u64>) -> bool,
) -> Outcome {
    let waiting = async {
        loop {
            let info =
                client.get_persistent_subscription_info(stream, GROUP, &Default::default()).await?;
            if condition(&info) {
                return Ok::<_, Error>(());
            }
            tokio::task::yield_now().await;
        }
    };
    Ok(timeout(PATIENCE, waiting).await??)
}

async fn shares(client: &Client) -> Outcome {
    let stream = fresh("order");
    let events = vec![placed(1), placed(2), placed(3)];
    client.append_to_stream(stream.as_str(), &Default::default(), events).await?;
    client.create_persistent_subscription(stream.as_str(), GROUP, &eager()).await?;
    let mut consumer = client
        .subscribe_to_persistent_subscription(stream.as_str(), GROUP, &Default::default())
        .await?;
    let (first, _) = next(&mut consumer).await?;
    let (second, _) = next(&mut consumer).await?;
    let (third, _) = next(&mut consumer).await?;
    let numbers = [&first, &second, &third].map(number);
    check!(numbers == [Some(1), Some(2), Some(3)], "received {numbers:?}");
    consumer.ack_ids([id(&first)]).await?;
    consumer.nack_ids([id(&second)], NakAction::Park, "broken").await?;
    consumer.nack_ids([id(&third)], NakAction::Retry, "later").await?;
    let (again, retries) = next(&mut consumer).await?;
    check!((number(&again), retries) == (Some(3), 1), "received {again:?}, {retries}");
    consumer.nack_ids([id(&again)], NakAction::Skip, "of no use").await?;
    eventually(client, &stream, |info| {
        let stats = &info.stats;
        stats.parked_message_count == 1 && stats.last_checkpointed_event_revision == Some(2)
    })
    .await?;
    client.replay_parked_messages(&stream, GROUP, &Default::default()).await?;
    let (replayed, _) = next(&mut consumer).await?;
    check!(number(&replayed) == Some(2), "replayed {replayed:?}");
    consumer.ack_ids([id(&replayed)]).await?;
    eventually(client, &stream, |info| info.stats.parked_message_count == 0).await?;
    let info = client.get_persistent_subscription_info(&stream, GROUP, &Default::default()).await?;
    check!(info.connections.len() == 1, "the connections are {:?}", info.connections);
    Ok(())
}

async fn shares_all(client: &Client) -> Outcome {
    let (stream, group) = (fresh("order"), fresh("group"));
    client.append_to_stream(fresh("noise"), &Default::default(), placed(1)).await?;
    client.append_to_stream(stream.as_str(), &Default::default(), placed(2)).await?;
    let options = PersistentSubscriptionToAllOptions::default()
        .start_from(StreamPosition::Start)
        .filter(SubscriptionFilter::on_stream_name().add_prefix(&stream));
    client.create_persistent_subscription_to_all(&group, &options).await?;
    let mut consumer =
        client.subscribe_to_persistent_subscription_to_all(&group, &Default::default()).await?;
    let (event, _) = next(&mut consumer).await?;
    let from = event.event.as_ref().map(stream_of);
    check!(from == Some(stream.as_str()), "received {event:?}");
    consumer.ack_ids([id(&event)]).await?;
    client.delete_persistent_subscription_to_all(&group, &Default::default()).await?;
    let ended = next(&mut consumer).await;
    check!(ended.is_err(), "a deleted group delivered {ended:?}");
    Ok(())
}

async fn manages(client: &Client) -> Outcome {
    let stream = fresh("order");
    let missing =
        client.delete_persistent_subscription(stream.as_str(), GROUP, &Default::default()).await;
    check!(matches!(missing, Err(Error::ResourceNotFound)), "deleted a group: {missing:?}");
    client.create_persistent_subscription(stream.as_str(), GROUP, &eager()).await?;
    let twice = client.create_persistent_subscription(stream.as_str(), GROUP, &eager()).await;
    check!(matches!(twice, Err(Error::ResourceAlreadyExists)), "created twice: {twice:?}");
    let changed = eager().max_retry_count(7);
    client.update_persistent_subscription(stream.as_str(), GROUP, &changed).await?;
    let listed =
        client.list_persistent_subscriptions_for_stream(&stream, &Default::default()).await?;
    let retries: Vec<_> = listed
        .iter()
        .filter_map(|info| info.settings.as_ref())
        .map(|settings| settings.max_retry_count)
        .collect();
    check!(retries == [7], "the groups of the stream have {retries:?} retries");
    let all = client.list_all_persistent_subscriptions(&Default::default()).await?;
    check!(all.iter().any(|info| info.event_source == stream), "listed {} groups", all.len());
    client.restart_persistent_subscription_subsystem(&Default::default()).await?;
    client.delete_persistent_subscription(stream.as_str(), GROUP, &Default::default()).await?;
    let unknown = Uuid::new_v4().to_string();
    let refused =
        client.subscribe_to_persistent_subscription(unknown, GROUP, &Default::default()).await;
    let refused = match refused {
        Err(error) => Some(error),
        Ok(mut consumer) => next(&mut consumer).await.err(),
    };
    check!(
        matches!(refused, Some(Error::ResourceNotFound)),
        "a consumer of no group was told {refused:?}"
    );
    Ok(())
}
