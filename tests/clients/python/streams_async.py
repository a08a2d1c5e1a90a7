"""Appends, reads and subscriptions through the asynchronous client of an official package.

Usage: streams_async.py PACKAGE HOST:PORT
"""

import asyncio
import sys
from uuid import uuid4

from packages import Package, check


def events(package, *types):
    return [package.NewEvent(type=name, data=b"{}") for name in types]


async def appends_and_reads(package, client):
    stream, state = f"order-{uuid4().hex}", package.StreamState
    sent = events(package, "placed", "paid")
    await client.append_to_stream(stream, current_version=state.NO_STREAM, events=sent)
    read = await client.get_stream(stream)
    check([event.id for event in read] == [event.id for event in sent], "all, in order")
    try:
        await client.append_to_stream(
            stream, current_version=state.NO_STREAM, events=events(package, "late")
        )
    except package.WrongVersion:
        pass
    else:
        raise AssertionError("a wrong version was accepted")
    try:
        await client.get_stream(f"order-{uuid4().hex}")
    except package.NotFound:
        return
    raise AssertionError("a stream without events was found")


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


SCENARIOS = [appends_and_reads, follows_all, appends_side_by_side, shares_out_by_a_group]


async def main():
    package = Package(*sys.argv[1:])
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
