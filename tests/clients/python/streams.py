"""Appends, reads and subscriptions through the synchronous client of an official package.

Usage: streams.py PACKAGE HOST:PORT
"""

import json
import sys
from uuid import uuid4

import groups
from packages import LOGIN, Package, check, refused, run_all, uri


def events(package, *types):
    return [package.NewEvent(type=name, data=b'{"a": 1}', metadata=b"{}") for name in types]


def fresh(category):
    return f"{category}-{uuid4().hex}"


def appends_with_each_expectation(package, client):
    stream, state = fresh("order"), package.StreamState
    first = events(package, "placed")
    position = client.append_to_stream(stream, current_version=state.NO_STREAM, events=first)
    check(position > 0, "an append tells its position")
    client.append_to_stream(stream, current_version=0, events=events(package, "paid", "packed"))
    client.append_to_stream(stream, current_version=state.EXISTS, events=events(package, "shipped"))
    client.append_to_stream(stream, current_version=state.ANY, events=events(package, "arrived"))
    wrong = lambda version: refused(
        package.WrongVersion,
        lambda: client.append_to_stream(
            stream, current_version=version, events=events(package, "late")
        ),
    )
    wrong(state.NO_STREAM)
    wrong(2)
    missing = fresh("order")
    refused(
        package.WrongVersion,
        lambda: client.append_to_stream(
            missing, current_version=state.EXISTS, events=events(package, "late")
        ),
    )
    again = client.append_to_stream(stream, current_version=state.NO_STREAM, events=first)
    check(again == position, "a retry gets the first position")
    check(client.get_current_version(stream) == 4, "five events were recorded")


def appends_one_event_by_the_plain_call(package, client):
    stream, state = fresh("order"), package.StreamState
    append = lambda version: client.append_event(
        stream, current_version=version, event=events(package, "placed")[0]
    )
    check(append(state.NO_STREAM) > 0, "an append tells its position")
    refused(package.WrongVersion, lambda: append(state.NO_STREAM))
    refused(package.WrongVersion, lambda: append(7))
    append(0)


def reads_in_both_directions(package, client):
    stream = fresh("order")
    refused(package.NotFound, lambda: client.get_stream(stream))
    sent = events(package, "placed", "paid", "shipped")
    client.append_to_stream(stream, current_version=package.StreamState.NO_STREAM, events=sent)
    read = client.get_stream(stream)
    check([event.id for event in read] == [event.id for event in sent], "all, in order")
    check([event.stream_position for event in read] == [0, 1, 2], "revisions from 0")
    check(read[0].data == b'{"a": 1}' and read[0].type == "placed", "what was appended")
    check(read[0].recorded_at is not None, "events have a time")
    back = client.get_stream(stream, backwards=True, limit=2)
    check([event.stream_position for event in back] == [2, 1], "the last two")
    rest = client.get_stream(stream, stream_position=1)
    check([event.stream_position for event in rest] == [1, 2], "from a revision")


def reads_the_whole_store(package, client):
    stream = fresh("order")
    sent = events(package, "placed", "paid")
    client.append_to_stream(stream, current_version=package.StreamState.ANY, events=sent)
    position = client.get_stream(stream)[0].commit_position
    forwards = list(client.read_all(commit_position=position))
    check([event.id for event in forwards[:2]] == [event.id for event in sent], "inclusive")
    backwards = list(client.read_all(commit_position=position, backwards=True, limit=1))
    check(all(event.commit_position < position for event in backwards), "exclusive")
    named = client.read_all(filter_include=(stream,), filter_by_stream_name=True)
    check([event.id for event in named] == [event.id for event in sent], "by name")
    typed = client.read_all(filter_exclude=("placed", r"\$.+"), commit_position=position)
    check([event.id for event in typed][:1] == [sent[1].id], "without a type")
    check(client.get_commit_position() >= position, "the head")


def follows_a_stream(package, client):
    stream = fresh("order")
    first, second = events(package, "placed", "paid")
    client.append_to_stream(stream, current_version=package.StreamState.ANY, events=[first])
    with client.subscribe_to_stream(stream) as subscription:
        check(next(subscription).id == first.id, "catches up")
        client.append_to_stream(stream, current_version=package.StreamState.ANY, events=[second])
        check(next(subscription).id == second.id, "stays live")
    with client.subscribe_to_stream(stream, stream_position=0) as subscription:
        check(next(subscription).id == second.id, "starts after a revision")
    with client.subscribe_to_stream(stream, from_end=True) as subscription:
        third = events(package, "shipped")
        client.append_to_stream(stream, current_version=package.StreamState.ANY, events=third)
        check(next(subscription).id == third[0].id, "starts at the end")


def follows_the_whole_store(package, client):
    stream = fresh("order")
    position = client.get_commit_position()
    sent = events(package, "placed", "paid")
    client.append_to_stream(stream, current_version=package.StreamState.ANY, events=sent)
    after = position or None
    with client.subscribe_to_all(commit_position=after, include_caught_up=True) as subscription:
        check([next(subscription).id, next(subscription).id] == [one.id for one in sent], "all")
        check(isinstance(next(subscription), package.CaughtUp), "says that it is live")
    with client.subscribe_to_all(
        commit_position=after,
        filter_include=("nothing-like-it",),
        include_checkpoints=True,
        window_size=1,
        checkpoint_interval_multiplier=1,
    ) as subscription:
        check(isinstance(next(subscription), package.Checkpoint), "tells its progress")


def follows_a_category(package, client):
    category = f"user{uuid4().hex}"
    state, name = package.StreamState, f"$ce-{category}"
    first, second, third = events(package, "created", "renamed", "created")
    client.append_to_stream(f"{category}-1", current_version=state.ANY, events=[first, second])
    links = client.get_stream(name, resolve_links=True)
    check([event.id for event in links] == [first.id, second.id], "resolved")
    check(links[1].link.stream_position == 1, "a category has revisions of its own")
    with client.subscribe_to_stream(name, stream_position=0, resolve_links=True) as subscription:
        check(next(subscription).id == second.id, "catches up")
        client.append_to_stream(f"{category}-2", current_version=state.ANY, events=[third])
        check(next(subscription).id == third.id, "stays live")
    unresolved = client.get_stream(name)
    check({event.type for event in unresolved} == {"$>"}, "links")


def sets_metadata(package, client):
    stream = fresh("order")
    client.append_to_stream(
        stream,
        current_version=package.StreamState.ANY,
        events=events(package, "placed", "paid", "shipped"),
    )
    metadata, version = client.get_stream_metadata(stream)
    check((metadata, version) == ({}, package.StreamState.NO_STREAM), "none yet")
    wanted = {"$maxCount": 1, "team": "sales"}
    client.set_stream_metadata(stream, metadata=wanted)
    check(client.get_stream_metadata(stream) == (wanted, 0), "as set")
    check([event.stream_position for event in client.get_stream(stream)] == [2], "in force")
    refused(
        package.WrongVersion,
        lambda: client.set_stream_metadata(stream, metadata={}, current_version=5),
    )


def deletes_and_revives(package, client):
    stream, state = fresh("order"), package.StreamState
    delete = lambda version: client.delete_stream(stream, current_version=version)
    refused(package.NotFound, lambda: delete(state.EXISTS))
    refused(package.NotFound, lambda: delete(state.ANY))
    client.append_to_stream(
        stream, current_version=state.ANY, events=events(package, "placed", "paid")
    )
    refused(package.WrongVersion, lambda: delete(5))
    delete(1)
    refused(package.NotFound, lambda: client.get_stream(stream))
    delete(state.ANY)
    client.append_to_stream(
        stream, current_version=state.NO_STREAM, events=events(package, "placed")
    )
    check([event.stream_position for event in client.get_stream(stream)] == [2], "goes on")


def tombstones(package, client):
    stream, state = fresh("order"), package.StreamState
    client.append_to_stream(stream, current_version=state.ANY, events=events(package, "placed"))
    client.tombstone_stream(stream, current_version=state.ANY)
    refused(package.StreamIsDeleted, lambda: client.get_stream(stream))
    refused(
        package.StreamIsDeleted,
        lambda: client.append_to_stream(
            stream, current_version=state.ANY, events=events(package, "late")
        ),
    )
    refused(
        package.StreamIsDeleted,
        lambda: client.tombstone_stream(stream, current_version=state.ANY),
    )


def reads_an_index(package, client):
    category = f"user{uuid4().hex}"
    sent = events(package, "created", "renamed")
    client.append_to_stream(
        f"{category}-1", current_version=package.StreamState.ANY, events=sent
    )
    read = client.read_index(f"$idx-ce-{category}")
    check([event.id for event in read] == [event.id for event in sent], "a category")


def appends_to_several_streams(package, client):
    order, stock, state = fresh("order"), fresh("stock"), package.StreamState

    def batch(stream, version, *types):
        sent = [package.NewEvent(type=name, data=b'{"a": 1}') for name in types]
        return package.NewEvents(stream_name=stream, events=sent, current_version=version)

    sent = [batch(order, state.NO_STREAM, "placed", "paid"), batch(stock, state.ANY, "reserved")]
    position = client.multi_append_to_stream(sent)
    check(position > 0, "an append tells its position")
    check(client.multi_append_to_stream(sent) == position, "a retry gets the first position")
    check([len(client.get_stream(name)) for name in (order, stock)] == [2, 1], "in both")
    wrong = refused(
        package.WrongVersion,
        lambda: client.multi_append_to_stream(
            [batch(order, 1, "shipped"), batch(stock, state.NO_STREAM, "reserved")]
        ),
    )
    check(wrong.stream_name == stock and wrong.actual_version == 0, "names the stream")
    refused(
        package.SameStreamTwice,
        lambda: client.multi_append_to_stream([batch(order, 1, "a"), batch(order, 1, "b")]),
    )
    check(client.get_current_version(order) == 1, "nothing was appended")


def appends_with_checks_of_other_streams(package, client):
    order, customer, state = fresh("order"), fresh("customer"), package.StreamState
    client.append_to_stream(
        customer, current_version=state.NO_STREAM, events=events(package, "registered")
    )

    def record(name):
        return package.NewRecord(
            stream_name=order, type=name, data=b"{}", metadata=b'{"team": "sales"}'
        )

    check_of = package.StreamStateCheck
    result = client.append_records(
        [record("placed"), record("paid")],
        [check_of(customer, 0), check_of(order, state.NO_STREAM)],
    )
    check(result.commit_position > 0, "an append tells its position")
    [head] = result.stream_positions
    check((head.stream_name, head.stream_position) == (order, 1), "and its revision")
    first = client.get_stream(order)[0]
    # The server adds the type and the format of the record.
    metadata = {"$schema.format": "Json", "$schema.name": "placed", "team": "sales"}
    check((first.type, json.loads(first.metadata)) == ("placed", metadata), "as metadata")
    failed = refused(
        package.ChecksFailed,
        lambda: client.append_records(record("late"), [check_of(order, 1), check_of(customer, 5)]),
    )
    [failure] = failed.failures
    state_failure = failure.stream_state_failure
    check(failure.check_index == 1 and state_failure.stream_name == customer, "which check")
    check((state_failure.expected_state, state_failure.actual_state) == (5, 0), "and its state")
    check(client.get_current_version(order) == 1, "nothing was appended")


def lists_streams(package, client):
    category = f"user{uuid4().hex}"
    for number in (2, 1):
        client.append_to_stream(
            f"{category}-{number}",
            current_version=package.StreamState.ANY,
            events=events(package, "created", "renamed"),
        )
    names = [event.data.decode() for event in client.get_stream(f"$category-{category}")]
    check(names == [f"{category}-2", f"{category}-1"], "in the order of their first events")
    [last] = client.get_stream("$streams", backwards=True, limit=1, resolve_links=True)
    check(last.stream_name == f"{category}-1" and last.stream_position == 0, "the last new one")


def knows_the_only_node(package, client):
    [member] = client.read_gossip()
    address = f"{member.address}:{member.port}"
    check(address == client.connection_target, "the address that was used")


def needs_the_right_password(package, client):
    login = LOGIN.split(":")[0]
    with package.Client(uri=uri(package.scheme, package.address, f"{login}:wrong-one")) as other:
        error = refused(package.Unauthenticated, lambda: other.get_stream(fresh("order")))
        check("wrong-one" not in str(error), "an error has no password")


SCENARIOS = [
    appends_with_each_expectation,
    appends_one_event_by_the_plain_call,
    reads_in_both_directions,
    reads_the_whole_store,
    follows_a_stream,
    follows_the_whole_store,
    follows_a_category,
    sets_metadata,
    deletes_and_revives,
    tombstones,
    lists_streams,
    knows_the_only_node,
    *groups.SCENARIOS,
]


def main():
    package = Package(*sys.argv[1:])
    # The older package has no call for it.
    if hasattr(package.Client, "read_index"):
        SCENARIOS.append(reads_an_index)
        SCENARIOS.append(appends_to_several_streams)
        SCENARIOS.append(appends_with_checks_of_other_streams)
    else:
        print(f"skipped {package.name}: an index and several streams, which it has no calls for")
    if LOGIN is not None:
        SCENARIOS.append(needs_the_right_password)
    run_all(package, SCENARIOS)


main()
