"""A database that is locked by somebody else, or has no room, at each place where a sync writes: a sentence, nothing lost,
nothing done twice.
"""

import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import Connection, connect
from typing import Any

import pytest
from cluster.parts import mounted
from flask import Flask
from sqlalchemy import Engine, event
from web.dying import Place, at
from web.intents import intents

from remoteweb import create_app
from remoteweb.database import begin_writing, db
from remoteweb.models import Server, SyncRun
from remoteweb.upgrade import upgrade_database

pytestmark = pytest.mark.sqlite

# Between two transactions, each just before the next one.
WRITES: dict[str, Place] = {
    "at its beginning": ("remoteweb.collector", "_begin", "before"),
    "as it claims": ("remoteweb.sending", "claim", "before"),
    "as it stores": ("remoteweb.answers", "_store", "before"),
    "between two chunks": ("remoteweb.intake", "store", "each"),
    "as it settles": ("remoteweb.outcomes", "settle", "before"),
    "as it judges": ("remoteweb.intake", "_judge_under_the_lock", "before"),
    "at its end": ("remoteweb.collector", "_end_well", "before"),
}
# Makes the trouble; what it gives ends it.
Trouble = Callable[[], Callable[[], object]]


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """The wait for a lock is as short as a test can bear."""

    def set_up(connection: Any, _record: object) -> None:
        if isinstance(connection, Connection):
            connection.execute("PRAGMA busy_timeout = 20")

    event.listen(Engine, "connect", set_up)
    yield
    event.remove(Engine, "connect", set_up)


@contextmanager
def app_on(file: Path) -> Iterator[Flask]:
    app = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{file}", "TESTING": True})
    upgrade_database(app)
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


def locking(file: Path) -> Trouble:
    def lock() -> Callable[[], object]:
        other = connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        return other.close

    return lock


def filling(file: Path) -> Trouble:
    big = file.with_name("big")

    def fill() -> Callable[[], object]:
        for size in ("4k", "1"):
            command = ["dd", "if=/dev/zero", f"of={big}", f"bs={size}", "oflag=append", "conv=notrunc"]
            subprocess.run(command, capture_output=True, check=False)
        return big.unlink

    return fill


def come_to_harm(
    app: Flask, file: Path, trouble: Trouble, said: str, moments: Iterable[str] = WRITES
) -> None:
    with intents() as asked:
        for when in moments:
            place = WRITES[when]
            asked.ask()
            db.session.remove()
            with closing(connect(file)) as other:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # its file has no room of its own
            over: list[Callable[[], object]] = []
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(*at(place, lambda: over.append(trouble())))  # noqa: B023  it is called here
                ended = app.test_cli_runner().invoke(args=["update-database"])
            db.session.remove()  # as with the end of a process
            for end in over:
                end()
            assert (len(over), ended.exit_code) == (1, 1), (when, ended.output)
            assert said in ended.output and "Traceback" not in ended.output
            let_go()
            asked.come_true()
            asked.check()


def let_go() -> None:
    """What could not be written down at its end was the lease, too: it runs out."""
    begin_writing()
    server = db.session.scalars(db.select(Server)).one()
    server.lease_until, server.min_interval = time.time() - 1, 0.0
    db.session.commit()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_database_that_somebody_locks_is_a_sentence_and_the_next_sync_agrees(tmp_path: Path) -> None:
    file = tmp_path / "remoteweb.sqlite"
    with app_on(file) as app:
        come_to_harm(app, file, locking(file), "cannot be used: database is locked.")


def test_a_database_without_room_is_a_sentence_and_the_next_sync_agrees(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "-t", "tmpfs", "-o", "size=4m", "small"), app_on(disk / "remoteweb.sqlite") as app:
        file = disk / "remoteweb.sqlite"
        moments = ["as it claims", "between two chunks", "as it settles", "at its end"]
        come_to_harm(app, file, filling(file), "cannot be used: ", moments)


def test_a_lock_that_ends_before_the_sync_does_is_its_last_word_and_no_trouble_of_the_server(
    tmp_path: Path,
) -> None:
    file = tmp_path / "remoteweb.sqlite"
    with app_on(file) as app, intents() as asked, pytest.MonkeyPatch.context() as patch:
        asked.ask()
        over: list[Callable[[], object]] = []
        patch.setattr(*at(WRITES["as it settles"], lambda: over.append(locking(file)())))
        end: Place = ("remoteweb.collector", "_end_badly", "before")
        patch.setattr(*at(end, lambda: over.pop()()))
        assert app.test_cli_runner().invoke(args=["update-database"]).exit_code == 1
        server = db.session.scalars(db.select(Server)).one()
        assert (server.error, server.failures, server.lease_owner) == ("", 0, "")
        run = db.session.scalars(db.select(SyncRun).order_by(SyncRun.id.desc()).limit(1)).one()
        assert run.sentence.startswith("The database did not take it: database is locked.")
        server.min_interval = 0.0
        db.session.commit()
        patch.undo()
        asked.come_true()
        asked.check()
