"""A server's answer: spooled and checked (reader.py), then handed out in chunks. Everything in it is hostile."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from remotejobs.cursor import SUM, Cursor
from remotejobs.errors import AnswerBroken
from remotejobs.packed import Packed
from remotejobs.records import JobKey, JobRecord, parse_file_name, read_fact, read_settings

CHUNK_RECORDS = 1000  # the most that is handed out, and stored, at once
_BUCKET = re.compile(rf"([0-9a-f]) ({SUM})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records that arrived whole, and the cursor to store in the transaction that stores them."""

    name: str
    records: list[JobRecord]
    cursor: str
    first: bool = True  # of its bucket or batch


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one action: `state` is done, refused, unknown (not settled; send the same uuid again) or not_started."""

    uuid: str
    state: str
    sentence: str
    key: JobKey | None = None  # of a submission: what it got
    scheduler_id: str = ""
    code: str = ""


@dataclass(slots=True)
class Queue:
    """What one scheduler on that server said last: its lines, as its .sh printed them."""

    scheduler: str
    cluster: str
    host: str
    at: float  # server's clock
    lines: list[str] = field(default_factory=list)
    complete: bool = False
    accounting: str = "unasked"  # complete, none (this cluster has none), failed, unasked


@dataclass(slots=True)
class SourceAnswer:
    """The records of one app. `error` "" or a sentence: this folder could not be read, and nothing of it counts."""

    app: str
    cursor: Cursor
    error: str = ""
    absent: bool = False  # the server has no such folder (yet)
    total_sum: str = ""
    packed: list[Packed] = field(default_factory=list)
    batches: list[Packed] = field(default_factory=list)
    skipped: int = 0  # names that are no valid records
    unreadable: int = 0  # names whose content could not be read whole: asked for again next time
    damaged: int = 0  # sealed batches of which that is true
    buckets: str | None = None  # those that have records, where the server's list is not the one that we know

    @property
    def total(self) -> int:
        """How many records chunks() will give."""
        return sum(part.records for part in (*self.packed, *self.batches))

    def chunks(self) -> Iterator[Chunk]:
        """Reads the spooled answer as it goes; each chunk's cursor says what has arrived with it and before it.

        Raises AnswerBroken where a part turns out to be none of ours; the chunks before it count.
        """
        self.unreadable = self.damaged
        try:
            yield from self._chunks()
        except ValueError as error:
            raise AnswerBroken(f"The records of {self.app} cannot be read: {error}.") from error

    def _chunks(self) -> Iterator[Chunk]:
        cursor, all_whole = self.cursor, True
        there = cursor.buckets if self.buckets is None else self.buckets
        for bucket in sorted(set(cursor.buckets) - set(there)):
            # All of its records were sealed, or are gone: they are not among the live ones any more.
            cursor = cursor.with_bucket(bucket, "")
            yield Chunk(f"bucket {bucket}", [], str(cursor))
        for part in self.packed:
            first = True
            for bucket, value, records, whole in _records(part, self):
                if value is not None:
                    cursor = cursor.with_bucket(bucket, value if whole else "")
                    all_whole = all_whole and whole
                yield Chunk(f"bucket {bucket}", records, str(cursor), first)
                first = value is not None
        for part in self.batches:
            for _bucket, value, records, _whole in _records(part, self):
                if value is not None:
                    cursor = cursor.with_batch(part.name)
                yield Chunk(part.name, records, str(cursor))
        if self.total_sum and all_whole:
            told = cursor.with_total(self.total_sum, self.skipped)
            if told != cursor:
                yield Chunk("total", [], str(told))


@dataclass(slots=True)
class Answer:
    server: str
    clock: float = 0.0  # server's clock when it began
    skew: float = 0.0  # server's clock minus ours, seconds
    host: str = ""
    size: int = 0  # bytes received
    sources: dict[str, SourceAnswer] = field(default_factory=dict)
    queues: list[Queue] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # an action that is missing here is unknown
    schedulers: list[str] = field(default_factory=list)  # of the question "detect"
    claimed: int = 0  # of the question "claimed": the highest n of that work
    text: str | None = None  # of the question "look", base64
    spool: BinaryIO | None = None

    def close(self) -> None:
        if self.spool is not None:
            self.spool.close()


def _records(part: Packed, source: SourceAnswer) -> Iterator[tuple[str, str | None, list[JobRecord], bool]]:
    """(bucket, its checksum once it is complete, records, whole): records gathered by key, the files of one stand together."""
    bucket, value, whole = "", "", True
    records: dict[JobKey, JobRecord] = {}
    for kind, name, text in part.files():
        if kind == "bucket":
            if bucket or records:
                yield bucket, value, list(records.values()), whole
            match = _BUCKET.match(name)
            if not match:
                raise ValueError("a bucket in it has a strange name")
            bucket, value, records, whole = match[1], match[2], {}, True
            continue
        key, fact = parse_file_name(name) or (None, "")
        if len(records) >= CHUNK_RECORDS and key not in records:
            yield bucket, None, list(records.values()), whole
            records = {}
        if key is None or kind == "unreadable" or not _add(records, key, fact, text):
            whole = False
            source.unreadable += 1
    yield bucket, value, list(records.values()), whole


def _add(records: dict[JobKey, JobRecord], key: JobKey, fact: str, text: str) -> bool:
    """False: the content did not come whole."""
    record = records.setdefault(key, JobRecord(key))
    if fact == "json":
        settings = read_settings(text)
        record.settings = settings or record.settings
        return settings is not None
    words = read_fact(text)
    if words is None:
        return False
    record.facts[fact] = words
    return True
