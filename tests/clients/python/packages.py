"""The two packages under one set of names.

Owns: the differences between `kurrentdbclient` and `esdbclient`, which are names only.
"""

import importlib


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
            self.uri = f"kurrentdb://{address}?Tls=false"
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
            self.uri = f"esdb://{address}?Tls=false"
            self.Client = module.EventStoreDBClient
            self.AsyncClient = module.AsyncEventStoreDBClient
            self.NotFound = errors.NotFound
            self.StreamIsDeleted = errors.StreamIsDeleted
            self.WrongVersion = errors.WrongCurrentVersion
            self.AlreadyExists = errors.AlreadyExists
            self.TooManyConsumers = errors.MaximumSubscriptionsReached


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
