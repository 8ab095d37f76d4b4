"""The database: which one, its settings, and the mark for functions that write."""

import contextlib
import importlib.util
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from flask import current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import URL, Connection, Engine, Table, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import DeclarativeBase

from remoteweb.config import PREFIX, WrongSetting

NAME = f"{PREFIX}SQLALCHEMY_DATABASE_URI"
LOCK_SECONDS = 15
EMPTYING_SECONDS = 3
# No transaction of ours waits for anything but the database.
IDLE_SECONDS = 60
# PostgreSQL's codes: a lock that did not come in time, two that waited for each other, two that wrote the same.
BUSY = ("55P03", "40P01", "40001")


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)

if TYPE_CHECKING:
    Model = Base  # what `db.Model` is made of, and all that a type checker can follow
else:
    Model = db.Model


def table_of(model: type[Base]) -> Table:
    """For what every sync says: a statement that is made once, and of tables alone, is there and back in a tenth of the time
    that SQLAlchemy takes to put one together and to go through its ORM.
    """
    return cast(Table, model.__table__)


def begin_writing(*, relaxed: bool = False) -> None:
    """The first line of every function that writes.

    SQLite takes the write lock at once: SQLAlchemy's default would read first, and lose updates silently.
    Reading never calls this, or a page view would wait behind a sync. PostgreSQL has no such lock: there, what is
    read to be changed is locked row by row, in this order in every transaction, or two would wait for each other
    for ever: server, sync run, action, job, source, counter.

    What the session has read so far ends here, since a read that turns into a write fails at once when
    someone else wrote meanwhile: rows loaded before are read anew, under the lock, at the next look.

    `relaxed`: on SQLite, what is written may be undone by a power failure (and by nothing else), so nobody waits for the disk.
    For what the next sync would say again: a lease, a run's row; whoever held it is gone by then. It is safe with the next
    commit that is not relaxed.
    """
    session = db.session()
    if session.in_transaction():
        if session.connection().get_execution_options().get("immediate"):
            return  # called by one that has begun already
        if session.new or session.dirty or session.deleted:
            raise RuntimeError("begin_writing() has to come before the first change of the session.")
        session.rollback()
    session.connection(execution_options={"immediate": True, "relaxed": relaxed})


def database_url(setting: str | None, folder: Path) -> URL:
    """The database that is meant: the setting, else a file in `folder`."""
    if setting is None:
        return URL.create("sqlite", database=str(folder / "remoteweb.sqlite"))
    try:
        url = make_url(setting)
    except ArgumentError:
        # Without the text itself: there may be a password in it.
        raise WrongSetting(
            f"{NAME} is not an address of a database, such as sqlite:////absolute/path."
        ) from None
    if url.drivername == "sqlite":
        if not url.database or not Path(url.database).is_absolute():
            # Otherwise cron and the page would each look in their own folder.
            raise WrongSetting(
                f"{NAME} needs an absolute path after sqlite:///, so four slashes: sqlite:////home/..."
            )
        return url
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return _postgresql(url)
    raise WrongSetting(f"{NAME} has to begin with sqlite: or postgresql:, not with {url.drivername}:.")


def _postgresql(url: URL) -> URL:
    if importlib.util.find_spec("psycopg") is None:
        raise WrongSetting("PostgreSQL needs one more package: pip install 'remoteweb[postgresql]'.")
    return url.set(drivername="postgresql+psycopg")


def shown(url: URL) -> str:
    """As a person is told of it: the file, or the address without its password."""
    return str(url.database) if url.drivername == "sqlite" else url.render_as_string(hide_password=True)


@event.listens_for(Engine, "connect")
def _set_up_connection(connection: Any, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        _set_up_sqlite(connection)
    else:
        _set_up_postgresql(connection)


def _set_up_sqlite(connection: sqlite3.Connection) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, below
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000}")
    connection.execute("PRAGMA secure_delete = ON")  # as Debian builds it: what is removed is overwritten


def _set_up_postgresql(connection: Any) -> None:
    connection.autocommit = True
    # As with SQLite, who waits for a lock is told so in the end. And a process that is stopped in the middle of a
    # transaction (or whose machine is gone) has the counter's row: without an end to that, nobody could write any more.
    connection.execute(
        f"SET lock_timeout = {LOCK_SECONDS * 1000:.0f};"
        f"SET idle_in_transaction_session_timeout = {IDLE_SECONDS * 1000:.0f}"
    )
    connection.autocommit = False


@event.listens_for(Engine, "begin")
def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if connection.dialect.name == "sqlite":
        if not options.get("immediate"):
            connection.exec_driver_sql("BEGIN")
            return
        if options.get("rebuilding"):
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        # An acknowledged tap survives a power failure.
        connection.exec_driver_sql(f"PRAGMA synchronous = {'NORMAL' if options.get('relaxed') else 'FULL'}")
        if options.get("impatient"):
            _begin_at_once_or_not_at_all(connection)
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        return
    _choose_isolation(connection, writes=bool(options.get("immediate")))


def _begin_at_once_or_not_at_all(connection: Connection) -> None:
    """For what may as well be written another time: raises OperationalError while somebody else writes."""
    patience = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
    connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {patience}")


def _choose_isolation(connection: Connection, *, writes: bool) -> None:
    """Reading sees one moment, as on SQLite: a page whose tag is newer than its rows would miss their change.

    Writing sees what others have committed meanwhile: it waits for their locks, and goes on from what they left.
    """
    from psycopg import IsolationLevel

    level = IsolationLevel.READ_COMMITTED if writes else IsolationLevel.REPEATABLE_READ
    connection.connection.driver_connection.isolation_level = level  # type: ignore[union-attr]


def forget_what_was_written() -> None:
    """What was just overwritten leaves the files of SQLite too: the log of its writes (-wal) holds it until it is emptied.

    After a commit. Whoever reads at this moment keeps the log from being emptied, and after a while we go on without. Of
    PostgreSQL's files, and of copies and backups, nobody but their owner can say when they forget.
    """
    url = db.engine.url
    if url.drivername != "sqlite":
        return
    try:
        with contextlib.closing(sqlite3.connect(str(url.database), timeout=EMPTYING_SECONDS)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:  # what called this has been done, and goes on
        current_app.logger.warning(
            "What was destroyed may still lie in the database's log of writes: %s", error
        )


def is_busy(error: DBAPIError) -> bool:
    """Others hold what was wanted: tried again in a moment, it may go well."""
    return "locked" in str(error.orig) or getattr(error.orig, "sqlstate", None) in BUSY
