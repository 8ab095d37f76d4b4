"""A table of anybody's SQLAlchemy: every dialect, and the columns that are there already."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from remotejobs.changes import Part
from remotejobs.errors import BadInput
from remotejobs.sinks.fields import KEY, as_json, checked, row
from remotejobs.sinks.pulling import NotStored, Overtaken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine, Table

KEYS_AT_ONCE = 500  # some databases take no more values in one statement


class TableSink:
    """`table` is a sqlalchemy.Table; `mapping` field to column, without it the fields that the table has columns for.

    A field that is a list or a dict (arguments, environment, options) goes into a JSON column as it is, into another as JSON
    text; times are datetimes in UTC. The cursor lies in `remotejobs_cursors`, a table that is made in the same database.
    """

    def __init__(self, engine: "Engine", table: "Table", mapping: Mapping[str, str] | None = None) -> None:
        import sqlalchemy

        self._sql, self._engine, self._table = sqlalchemy, engine, table
        if mapping is None:
            mapping = {field: field for field in checked(None) if field in table.c}
        self._mapping = checked(mapping)
        missing = [column for column in self._mapping.values() if column not in table.c]
        if missing:
            raise BadInput(f"The table {table.name} has no column {missing[0]!r}, which the mapping names.")
        self._key = self._mapping[KEY]
        self._cursors = sqlalchemy.Table(
            "remotejobs_cursors",
            sqlalchemy.MetaData(schema=table.schema),
            sqlalchemy.Column("name", sqlalchemy.String(255), primary_key=True),
            sqlalchemy.Column("cursor", _long_text(sqlalchemy), nullable=False),
        )
        with self._explained():
            self._make_cursors()

    def _make_cursors(self) -> None:
        try:
            self._cursors.create(self._engine, checkfirst=True)
        except self._sql.exc.DBAPIError:
            # Another one may have made it since it was looked for.
            if not self._sql.inspect(self._engine).has_table(self._cursors.name, schema=self._cursors.schema):
                raise

    def __str__(self) -> str:
        return f"The table {self._table.name}"

    def cursor(self) -> str | None:
        query = self._sql.select(self._cursors.c.cursor).where(self._cursors.c.name == self._table.name)
        with self._explained(), self._engine.connect() as connection:
            return connection.scalar(query)

    def store(self, parts: Iterable[Part], since: str | None) -> int:
        count = 0
        for part in parts:
            with self._explained(), self._engine.begin() as connection:
                self._move_cursor(connection, since, part.cursor)
                for start in range(0, len(part.records), KEYS_AT_ONCE):
                    self._put(connection, part.records[start : start + KEYS_AT_ONCE])
            since = part.cursor
            count += len(part.records)
        return count

    def _move_cursor(self, connection: "Connection", since: str | None, cursor: str) -> None:
        """First, with a lock on its row: whoever else stores waits here, and then finds another cursor."""
        name = self._table.name
        if since is None:
            try:
                connection.execute(self._sql.insert(self._cursors).values(name=name, cursor=cursor))
            except self._sql.exc.IntegrityError as error:
                raise Overtaken(self) from error
            return
        mine = self._sql.and_(self._cursors.c.name == name, self._cursors.c.cursor == since)
        if (
            connection.execute(self._sql.update(self._cursors).where(mine).values(cursor=cursor)).rowcount
            != 1
        ):
            raise Overtaken(self)

    def _put(self, connection: "Connection", records: Sequence[Mapping[str, Any]]) -> None:
        rows = [self._row(record) for record in records]
        key = self._table.c[self._key]
        query = self._sql.select(key).where(key.in_([values[self._key] for values in rows]))
        known = set(connection.scalars(query))
        new = [values for values in rows if values[self._key] not in known]
        old = [
            {f"new_{name}": value for name, value in values.items()}
            for values in rows
            if values[self._key] in known
        ]
        if new:
            connection.execute(self._sql.insert(self._table), new)
        if old:
            bound: dict[str, Any] = {
                name: self._sql.bindparam(f"new_{name}") for name in self._mapping.values()
            }
            same = key == self._sql.bindparam(f"new_{self._key}")
            connection.execute(self._sql.update(self._table).where(same).values(bound), old)

    @contextmanager
    def _explained(self) -> "Iterator[None]":
        """Without the statement and its values, which SQLAlchemy tells as well: a job's environment is among them."""
        try:
            yield
        except self._sql.exc.StatementError as error:
            raise NotStored(self, Exception(error.orig or type(error).__name__)) from None

    def _row(self, record: Mapping[str, Any]) -> dict[str, Any]:
        values = row(record, self._mapping)
        is_json = self._sql.types.JSON
        return {
            name: as_json(value)
            if isinstance(value, list | dict) and not isinstance(self._table.c[name].type, is_json)
            else value
            for name, value in values.items()
        }


def _long_text(sqlalchemy: Any) -> Any:
    """MySQL's TEXT ends at 64 KB."""
    from sqlalchemy.dialects import mysql

    return sqlalchemy.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
