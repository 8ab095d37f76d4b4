"""What a job has printed: its end, on a tap, by the next sync, and gone again soon."""

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from web.syncing import APP, submit, sync, wait_for

from remotejobs.output import Output
from remotejobs.shell import LocalShell
from remoteweb import sources, tails, viewer
from remoteweb.accounts import FIRST, GUEST
from remoteweb.database import db
from remoteweb.jobs import output
from remoteweb.models import Job, Server, Source, SyncRun
from remoteweb.sync import requests as sync_requests
from remoteweb.tails import Tail
from remoteweb.viewer import Viewer

HTMX = {"HX-Request": "true", "HX-Request-Type": "partial"}
MANY = 200
SHOWN = re.compile(r"<pre[^>]*>(.*?)</pre>", re.DOTALL)


@pytest.fixture(autouse=True)
def context(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


@pytest.fixture
def ended() -> Callable[[str], int]:
    """The id of a job that has run this script."""

    def made(script: str) -> int:
        return wait_for(submit(script, name="train"), "done").id

    return made


def run_folder(key: str) -> Path:
    return Path.home() / f".{APP}" / "runs" / key


def key_of(id_: int) -> str:
    return str(db.session.get_one(Job, id_).key)


def tap(client: FlaskClient, id_: int) -> str:
    answer = client.post(f"/jobs/{id_}/output", headers=HTMX)
    assert answer.status_code == 200
    db.session.rollback()
    return answer.text


def shown(client: FlaskClient, id_: int) -> list[str]:
    return SHOWN.findall(client.get(f"/jobs/{id_}/output", headers=HTMX).text)


def test_one_tap_brings_both_streams_with_the_next_sync_in_its_one_command(
    client: FlaskClient, ended: Callable[[str], int]
) -> None:
    id_ = ended("echo step $((3 - 2)) of 2; echo '<b>careful</b>' >&2")
    page = client.get(f"/jobs/{id_}").text
    assert "step 1" not in page and f'action="/jobs/{id_}/output"' in page
    waiting = tap(client, id_)
    assert "comes with the next sync" in waiting and 'hx-trigger="every 1s"' in waiting
    assert db.session.scalars(db.select(SyncRun.state).order_by(SyncRun.id)).all()[-1] == "waiting"
    shell = LocalShell()
    sync(through=lambda _: shell)
    assert shell.execs == 1
    assert shown(client, id_) == ["step 1 of 2\n", "&lt;b&gt;careful&lt;/b&gt;\n"]
    assert SHOWN.findall(client.get(f"/jobs/{id_}").text)[:2] == shown(client, id_)
    assert "every 1s" not in client.get(f"/jobs/{id_}/output", headers=HTMX).text


def test_a_worker_that_is_as_quick_as_the_tap_brings_it_all_the_same(
    client: FlaskClient, ended: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    id_, ask = ended("echo here"), sync_requests.ask

    def taken_at_once(server: Server) -> SyncRun | None:
        asked = ask(server)
        sync()
        return asked

    monkeypatch.setattr(sync_requests, "ask", taken_at_once)
    assert SHOWN.findall(tap(client, id_)) == ["here\n"]


def test_what_was_read_before_another_tap_does_not_answer_it(
    app: Flask, client: FlaskClient, ended: Callable[[str], int]
) -> None:
    id_ = ended("echo before")
    stdout = run_folder(key_of(id_)) / "stdout"
    tap(client, id_)

    class Slow(LocalShell):
        """Somebody taps while the answer is on its way."""

        def run(self, *args: Any, **options: Any) -> Output:
            answer = super().run(*args, **options)
            stdout.write_text("since then\n")
            with app.app_context():
                tap(client, id_)
            return answer

    sync(through=lambda _: Slow())
    assert shown(client, id_) == []
    sync()
    assert shown(client, id_) == ["since then\n"]


def test_it_is_as_old_as_what_the_server_read_and_not_as_what_was_stored(
    client: FlaskClient, ended: Callable[[str], int]
) -> None:
    id_, answered = ended("echo here"), []
    tap(client, id_)

    class Slow(LocalShell):
        """All of the answer is here, and what comes before the outputs takes its time."""

        def run(self, *args: Any, **options: Any) -> Output:
            answer = super().run(*args, **options)
            answered.append(time.time())
            return answer

    asked_at = time.time()
    sync(through=lambda _: Slow())
    for read_at in db.session.scalars(db.select(Tail.read_at)):
        assert asked_at < read_at < answered[0]


def test_however_many_are_tapped_elsewhere_a_sync_asks_for_those_of_its_own_server(
    client: FlaskClient, ended: Callable[[str], int]
) -> None:
    id_ = ended("echo here")
    source_id = db.session.get_one(Job, id_).source_id
    assert source_id is not None
    viewer.become(viewer.of_account(FIRST))
    server_id = sources.server("me", "alps.example.org", 22).id
    elsewhere = Source(server_id=server_id, app=APP)
    db.session.add(elsewhere)
    db.session.flush()
    job = {
        "server_id": server_id,
        "source_id": elsewhere.id,
        "name": "x",
        "state": "done",
        "evidence": "exit",
    }
    db.session.execute(db.insert(Job), [{**job, "key": f"k{n}"} for n in range(MANY)])
    taps = [
        {"job_id": other, "stream": stream, "asked_at": time.time()}
        for other in db.session.scalars(db.select(Job.id).where(Job.source_id == elsewhere.id))
        for stream in tails.STREAMS
    ]
    db.session.execute(db.insert(Tail), taps)
    db.session.commit()
    tap(client, id_)
    connection = db.session.connection().connection.driver_connection
    if isinstance(
        connection, sqlite3.Connection
    ):  # a build of it may have as little as 999, for far more jobs
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, MANY)
    assert [wanted.job_id for wanted in tails.waiting([source_id])] == [id_]
    assert len(tails.waiting([elsewhere.id])) == tails.AT_ONCE


def test_a_long_output_is_its_end_and_says_so(client: FlaskClient, ended: Callable[[str], int]) -> None:
    id_ = ended("seq 1 100000")
    tap(client, id_)
    sync()
    (end,) = shown(client, id_)
    assert end.endswith("\n99999\n100000\n") and len(end) <= tails.BYTES
    assert "the end of 588.9 kB" in client.get(f"/jobs/{id_}").text


def test_what_a_running_job_prints_is_read_anew_with_another_tap(client: FlaskClient) -> None:
    key = submit("echo one; while [ ! -e go ]; do sleep 0.05; done; echo two")
    row = wait_for(key, "running")
    id_ = row.id
    for _ in range(100):
        tap(client, id_)
        sync()
        if shown(client, id_) == ["one\n"]:
            break
    assert shown(client, id_) == ["one\n"]
    (run_folder(key) / "go").touch()
    wait_for(key, "done")
    assert shown(client, id_) == ["one\n"]
    assert "comes with the next sync" in tap(client, id_)
    sync()
    assert shown(client, id_) == ["one\ntwo\n"]


def test_a_job_that_sends_its_output_elsewhere_gets_a_sentence(
    client: FlaskClient, ended: Callable[[str], int]
) -> None:
    id_ = ended("exit 0")
    path = run_folder(key_of(id_)) / "stdout"
    path.unlink()
    path.symlink_to("/etc/passwd")
    tap(client, id_)
    sync()
    page = client.get(f"/jobs/{id_}").text
    assert "is no plain file" in page and "root:" not in page


def test_of_two_apps_with_a_job_of_the_same_key_each_gets_its_own_output(client: FlaskClient) -> None:
    keys = [submit("pwd", app=app) for app in ("one", "two")]
    assert keys[0] == keys[1]
    for app in ("one", "two"):
        sync([app])
    for _ in range(100):
        sync()
        done = {row.source.app: row.id for row in db.session.scalars(db.select(Job)) if row.state == "done"}
        if len(done) == 2:
            break
    for id_ in done.values():
        tap(client, id_)
    for _ in range(2):
        sync()
    assert {app: shown(client, id_) for app, id_ in done.items()} == {
        app: [f"{Path.home()}/.{app}/runs/{keys[0]}\n"] for app in ("one", "two")
    }


def test_two_taps_at_the_same_moment_are_one(app: Flask, ended: Callable[[str], int]) -> None:
    id_ = ended("echo here")
    together = threading.Barrier(4)

    def ask() -> None:
        with app.app_context():
            job = db.session.get_one(Job, id_)
            together.wait(60)
            tails.ask(job)

    with ThreadPoolExecutor(4) as pool:
        for asked in [pool.submit(ask) for _ in range(4)]:
            asked.result(60)
    db.session.rollback()
    assert len(db.session.scalars(db.select(Tail)).all()) == 2


def test_a_sync_that_fails_leaves_it_waiting_for_the_next_one(
    client: FlaskClient, ended: Callable[[str], int]
) -> None:
    id_ = ended("echo here")
    tap(client, id_)

    def broken(_server: object) -> LocalShell:
        raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        sync(through=broken)
    assert shown(client, id_) == []
    sync()
    assert shown(client, id_) == ["here\n"]


def test_what_no_sync_brought_in_its_time_is_not_waited_for_any_more(
    client: FlaskClient, ended: Callable[[str], int]
) -> None:
    id_ = ended("echo here")
    tap(client, id_)
    _aged(tails.WAITED_SECONDS + 1)
    page = client.get(f"/jobs/{id_}/output", headers=HTMX).text
    assert "It did not come" in page and "every 1s" not in page and "Read it again" in page


def test_after_ten_minutes_nothing_of_it_is_in_the_database(
    client: FlaskClient, ended: Callable[[str], int]
) -> None:
    id_ = ended("echo here")
    tap(client, id_)
    sync()
    tails.forget_old()
    assert shown(client, id_) == ["here\n"]
    _aged(tails.KEPT_SECONDS + 1)
    assert shown(client, id_) == []
    tails.forget_old()
    assert db.session.scalars(db.select(Tail)).all() == []


def _aged(seconds: float) -> None:
    db.session.rollback()
    db.session.execute(db.update(Tail).values(asked_at=time.time() - seconds))
    db.session.commit()


def test_where_nothing_is_synced_the_tap_says_why_it_cannot_come(
    client: FlaskClient, ended: Callable[[str], int]
) -> None:
    id_ = ended("echo here")
    sources.set_paused(db.session.scalars(db.select(Source.id)).one(), True)
    db.session.rollback()
    assert "is not synced now" in tap(client, id_)
    assert db.session.scalars(db.select(Tail)).all() == []


def test_without_javascript_the_tap_leads_back_to_the_page_which_has_a_way_to_look_again(
    client: FlaskClient, ended: Callable[[str], int]
) -> None:
    id_ = ended("echo here")
    answer = client.post(f"/jobs/{id_}/output")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/jobs/{id_}#output-{id_}")
    page = client.get(f"/jobs/{id_}").text
    assert "comes with the next sync" in page and ">Look again</a>" in page
    db.session.rollback()
    sync()
    assert SHOWN.findall(client.get(f"/jobs/{id_}").text)[0] == "here\n"


def test_a_guest_sees_nothing_of_it(client: FlaskClient, ended: Callable[[str], int]) -> None:
    id_ = ended("echo here")
    tap(client, id_)
    sync()
    row = db.session.get_one(Job, id_)
    assert output.of(row) is not None
    viewer.become(Viewer(2, "guest", GUEST, FIRST))
    assert output.of(row) is None
