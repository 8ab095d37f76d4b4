"""A server's answer: spooled and checked (reader.py), then handed out in chunks. Everything in it is hostile."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from remotejobs.cursor import SUM, Cursor
from remotejobs.errors import AnswerBroken
from remotejobs.packed import Packed
from remotejobs.records import JobKey, JobRecord, clean, parse_file_name, read_fact, read_settings

CHUNK_RECORDS = 1000  # the most that is handed out, and stored, at once
CHUNK_TEXT = (
    2 << 20
)  # characters after which the next record goes into another chunk: unpacked they take twenty times that
RECORD_FACTS = 500  # a hundred attempts have as many
RECORD_TEXT = 3 << 20  # characters of one record
# What programs print for a terminal: colours, and moves of its cursor.
_COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_BUCKET = re.compile(rf"([0-9a-f]) ({SUM})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records that arrived whole, and the cursor to store in the transaction that stores them."""

    name: str
    records: list[JobRecord]
    cursor: str
    first: bool = True  # of its bucket or batch
    partial: frozenset[JobKey] = frozenset()  # of which a name could not be read


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
class Cleaned:
    """What a cleaning did; `more`: there is more to do. `keys` are those that a dry run would seal."""

    records: int = 0
    folders: int = 0  # run folders that were moved to the trash
    emptied: int = 0  # run folders that were removed from it
    more: bool = False
    keys: list[JobKey] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a pruning deleted; `more`: there was no time to look at all batches."""

    records: int = 0
    batches: int = 0
    more: bool = False


@dataclass(frozen=True, slots=True)
class LogTail:
    """The end of what a job has printed. `size` is that of the whole file in bytes; `error` "" or why there is nothing."""

    key: JobKey
    stream: str  # stdout, stderr
    content: bytes = b""
    size: int = 0
    error: str = ""

    @property
    def text(self) -> str:
        """Whole lines, for a person: without what would act on a terminal or deceive a reader."""
        content = self.content
        if len(content) < self.size:
            content = content.partition(b"\n")[2] or content
        lines = _COLOURS.sub("", content.decode("utf-8", "replace")).replace("\r\n", "\n").replace("\r", "\n")
        return clean(lines)


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
    beside: list[Packed] = field(
        default_factory=list
    )  # of a `whole` request: open jobs whose bucket did not come
    batches: list[Packed] = field(default_factory=list)
    skipped: int = 0  # names that are no valid records
    unreadable: int = 0  # names whose content could not be read whole: asked for again next time
    damaged: int = 0  # sealed batches of which that is true
    buckets: str | None = None  # those that have records, where the server's list is not the one that we know

    @property
    def total(self) -> int:
        """How many records chunks() will give."""
        return sum(part.records for part in (*self.packed, *self.beside, *self.batches))

    def chunks(self) -> Iterator[Chunk]:
        """Reads the spooled answer as it goes; each chunk's cursor says what has arrived with it and before it.

        Raises AnswerBroken where a part turns out to be none of ours; the chunks before it count.
        """
        self.unreadable = self.damaged
        arrived = _Arrived(self.cursor)
        try:
            yield from self._gone(arrived)
            for part in self.packed:
                yield from self._live(part, arrived)
            for part in self.beside:
                for read in _records(part, self):
                    yield Chunk("beside", read.records, str(arrived.cursor), partial=read.partial)
            for part in self.batches:
                yield from self._sealed(part, arrived)
            yield from self._total(arrived)
        except ValueError as error:
            raise AnswerBroken(f"The records of {self.app} cannot be read: {error}.") from error

    def _gone(self, arrived: "_Arrived") -> Iterator[Chunk]:
        there = self.cursor.buckets if self.buckets is None else self.buckets
        for bucket in sorted(set(self.cursor.buckets) - set(there)):
            # All of its records were sealed, or are gone: they are not among the live ones any more.
            arrived.cursor = arrived.cursor.with_bucket(bucket, "")
            yield Chunk(f"bucket {bucket}", [], str(arrived.cursor))

    def _live(self, part: Packed, arrived: "_Arrived") -> Iterator[Chunk]:
        first, buckets = True, set()
        for read in _records(part, self):
            if read.value is not None:
                arrived.cursor = arrived.cursor.with_bucket(read.bucket, read.value if read.whole else "")
                arrived.is_whole = arrived.is_whole and read.whole
                buckets.add(read.bucket)
            yield Chunk(f"bucket {read.bucket}", read.records, str(arrived.cursor), first, read.partial)
            first = read.value is not None
        if part.is_short:
            # Nobody can say of which bucket something is missing: all of them are asked for again.
            for bucket in buckets:
                arrived.cursor = arrived.cursor.with_bucket(bucket, "")
            arrived.is_whole = False
            yield Chunk("short", [], str(arrived.cursor))

    def _sealed(self, part: Packed, arrived: "_Arrived") -> Iterator[Chunk]:
        for read in _records(part, self):
            if read.value is not None:
                arrived.cursor = arrived.cursor.with_batch(part.name)
            yield Chunk(part.name, read.records, str(arrived.cursor), partial=read.partial)

    def _total(self, arrived: "_Arrived") -> Iterator[Chunk]:
        """The checksum of all, which is kept only if all that it speaks of has come: with it, nothing is asked for again."""
        announced = self.buckets is not None or not self.packed
        lacking = set(self.buckets or "") - set(arrived.cursor.buckets)
        if self.total_sum and announced and not lacking and arrived.is_whole:
            told = arrived.cursor.with_total(self.total_sum, self.skipped)
            if told != arrived.cursor:
                yield Chunk("total", [], str(told))


@dataclass(slots=True)
class _Arrived:
    """What has come so far."""

    cursor: Cursor
    is_whole: bool = True


@dataclass(slots=True)
class Answer:
    server: str
    clock: float = 0.0  # server's clock when it began
    skew: float | None = None  # server's clock minus ours, seconds; None: nothing lives, so nobody looked
    host: str = ""
    gate: str = ""  # of a narrow key: the version of the gate that answered, which does not do everything
    size: int = 0  # bytes received
    sources: dict[str, SourceAnswer] = field(default_factory=dict)
    queues: list[Queue] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # an action that is missing here is unknown
    schedulers: list[str] = field(default_factory=list)  # of the question "detect"
    claimed: int | None = None  # of the question "claimed": the highest n of that work; None: it is not known
    text: str | None = None  # of the question "look", base64
    logs: list[LogTail] = field(default_factory=list)  # of the questions "log"
    cleaned: dict[str, Cleaned] = field(default_factory=dict)  # by app; one that is missing here is unknown
    pruned: dict[str, Pruned] = field(default_factory=dict)
    spool: BinaryIO | None = None

    def close(self) -> None:
        if self.spool is not None:
            self.spool.close()


@dataclass(frozen=True, slots=True)
class _Read:
    """Records gathered by key (the files of one stand together), of one bucket or batch."""

    bucket: str
    value: str | None  # the bucket's checksum, once it is complete
    records: list[JobRecord]
    whole: bool = True  # all of its names so far could be read
    partial: frozenset[JobKey] = frozenset()  # whose names could not


def _records(part: Packed, source: SourceAnswer) -> Iterator[_Read]:
    bucket, value, whole = "", "", True
    gathered = _Gathered()
    for kind, name, text in part.files():
        if kind == "bucket":
            if bucket or gathered.records:
                yield gathered.of(bucket, value, whole)
            match = _BUCKET.match(name)
            if not match:
                raise ValueError("a bucket in it has a strange name")
            bucket, value, gathered, whole = match[1], match[2], _Gathered(), True
            continue
        key, fact = parse_file_name(name) or (None, "")
        if gathered.is_full_for(key):
            yield gathered.of(bucket, None, whole)
            gathered = _Gathered()
        if key is None or kind == "unreadable" or not gathered.add(key, fact, text):
            whole = False
            source.unreadable += 1
            gathered.lack(key)
    yield gathered.of(bucket, value, whole)


@dataclass(slots=True)
class _Gathered:
    """The records of one chunk. It ends between two records, and none of them may be larger than any true one."""

    records: dict[JobKey, JobRecord] = field(default_factory=dict)
    text: int = 0  # characters of all of them
    key: JobKey | None = None  # the one that is being read
    key_text: int = 0
    partial: set[JobKey] = field(default_factory=set)

    def of(self, bucket: str, value: str | None, whole: bool) -> _Read:
        return _Read(bucket, value, list(self.records.values()), whole, frozenset(self.partial))

    def lack(self, key: JobKey | None) -> None:
        if key is not None:
            self.partial.add(key)

    def is_full_for(self, key: JobKey | None) -> bool:
        return key != self.key and (len(self.records) >= CHUNK_RECORDS or self.text >= CHUNK_TEXT)

    def add(self, key: JobKey, fact: str, text: str) -> bool:
        """False: the content did not come whole, or is more than one record can have."""
        if key != self.key:
            self.key, self.key_text = key, 0
        record = self.records.setdefault(key, JobRecord(key))
        if self.key_text + len(text) > RECORD_TEXT:
            return False
        self.text, self.key_text = self.text + len(text), self.key_text + len(text)
        if fact == "json":
            settings = read_settings(text)
            record.settings = settings or record.settings
            return settings is not None
        words = read_fact(text) if fact in record.facts or len(record.facts) < RECORD_FACTS else None
        if words is None:
            return False
        record.facts[fact] = words
        return True
