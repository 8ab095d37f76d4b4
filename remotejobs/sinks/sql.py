"""SQLite and PostgreSQL without more between: a table of jobs, and beside it one of cursors, in one transaction."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from remotejobs.changes import Part
from remotejobs.errors import BadInput
from remotejobs.sinks.fields import FIELDS, KEY, as_json, checked, identifier, row
from remotejobs.sinks.pulling import NotStored, Overtaken

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

CURSORS = '"remotejobs_cursors"'


class _SQLSink(ABC):
    """The table is made where it is missing; one that is there needs its key column to be unique. Close it, or use `with`."""

    types: ClassVar[dict[str, str]]
    mark: ClassVar[str]  # of a value in a statement

    def __init__(self, table: str, mapping: Mapping[str, str] | None) -> None:
        """With the connection open, which does not stay so where this is refused."""
        try:
            self._name, self._table = table, identifier(table)
            self._mapping = checked(mapping)
            self._columns = [identifier(column) for column in self._mapping.values()]
            self._key = identifier(self._mapping[KEY])
            with self._explained(), self._transaction():
                self._make_tables()
        except BaseException:
            self.close()
            raise

    def __str__(self) -> str:
        return f"The table {self._name}"

    @abstractmethod
    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        """The DB-API cursor of it."""

    @abstractmethod
    def _execute_all(self, statement: str, rows: list[tuple[Any, ...]]) -> None: ...

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[Any]: ...

    @abstractmethod
    def _explained(self) -> AbstractContextManager[None]:
        """What the database says becomes a sentence: BadInput where a table is not made for this, else NotStored."""

    def _unfit(self, error: Exception) -> BadInput:
        return BadInput(
            f"{self} does not fit the mapping ({str(error).splitlines()[0]}): it needs a column for each "
            f"field, and {self._key} has to be its primary key, or unique. Where the table is missing, it is made."
        )

    @abstractmethod
    def _value(self, value: Any, kind: str) -> Any: ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make_tables(self) -> None:
        columns = ", ".join(
            f"{identifier(column)} {self.types[FIELDS[field]]}{' PRIMARY KEY' if field == KEY else ''}"
            for field, column in self._mapping.items()
        )
        self._execute(f"CREATE TABLE IF NOT EXISTS {self._table} ({columns})")
        self._execute(f"CREATE TABLE IF NOT EXISTS {CURSORS} (name TEXT PRIMARY KEY, cursor TEXT NOT NULL)")

    def cursor(self) -> str | None:
        select = f"SELECT cursor FROM {CURSORS} WHERE name = {self.mark}"  # noqa: S608 (both are constants)
        with self._explained():
            found = self._execute(select, (self._name,)).fetchone()
        return None if found is None else str(found[0])

    def store(self, parts: Iterable[Part], since: str | None) -> int:
        count = 0
        for part in parts:
            with self._explained(), self._transaction():
                self._move_cursor(since, part.cursor)
                self._execute_all(self._upsert(), [self._values(record) for record in part.records])
            since = part.cursor
            count += len(part.records)
        return count

    def _move_cursor(self, since: str | None, cursor: str) -> None:
        """First: whoever else stores waits here, and then finds another cursor than the one that it knows."""
        if since is None:
            done = self._execute(
                f"INSERT INTO {CURSORS} (name, cursor) VALUES ({self.mark}, {self.mark}) ON CONFLICT DO NOTHING",  # noqa: S608  constants
                (self._name, cursor),
            )
        else:
            done = self._execute(
                f"UPDATE {CURSORS} SET cursor = {self.mark} WHERE name = {self.mark} AND cursor = {self.mark}",  # noqa: S608  constants
                (cursor, self._name, since),
            )
        if done.rowcount != 1:
            raise Overtaken(self)

    def _upsert(self) -> str:
        others = ", ".join(f"{column} = excluded.{column}" for column in self._columns if column != self._key)
        # Names are checked and quoted, values are parameters.
        return (
            f"INSERT INTO {self._table} ({', '.join(self._columns)}) "  # noqa: S608  checked names
            f"VALUES ({', '.join([self.mark] * len(self._columns))}) "
            f"ON CONFLICT ({self._key}) DO " + (f"UPDATE SET {others}" if others else "NOTHING")
        )

    def _values(self, record: Mapping[str, Any]) -> tuple[Any, ...]:
        values = row(record, self._mapping)
        return tuple(self._value(values[column], FIELDS[field]) for field, column in self._mapping.items())


class SQLiteSink(_SQLSink):
    """A table of an SQLite file. Times are text, `2026-01-31 12:00:00.000+00:00`, which sorts; lists and dicts are JSON text."""

    types: ClassVar[dict[str, str]] = {
        "text": "TEXT",
        "whole": "INTEGER",
        "flag": "INTEGER",
        "time": "TEXT",
        "json": "TEXT",
    }
    mark = "?"

    def __init__(
        self, path: str | Path, table: str = "jobs", mapping: Mapping[str, str] | None = None
    ) -> None:
        # No transaction is begun behind our back; who finds it locked waits.
        try:
            self._connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
        except sqlite3.Error as error:
            raise NotStored(f"The database {path}", error) from error
        super().__init__(table, mapping)

    def close(self) -> None:
        self._connection.close()

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    def _execute_all(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        self._connection.executemany(statement, rows)

    @contextmanager
    def _transaction(self) -> "Iterator[None]":
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> "Iterator[None]":
        try:
            yield
        except sqlite3.Error as error:
            is_unfit = "no column" in str(error) or "ON CONFLICT" in str(error)
            raise (self._unfit(error) if is_unfit else NotStored(self, error)) from error

    def _value(self, value: Any, kind: str) -> Any:
        if kind == "json":
            return as_json(value)
        return value.isoformat(" ", "milliseconds") if isinstance(value, datetime) else value


class PostgreSQLSink(_SQLSink):
    """A table of a PostgreSQL database (`postgresql://user@host/name`, or a DSN of libpq). It needs psycopg."""

    types: ClassVar[dict[str, str]] = {
        "text": "TEXT",
        "whole": "BIGINT",
        "flag": "BOOLEAN",
        "time": "TIMESTAMPTZ",
        "json": "JSONB",
    }
    mark = "%s"

    def __init__(self, address: str, table: str = "jobs", mapping: Mapping[str, str] | None = None) -> None:
        import psycopg

        self._psycopg = psycopg
        try:
            self._connection: psycopg.Connection[Any] = psycopg.connect(address, autocommit=True)
        except psycopg.ProgrammingError:
            # Without the text itself: there may be a password in it.
            raise BadInput(
                "The address of the database is none: it looks like postgresql://user@host/name."
            ) from None
        except psycopg.Error as error:
            raise NotStored("The PostgreSQL database", error) from error
        super().__init__(table, mapping)

    def close(self) -> None:
        self._connection.close()

    def _make_tables(self) -> None:
        # IF NOT EXISTS fails where two make the same table at once.
        self._execute("SELECT pg_advisory_xact_lock(hashtext(%s))", ("remotejobs sinks",))
        super()._make_tables()

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> "psycopg.Cursor[Any]":
        return self._connection.execute(statement.encode(), values)

    def _execute_all(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(statement.encode(), rows)

    def _transaction(self) -> AbstractContextManager[Any]:
        return self._connection.transaction()

    @contextmanager
    def _explained(self) -> "Iterator[None]":
        errors = self._psycopg.errors
        unfit = (errors.UndefinedColumn, errors.InvalidColumnReference, errors.DatatypeMismatch)
        try:
            yield
        except errors.Error as error:
            raise (self._unfit(error) if isinstance(error, unfit) else NotStored(self, error)) from error

    def _value(self, value: Any, kind: str) -> Any:
        return as_json(value) if kind == "json" else value
