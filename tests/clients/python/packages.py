"""The two packages under one set of names.

Owns: the differences between `kurrentdbclient` and `esdbclient`, which are names only, and the URL of
the server. A secured server is told by two variables: GESTA_CLIENT_LOGIN is LOGIN:PASSWORD, and
GESTA_CLIENT_CA the file of the authority.
"""

import importlib
import os
import sys

LOGIN = os.environ.get("GESTA_CLIENT_LOGIN")
AUTHORITY = os.environ.get("GESTA_CLIENT_CA")


def uri(scheme, address, login=LOGIN):
    """Returns the URL of a server."""
    if login is None:
        return f"{scheme}://{address}?Tls=false"
    return f"{scheme}://{login}@{address}?TlsCaFile={AUTHORITY}"


class Package:
    """A client package: its classes, and the URL of a server for it."""

    def __init__(self, name, address):
        module = importlib.import_module(name)
        errors = importlib.import_module(f"{name}.exceptions")
        self.name = name
        self.NewEvent = module.NewEvent
        self.StreamState = module.StreamState
        self.Checkpoint = module.Checkpoint
        self.CaughtUp = module.CaughtUp
        if name == "kurrentdbclient":
            self.scheme = "kurrentdb"
            self.Client = module.KurrentDBClient
            self.AsyncClient = module.AsyncKurrentDBClient
            self.NotFound = errors.NotFoundError
            self.StreamIsDeleted = errors.StreamIsDeletedError
            self.WrongVersion = errors.WrongCurrentVersionError
            self.AlreadyExists = errors.AlreadyExistsError
            self.TooManyConsumers = errors.MaximumSubscriptionsReachedError
            self.SameStreamTwice = errors.MultiAppendToSameStreamError
            self.ChecksFailed = errors.ConsistencyChecksFailedError
            self.NewEvents = module.NewEvents
            self.NewRecord = module.NewRecord
            self.StreamStateCheck = module.StreamStateCheck
        else:
            self.scheme = "esdb"
            self.Client = module.EventStoreDBClient
            self.AsyncClient = module.AsyncEventStoreDBClient
            self.NotFound = errors.NotFound
            self.StreamIsDeleted = errors.StreamIsDeleted
            self.WrongVersion = errors.WrongCurrentVersion
            self.AlreadyExists = errors.AlreadyExists
            self.TooManyConsumers = errors.MaximumSubscriptionsReached
        self.address = address
        self.uri = uri(self.scheme, address)
        # The older package has no class of its own for it.
        self.Unauthenticated = getattr(errors, "UnauthenticatedError", errors.GrpcError)


def check(condition, story):
    """Fails with the story if the condition does not hold."""
    if not condition:
        raise AssertionError(story)


def refused(kind, call):
    """Returns the error of a call that has to be refused with this kind."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}, and nothing was raised")


def run_all(package, scenarios):
    """Runs all scenarios with one client, and ends the program with 1 if one of them failed."""
    failed = 0
    with package.Client(uri=package.uri) as client:
        for scenario in scenarios:
            name = scenario.__name__.replace("_", " ")
            try:
                scenario(package, client)
                print(f"ok      {package.name}: {name}")
            except Exception as error:
                failed += 1
                print(f"FAILED  {package.name}: {name}: {error!r}")
    print(f"{len(scenarios) - failed} of {len(scenarios)} scenarios passed")
    sys.exit(1 if failed else 0)
