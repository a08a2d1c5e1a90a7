"""Projections through the synchronous client of an official package.

Usage: projections.py PACKAGE HOST:PORT
"""

import importlib
import json
import sys
import time
from uuid import uuid4

from packages import Package, check, refused, run_all

COUNT = "when({ $init: () => ({ n: 0 }), placed(s, e) { s.n += e.data.n } })"


def fresh(category):
    return f"{category}-{uuid4().hex}"


def place(package, client, stream, *numbers):
    events = [
        package.NewEvent(type="placed", data=json.dumps({"n": n}).encode()) for n in numbers
    ]
    client.append_to_stream(stream, current_version=package.StreamState.ANY, events=events)


def until(condition, story):
    """Waits for a condition; the server runs projections in the background."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError(story)


def creates_and_reads_a_state(package, client):
    stream, name = fresh("order"), fresh("count")
    place(package, client, stream, 1, 2)
    client.create_projection(name=name, query=f"fromStream('{stream}').{COUNT}")
    place(package, client, stream, 3)
    until(lambda: client.get_projection_state(name).value == {"n": 6}, "the state is 6")
    statistics = client.get_projection_statistics(name=name)
    check(statistics.name == name and statistics.mode == "Continuous", "it is found by its name")
    check(statistics.status == "Running", "it runs")
    # The older package lists by another name, or not at all.
    for list_all in ["list_all_projection_statistics", "list_continuous_projection_statistics"]:
        if hasattr(client, list_all):
            check(name in [found.name for found in getattr(client, list_all)()], list_all)


def emits_links_and_results(package, client):
    stream, name = fresh("order"), fresh("emit")
    query = (
        f"fromStream('{stream}').when({{ placed(s, e) {{ s.last = e.data.n;"
        f" emit('copies-{name}', 'copied', e.data); linkTo('links-{name}', e); return s }} }})"
        ".outputState()"
    )
    client.create_projection(name=name, query=query, emit_enabled=True)
    place(package, client, stream, 1, 2, 3)
    until(lambda: client.get_projection_state(name).value == {"last": 3}, "all were handled")
    client.disable_projection(name)
    copies = client.get_stream(f"copies-{name}")
    check([json.loads(event.data)["n"] for event in copies] == [1, 2, 3], "each once, in order")
    links = client.get_stream(f"links-{name}", resolve_links=True)
    check([json.loads(event.data)["n"] for event in links] == [1, 2, 3], "links are resolved")
    results = client.get_stream(f"$projections-{name}-result")
    check([event.type for event in results] == ["Result"] * 3, "a result for each change")


def stops_changes_resets_and_deletes(package, client):
    stream, name = fresh("order"), fresh("life")
    place(package, client, stream, 1)
    client.create_projection(name=name, query=f"fromStream('{stream}').{COUNT}")
    refused(package.AlreadyExists, lambda: client.create_projection(name=name, query=""))
    until(lambda: client.get_projection_state(name).value == {"n": 1}, "the state is 1")
    refused(package.OperationFailed, lambda: client.delete_projection(name))
    client.disable_projection(name)
    check("Stopped" in client.get_projection_statistics(name=name).status, "it is stopped")
    place(package, client, stream, 5)
    client.enable_projection(name)
    until(lambda: client.get_projection_state(name).value == {"n": 6}, "the state is 6")
    double = "when({ $init: () => ({ n: 0 }), placed(s, e) { s.n += 2 * e.data.n } })"
    client.update_projection(name, query=f"fromStream('{stream}').{double}")
    client.reset_projection(name)
    until(lambda: client.get_projection_state(name).value == {"n": 12}, "it began again")
    # The older package has no call to abort.
    if hasattr(client, "abort_projection"):
        client.abort_projection(name)
        check("Aborted" in client.get_projection_statistics(name=name).status, "it is aborted")
    else:
        client.disable_projection(name)
    client.delete_projection(
        name, delete_emitted_streams=True, delete_state_stream=True, delete_checkpoint_stream=True
    )
    refused(package.NotFound, lambda: client.get_projection_statistics(name=name))
    refused(package.NotFound, lambda: client.get_projection_state(name))


def a_wrong_script_is_faulted(package, client):
    name = fresh("wrong")
    client.create_projection(name=name, query="")
    until(lambda: "Faulted" in client.get_projection_statistics(name=name).status, "it is faulted")
    check(client.get_projection_statistics(name=name).state_reason, "with a reason")


def projections_of_the_system_run(package, client):
    for name in ["$by_category", "$by_event_type", "$streams"]:
        check(client.get_projection_statistics(name=name).status == "Running", f"{name} runs")
    refused(package.FailedPrecondition, lambda: client.disable_projection("$by_category"))
    client.restart_projections_subsystem()


SCENARIOS = [
    creates_and_reads_a_state,
    emits_links_and_results,
    stops_changes_resets_and_deletes,
    a_wrong_script_is_faulted,
    projections_of_the_system_run,
]


def main():
    package = Package(*sys.argv[1:])
    errors = importlib.import_module(f"{package.name}.exceptions")
    suffix = "Error" if package.name == "kurrentdbclient" else ""
    package.AlreadyExists = getattr(errors, f"AlreadyExists{suffix}")
    package.FailedPrecondition = getattr(errors, f"FailedPrecondition{suffix}")
    package.OperationFailed = getattr(errors, f"OperationFailed{suffix}")
    run_all(package, SCENARIOS)


main()
