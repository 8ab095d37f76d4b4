"""`jobs.changes(cursor)`: what has changed since then, each job as check_state gives it, and the cursor to store with it."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Self

from remotejobs import answer
from remotejobs.answer import Answer, Chunk
from remotejobs.cursor import Cursor
from remotejobs.described import described
from remotejobs.places import Union, in_several_places, known_batches, put_together
from remotejobs.queues import read_queue
from remotejobs.records import JobKey, JobRecord
from remotejobs.states import derive, weight
from remotejobs.told import Told, content_of

PIECES = (
    16  # chunks of an answer, the most that is handed out at once; few jobs of many buckets come together
)


@dataclass(frozen=True, slots=True)
class Part:
    """Up to a thousand jobs, and the cursor that belongs into the transaction that stores them."""

    records: list[dict[str, Any]]
    cursor: str


class Changes:
    """Iterate once: each item is a dict of a job that is new, or of which anything has changed. One exchange made it.

    `cursor` is what to store in the same transaction as the records. While the iteration runs, it speaks only of what was
    handed out before; to store piece by piece, use `parts()`. Nothing about it is kept on the server: a database that was
    copied, set back or killed half-way misses nothing. A job may be told again, never left out.
    Raises AnswerBroken where the answer turns out to be none of ours; what was handed out before counts.
    """

    def __init__(self, given: Answer, told: Told, cursor: str | None) -> None:
        self._answer, self._told = given, told
        self._source = given.sources[told.app]
        self._queues = [read_queue(queue) for queue in given.queues]
        self._had = known_batches(self._source)
        self._several: set[JobKey] = set()
        self._held: set[str] = set()  # buckets and batches with a job that could not be told: asked for again
        self._bucket, self._in_bucket = "", set[JobKey]()
        self.cursor = told.text(told.names) if cursor is None else cursor
        self._parts = self._all_parts()
        self._items = (record for part in self._parts for record in part.records)

    @property
    def unreadable(self) -> int:
        """How many names had a content that could not be read whole, once all is read. They are asked for again."""
        return self._source.unreadable

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._items

    def parts(self) -> Iterator[Part]:
        """The same in pieces that can be stored one by one, each in its own transaction with its cursor."""
        return self._parts

    def close(self) -> None:
        """Gives the spooled answer back. Reading to the end does it too."""
        self._parts.close()
        self._answer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _all_parts(self) -> Generator[Part, None, None]:
        records, names, pieces = list[dict[str, Any]](), self._told.names, 0
        try:
            for more, names in self._pieces():
                records, pieces = [*records, *more], pieces + bool(more)
                if len(records) >= answer.CHUNK_RECORDS or pieces == PIECES:
                    yield from self._part(records, names)
                    records, pieces = [], 0
            yield from self._part(records, names)
        finally:
            self._answer.close()

    def _part(self, records: list[dict[str, Any]], names: Cursor) -> Iterator[Part]:
        text = self._told.text(names.without(self._held))
        if records or text != self.cursor:
            yield Part(records, text)
        self.cursor = text

    def _pieces(self) -> Iterator[tuple[list[dict[str, Any]], Cursor]]:
        """The jobs of a chunk that have anything new, and what has arrived by then."""
        # First what stands in several places: by the time that one of these counts as arrived, it has been told.
        for keys in in_several_places(self._source):
            self._several.update(keys)
            told = (self._tell(union) for union in put_together(self._source, keys))
            yield [state for state in told if state], self._told.names
        names = self._told.names
        for chunk in self._source.chunks():
            records, names = self._take(chunk), Cursor.parse(chunk.cursor)
            yield records, names
        self._end_bucket()
        yield [], names

    def _take(self, chunk: Chunk) -> list[dict[str, Any]]:
        """The jobs of this chunk that have anything new. A batch that was had already comes for its part in others."""
        is_bucket = chunk.name.startswith("bucket ")
        if chunk.first or not is_bucket:
            self._end_bucket()
        if is_bucket:
            self._bucket = chunk.name[-1]
            self._in_bucket |= {record.key for record in chunk.records} | chunk.partial
        if chunk.name in self._had:
            return []
        is_live = is_bucket or chunk.name == "beside"
        batches = set() if is_live else {chunk.name}
        told = (
            self._tell(Union(record, record.key in chunk.partial, is_live, batches))
            for record in chunk.records
            if record.key not in self._several
        )
        return [state for state in told if state]

    def _end_bucket(self) -> None:
        if self._bucket:
            self._told.keep(self._bucket, self._in_bucket)
        self._bucket, self._in_bucket = "", set()

    def _tell(self, union: Union) -> dict[str, Any] | None:
        """What check_state would say of it, if that is not what its reader has."""
        record, told = union.record, self._told
        if not record.settings:
            # Not a job, unless what says so could not be read.
            self._hold(union, union.is_partial or self._source.damaged > 0)
            return None
        status = derive(record, self._queues, self._answer.clock, told.last(record.key))
        state = described(record, status)
        content, much, before = content_of(state), weight(status), told.weight(record.key)
        is_new = not told.has(record.key, content)
        if is_new and union.is_partial and before is not None and much < before:
            # A fact that was read once cannot be read now: that takes nothing back.
            self._hold(union, True)
            return None
        if union.is_live:
            told.tell(record.key, much, content, None if self._is_by_facts(record, state) else status)
        return state if is_new else None

    def _hold(self, union: Union, is_incomplete: bool) -> None:
        """Where it stands is asked for again, if anything of it may still come."""
        if is_incomplete:
            self._held |= union.batches | ({union.record.key.hash[0]} if union.is_live else set())

    def _is_by_facts(self, record: JobRecord, state: dict[str, Any]) -> bool:
        """Whether the facts alone say the same: else a queue did, and an answer without that queue would not."""
        return described(record, derive(record, (), self._answer.clock)) == state
