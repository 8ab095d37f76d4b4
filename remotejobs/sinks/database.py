"""The documented `Database`: three functions that anybody's database can have."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from remotejobs.changes import Part
from remotejobs.sinks.fields import KEY, checked
from remotejobs.sinks.pulling import Overtaken


class Database(Protocol):
    """`record` is whatever get_record gives; `values` are by the names that the mapping has."""

    def get_record(self, jobid: str) -> Any:
        """The record of that job, or None."""

    def update(self, record: Any, values: dict[str, Any]) -> None: ...

    def insert(self, values: dict[str, Any]) -> None: ...


@runtime_checkable
class DatabaseWithCursor(Database, Protocol):
    """One that also keeps the cursor, so that only what has changed is told."""

    def get_cursor(self) -> str | None: ...

    def set_cursor(self, cursor: str) -> None: ...

    def transaction(self) -> AbstractContextManager[Any]:
        """All that is done within it is kept, or nothing of it."""


class DatabaseSink:
    """Without the functions of DatabaseWithCursor, everything is told at each pull: slower, and nothing is missed.

    Values are as check_state gives them.
    """

    def __init__(self, database: Database, mapping: Mapping[str, str] | None = None) -> None:
        self._database, self._mapping = database, checked(mapping)

    def __str__(self) -> str:
        return "The database"

    def cursor(self) -> str | None:
        return self._database.get_cursor() if isinstance(self._database, DatabaseWithCursor) else None

    def store(self, parts: Iterable[Part], since: str | None) -> int:
        count, database = 0, self._database
        for part in parts:
            if isinstance(database, DatabaseWithCursor):
                with database.transaction():
                    if database.get_cursor() != since:
                        raise Overtaken(self)
                    self._put(part)
                    database.set_cursor(part.cursor)
            else:
                self._put(part)
            since = part.cursor
            count += len(part.records)
        return count

    def _put(self, part: Part) -> None:
        for record in part.records:
            values = {column: record.get(field) for field, column in self._mapping.items()}
            known = self._database.get_record(record[KEY])
            if known is None:
                self._database.insert(values)
            else:
                self._database.update(known, values)
