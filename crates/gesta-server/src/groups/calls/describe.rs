//! `GetInfo` and `List`.

use tokio::sync::oneshot;
use tonic::Status;

use super::{
    super::{
        errors::none_of,
        machine::ConsumerFigures,
        name::GroupSource,
        parked,
        registry::{Groups, RunningGroup},
        runner::{ConsumerPeer, GroupCommand, GroupReport},
        settings::StartFrom,
    },
    request::{group_id, no_source},
};
use crate::{
    proto::persistent_subscriptions::{
        GetInfoReq, GetInfoResp, ListReq, ListResp, SubscriptionInfo,
        list_req::{options::ListOption, stream_option::StreamOption},
        subscription_info::{ConnectionInfo, Measurement},
    },
    wire::{refused, status},
};

pub(in crate::groups) async fn get_info(
    groups: &Groups,
    request: GetInfoReq,
) -> Result<GetInfoResp, Status> {
    let options = request.options.ok_or_else(|| refused("the options are missing"))?;
    let id = group_id(options.stream_option.as_ref(), &options.group_name)?;
    let group = groups.find(&id).await?;
    Ok(GetInfoResp { subscription_info: Some(describe(groups, &group).await?) })
}

/// Lists groups. A source without groups is an error, as in the original; a server without groups
/// has an empty list.
pub(in crate::groups) async fn list(groups: &Groups, request: ListReq) -> Result<ListResp, Status> {
    let options = request.options.ok_or_else(|| refused("the options are missing"))?;
    let source = match options.list_option {
        Some(ListOption::ListAllSubscriptions(_)) => None,
        Some(ListOption::ListForStream(of)) => Some(match of.stream_option {
            Some(StreamOption::Stream(stream)) => GroupSource::of(Some(&stream))?,
            Some(StreamOption::All(_)) => GroupSource::All,
            None => return Err(no_source()),
        }),
        None => return Err(refused("the request lists neither all groups nor those of a stream")),
    };
    let listed = groups.list(source.as_ref()).await?;
    if let Some(source) = source.filter(|_| listed.is_empty()) {
        return Err(none_of(source.as_str()));
    }
    let mut subscriptions = Vec::with_capacity(listed.len());
    for group in &listed {
        subscriptions.push(describe(groups, group).await?);
    }
    Ok(ListResp { subscriptions })
}

async fn describe(groups: &Groups, group: &RunningGroup) -> Result<SubscriptionInfo, Status> {
    let (report, parked) = report(groups, group).await?;
    Ok(info(group, report, parked))
}

/// Asks a group for its figures, and the store for the number of its parked events.
pub(super) async fn report(
    groups: &Groups,
    group: &RunningGroup,
) -> Result<(GroupReport, u64), Status> {
    let over = || Status::unavailable("the group cannot be described now; try again");
    let (answer, answered) = oneshot::channel();
    group.commands.send(GroupCommand::Describe { answer }).await.map_err(|_| over())?;
    let report = answered.await.map_err(|_| over())?;
    let parked = parked::count(groups.node().store(), &group.config.id).await;
    Ok((report, parked.map_err(|error| status(&error))?))
}

fn info(group: &RunningGroup, report: GroupReport, parked: u64) -> SubscriptionInfo {
    let GroupReport { figures, peers, failure } = report;
    let (id, settings) = (&group.config.id, &group.config.settings);
    let place = |place: Option<u64>| place.map_or_else(String::new, |at| id.source.place_text(at));
    let (read_buffer, live_buffer) = match figures.is_live {
        true => (0, figures.waiting),
        false => (figures.waiting, 0),
    };
    let connections = figures.consumers.iter().zip(&peers);
    SubscriptionInfo {
        event_source: id.source.as_str().to_owned(),
        group_name: id.name.clone(),
        status: match failure {
            Some(failure) => format!("Failed: {failure}"),
            None if figures.is_replaying => "ReplayingParkedMessages".to_owned(),
            None if figures.is_live => "Live".to_owned(),
            None => "Behind".to_owned(),
        },
        connections: connections.map(|((_, figures), peer)| connection(figures, peer)).collect(),
        average_per_second: small(figures.delivered.per_second),
        total_items: large(figures.delivered.total),
        count_since_last_measurement: large(figures.delivered.since),
        last_checkpointed_event_position: place(figures.checkpoint),
        last_known_event_position: place(figures.last_known),
        resolve_link_tos: settings.resolve_links,
        start_from: start_text(&id.source, settings.start_from),
        message_timeout_milliseconds: small(settings.message_timeout_ms),
        extra_statistics: settings.extra_statistics,
        max_retry_count: small(settings.max_retry_count),
        live_buffer_size: small(settings.live_buffer_size),
        buffer_size: small(settings.history_buffer_size),
        read_batch_size: small(settings.read_batch_size),
        check_point_after_milliseconds: small(settings.checkpoint_after_ms),
        min_check_point_count: small(settings.min_checkpoint_count),
        max_check_point_count: small(settings.max_checkpoint_count),
        read_buffer_count: small(read_buffer),
        live_buffer_count: large(live_buffer),
        retry_buffer_count: small(figures.retried),
        total_in_flight_messages: small(figures.in_flight),
        outstanding_messages_count: small(figures.in_flight),
        named_consumer_strategy: settings.strategy().name().to_owned(),
        max_subscriber_count: small(settings.max_subscriber_count),
        parked_message_count: large(parked),
    }
}

fn connection(figures: &ConsumerFigures, peer: &ConsumerPeer) -> ConnectionInfo {
    let latencies = figures.latencies.iter();
    let measurements = latencies
        .map(|(key, millis)| Measurement { key: (*key).to_owned(), value: large(*millis) })
        .collect();
    ConnectionInfo {
        from: peer.address.clone(),
        username: peer.login.clone(),
        average_items_per_second: small(figures.delivered.per_second),
        total_items: large(figures.delivered.total),
        count_since_last_measurement: large(figures.delivered.since),
        observed_measurements: measurements,
        available_slots: small(figures.free_slots),
        in_flight_messages: small(figures.in_flight),
        connection_name: peer.name.clone(),
    }
}

/// Clients know the start and the end by numbers.
fn start_text(source: &GroupSource, start: StartFrom) -> String {
    match (start, source) {
        (StartFrom::Start, _) => source.place_text(0),
        (StartFrom::At(place), _) => source.place_text(place),
        (StartFrom::End, GroupSource::All) => "C:-1/P:-1".to_owned(),
        (StartFrom::End, GroupSource::Stream(_)) => "-1".to_owned(),
    }
}

fn small(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

fn large(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
