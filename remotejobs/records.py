"""The values everything else carries: keys, states, evidence, records. Parsed once, from untrusted bytes."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Self

import msgspec

from remotejobs.errors import BadAppName, BadKey

# `\Z`, not `$` (which allows a newline), and ASCII digits only (`\d` takes Arabic ones).
_KEY = re.compile(r"([0-9a-f]{32})_([1-9][0-9]{0,5})\Z")
# The files of a record, as the probe lists them too. An attempt of six digits is no attempt.
_FILE = re.compile(
    r"([0-9a-f]{32}_[1-9][0-9]{0,5})\.(json|id|cleaned|(?:start|exit|sched|gone|cancel)\.[1-9][0-9]{0,4})\Z"
)
_APP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


class JobKey(NamedTuple):
    """`hash_n`: the n-th submission of the same work."""

    hash: str
    n: int

    @classmethod
    def parse(cls, text: str) -> Self:
        match = _KEY.match(text) if isinstance(text, str) else None
        if not match:
            raise BadKey(text)
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{self.hash}_{self.n}"


def parse_file_name(text: str) -> tuple[JobKey, str] | None:
    """(key, name of the fact, or "json" for the settings) of a record's file; None for anything else."""
    match = _FILE.match(text)
    return (JobKey.parse(match[1]), match[2]) if match else None


def app_name(text: str) -> str:
    """The name of an app, checked: it becomes the folder `~/.<app>` on the server."""
    if not isinstance(text, str) or not _APP.match(text):
        raise BadAppName(text)
    return text


class JobState(StrEnum):
    SUBMITTED = "submitted"
    QUEUED = "queued"
    HELD = "held"
    RUNNING = "running"
    SUSPENDED = "suspended"
    FINISHING = "finishing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    UNKNOWN = "unknown"

    @property
    def is_final(self) -> bool:
        """Ended, as far as the evidence goes; a requeue or late evidence may still reopen it."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.LOST)


class Evidence(StrEnum):
    """Who says so."""

    QUEUE = "queue"
    ACCOUNTING = "accounting"
    EXIT_FILE = "exit_file"
    ACTION = "action"
    INFERRED = "inferred"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What is known of a job, and from whom. Times are seconds since 1970, UTC, by the server's clock."""

    state: JobState
    evidence: Evidence
    attempt: int = 1
    reason: str = (
        ""  # time_limit, memory, node, signal, dependency, by_user, held_by_user, ... or the scheduler's word
    )
    raw: str = ""  # the scheduler's own words
    exit_code: int | None = None
    started: float | None = None
    ended: float | None = None
    updated: float | None = None  # the last change that has a time of its own
    settling: bool = False  # it left the queue, and what became of it is not known yet
    nodes: str = ""
    partition: str = ""
    limit: int | None = None  # walltime limit in seconds
    expected_start: float | None = None


@dataclass(slots=True)
class JobRecord:
    """One submission: what was asked (`settings`, a dict) and the facts, by name ("id", "exit.1"), as dicts of text."""

    key: JobKey
    settings: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, dict[str, str]] = field(default_factory=dict)

    def union(self, other: "JobRecord") -> "JobRecord":
        """Facts are created once and never change, so the record is the union of all that was ever read."""
        return JobRecord(self.key, {**other.settings, **self.settings}, {**other.facts, **self.facts})

    @property
    def attempt(self) -> int:
        """The highest attempt that any fact speaks of, from 1."""
        numbers = (name.partition(".")[2] for name in self.facts)
        return max((int(number) for number in numbers if number.isdecimal()), default=1)

    def fact(self, name: str, attempt: int | None = None) -> dict[str, str]:
        """The fact, or an empty dict: "id" and "cleaned" have no attempt, the others have one."""
        return self.facts.get(name if attempt is None else f"{name}.{attempt}", {})


_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}\Z", re.ASCII)

# C0 but tab and newline, DEL, C1, the bidirectional controls, the byte order mark, surrogates and NUL: they deceive the
# reader of a page or a terminal, and a database refuses some.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def clean(text: str) -> str:
    """The text with what could deceive its reader shown as U+FFFD."""
    return _UNSAFE.sub("\ufffd", text)


def clean_value(value: Any, depth: int = 32) -> Any:
    """The same for whatever JSON gave; numbers that no column takes, and what is nested too deep, become None."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list | dict) and not depth:
        return None
    if isinstance(value, list):
        return [clean_value(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {clean(str(name)): clean_value(item, depth - 1) for name, item in value.items()}
    if isinstance(value, float) and not abs(value) < 1e15:
        return None
    if isinstance(value, int) and not abs(value) < 1 << 53:
        return None
    return value


def read_settings(text: str) -> dict[str, Any] | None:
    """What a settings file says, or None if it is not one: cut, not JSON, not an object."""
    try:
        settings = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return clean_value(settings) if isinstance(settings, dict) else None


def read_fact(text: str) -> dict[str, str] | None:
    """`word=value` lines up to `end`; without that line the file was cut, and there is no fact (yet)."""
    fact: dict[str, str] = {}
    for line in text.split("\n"):
        if line == "end":
            return fact
        word, equals, value = line.partition("=")
        if equals and _WORD.match(word) and len(fact) < 64:
            fact[word] = clean(value[:4000])
    return None
