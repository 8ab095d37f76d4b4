"""The sync worker: when it syncs what, and that nothing ends it."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError
from web.syncing import APP, ask, eventually, job, submit, sync

from remotejobs.errors import LoginRefused, Unreachable
from remotejobs.shell import LocalShell
from remoteweb import actions, leases, sources
from remoteweb.database import begin_writing, db
from remoteweb.models import Action, Job, Server, Source, SyncRun
from remoteweb.sync import requests, worker
from remoteweb.sync.worker import Worker, is_due

INTERVALS: dict[str, object] = {"LOCAL_INTERVAL": 10.0, "SERVER_INTERVAL": 60.0}


@pytest.fixture(autouse=True)
def context(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


@pytest.fixture
def running(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(worker, "TICK_SECONDS", 0.05)
    one = Worker(app)
    one.start()
    yield one
    one.stop(30.0)
    assert not one.is_alive()


def server(**columns: Any) -> Server:
    """alps, with a source that was synced 30 s ago."""
    row = sources.server("me", "alps.example.org", 22)
    row.sources.append(Source(app=APP))
    now = time.time()
    for name, value in {"last_try_at": -30.0, **columns}.items():
        is_time = name in ("last_try_at", "not_before", "lease_until")
        setattr(row, name, now + value if is_time else value)
    db.session.commit()
    return row


def due(row: Server, *, soon: bool = False) -> bool:
    return is_due(row, time.time(), soon=soon, config=INTERVALS)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, False),
        ({"last_try_at": -61.0}, True),
        ({"last_try_at": None}, True),
        ({"last_try_at": 3600.0}, True),  # a clock that was set back
        ({"last_try_at": -61.0, "min_interval": 120.0}, False),
        ({"last_try_at": -61.0, "not_before": 30.0}, False),
        ({"last_try_at": -61.0, "not_before": -1.0}, True),
        ({"last_try_at": -61.0, "not_before": 86400.0}, True),  # the same clock
        ({"last_try_at": -61.0, "needs_person": "A password."}, False),
        ({"last_try_at": -61.0, "lease_owner": "elsewhere:1:x", "lease_until": 30.0}, False),
        ({"last_try_at": -61.0, "lease_owner": "elsewhere:1:x", "lease_until": -1.0}, True),
    ],
)
def test_when_a_server_is_due(columns: dict[str, Any], expected: bool) -> None:
    if columns.get("last_try_at", 0) is None:
        columns = {**columns}
        row = server()
        row.last_try_at = None
        db.session.commit()
        assert due(row) is expected
        return
    assert due(server(**columns)) is expected


@pytest.mark.parametrize(
    "columns", [{}, {"not_before": 3000.0}, {"needs_person": "A password."}, {"last_try_at": -11.0}]
)
def test_a_person_who_asks_is_not_made_to_wait_for_a_back_off(columns: dict[str, Any]) -> None:
    row = server(**columns)
    requests.ask(row)
    assert due(row)


def test_not_even_a_person_goes_below_the_shortest_interval() -> None:
    row = server(last_try_at=-5.0)
    requests.ask(row)
    assert not due(row)


def test_this_machine_has_an_interval_of_its_own() -> None:
    row = sources.source_here().server
    row.last_try_at = time.time() - 11
    db.session.commit()
    assert due(row)


def test_an_action_whose_time_for_undo_is_over_makes_its_server_due() -> None:
    row = server()
    source = row.sources[0]
    job_row = Job(
        server_id=row.id, source=source, key="0" * 32 + "_1", name="x", state="running", evidence="queue"
    )
    db.session.add(job_row)
    db.session.commit()
    action = actions.ask(job_row, "cancel", "button-1", 1)
    assert not due(row)
    actions.send_now(action)
    assert due(row)
    sources.set_paused(source.id, True)
    assert not due(row)


def test_after_something_was_done_the_next_look_is_soon_but_not_too_soon() -> None:
    assert due(server(last_try_at=-11.0), soon=True)
    row = sources.known("me", "alps.example.org", 22)
    assert row
    row.last_try_at = time.time() - 5
    db.session.commit()
    assert not due(row, soon=True)


def test_two_taps_are_one_sync() -> None:
    row = server()
    assert requests.ask(row).id == requests.ask(row).id


def test_all_servers_are_asked_except_paused_ones() -> None:
    server()
    sources.set_paused(sources.source_here().id, True)
    assert [run.server.label for run in requests.ask_all()] == ["alps.example.org"]


def test_a_tap_is_carried_out_and_what_became_of_it_follows(running: Worker) -> None:
    key = submit("sleep 60", name="long")

    def knows() -> bool:
        db.session.rollback()
        return db.session.scalar(db.select(Job.id).where(Job.key == key)) is not None

    eventually(knows)
    action = ask(job(key), "cancel")

    def is_done() -> bool:
        db.session.rollback()
        found = db.session.get_one(Action, action.id, populate_existing=True)
        return found.state == "done" and job(key).state == "cancelled"

    eventually(is_done)


def test_sync_now_is_taken_by_the_worker(running: Worker) -> None:
    source = sources.source_here()
    eventually(lambda: bool(_runs()))
    run_id = requests.ask(source.server).id

    def is_done() -> bool:
        db.session.rollback()
        return db.session.get_one(SyncRun, run_id, populate_existing=True).state == "done"

    eventually(is_done)


def _runs() -> list[SyncRun]:
    db.session.rollback()
    return list(db.session.scalars(db.select(SyncRun).where(SyncRun.state == "done")))


def test_jobs_that_a_shell_submitted_here_show_up_by_themselves(running: Worker) -> None:
    key = submit("exit 0")
    eventually(
        lambda: db.session.rollback() or bool(db.session.scalar(db.select(Job.id).where(Job.key == key)))
    )


def test_a_home_without_our_folder_is_left_alone(app: Flask, home: Path, running: Worker) -> None:
    time.sleep(0.3)
    assert db.session.scalar(db.select(Server.id)) is None
    assert not (home / f".{APP}").exists()


def test_a_source_that_was_removed_here_does_not_come_back(running: Worker) -> None:
    submit("exit 0")
    eventually(lambda: db.session.rollback() or sources.find_here(APP) is not None)
    found = sources.find_here(APP)
    assert found
    sources.forget(found.id)
    time.sleep(0.3)
    db.session.rollback()
    assert sources.find_here(APP) is None


def test_servers_are_synced_side_by_side_and_each_only_once(
    monkeypatch: pytest.MonkeyPatch, app: Flask
) -> None:
    server()
    sources.source_here()
    begin_writing()
    for row in db.session.scalars(db.select(Server)):
        row.last_try_at = None
    db.session.commit()
    both = threading.Barrier(2, timeout=20)
    looked_again = threading.Event()
    calls: list[int] = []

    def meet(row: Server, *_: Any, **__: Any) -> Any:
        calls.append(row.id)
        both.wait()
        looked_again.wait(20)
        raise Unreachable("Enough.")

    monkeypatch.setattr(worker.collector, "collect", meet)
    one = Worker(app)
    one._look_around()
    one._look_around()
    looked_again.set()
    for thread in list(one._syncing.values()):
        thread.join(20)
    assert len(calls) == 2 and not both.broken


def test_an_error_that_nobody_foresaw_ends_neither_worker_nor_later_syncs(
    monkeypatch: pytest.MonkeyPatch, running: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    real, calls = worker.collector.collect, []

    def fails_twice(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) < 3:
            raise RuntimeError("a mistake of ours")
        return real(*arguments, **options)

    monkeypatch.setattr(worker.collector, "collect", fails_twice)
    sources.source_here()
    eventually(lambda: bool(_runs()))


def test_a_database_that_is_away_for_a_while_does_not_end_the_worker(
    monkeypatch: pytest.MonkeyPatch, running: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> list[Server]:
        raise OperationalError("SELECT 1", {}, Exception("locked"))

    with monkeypatch.context() as patch:
        patch.setattr(worker.sources, "with_sources_of_everybody", away)
        eventually(lambda: bool(caplog.records))
        time.sleep(0.3)
    assert [record.message for record in caplog.records] == [
        "The sync worker could not look for work; it tries again."
    ], "it is told once, and not each second"
    sources.source_here()
    eventually(lambda: bool(_runs()))


@pytest.mark.parametrize(
    ("error", "needs_person"),
    [(LoginRefused("No key was accepted."), True), (Unreachable("No route to it."), False)],
    ids=["refused", "not reached"],
)
def test_after_a_failure_no_restart_tries_again_but_a_person_does(
    monkeypatch: pytest.MonkeyPatch, app: Flask, error: Exception, needs_person: bool
) -> None:
    monkeypatch.setattr(worker, "TICK_SECONDS", 0.02)
    app.config["SERVER_INTERVAL"] = 0.0
    tries = []

    class Closed(LocalShell):
        def run(self, *arguments: Any, **options: Any) -> Any:
            tries.append(1)
            raise error

    monkeypatch.setattr(worker, "unattended", lambda _: Closed())
    row = server(min_interval=0.0)
    for _ in range(2):  # as after a restart of the program
        one = Worker(app)
        one.start()
        eventually(lambda: bool(tries))
        time.sleep(0.5)
        one.stop(20.0)
    assert len(tries) == 1, "a site bans by counting"
    db.session.expire_all()
    assert (bool(row.needs_person), row.not_before > time.time()) == (needs_person, True)
    row.not_before = time.time() - 1
    db.session.commit()
    by_itself = is_due(row, time.time(), soon=False, config=app.config)
    assert by_itself is not needs_person, "only a back-off ends by itself"
    row.not_before = time.time() + 60
    db.session.commit()
    requests.ask(row)
    one = Worker(app)
    one.start()
    eventually(lambda: len(tries) == 2)
    one.stop(20.0)


def test_a_run_that_a_killed_program_left_is_closed_in_words(running: Worker) -> None:
    row = server()
    run = SyncRun(
        server_id=row.id, asked_by="command", asked_at=time.time(), state="running", holder="gone:1:x"
    )
    db.session.add(run)
    db.session.commit()
    run_id = run.id

    def is_closed() -> bool:
        db.session.rollback()
        found = db.session.get_one(SyncRun, run_id, populate_existing=True)
        return found.state == "failed" and "is gone" in found.sentence

    eventually(is_closed)


def test_stopping_waits_for_the_sync_under_way(monkeypatch: pytest.MonkeyPatch, app: Flask) -> None:
    monkeypatch.setattr(worker, "TICK_SECONDS", 0.05)
    began = threading.Event()

    class SlowShell(LocalShell):
        def run(self, *arguments: Any, **options: Any) -> Any:
            began.set()
            time.sleep(0.7)
            return super().run(*arguments, **options)

    monkeypatch.setattr(worker, "unattended", lambda _: SlowShell())
    sources.source_here()
    one = Worker(app)
    one.start()
    assert began.wait(20)
    one.stop(20.0)
    db.session.rollback()
    assert [run.state for run in db.session.scalars(db.select(SyncRun))] == ["done"]
    assert not one.is_alive()


def test_a_lease_that_somebody_else_holds_is_no_news_in_the_log(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    row = sources.source_here().server
    begin_writing()
    leases.take(row.id, "elsewhere:1:x", ignore_interval=True)
    db.session.commit()
    with contextlib.suppress(KeyError):
        Worker(app)._sync(row.id)
    assert caplog.records == []


def test_the_worker_shows_progress_to_whoever_looks(monkeypatch: pytest.MonkeyPatch, app: Flask) -> None:
    monkeypatch.setattr("remoteweb.runs.PROGRESS_SECONDS", 0.0)
    submit("exit 0")
    stages = []

    def look(stage: str, done: int, total: int | None) -> None:
        with app.app_context():
            run = db.session.scalars(db.select(SyncRun).order_by(SyncRun.id.desc()).limit(1)).one()
            stages.append((stage, run.state))

    sync(listener=look)
    names = [stage for stage, _ in stages]
    assert sorted(set(names), key=names.index) == ["connecting", "reading", "writing"]
    assert {state for _, state in stages} == {"running"}
