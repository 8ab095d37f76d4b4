"""Creating and upgrading the database: one process at a time, after a copy, whole or not at all."""

import contextlib
import fcntl
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from flask import Flask, current_app
from sqlalchemy import Connection, MetaData, Table, inspect, select, text
from sqlalchemy.exc import DatabaseError, OperationalError

from remoteweb.database import db, is_busy, shown
from remoteweb.paths import asset_folder
from remoteweb.untrusted import line

if TYPE_CHECKING:
    from flask_alembic import Alembic

COPIES = 3  # kept, the newest ones
LOCK, LOCK_SECONDS = ".lock", 60.0
ADVISORY_LOCK = 0x72656D6F7465  # "remote": any number will do, as long as every version has the same


class UpgradeRefused(click.ClickException):
    """The database is left as it was; the sentence says why."""


def init_app(app: Flask) -> None:
    app.config["ALEMBIC"] = {"script_location": str(asset_folder("migrations"))}
    app.config["ALEMBIC_CONTEXT"] = {"include_object": _is_of_a_model}


def alembic() -> "Alembic":
    """Of the app in whose context this is. Loaded when there is something to do: it is a sixth of what a command loads."""
    if "alembic" not in current_app.extensions:
        from flask_alembic import Alembic

        # run_mkdir would write into the installed package at every start.
        # Its own commands (`db upgrade`) would take neither lock nor copy, so they are not offered.
        Alembic(current_app._get_current_object(), run_mkdir=False, command_name="")  # type: ignore[attr-defined]
        # Its notes on each step are no news to a person.
        logging.getLogger("alembic").setLevel(logging.WARNING)
    extension: Alembic = current_app.extensions["alembic"]
    return extension


def upgrade_database(app: Flask) -> None:
    """Create the database, or bring it to this version. After an UpgradeRefused it is as it was before."""
    # A context of its own: Flask-Alembic's connection stays in its transaction until the context ends.
    with app.app_context():
        try:
            if db.engine.dialect.name == "sqlite":
                _upgrade_file(Path(str(db.engine.url.database)))
            else:
                _upgrade_server()
        except (DatabaseError, sqlite3.Error, OSError) as error:
            raise unusable(error) from error
    with app.app_context():
        db.engine.dispose()  # the connection that migrated does not look after foreign keys


def unusable(error: Exception) -> UpgradeRefused:
    """The sentence for what a driver or the file system says. Inside an app's context."""
    reason = line(getattr(error, "orig", None) or error, 300).rstrip(".")
    return UpgradeRefused(f"The database {shown(db.engine.url)} cannot be used: {reason}.")


def _upgrade_file(path: Path) -> None:
    # The lock comes before the first connection: several first starts would quarrel over the switch to WAL.
    with _locked(path.with_name(path.name + LOCK)):
        with contextlib.suppress(FileExistsError):
            os.close(_new_file(path, _mode_of(path)))
        present = _present_version()
        if present == {versions_here()[-1]}:
            return
        _switch_to_wal(path)
        if present:
            _copy(path, "-".join(sorted(present)))
        _migrate()


def _upgrade_server() -> None:
    with db.engine.begin() as connection:
        # For a while: other starts may be waiting before us. And nothing is said here while another connection migrates.
        connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_SECONDS * 1000:.0f}"))
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        # Before the version is read: two would both find that there is something to do.
        try:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        except OperationalError as error:
            raise (_kept_waiting() if is_busy(error) else error) from None
        if _present_version() != {versions_here()[-1]}:
            _migrate()


def _migrate() -> None:
    migrations = alembic()
    connection = migrations.migration_context.connection
    assert connection is not None  # noqa: S101  it is None only when SQL is written to a file
    # SQLite changes a table's constraints only by making it anew, and to drop the old one would drop what refers to it.
    connection.execution_options(immediate=True, rebuilding=True)
    migrations.upgrade()


def _kept_waiting() -> UpgradeRefused:
    return UpgradeRefused(
        f"Another process has been upgrading the database for {LOCK_SECONDS:.0f} s. Try again when it is done."
    )


def versions_here() -> list[str]:
    """The oldest first. Each has a file, whose name begins with it."""
    files = Path(current_app.config["ALEMBIC"]["script_location"]).glob("[0-9]*_*.py")
    return sorted(file.name.partition("_")[0] for file in files)


def _present_version() -> set[str]:
    """The version of the database, empty for a new one. Refuses what is newer, and what is not ours."""
    with db.engine.connect() as connection:
        present = _recorded_version(connection)
    if not present <= set(versions_here()):
        raise UpgradeRefused(
            f"The database {shown(db.engine.url)} was made by a newer remoteweb. "
            "Start that version, or restore one of the copies that lie beside the database."
        )
    return present


def _recorded_version(connection: Connection) -> set[str]:
    tables = inspect(connection).get_table_names()
    if "alembic_version" in tables:
        table = Table("alembic_version", MetaData(), autoload_with=connection)
        return set(connection.scalars(select(table.c.version_num)))
    if tables:
        raise UpgradeRefused(
            f"{shown(db.engine.url)} is the database of another program. Nothing was changed in it."
        )
    return set()


def _mode_of(path: Path) -> int:
    """Of the database, and of what is made beside it: an older file keeps the mode that it was given.

    A new one is its owner's alone, unless the folder gives all that is made in it to a group that may write there: the
    web process and the sync worker of a VPS are two users.
    """
    with contextlib.suppress(FileNotFoundError):
        return stat.S_IMODE(path.stat().st_mode) & 0o666
    folder = path.parent.stat().st_mode
    return 0o660 if folder & stat.S_ISGID and folder & stat.S_IWGRP else 0o600


def _new_file(path: Path, mode: int) -> int:
    """A descriptor of the file, which was not there. The umask has no say: it would lock one of two users out."""
    made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(made, mode)
    return made


def _lock_file(path: Path) -> int:
    database = path.with_name(path.name.removesuffix(LOCK))
    with contextlib.suppress(FileExistsError):
        return _new_file(path, _mode_of(database))
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with os.fdopen(_lock_file(path), "w") as file:
        give_up = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise _kept_waiting() from None
                time.sleep(0.05)
        yield


def _switch_to_wal(path: Path) -> None:
    """Readers beside a writer. It is kept in the file, so it is set here and not at each connection."""
    with contextlib.closing(sqlite3.connect(path, timeout=15)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def _copy(path: Path, version: str) -> None:
    """The file as it is now, beside it, as `<name>.<version>.<time>.copy`."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = path.with_name(f"{path.name}.{version}.{stamp}.copy")
    draft = target.with_name(target.name + ".part")
    copy_whole(path, draft, _mode_of(path))
    draft.rename(target)
    copies = sorted(path.parent.glob(f"{path.name}.*.copy"), key=lambda file: file.stat().st_mtime_ns)
    for old in copies[:-COPIES]:
        old.unlink()


def copy_whole(path: Path, target: Path, mode: int) -> None:
    """Of one moment, by the backup interface: a copied file lacks what still lies in the WAL. What lay at `target` goes."""
    target.unlink(missing_ok=True)
    os.close(_new_file(target, mode))
    with (
        contextlib.closing(sqlite3.connect(path)) as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)


def _is_of_a_model(_object: object, name: str | None, _kind: str, _reflected: bool, _other: object) -> bool:
    """The search is no model: on SQLite a virtual table with shadow tables, on PostgreSQL indexes."""
    return not (name or "").startswith("job_search")
