"""Jobs that stand in several places of one answer: live, beside, in batches. The record is the union of all of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from remotejobs.answer import SourceAnswer
from remotejobs.errors import AnswerBroken
from remotejobs.packed import Packed
from remotejobs.records import JobKey, JobRecord, parse_file_name

SLICE_TEXT = 4 << 20  # characters of the records that are put together at once


@dataclass(slots=True)
class Union:
    """All that an answer has of one job."""

    record: JobRecord
    is_partial: bool = False  # a name of it could not be read
    is_live: bool = False
    batches: set[str] = field(default_factory=set)


def known_batches(source: SourceAnswer) -> frozenset[str]:
    """Those that the reader had already: they come again for the jobs that stand elsewhere as well, and only for these."""
    return frozenset(source.cursor.sealed)


def in_several_places(source: SourceAnswer) -> Iterator[list[JobKey]]:
    """The keys that stand in more than one, in slices whose records can be held at once. Raises AnswerBroken as chunks() does."""
    known = known_batches(source)
    new = [*source.packed, *source.beside, *(part for part in source.batches if part.name not in known)]
    had = [part for part in source.batches if part.name in known]
    if len(new) + len(had) < 2:
        return
    try:
        sizes = _sizes(new, had)
    except ValueError as error:
        raise AnswerBroken(f"The records of {source.app} cannot be read: {error}.") from error
    yield from _slices(sizes)


def _sizes(new: list[Packed], had: list[Packed]) -> dict[str, int]:
    """About how many characters all that there is of a job takes, for those in several places."""
    seen: set[int] = set()  # hashes of keys: two keys with the same one only cost an unneeded look
    sizes: dict[str, int] = {}
    for is_new, part in (*((True, part) for part in new), *((False, part) for part in had)):
        for key, size in _keys(part):
            if hash(key) in seen:
                sizes[key] = sizes.get(key, size) + size
            elif is_new:
                seen.add(hash(key))
    return sizes


def _keys(part: Packed) -> Iterator[tuple[str, int]]:
    """Each key of the part once, with the length of its files: they stand together."""
    now, size = "", 0
    for kind, name, text in part.files():
        if kind == "bucket" or not parse_file_name(name):
            continue
        key = name.partition(".")[0]
        if key != now and now:
            yield now, size
        size = len(text) if key != now else size + len(text)
        now = key
    if now:
        yield now, size


def _slices(sizes: dict[str, int]) -> Iterator[list[JobKey]]:
    keys: list[JobKey] = []
    room = SLICE_TEXT
    for key, size in sizes.items():
        if keys and room < size:
            yield keys
            keys, room = [], SLICE_TEXT
        keys.append(JobKey.parse(key))
        room -= size
    if keys:
        yield keys


def put_together(source: SourceAnswer, keys: Iterable[JobKey]) -> list[Union]:
    """The unions of these keys, over the whole answer."""
    found = {key: Union(JobRecord(key)) for key in keys}
    for chunk in source.chunks():
        is_live = chunk.name.startswith(("bucket ", "beside"))
        for record in chunk.records:
            if union := found.get(record.key):
                union.record = union.record.union(record)
                union.is_live = union.is_live or is_live
                if not is_live:
                    union.batches.add(chunk.name)
        for key in chunk.partial & found.keys():
            found[key].is_partial = True
    return list(found.values())
