"""Two web processes and two collectors on one database, with taps that arrive at both."""

import itertools
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cluster.parts import free_port, wait_until
from flask import Flask
from web.served import Served, serve_somehow
from web.stored import rows, write
from web.syncing import APP, job, submit, sync, wait_for
from web.terminals import run

JOBS = 5


@pytest.fixture
def jobs(app: Flask) -> dict[str, int]:
    """Failed ones: their ids by key."""
    keys = [submit(f"exit 3; echo {number}") for number in range(JOBS)]
    with app.app_context():
        for key in keys:
            wait_for(key, "failed")
        return {key: job(key).id for key in keys}


@pytest.fixture
def both(jobs: dict[str, int], tmp_path: Path) -> Iterator[list[Served]]:
    """Each answers, and has a sync worker of its own."""
    served = []
    for number in (1, 2):
        folder = tmp_path / f"served{number}"
        folder.mkdir()
        served.append(serve_somehow(folder, free_port()))
    yield served
    for one in served:
        one.end()


class Browser:
    def __init__(self, served: Served) -> None:
        self.served, self.cookie = served, served.enter(served.until_ready())

    def read(self, path: str) -> int:
        return self.served.get(path, self.cookie).status

    def run_again(self, job_id: int, idem_key: str) -> int:
        form = {"idem_key": idem_key, "seen": "1", "at": "job"}
        return self.served.post(f"/jobs/{job_id}/resubmit", form, self.cookie).status


def test_each_tap_is_carried_out_once_whoever_takes_it(
    app: Flask, home: Path, jobs: dict[str, int], both: list[Served]
) -> None:
    browsers = [Browser(one) for one in both]
    over = threading.Event()
    statuses: list[int] = []

    def look(browser: Browser) -> None:
        while not over.is_set():
            statuses.extend(map(browser.read, ("/", "/changes?every=5", "/servers", "/sync")))
            over.wait(0.1)

    with ThreadPoolExecutor(8) as pool:
        looking = [pool.submit(look, browser) for browser in browsers]
        # From each page twice: the same button, tapped again, and the button of a page that was loaded later.
        taps = itertools.product(jobs.values(), ("button-a", "button-b"), browsers)
        tapped = [pool.submit(one.run_again, id_, f"{key}-{id_}") for id_, key, one in taps]
        assert {tap.result(30) for tap in tapped} == {303}
        write("UPDATE action SET not_before = 0")  # their time for undo is over
        wait_until(
            lambda: {state for (state,) in rows("SELECT state FROM action")} == {"done"}, "all of them"
        )
        assert run("update-database").returncode in (0, 75)
        over.set()
        for one in looking:
            one.result(30)

    assert set(statuses) <= {200, 204, 303}
    assert len(rows("SELECT id FROM action")) == JOBS
    runs = sorted(folder.name for folder in (home / f".{APP}" / "runs").iterdir())
    assert runs == sorted(key.removesuffix("1") + n for key in jobs for n in ("1", "2"))
    for one in both:
        one.end()
    with app.app_context():
        sync()
    assert rows("SELECT COUNT(*) FROM job") == [(2 * JOBS,)]
    assert [one.err.read_text() for one in both] == ["", ""]
    no_two_at_once()


def no_two_at_once() -> None:
    """The syncs of one server, as their rows tell: one begins when the one before it has ended."""
    times = rows("SELECT started_at, ended_at FROM sync_run WHERE ended_at IS NOT NULL ORDER BY started_at")
    assert len(times) > JOBS / 2
    assert all(ended <= started for (_, ended), (started, _) in itertools.pairwise(times)), times
    holders = {holder for (holder,) in rows("SELECT DISTINCT holder FROM sync_run")}
    assert len({re.sub(r"-.*", "", holder) for holder in holders}) > 1, "more than one process has synced"
