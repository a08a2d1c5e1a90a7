"""Consumer groups through the synchronous client of an official package.

Owns: the scenarios that `streams.py` runs beside its own.
"""

import time
from uuid import uuid4

from packages import check, refused

# Each finished event is worth a checkpoint at once.
EAGER = {"min_checkpoint_count": 1, "max_checkpoint_count": 1}
PATIENCE = 30


def appended(package, client, stream, *types):
    events = [package.NewEvent(type=name, data=b'{"a": 1}') for name in types]
    client.append_to_stream(stream, current_version=package.StreamState.ANY, events=events)
    return [event.id for event in events]


def fresh(category):
    return f"{category}-{uuid4().hex}"


def eventually(client, group, stream, condition, story):
    """Waits until the description of a group satisfies a condition."""
    end = time.monotonic() + PATIENCE
    while True:
        info = client.get_subscription_info(group, stream)
        if condition(info):
            return info
        check(time.monotonic() < end, f"{story}: {info}")
        time.sleep(0.02)


def acknowledges_and_goes_on(package, client):
    stream = fresh("order")
    sent = appended(package, client, stream, "placed", "paid", "shipped")
    client.create_subscription_to_stream("mail", stream, consumer_strategy="RoundRobin", **EAGER)
    subscription = client.read_subscription_to_stream("mail", stream)
    check(subscription.subscription_id == f"{stream}::mail", "the id of a consumer")
    for expected in sent[:2]:
        event = next(subscription)
        check(event.id == expected, "events come in order")
        subscription.ack(event)
    check(next(subscription).id == sent[2], "the third is not acknowledged")
    known = lambda info: info.last_checkpointed_event_position == "1"
    eventually(client, "mail", stream, known, "the checkpoint follows")
    subscription.stop()
    with client.read_subscription_to_stream("mail", stream) as later:
        event = next(later)
        check((event.id, event.retry_count) == (sent[2], 1), "it comes again")
        later.ack(event)
        [live] = appended(package, client, stream, "returned")
        check(next(later).id == live, "stays live")


def parks_and_replays(package, client):
    stream = fresh("order")
    sent = appended(package, client, stream, "placed", "paid")
    client.create_subscription_to_stream("mail", stream, max_retry_count=1, **EAGER)
    with client.read_subscription_to_stream("mail", stream) as subscription:
        first, second = next(subscription), next(subscription)
        subscription.nack(first, "park")
        subscription.nack(second, "retry")
        again = next(subscription)
        check((again.id, again.retry_count) == (sent[1], 1), "a retry is counted")
        subscription.nack(again, "retry")
        parked = lambda count: lambda info: info.parked_message_count == count
        eventually(client, "mail", stream, parked(2), "both are parked")
        links = client.get_stream(f"$persistentsubscription-{stream}::mail-parked", resolve_links=True)
        check([event.id for event in links] == sent, "parked events are links")
        client.replay_parked_events("mail", stream)
        for expected in sent:
            event = next(subscription)
            check(event.id == expected, "a parked event comes again")
            subscription.ack(event)
        eventually(client, "mail", stream, parked(0), "none is left")


def follows_a_category_by_a_group(package, client):
    category = f"user{uuid4().hex}"
    sent = appended(package, client, f"{category}-1", "created")
    client.create_subscription_to_stream("mail", f"$ce-{category}", resolve_links=True, **EAGER)
    with client.read_subscription_to_stream("mail", f"$ce-{category}") as subscription:
        event = next(subscription)
        check(event.id == sent[0] and event.link is not None, "a link with its target")
        subscription.ack(event)
        [live] = appended(package, client, f"{category}-2", "created")
        check(next(subscription).id == live, "stays live")


def follows_the_whole_store_by_a_group(package, client):
    stream, group = fresh("order"), f"group-{uuid4().hex}"
    client.create_subscription_to_all(
        group, from_end=True, filter_include=[stream], filter_by_stream_name=True, **EAGER
    )
    appended(package, client, fresh("noise"), "noise")
    [sent] = appended(package, client, stream, "placed")
    with client.read_subscription_to_all(group) as subscription:
        event = next(subscription)
        check(event.id == sent, "the filter selects")
        subscription.ack(event)
        reached = f"C:{event.commit_position}/P:{event.commit_position}"
        known = lambda info: info.last_checkpointed_event_position == reached
        eventually(client, group, None, known, "the checkpoint is a position")
    client.delete_subscription(group)


def describes_changes_and_deletes(package, client):
    stream = fresh("order")
    refused(package.NotFound, lambda: client.get_subscription_info("mail", stream))
    refused(package.NotFound, lambda: client.read_subscription_to_stream("mail", stream))
    client.create_subscription_to_stream(
        "mail", stream, from_end=True, consumer_strategy="Pinned", max_subscriber_count=1
    )
    again = lambda: client.create_subscription_to_stream("mail", stream)
    refused(package.AlreadyExists, again)
    info = client.get_subscription_info("mail", stream)
    check((info.group_name, info.event_source, info.start_from) == ("mail", stream, "-1"), "names")
    check((info.consumer_strategy, info.max_subscriber_count) == ("Pinned", 1), "settings")
    client.update_subscription_to_stream("mail", stream, max_retry_count=7)
    [info] = client.list_subscriptions_to_stream(stream)
    check((info.max_retry_count, info.consumer_strategy) == (7, "Pinned"), "changed settings")
    with client.read_subscription_to_stream("mail", stream):
        second = lambda: client.read_subscription_to_stream("mail", stream)
        refused(package.TooManyConsumers, second)
    all_groups = [(info.event_source, info.group_name) for info in client.list_subscriptions()]
    check((stream, "mail") in all_groups, "listed")
    client.delete_subscription("mail", stream)
    refused(package.NotFound, lambda: client.delete_subscription("mail", stream))


SCENARIOS = [
    acknowledges_and_goes_on,
    parks_and_replays,
    follows_a_category_by_a_group,
    follows_the_whole_store_by_a_group,
    describes_changes_and_deletes,
]
