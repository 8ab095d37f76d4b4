"""Bringing a sink up to date: what every sink has to do, and the one loop around it."""

from collections.abc import Iterable
from typing import Protocol

from remotejobs.changes import Part
from remotejobs.errors import RemoteJobsError
from remotejobs.submitter import RemoteJobSubmitter

TRIES = 5


class Overtaken(RemoteJobsError):
    """Another pull stored something in this sink meanwhile: its cursor is a later one, and nothing was stored now."""

    def __init__(self, sink: object) -> None:
        super().__init__(f"{sink} was written by others all the time. Nothing is lost; try again.")


class NotStored(RemoteJobsError):
    """The database or file could not be read or written. What was stored before counts; the next pull goes on from there."""

    def __init__(self, sink: object, error: Exception) -> None:
        said = " ".join(str(error).split())
        super().__init__(
            f"{sink} could not be brought up to date: {said}. Mend that and pull again; nothing is lost."
        )


class Sink(Protocol):
    """Holds the jobs of one app of one server: equal work has the same jobid on the next one."""

    def cursor(self) -> str | None:
        """The cursor that was stored with what is there now; None: everything is to be told."""

    def store(self, parts: Iterable[Part], since: str | None) -> int:
        """Stores each part together with its cursor, or neither; gives how many jobs these were.

        `since` is what `cursor()` gave. Raises Overtaken if that is not the cursor there any more.
        """


def pull(jobs: RemoteJobSubmitter, sink: Sink) -> int:
    """Brings the sink up to date in one exchange, and gives how many jobs had changed.

    It may be killed at any moment, and run by several at once: then the next pull goes on from what was stored.
    """
    for _ in range(TRIES):
        since = sink.cursor()
        with jobs.changes(since) as changes:
            try:
                return sink.store(changes.parts(), since)
            except Overtaken:
                continue
    raise Overtaken(sink)
