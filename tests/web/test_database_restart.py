"""PostgreSQL goes away and comes back: a sentence meanwhile, and afterwards everything goes on by itself."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.parts import free_port, wait_until
from cluster.postgresql import PostgreSQL
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Connection, event, text
from web.served import Served, serve_somehow
from web.stored import rows
from web.terminals import run

from remoteweb import database, sources
from remoteweb.database import db
from remoteweb.sync import requests

pytestmark = pytest.mark.postgresql
UNUSABLE = "The database cannot be used"
OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
def served(app: Flask, tmp_path: Path) -> Iterator[Served]:
    one = serve_somehow(tmp_path, free_port())
    yield one
    one.end()


def ask_for_a_sync(app: Flask) -> int:
    with app.app_context():
        run = requests.ask(sources.source_here().server)
        assert run is not None
        return run.id


def is_done(run_id: int) -> bool:
    return (run_id, "done") in rows("SELECT id, state FROM sync_run")


def test_pages_and_worker_go_on_when_it_is_back(app: Flask, served: Served, postgresql: PostgreSQL) -> None:
    cookie = served.enter(served.until_ready())
    before = ask_for_a_sync(app)
    wait_until(lambda: is_done(before), "a sync before")
    postgresql.stop()
    try:
        away = served.get("/", cookie)
        assert (away.status, UNUSABLE in away.body.decode()) == (503, True)
        command = run("update-database")
        assert command.returncode == 1 and "cannot be used" in command.stderr
        assert "Traceback" not in command.stderr
        time.sleep(1.5)  # the worker looks for work meanwhile
    finally:
        postgresql.start()
    assert served.get("/", cookie).status == 200, "the connections of before are not handed out any more"
    after = ask_for_a_sync(app)
    wait_until(lambda: is_done(after), "a sync afterwards")
    assert served.err.read_text().count("Traceback") <= 2, (
        "of a connection that was cut, and of one that was refused"
    )


def test_a_connection_that_is_cut_in_the_middle_of_a_page_is_a_sentence(
    app: Flask, client: FlaskClient
) -> None:
    cut: list[str] = []

    def once(connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM counter" in statement and not cut:
            cut.append(statement)
            assert rows(f"SELECT pg_terminate_backend(pid) {OTHERS}")

    with app.app_context():
        event.listen(db.engine, "after_cursor_execute", once)
    answer = client.get("/")
    assert cut and (answer.status_code, UNUSABLE in answer.text) == (503, True)
    assert client.get("/").status_code == 200


@pytest.fixture
def source_id(app: Flask) -> int:
    with app.app_context():
        return sources.source_here().id


@pytest.fixture
def elsewhere(app: Flask, source_id: int) -> Iterator[Connection]:
    """Another program in the middle of a transaction that has the counter."""
    with app.app_context():
        engine = db.engine
    connection = engine.connect().execution_options(immediate=True)
    engine.dispose()  # what is connected from now on has the settings of the test
    connection.execute(text("UPDATE counter SET value = value + 1"))
    yield connection
    connection.invalidate()
    connection.close()


def test_who_waits_for_a_lock_for_long_is_told_that_it_is_busy(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, source_id: int, elsewhere: Connection
) -> None:
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.3)
    answer = client.post(f"/sources/{source_id}/pause")
    assert (answer.status_code, "The database is busy" in answer.text) == (503, True)
    elsewhere.rollback()
    assert client.post(f"/sources/{source_id}/pause").status_code == 303


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "IDLE_SECONDS", 0.3)


def test_a_program_that_sleeps_while_it_writes_stops_the_others_for_a_while_only(
    impatient: None, client: FlaskClient, source_id: int, elsewhere: Connection
) -> None:
    assert client.post(f"/sources/{source_id}/pause").status_code == 303
