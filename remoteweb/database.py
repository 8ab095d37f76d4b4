"""The database: which one, its settings, and the mark for functions that write."""

import importlib.util
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import URL, Connection, Engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import DeclarativeBase

from remoteweb.config import PREFIX, WrongSetting

NAME = f"{PREFIX}SQLALCHEMY_DATABASE_URI"


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)

if TYPE_CHECKING:
    Model = Base  # what `db.Model` is made of, and all that a type checker can follow
else:
    Model = db.Model


def begin_writing(*, relaxed: bool = False) -> None:
    """The first line of every function that writes.

    SQLite takes the write lock at once: SQLAlchemy's default would read first, and lose updates silently.
    Reading never calls this, or a page view would wait behind a sync.

    What the session has read so far ends here, since a read that turns into a write fails at once when
    someone else wrote meanwhile: rows loaded before are read anew, under the lock, at the next look.

    `relaxed`: what is written may be undone by a power failure (and by nothing else), so nobody waits for the disk. For
    what the next sync would say again: a lease, a run's row. All that was written before it is safe with the next one.
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
    if not isinstance(connection, sqlite3.Connection):
        return
    connection.isolation_level = None  # we say BEGIN ourselves, below
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA busy_timeout = 15000")


@event.listens_for(Engine, "begin")
def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if connection.dialect.name == "sqlite":
        if not options.get("immediate"):
            connection.exec_driver_sql("BEGIN")
            return
        # An acknowledged tap survives a power failure.
        connection.exec_driver_sql(f"PRAGMA synchronous = {'NORMAL' if options.get('relaxed') else 'FULL'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif options.get("relaxed"):
        connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")
