//! Consumer groups over the protocol: one consumer or several, checkpoints, parked events.

use std::sync::Arc;

use gesta_store::{Append, EventId, EventStore, ExpectedRevision, NewEvent, memory::MemoryStore};
use tonic::Code;

use crate::client::groups::{read_req::nack::Action, *};
use crate::{
    client::{ANY, Read, append, assert_exception, grow, proposed, trailer},
    group_client::*,
    scene::{Scene, scenarios},
};

scenarios!(
    a_consumer_gets_past_and_new_events_and_a_later_one_goes_on_after_the_acknowledged,
    an_event_that_a_consumer_leaves_behind_goes_to_another,
    a_rejected_event_is_delivered_again_with_its_count_and_parked_after_its_retries,
    an_event_without_an_answer_comes_again_and_is_parked_at_last,
    a_parked_event_is_a_link_and_is_replayed_once,
    a_replay_stops_before_a_revision,
    truncated_parked_events_are_not_delivered_again,
    a_skipped_event_is_neither_delivered_again_nor_parked,
    a_consumer_that_stops_is_dropped,
    events_are_shared_out_in_turn,
    a_group_of_all_selects_by_its_filter_and_comes_to_rest,
    a_group_of_a_category_has_its_links_resolved,
    a_group_starts_where_it_is_told_to,
    a_group_of_the_end_gets_what_comes_after_its_creation,
    a_group_has_its_maximum_of_consumers,
    a_group_that_exists_or_does_not_is_an_error_of_its_own,
    a_group_with_the_streams_of_another_one_exists_already,
    settings_that_cannot_be_used_are_refused,
    consumers_of_a_deleted_group_are_told_and_a_new_one_begins_anew,
    a_group_with_extra_statistics_shows_the_times_of_answers,
    an_update_drops_consumers_and_keeps_the_checkpoint,
    groups_are_described_and_listed,
    a_restart_of_the_groups_loses_nothing,
    a_message_that_breaks_the_protocol_ends_the_call,
    a_slow_consumer_holds_up_no_other_one,
    a_group_of_a_tombstoned_stream_tells_its_consumers,
    consumers_that_come_and_go_get_every_event,
);

const MAIL: (&str, &str) = ("order-1", "mail");

/// A store with a group of a stream that has events.
async fn group_of(scene: &Scene, events: u64) -> GroupClient {
    let mut groups = scene.groups().await;
    groups.create(of_stream("order-1", "mail", settings())).await.unwrap();
    if events > 0 {
        grow(&mut scene.client().await, "order-1", 1..=u128::from(events)).await;
    }
    groups
}

async fn a_consumer_gets_past_and_new_events_and_a_later_one_goes_on_after_the_acknowledged(
    scene: Scene,
) {
    let mut groups = group_of(&scene, 3).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    for number in 0..3 {
        let event = consumer.next().await;
        assert_eq!((place(&event), retries(&event)), (format!("{number}@order-1"), 0));
        consumer.ack(&[&event]).await;
    }
    grow(&mut scene.client().await, "order-1", [4]).await;
    let live = consumer.next().await;
    assert_eq!(place(&live), "3@order-1");
    info_when(&mut groups, MAIL, |info| info.last_checkpointed_event_position == "2").await;
    let checkpoints = Read::stream("$persistentsubscription-order-1::mail-checkpoint");
    let last = checkpoints.run(&mut scene.client().await).await.unwrap().pop().unwrap();
    let last = crate::client::event(&last).event.as_ref().unwrap();
    assert_eq!(last.data, r#""2""#, "clients read checkpoints as text");
    drop(consumer);
    let mut later = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let again = later.next().await;
    assert_eq!((place(&again), retries(&again)), ("3@order-1".to_owned(), 1));
}

async fn an_event_that_a_consumer_leaves_behind_goes_to_another(scene: Scene) {
    let mut groups = group_of(&scene, 2).await;
    let mut first = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    assert_eq!(first.places(2).await, ["0@order-1", "1@order-1"]);
    let mut second = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    drop(first);
    assert_eq!(second.places(2).await, ["0@order-1", "1@order-1"]);
}

async fn a_rejected_event_is_delivered_again_with_its_count_and_parked_after_its_retries(
    scene: Scene,
) {
    let mut groups = group_of(&scene, 1).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    for failed in 0..2 {
        let event = consumer.next().await;
        assert_eq!(retries(&event), failed);
        consumer.nack(&event, Action::Retry).await;
    }
    let info = info_when(&mut groups, MAIL, |info| info.parked_message_count == 1).await;
    assert_eq!(info.total_items, 2);
    info_when(&mut groups, MAIL, |info| info.last_checkpointed_event_position == "0").await;
}

async fn an_event_without_an_answer_comes_again_and_is_parked_at_last(scene: Scene) {
    let mut groups = scene.groups().await;
    let timeout = create_req::settings::MessageTimeout::MessageTimeoutMs(20);
    let hasty = create_req::Settings { message_timeout: Some(timeout), ..settings() };
    groups.create(of_stream("order-1", "mail", hasty)).await.unwrap();
    grow(&mut scene.client().await, "order-1", [1]).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 1).await.unwrap();
    for failed in 0..2 {
        assert_eq!(retries(&consumer.next().await), failed);
    }
    info_when(&mut groups, MAIL, |info| info.parked_message_count == 1).await;
    info_when(&mut groups, MAIL, |info| info.last_checkpointed_event_position == "0").await;
}

async fn a_parked_event_is_a_link_and_is_replayed_once(scene: Scene) {
    let mut groups = group_of(&scene, 2).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let (first, second) = (consumer.next().await, consumer.next().await);
    consumer.nack(&first, Action::Park).await;
    consumer.ack(&[&second]).await;
    info_when(&mut groups, MAIL, |info| info.parked_message_count == 1).await;
    let parked = Read::stream("$persistentsubscription-order-1::mail-parked").resolving();
    let read = parked.clone().run(&mut scene.client().await).await.unwrap();
    let link = crate::client::event(&read[0]);
    assert_eq!(link.event.as_ref().unwrap().id, first.event.as_ref().unwrap().id);
    let metadata = &link.link.as_ref().unwrap().custom_metadata;
    let metadata: serde_json::Value = serde_json::from_slice(metadata).unwrap();
    assert!(metadata["reason"].as_str().unwrap().ends_with("the test says so"), "{metadata}");

    replay(&mut groups, MAIL, None).await.unwrap();
    let again = consumer.next().await;
    assert_eq!(place(&again), "0@order-1");
    // A second replay does not deliver what is in flight.
    replay(&mut groups, MAIL, None).await.unwrap();
    consumer.ack(&[&again]).await;
    info_when(&mut groups, MAIL, |info| info.parked_message_count == 0).await;
    grow(&mut scene.client().await, "order-1", [3]).await;
    assert_eq!(consumer.places(1).await, ["2@order-1"]);
    assert_eq!(parked.run(&mut scene.client().await).await.unwrap().len(), 1, "no event is left");
}

async fn a_replay_stops_before_a_revision(scene: Scene) {
    let mut groups = group_of(&scene, 3).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    for number in 1..=3 {
        let event = consumer.next().await;
        consumer.nack(&event, Action::Park).await;
        // One after the other, so that their order is known.
        info_when(&mut groups, MAIL, |info| info.parked_message_count == number).await;
    }
    replay(&mut groups, MAIL, Some(2)).await.unwrap();
    let (first, second) = (consumer.next().await, consumer.next().await);
    assert_eq!([place(&first), place(&second)], ["0@order-1", "1@order-1"]);
    consumer.ack(&[&first, &second]).await;
    info_when(&mut groups, MAIL, |info| info.parked_message_count == 1).await;
    let refused = replay(&mut groups, MAIL, Some(-1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    // An event that is parked again is parked with its own link.
    replay(&mut groups, MAIL, None).await.unwrap();
    let third = consumer.next().await;
    consumer.nack(&third, Action::Park).await;
    let parked = "$persistentsubscription-order-1::mail-parked";
    info_when(&mut groups, MAIL, |info| info.status == "Live").await;
    info_when(&mut groups, MAIL, |info| info.parked_message_count == 1).await;
    let places = Read::stream(parked).places(&mut scene.client().await).await;
    assert_eq!(places, [format!("3@{parked}")]);
}

async fn truncated_parked_events_are_not_delivered_again(scene: Scene) {
    let mut groups = group_of(&scene, 4).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    for number in 1..=3 {
        let event = consumer.next().await;
        consumer.nack(&event, Action::Park).await;
        info_when(&mut groups, MAIL, |info| info.parked_message_count == number).await;
    }
    truncate_parked(&mut groups, MAIL, Some(2)).await.unwrap();
    assert_eq!(info(&mut groups, "order-1", "mail").await.unwrap().parked_message_count, 1);
    // An earlier end hides nothing, and reveals nothing.
    truncate_parked(&mut groups, MAIL, Some(1)).await.unwrap();
    let last = consumer.next().await;
    consumer.ack(&[&last]).await;
    replay(&mut groups, MAIL, None).await.unwrap();
    let replayed = consumer.next().await;
    assert_eq!(place(&replayed), "2@order-1");
    consumer.nack(&replayed, Action::Park).await;
    info_when(&mut groups, MAIL, |info| info.status == "Live").await;
    info_when(&mut groups, MAIL, |info| info.parked_message_count == 1).await;
    truncate_parked(&mut groups, MAIL, None).await.unwrap();
    assert_eq!(info(&mut groups, "order-1", "mail").await.unwrap().parked_message_count, 0);
    let refused = truncate_parked(&mut groups, MAIL, Some(-1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let missing = truncate_parked(&mut groups, ("order-2", "mail"), None).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
}

async fn a_skipped_event_is_neither_delivered_again_nor_parked(scene: Scene) {
    let mut groups = group_of(&scene, 2).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 1).await.unwrap();
    let first = consumer.next().await;
    consumer.nack(&first, Action::Skip).await;
    let second = consumer.next().await;
    assert_eq!(place(&second), "1@order-1");
    consumer.say(ack_of_stranger()).await;
    consumer.ack(&[&second]).await;
    let at_end = |info: &SubscriptionInfo| info.last_checkpointed_event_position == "1";
    let info = info_when(&mut groups, MAIL, at_end).await;
    assert_eq!((info.parked_message_count, info.total_items), (0, 2));
}

async fn a_consumer_that_stops_is_dropped(scene: Scene) {
    let mut groups = group_of(&scene, 1).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 1).await.unwrap();
    let event = consumer.next().await;
    consumer.nack(&event, Action::Stop).await;
    assert_of_group(&consumer.error().await, Code::Cancelled, "persistent-subscription-dropped");
    let mut other = GroupConsumer::connect(&mut groups, MAIL, 1).await.unwrap();
    assert_eq!(other.places(1).await, ["0@order-1"]);
}

async fn events_are_shared_out_in_turn(scene: Scene) {
    let mut groups = group_of(&scene, 0).await;
    let mut first = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let mut second = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    grow(&mut scene.client().await, "order-1", 1..=4).await;
    assert_eq!(first.places(2).await, ["0@order-1", "2@order-1"]);
    assert_eq!(second.places(2).await, ["1@order-1", "3@order-1"]);
}

async fn a_group_of_all_selects_by_its_filter_and_comes_to_rest(scene: Scene) {
    let mut groups = scene.groups().await;
    groups.create(of_all("mail", Some("order-"))).await.unwrap();
    groups.create(of_all("everything", None)).await.unwrap();
    let mut client = scene.client().await;
    grow(&mut client, "noise-1", 1..=3).await;
    grow(&mut client, "order-1", [4]).await;
    let source = ("$all", "mail");
    let mut consumer = GroupConsumer::connect(&mut groups, source, 10).await.unwrap();
    let event = consumer.next().await;
    assert_eq!(place(&event), "0@order-1");
    consumer.ack(&[&event]).await;
    let at = event.event.as_ref().unwrap().commit_position;
    let checkpoint = format!("C:{at}/P:{at}");
    info_when(&mut groups, source, |info| info.last_checkpointed_event_position == checkpoint)
        .await;
    // The other group acknowledges everything it gets: its own checkpoints are not among that.
    let source = ("$all", "everything");
    let mut consumer = GroupConsumer::connect(&mut groups, source, 10).await.unwrap();
    loop {
        let event = consumer.next().await;
        let place = place(&event);
        assert!(!place.contains("$persistentsubscription-$all::"), "{place}");
        consumer.ack(&[&event]).await;
        if place == "0@order-1" {
            break;
        }
    }
    grow(&mut client, "order-2", [5]).await;
    assert_eq!(consumer.places(1).await, ["0@order-2"]);
}

async fn a_group_of_a_category_has_its_links_resolved(scene: Scene) {
    let mut groups = scene.groups().await;
    let resolving = create_req::Settings { resolve_links: true, ..settings() };
    groups.create(of_stream("$ce-order", "mail", resolving)).await.unwrap();
    let mut client = scene.client().await;
    grow(&mut client, "order-1", [1]).await;
    grow(&mut client, "order-2", [2]).await;
    let source = ("$ce-order", "mail");
    let mut consumer = GroupConsumer::connect(&mut groups, source, 10).await.unwrap();
    let (first, second) = (consumer.next().await, consumer.next().await);
    assert_eq!([place(&first), place(&second)], ["0@order-1", "0@order-2"]);
    assert_eq!(second.link.as_ref().unwrap().stream_revision, 1);
    consumer.ack(&[&first]).await;
    consumer.nack(&second, Action::Park).await;
    info_when(&mut groups, source, |info| info.last_checkpointed_event_position == "1").await;
    replay(&mut groups, source, None).await.unwrap();
    assert_eq!(consumer.places(1).await, ["0@order-2"]);
    grow(&mut client, "order-3", [3]).await;
    assert_eq!(consumer.places(1).await, ["0@order-3"]);
}

async fn a_group_starts_where_it_is_told_to(scene: Scene) {
    let mut groups = scene.groups().await;
    let mut client = scene.client().await;
    grow(&mut client, "order-1", 1..=2).await;
    groups.create(of_earlier_client("order-1", "mail")).await.unwrap();
    let described = info(&mut groups, "order-1", "mail").await.unwrap();
    assert_eq!(described.start_from, "1");
    assert_eq!(described.named_consumer_strategy, "Pinned");
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    assert_eq!(consumer.places(1).await, ["1@order-1"]);

    // A start beyond the head waits for it.
    let mut request = of_stream("order-2", "mail", settings());
    let stream = request.options.as_mut().unwrap().stream_option.as_mut().unwrap();
    if let create_req::options::StreamOption::Stream(stream) = stream {
        stream.revision_option = Some(create_req::stream_options::RevisionOption::Revision(2));
    }
    groups.create(request).await.unwrap();
    let mut consumer = GroupConsumer::connect(&mut groups, ("order-2", "mail"), 10).await.unwrap();
    grow(&mut client, "order-2", 11..=14).await;
    assert_eq!(consumer.places(2).await, ["2@order-2", "3@order-2"]);
}

async fn a_group_of_the_end_gets_what_comes_after_its_creation(mut scene: Scene) {
    let mut groups = scene.groups().await;
    let mut client = scene.client().await;
    grow(&mut client, "order-1", 1..=2).await;
    let mut request = of_stream("order-1", "mail", settings());
    let stream = request.options.as_mut().unwrap().stream_option.as_mut().unwrap();
    if let create_req::options::StreamOption::Stream(stream) = stream {
        stream.revision_option =
            Some(create_req::stream_options::RevisionOption::End(crate::client::Empty {}));
    }
    groups.create(request).await.unwrap();
    grow(&mut client, "order-1", [3]).await;
    // The end stays where it was, also for a server that starts later.
    scene.restart().await;
    let mut groups = scene.groups().await;
    let described = info(&mut groups, "order-1", "mail").await.unwrap();
    assert_eq!(described.start_from, "-1");
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    assert_eq!(consumer.places(1).await, ["2@order-1"]);
}

async fn a_group_has_its_maximum_of_consumers(scene: Scene) {
    let mut groups = scene.groups().await;
    let one = create_req::Settings { max_subscriber_count: 1, ..settings() };
    groups.create(of_stream("order-1", "mail", one)).await.unwrap();
    let _first = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let refused = GroupConsumer::connect(&mut groups, MAIL, 10).await.err().unwrap();
    assert_of_group(&refused, Code::FailedPrecondition, "maximum-subscribers-reached");
    let refused = GroupConsumer::connect(&mut groups, MAIL, 0).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

async fn a_group_that_exists_or_does_not_is_an_error_of_its_own(scene: Scene) {
    let mut groups = group_of(&scene, 0).await;
    let again = groups.create(of_stream("order-1", "mail", settings())).await.unwrap_err();
    assert_of_group(&again, Code::AlreadyExists, "persistent-subscription-exists");
    let missing = "persistent-subscription-does-not-exist";
    let nobody = ("order-2", "mail");
    let refused = [
        info(&mut groups, "order-2", "mail").await.unwrap_err(),
        delete(&mut groups, "order-2", "mail").await.unwrap_err(),
        replay(&mut groups, nobody, None).await.unwrap_err(),
        GroupConsumer::connect(&mut groups, nobody, 1).await.err().unwrap(),
    ];
    for refused in &refused {
        assert_of_group(refused, Code::NotFound, missing);
        assert_eq!(trailer(refused, "stream-name"), "order-2");
    }
}

async fn a_group_with_the_streams_of_another_one_exists_already(scene: Scene) {
    let mut groups = scene.groups().await;
    groups.create(of_stream("a", "b::mail", settings())).await.unwrap();
    let refused = groups.create(of_stream("a::b", "mail", settings())).await.unwrap_err();
    assert_of_group(&refused, Code::AlreadyExists, "persistent-subscription-exists");
    groups.create(of_stream("a::b", "d", settings())).await.unwrap();
}

/// Earlier versions created groups with the same streams.
#[tokio::test]
async fn a_deleted_group_leaves_its_streams_to_another_one_that_has_the_same() {
    let store = Arc::new(MemoryStore::new());
    let mut scene = Scene::of_store(Arc::clone(&store) as Arc<dyn EventStore>).await;
    let mut groups = scene.groups().await;
    groups.create(of_stream("a", "b::mail", settings())).await.unwrap();
    let mut client = scene.client().await;
    let list = Read::stream("$persistentSubscriptionConfig");
    let last = list.run(&mut client).await.unwrap().pop().unwrap();
    let last = &crate::client::event(&last).event.as_ref().unwrap().data;
    let mut stored: serde_json::Value = serde_json::from_slice(last).unwrap();
    let mut twin = stored["groups"][0].clone();
    (twin["stream"], twin["group"]) = ("a::b".into(), "mail".into());
    twin["life"] = uuid::Uuid::from_u128(7).to_string().into();
    stored["groups"].as_array_mut().unwrap().push(twin);
    let (stream, event_type) = ("$persistentSubscriptionConfig", "$PersistentConfig");
    let (stream, event_type) = (stream.parse().unwrap(), event_type.parse().unwrap());
    let changed = NewEvent::json(EventId::random(), event_type, stored.to_string());
    let append = Append::to(stream, ExpectedRevision::Any, [changed]).privileged();
    store.append(append).await.unwrap();
    scene.restart().await;

    let (mut client, mut groups) = (scene.client().await, scene.groups().await);
    grow(&mut client, "a::b", 2..4).await;
    let twin = ("a::b", "mail");
    let mut consumer = GroupConsumer::connect(&mut groups, twin, 10).await.unwrap();
    let (first, second) = (consumer.next().await, consumer.next().await);
    consumer.nack(&first, Action::Park).await;
    consumer.ack(&[&second]).await;
    info_when(&mut groups, twin, |info| info.last_checkpointed_event_position == "1").await;
    delete(&mut groups, "a", "b::mail").await.unwrap();
    let places = Read::stream("$persistentsubscription-a::b::mail-checkpoint");
    assert_eq!(places.places(&mut client).await.len(), 1);
    assert_eq!(info(&mut groups, "a::b", "mail").await.unwrap().parked_message_count, 1);
    // The last of them takes the streams with it.
    delete(&mut groups, "a::b", "mail").await.unwrap();
    groups.create(of_stream("a::b", "mail", settings())).await.unwrap();
    let mut consumer = GroupConsumer::connect(&mut groups, twin, 10).await.unwrap();
    assert_eq!(consumer.places(2).await, ["0@a::b", "1@a::b"]);
}

async fn settings_that_cannot_be_used_are_refused(scene: Scene) {
    let mut groups = group_of(&scene, 0).await;
    let refused_with = |refused: tonic::Status, reason: &str| {
        assert_of_group(&refused, Code::InvalidArgument, "persistent-subscription-failed");
        assert!(refused.message().contains(reason), "{refused}");
    };
    let named = create_req::Settings { consumer_strategy: "Nope".to_owned(), ..settings() };
    let negative = create_req::Settings { max_retry_count: -5, ..settings() };
    for (unusable, reason) in [(named, "got `Nope`"), (negative, "`max_retry_count`")] {
        let refused = groups.create(of_stream("order-2", "mail", unusable)).await.unwrap_err();
        refused_with(refused, reason);
    }
    let usable = update_req::Settings {
        max_checkpoint_count: 9,
        read_batch_size: 1,
        history_buffer_size: 2,
        ..update_req::Settings::default()
    };
    let unknown = update_req::Settings { named_consumer_strategy: 3, ..usable };
    let negative = update_req::Settings { live_buffer_size: -1, ..usable };
    for (unusable, reason) in [(unknown, "got 3"), (negative, "`live_buffer_size`")] {
        let stream = update_req::StreamOptions {
            stream_identifier: crate::client::identifier("order-1"),
            revision_option: None,
        };
        let options = update_req::Options {
            group_name: "mail".to_owned(),
            settings: Some(unusable),
            stream_identifier: None,
            stream_option: Some(update_req::options::StreamOption::Stream(stream)),
        };
        let refused = groups.update(UpdateReq { options: Some(options) }).await.unwrap_err();
        refused_with(refused, reason);
    }
    let refused = groups.create(of_stream("order-1", "", settings())).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let mut broken = of_all("mail", Some("a"));
    let source = broken.options.as_mut().unwrap().stream_option.as_mut().unwrap();
    if let create_req::options::StreamOption::All(all) = source {
        use create_req::all_options::{FilterOption, FilterOptions, filter_options::*};
        let regex = Expression { regex: "(".to_owned(), prefix: Vec::new() };
        let filter =
            FilterOptions { filter: Some(Filter::EventType(regex)), ..FilterOptions::default() };
        all.filter_option = Some(FilterOption::Filter(filter));
    }
    let refused = groups.create(broken).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

async fn consumers_of_a_deleted_group_are_told_and_a_new_one_begins_anew(scene: Scene) {
    let mut groups = group_of(&scene, 1).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let event = consumer.next().await;
    consumer.ack(&[&event]).await;
    info_when(&mut groups, MAIL, |info| info.last_checkpointed_event_position == "0").await;
    delete(&mut groups, "order-1", "mail").await.unwrap();
    let told = consumer.error().await;
    assert_of_group(&told, Code::NotFound, "persistent-subscription-does-not-exist");
    groups.create(of_stream("order-1", "mail", settings())).await.unwrap();
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let event = consumer.next().await;
    assert_eq!(place(&event), "0@order-1");
    consumer.nack(&event, Action::Park).await;
    info_when(&mut groups, MAIL, |info| info.parked_message_count == 1).await;
    info_when(&mut groups, MAIL, |info| info.last_checkpointed_event_position == "0").await;
}

async fn a_group_with_extra_statistics_shows_the_times_of_answers(scene: Scene) {
    let mut groups = scene.groups().await;
    let measured = create_req::Settings { extra_statistics: true, ..settings() };
    groups.create(of_stream("order-1", "mail", measured)).await.unwrap();
    crate::client::grow(&mut scene.client().await, "order-1", 1..=2).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let (one, two) = (consumer.next().await, consumer.next().await);
    consumer.ack(&[&one, &two]).await;
    let is_answered = |info: &SubscriptionInfo| info.last_checkpointed_event_position == "1";
    let described = info_when(&mut groups, MAIL, is_answered).await;
    let keys: Vec<_> = described.connections[0].observed_measurements.iter().collect();
    assert_eq!(keys.len(), 14, "{keys:?}");
    assert!(keys.iter().any(|one| one.key == "Median" && one.value >= 0), "{keys:?}");
}

async fn an_update_drops_consumers_and_keeps_the_checkpoint(scene: Scene) {
    use update_req::{Options, StreamOptions, options::StreamOption};
    let mut groups = group_of(&scene, 2).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let event = consumer.next().await;
    consumer.ack(&[&event]).await;
    info_when(&mut groups, MAIL, |info| info.last_checkpointed_event_position == "0").await;
    let changed = update_req::Settings {
        max_retry_count: 7,
        max_checkpoint_count: 9,
        read_batch_size: 1,
        history_buffer_size: 2,
        ..update_req::Settings::default()
    };
    let stream = StreamOptions {
        stream_identifier: crate::client::identifier("order-1"),
        revision_option: None,
    };
    let options = Options {
        group_name: "mail".to_owned(),
        settings: Some(changed),
        stream_identifier: None,
        stream_option: Some(StreamOption::Stream(stream)),
    };
    groups.update(UpdateReq { options: Some(options.clone()) }).await.unwrap();
    assert_of_group(&consumer.error().await, Code::Cancelled, "persistent-subscription-dropped");
    let described = info(&mut groups, "order-1", "mail").await.unwrap();
    assert_eq!(described.max_retry_count, 7);
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    assert_eq!(consumer.places(1).await, ["1@order-1"]);
    let missing = Options { group_name: "nobody".to_owned(), ..options };
    let refused = groups.update(UpdateReq { options: Some(missing) }).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

async fn groups_are_described_and_listed(scene: Scene) {
    use list_req::{Options, StreamOption, options::ListOption, stream_option};
    let mut groups = scene.groups().await;
    let list = |list_option| ListReq { options: Some(Options { list_option: Some(list_option) }) };
    let all = || list(ListOption::ListAllSubscriptions(crate::client::Empty {}));
    let of = |stream: &str| {
        let stream =
            stream_option::StreamOption::Stream(crate::client::identifier(stream).unwrap());
        list(ListOption::ListForStream(StreamOption { stream_option: Some(stream) }))
    };
    let none = groups.list(all()).await.unwrap().into_inner();
    assert!(none.subscriptions.is_empty());
    let missing = groups.list(of("order-1")).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);

    groups.create(of_stream("order-1", "mail", settings())).await.unwrap();
    groups.create(of_all("mail", None)).await.unwrap();
    let names = |response: ListResp| -> Vec<_> {
        response.subscriptions.into_iter().map(|group| group.event_source).collect()
    };
    let listed = groups.list(all()).await.unwrap().into_inner();
    assert_eq!(names(listed), ["$all", "order-1"]);
    let listed = groups.list(of("order-1")).await.unwrap().into_inner();
    assert_eq!(names(listed), ["order-1"]);

    grow(&mut scene.client().await, "order-1", 1..=3).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 2).await.unwrap();
    let event = consumer.next().await;
    consumer.ack(&[&event]).await;
    consumer.places(2).await;
    let described = info_when(&mut groups, MAIL, |info| {
        info.status == "Live" && info.total_items == 3 && info.total_in_flight_messages == 2
    })
    .await;
    assert_eq!(described.last_known_event_position, "2");
    assert_eq!(described.message_timeout_milliseconds, 600_000);
    assert_eq!(described.named_consumer_strategy, "RoundRobin");
    assert_eq!(described.connections[0].from, "127.0.0.1");
    assert_eq!(described.connections[0].username, "anonymous");
    assert_eq!(described.connections[0].in_flight_messages, 2);
    assert_eq!(described.connections[0].available_slots, 0);
}

async fn a_restart_of_the_groups_loses_nothing(mut scene: Scene) {
    let mut groups = group_of(&scene, 4).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let first = consumer.next().await;
    consumer.places(1).await;
    let third = consumer.next().await;
    consumer.ack(&[&first]).await;
    consumer.nack(&third, Action::Park).await;
    info_when(&mut groups, MAIL, |info| {
        info.parked_message_count == 1 && info.last_checkpointed_event_position == "0"
    })
    .await;
    groups.restart_subsystem(crate::client::Empty {}).await.unwrap();
    assert_of_group(&consumer.error().await, Code::Cancelled, "persistent-subscription-dropped");
    // The event in between was not acknowledged; the parked one is not delivered with it.
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    assert_eq!(consumer.places(2).await, ["1@order-1", "3@order-1"]);
    scene.restart().await;
    assert_eq!(consumer.error().await.code(), Code::Unavailable);
    let mut groups = scene.groups().await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    assert_eq!(consumer.places(2).await, ["1@order-1", "3@order-1"]);
    assert_eq!(info(&mut groups, "order-1", "mail").await.unwrap().parked_message_count, 1);
}

async fn a_message_that_breaks_the_protocol_ends_the_call(scene: Scene) {
    use crate::client::groups::read_req::{Ack, Content};
    let mut groups = group_of(&scene, 0).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let id = crate::client::shared::Uuid { value: None };
    consumer.say(Content::Ack(Ack { id: Default::default(), ids: vec![id] })).await;
    assert_eq!(consumer.error().await.code(), Code::InvalidArgument);
    let empty = tokio_stream::iter([ReadReq { content: None }]);
    let refused = groups.read(empty).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let unknown = read_req::Nack { action: 5, ..read_req::Nack::default() };
    consumer.say(Content::Nack(unknown)).await;
    assert!(consumer.error().await.message().contains("got 5"));
    info_when(&mut groups, MAIL, |info| info.connections.is_empty()).await;
}

async fn a_slow_consumer_holds_up_no_other_one(scene: Scene) {
    let mut groups = group_of(&scene, 0).await;
    // Large events fill what the transport holds for a consumer that reads nothing.
    let _slow = GroupConsumer::connect(&mut groups, MAIL, 3).await.unwrap();
    let mut quick = GroupConsumer::connect(&mut groups, MAIL, 3).await.unwrap();
    let mut client = scene.client().await;
    for number in 1..=20 {
        let mut large = proposed(number, "happened");
        large.data = vec![b' '; 300_000].into();
        append(&mut client, "order-1", ANY, vec![large]).await.unwrap();
    }
    for _ in 0..17 {
        let event = quick.next().await;
        quick.ack(&[&event]).await;
    }
    let described = info_when(&mut groups, MAIL, |info| info.total_items == 20).await;
    assert_eq!(described.total_in_flight_messages, 3, "they are with the slow one");
}

async fn a_group_of_a_tombstoned_stream_tells_its_consumers(scene: Scene) {
    use crate::client::{TombstoneReq, identifier, tombstone_req};
    let mut groups = group_of(&scene, 1).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 1).await.unwrap();
    let any = tombstone_req::options::ExpectedStreamRevision::Any(crate::client::Empty {});
    let options = tombstone_req::Options {
        stream_identifier: identifier("order-1"),
        expected_stream_revision: Some(any),
    };
    scene.client().await.tombstone(TombstoneReq { options: Some(options) }).await.unwrap();
    let told = consumer.error().await;
    assert_exception(&told, Code::FailedPrecondition, "stream-deleted");
    let refused = GroupConsumer::connect(&mut groups, MAIL, 1).await.err().unwrap();
    assert_exception(&refused, Code::FailedPrecondition, "stream-deleted");
    let described = info(&mut groups, "order-1", "mail").await.unwrap();
    assert!(described.status.starts_with("Failed"), "{}", described.status);
}

/// In each turn one consumer leaves with events, and another one processes all of them.
async fn consumers_that_come_and_go_get_every_event(scene: Scene) {
    let mut groups = scene.groups().await;
    groups.create(of_stream("order-1", "mail", settings())).await.unwrap();
    let mut client = scene.client().await;
    let mut acknowledged = std::collections::BTreeSet::new();
    for turn in 0..10 {
        grow(&mut client, "order-1", turn * 30..(turn + 1) * 30).await;
        let mut leaver = GroupConsumer::connect(&mut groups, MAIL, 7).await.unwrap();
        leaver.places(7).await;
        drop(leaver);
        info_when(&mut groups, MAIL, |info| info.connections.is_empty()).await;
        let mut worker = GroupConsumer::connect(&mut groups, MAIL, 5).await.unwrap();
        for number in 0..30 {
            let event = worker.next().await;
            assert_eq!(retries(&event), i32::from(number < 7), "{}", place(&event));
            worker.ack(&[&event]).await;
            assert!(acknowledged.insert(place(&event)), "{} came again", place(&event));
        }
        info_when(&mut groups, MAIL, |info| info.total_in_flight_messages == 0).await;
        drop(worker);
        info_when(&mut groups, MAIL, |info| info.connections.is_empty()).await;
    }
    assert_eq!(acknowledged.len(), 300);
    let last = |info: &SubscriptionInfo| info.last_checkpointed_event_position == "299";
    assert_eq!(info_when(&mut groups, MAIL, last).await.parked_message_count, 0);
}
