"""Streams, groups and projections through the asynchronous client of an official package.

Usage: streams_async.py PACKAGE HOST:PORT
"""

import asyncio
import sys
from uuid import uuid4

from packages import Package, check


def events(package, *types):
    return [package.NewEvent(type=name, data=b"{}") for name in types]


def fresh(category):
    return f"{category}-{uuid4().hex}"


def ids(recorded):
    return [event.id for event in recorded]


async def refused(kind, call):
    """Returns the error of a call that has to be refused with this kind."""
    try:
        await call
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}, and nothing was raised")


async def taken(subscription, count):
    """Returns the next events of a subscription."""
    received = []
    async for event in subscription:
        received.append(event)
        if len(received) == count:
            return received
    raise AssertionError(f"the subscription ended after {received}")


async def appends_and_reads(package, client):
    stream, state = fresh("order"), package.StreamState
    sent = events(package, "placed", "paid", "packed", "shipped")
    append = lambda version, *those: client.append_to_stream(
        stream, current_version=version, events=those
    )
    position = await append(state.NO_STREAM, sent[0])
    await append(0, sent[1])
    await append(state.EXISTS, sent[2])
    await append(state.ANY, sent[3])
    check(await append(state.NO_STREAM, sent[0]) == position, "a retry gets the first position")
    check(ids(await client.get_stream(stream)) == ids(sent), "all, in order")
    rest = await client.get_stream(stream, stream_position=2, limit=1)
    check(ids(rest) == [sent[2].id], "from a revision")
    back = await client.get_stream(stream, backwards=True, limit=2)
    check(ids(back) == [sent[3].id, sent[2].id], "the last two")
    for version in (state.NO_STREAM, 7):
        await refused(package.WrongVersion, append(version, *events(package, "late")))
    await refused(package.NotFound, client.get_stream(fresh("order")))


async def reads_and_follows_all_by_filters(package, client):
    noise, stream = fresh("noise"), fresh("order")
    sent = events(package, "placed", "paid")
    for name in (noise, stream):
        of_name = sent if name == stream else events(package, *["noise"] * 40)
        await client.append_to_stream(
            name, current_version=package.StreamState.ANY, events=of_name
        )
    read = await client.read_all(filter_include=(stream,), filter_by_stream_name=True)
    check(ids([event async for event in read]) == ids(sent), "by name")
    subscription = await client.subscribe_to_all(
        filter_include=(stream,),
        filter_by_stream_name=True,
        include_checkpoints=True,
        include_caught_up=True,
        window_size=1,
        checkpoint_interval_multiplier=1,
    )
    received = []
    async for message in subscription:
        received.append(message)
        if isinstance(message, package.CaughtUp):
            break
    found = [one for one in received if not isinstance(one, (package.Checkpoint, package.CaughtUp))]
    check(ids(found) == ids(sent), "catches up")
    check(any(isinstance(one, package.Checkpoint) for one in received), "tells its progress")
    await subscription.stop()


async def follows_a_category(package, client):
    category = f"user{uuid4().hex}"
    first, second = events(package, "created", "renamed")
    append = lambda number, event: client.append_to_stream(
        f"{category}-{number}", current_version=package.StreamState.ANY, events=[event]
    )
    await append(1, first)
    subscription = await client.subscribe_to_stream(f"$ce-{category}", resolve_links=True)
    check(ids(await taken(subscription, 1)) == [first.id], "catches up")
    await append(2, second)
    [live] = await taken(subscription, 1)
    check((live.id, live.link.stream_position) == (second.id, 1), "stays live")
    await subscription.stop()


async def hides_deletes_and_tombstones(package, client):
    stream, state = fresh("order"), package.StreamState
    append = lambda *types: client.append_to_stream(
        stream, current_version=state.ANY, events=events(package, *types)
    )
    await append("placed", "paid")
    await client.set_stream_metadata(stream, metadata={"$maxCount": 1})
    check(await client.get_stream_metadata(stream) == ({"$maxCount": 1}, 0), "as set")
    check(len(await client.get_stream(stream)) == 1, "in force")
    await refused(package.WrongVersion, client.delete_stream(stream, current_version=5))
    await client.delete_stream(stream, current_version=1)
    await refused(package.NotFound, client.get_stream(stream))
    await append("revived")
    [revived] = await client.get_stream(stream)
    check(revived.stream_position == 2, "goes on")
    await client.tombstone_stream(stream, current_version=state.ANY)
    await refused(package.StreamIsDeleted, client.get_stream(stream))
    await refused(package.StreamIsDeleted, append("late"))


async def appends_to_several_streams(package, client):
    order, stock, state = fresh("order"), fresh("stock"), package.StreamState

    def batch(stream, version, *types):
        sent = [package.NewEvent(type=name, data=b"{}") for name in types]
        return package.NewEvents(stream_name=stream, events=sent, current_version=version)

    sent = [batch(order, state.NO_STREAM, "placed", "paid"), batch(stock, state.ANY, "reserved")]
    position = await client.multi_append_to_stream(sent)
    check(await client.multi_append_to_stream(sent) == position, "a retry gets the first position")
    late = [batch(order, 1, "shipped"), batch(stock, state.NO_STREAM, "reserved")]
    wrong = await refused(package.WrongVersion, client.multi_append_to_stream(late))
    check(wrong.stream_name == stock, "names the stream")
    check(await client.get_current_version(order) == 1, "nothing was appended")


async def runs_a_projection(package, client):
    stream, name = fresh("order"), fresh("count")
    query = (
        f"fromStream('{stream}').when({{ $init: () => ({{ n: 0 }}), placed(s) {{ s.n += 1;"
        f" emit('copies-{name}', 'copied', {{}}) }} }})"
    )
    await client.create_projection(name=name, query=query, emit_enabled=True)
    await client.append_to_stream(
        stream, current_version=package.StreamState.ANY, events=events(package, "placed", "placed")
    )
    for _ in range(3000):
        state = await client.get_projection_state(name)
        if state.value == {"n": 2}:
            break
        await asyncio.sleep(0.01)
    check(state.value == {"n": 2}, f"both were counted: {state}")
    statistics = await client.get_projection_statistics(name=name)
    check(statistics.status == "Running", "it runs")
    await client.disable_projection(name)
    check(len(await client.get_stream(f"copies-{name}")) == 2, "each was copied once")
    await client.delete_projection(name)
    await refused(package.NotFound, client.get_projection_statistics(name=name))


async def follows_all(package, client):
    stream = f"order-{uuid4().hex}"
    subscription = await client.subscribe_to_all(from_end=True)
    sent = events(package, "placed", "paid")
    await client.append_to_stream(stream, current_version=package.StreamState.ANY, events=sent)
    received = []
    async for event in subscription:
        received.append(event.id)
        if len(received) == 2:
            break
    await subscription.stop()
    check(received == [event.id for event in sent], "both, live")


async def appends_side_by_side(package, client):
    stream = f"order-{uuid4().hex}"
    appends = [
        client.append_to_stream(
            stream, current_version=package.StreamState.ANY, events=events(package, "placed")
        )
        for _ in range(50)
    ]
    positions = await asyncio.gather(*appends)
    check(len(set(positions)) == 50, "each append has a position of its own")
    check(len(await client.get_stream(stream)) == 50, "none is lost")


async def shares_out_by_a_group(package, client):
    stream, sent = f"order-{uuid4().hex}", events(package, "placed", "paid", "shipped")
    await client.append_to_stream(
        stream, current_version=package.StreamState.ANY, events=sent
    )
    await client.create_subscription_to_stream(
        "mail", stream, min_checkpoint_count=1, max_checkpoint_count=1
    )
    subscription = await client.read_subscription_to_stream("mail", stream)
    async with subscription:
        received = []
        async for event in subscription:
            received.append(event.id)
            if len(received) == 2:
                await subscription.nack(event, "park")
            else:
                await subscription.ack(event)
            if len(received) == 3:
                break
    check(received == [event.id for event in sent], "all, in order")
    for _ in range(3000):
        info = await client.get_subscription_info("mail", stream)
        if info.last_checkpointed_event_position == "2":
            break
        await asyncio.sleep(0.01)
    check(info.last_checkpointed_event_position == "2", f"the checkpoint follows: {info}")
    check(info.parked_message_count == 1, "one is parked")


SCENARIOS = [
    appends_and_reads,
    reads_and_follows_all_by_filters,
    follows_all,
    follows_a_category,
    hides_deletes_and_tombstones,
    appends_side_by_side,
    shares_out_by_a_group,
    runs_a_projection,
]


async def main():
    package = Package(*sys.argv[1:])
    # The older package has no call for it.
    if hasattr(package.AsyncClient, "multi_append_to_stream"):
        SCENARIOS.append(appends_to_several_streams)
    failed = 0
    client = package.AsyncClient(uri=package.uri)
    await client.connect()
    try:
        for scenario in SCENARIOS:
            name = scenario.__name__.replace("_", " ")
            try:
                await asyncio.wait_for(scenario(package, client), 60)
                print(f"ok      {package.name}, asynchronous: {name}")
            except Exception as error:
                failed += 1
                print(f"FAILED  {package.name}, asynchronous: {name}: {error!r}")
    finally:
        await client.close()
    print(f"{len(SCENARIOS) - failed} of {len(SCENARIOS)} scenarios passed")
    sys.exit(1 if failed else 0)


asyncio.run(main())
