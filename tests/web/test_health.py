"""What a monitor may ask without signing in: whether the pages answer, and whether the work is done."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from remoteweb import health, sources
from remoteweb.database import begin_writing, db
from remoteweb.models import Source

READY, NOT_READY = (200, "ready\n"), (503, "not ready\n")


@pytest.fixture
def each_look_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TOLD_SECONDS", 0.0)


def asked(app: Flask) -> tuple[int, str]:
    answer = app.test_client().get("/readyz")
    assert (answer.mimetype, answer.headers["Cache-Control"]) == ("text/plain", "no-store")
    return answer.status_code, answer.text


def server(app: Flask, *, paused: bool = False, not_before: float | None = None, **columns: Any) -> None:
    """alps, of which the last sync was begun an hour ago. `not_before`: seconds from now."""
    with app.app_context():
        begin_writing()
        row = sources.server("me", "alps.example.org", 22)
        row.sources.append(Source(app="remoteJobs", paused=paused))
        row.last_try_at = time.time() - 3600.0
        if not_before is not None:
            row.not_before = time.time() + not_before
        for name, value in columns.items():
            setattr(row, name, value)
        db.session.commit()


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, NOT_READY),
        ({"min_interval": 1800.0}, READY),
        ({"min_interval": 900.0}, NOT_READY),
        ({"needs_person": "It refused the key."}, READY),
        ({"asks": True}, READY),
        ({"paused": True}, READY),
        ({"last_try_at": None}, READY),
        ({"not_before": 600.0}, READY),
        ({"not_before": -1200.0}, NOT_READY),
        ({"not_before": 30 * 86400.0}, NOT_READY),  # by a clock that was set back since
    ],
)
def test_a_worker_that_is_gone_is_noticed_and_a_server_that_has_to_wait_is_none(
    app: Flask, each_look_is_new: None, columns: dict[str, Any], said: tuple[int, str]
) -> None:
    assert asked(app) == READY
    server(app, **columns)
    assert asked(app) == said


def test_why_stands_in_the_log_once_and_is_told_to_no_stranger(
    app: Flask, each_look_is_new: None, caplog: pytest.LogCaptureFixture
) -> None:
    server(app)
    with caplog.at_level(logging.WARNING):
        assert [asked(app), asked(app)] == [NOT_READY, NOT_READY]
    said = "Not ready: no sync of alps.example.org was tried for a while. Is the sync worker running?"
    assert [one.getMessage() for one in caplog.records] == [said]


def test_however_often_a_stranger_asks_the_database_is_looked_at_once_in_a_while(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    monkeypatch.setattr(health, "what_is_in_the_way", lambda: looks.append(time.monotonic()) or "")
    assert {asked(app) for _ in range(50)} == {READY}
    assert len(looks) <= 1 + (time.monotonic() - looks[0]) / health.TOLD_SECONDS
    assert health.TOLD_SECONDS >= 5


def test_while_one_look_hangs_all_others_are_answered_and_nothing_is_called_ready_unseen(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, goes_on = threading.Event(), threading.Event()

    def hangs() -> str:
        looks.set()
        assert goes_on.wait(30)
        return ""

    monkeypatch.setattr(health, "what_is_in_the_way", hangs)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(asked, app)
        assert looks.wait(30)
        assert {asked(app) for _ in range(20)} == {NOT_READY}
        goes_on.set()
        assert first.result(30) == READY
    assert asked(app) == READY


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "`remoteweb migrate`"),
        ("ALTER TABLE alembic_version RENAME TO gone", "does not answer"),
    ],
)
def test_a_database_that_is_no_use_is_not_ready(
    app: Flask, each_look_is_new: None, caplog: pytest.LogCaptureFixture, change: str, why: str
) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text(change))
    assert asked(app) == NOT_READY
    assert why in caplog.records[-1].getMessage()


@pytest.mark.sqlite
def test_a_disk_that_is_nearly_full_is_not_ready(
    app: Flask, each_look_is_new: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(health, "LEAST_ROOM", 1.01)
    assert asked(app) == NOT_READY
    assert "disk of the database" in caplog.records[-1].getMessage()
