"""What each batch system must answer, in Python: its words as our states, a person's options as its header lines.

Nothing here runs a command. The verbs that run on the server stand beside each class, in a file of the same name (.sh).
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from remotejobs.errors import BadInput
from remotejobs.records import Evidence, JobKey, JobState

# Times beyond the year 9999 and numbers that no column takes are no times and numbers to us.
_WHOLE = re.compile(r"[0-9]{1,11}\Z")


def whole(text: object, limit: int = 253402300799) -> int | None:
    """A number of ASCII digits up to `limit`, else None: what a server prints is not believed to be one."""
    if not isinstance(text, str) or not _WHOLE.match(text) or int(text) > limit:
        return None
    return int(text)


@dataclass(frozen=True, slots=True)
class Row:
    """What one line of a scheduler says of one attempt of one job. Times are seconds since 1970."""

    id: str
    state: JobState
    evidence: Evidence
    submitted: int | None = None
    first: int | None = (
        None  # when the job itself was submitted, where the line says so beside a later attempt's time
    )
    attempt: int = 1
    reason: str = ""
    raw: str = ""
    exit_code: int | None = None
    started: int | None = None
    ended: int | None = None
    nodes: str = ""
    partition: str = ""
    limit: int | None = None  # seconds
    expected_start: int | None = None
    listed: bool = False  # the queue lists it as not ended
    absent: bool = False  # it was asked about, and the queue does not list it; `state` says nothing then
    may_return: bool = False  # it ended in a way that may bring it back under the same id


class Scheduler(ABC):
    """One batch system. `header_first` are lines that a person's own directives override."""

    name: ClassVar[str]
    header_first: ClassVar[tuple[str, ...]] = ()
    # Whether a job may come back after its exit file was written. Where not, that file needs no other witness.
    requeues: ClassVar[bool] = True

    @abstractmethod
    def read_queue(self, lines: Sequence[str]) -> dict[str, list[Row]]:
        """The rows of a queue answer, by `row_key`. A line that is not one is left out; it never raises."""

    @abstractmethod
    def read_ending(self, line: str) -> Row | None:
        """The ending that a `sched` fact keeps, as x.sh chose its line; None for anything else."""

    @abstractmethod
    def header(self, options: Mapping[str, Any], job_name: str) -> list[str]:
        """The lines for the script's head. Raises BadInput, with a sentence, for what cannot stand there."""

    @abstractmethod
    def directives(self, script: str) -> list[str]:
        """The directive lines at the head of a person's own script, which stand before those of `header`."""

    def head(self, options: Mapping[str, Any], job_name: str, script: str) -> list[str]:
        """All lines at the head of a job's script. A scheduler lets the later of two lines hold: what was asked for
        explicitly wins over the person's script, and that over our own."""
        return [*self.header_first, *self.directives(script), *self.header(options, job_name)]

    def environment(self, job_name: str) -> dict[str, str]:
        """What the scheduler itself would have set for the job, had it not been submitted under another name."""
        return {}

    def answers_for(self, identity: Mapping[str, str], cluster: str, host: str) -> bool:
        """Whether the queue of that cluster (asked on that host) can know the job: the next cluster's 4711 is another."""
        return bool(cluster) and identity.get("cluster") == cluster

    def row_key(self, key: JobKey, identity: Mapping[str, str]) -> str:
        """Under which name `read_queue` has this job's rows."""
        return identity.get("id", "")

    def is_same(self, identity: Mapping[str, str], row: Row) -> bool:
        """Whether the row is of this very job, and not of another that was given its id later."""
        submitted = whole(identity.get("submitted"))
        if submitted is None or row.submitted is None:
            return False
        if row.first is not None or row.attempt == 1:
            return submitted == (row.submitted if row.first is None else row.first)
        return row.submitted >= submitted


# ---- what goes into a header, checked ----


def number_option(options: Mapping[str, Any], name: str, limit: int = 10**9) -> int | None:
    value = options.get(name)
    if value is None or value == "":
        return None
    number = whole(value.strip(), limit) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= limit:
        raise BadInput(f"{name} is {value!r}, and has to be a whole number from 1 to {limit}.")
    return number


def word_option(options: Mapping[str, Any], name: str, alphabet: re.Pattern[str]) -> str | None:
    value = options.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not alphabet.fullmatch(value):
        raise BadInput(
            f"{name} is {value!r}, and may have letters, digits and the characters . _ - only, and no more than 200."
        )
    return value


def one_line(text: object, what: str, limit: int = 1000) -> str:
    """The text, if it can stand in one line of a script's head."""
    if (
        not isinstance(text, str)
        or len(text) > limit
        or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)
    ):
        raise BadInput(f"{what} has to be one line of at most {limit} characters without control characters.")
    return text
