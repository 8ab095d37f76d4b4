"""A sync that is killed at any moment: the database stays whole, and each action is carried out once."""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from flask import Flask
from web.stored import is_whole
from web.syncing import APP, again, job, submit, sync, wait_for
from web.terminals import begin, run

from remoteweb import actions, sources
from remoteweb.database import db
from remoteweb.models import Action, Job, Server, SyncRun

KILLS = 12  # for each round of resubmissions
JOBS = 6


@pytest.mark.parametrize(
    "rounds",
    [1, pytest.param(17, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
    ids=["short", "long"],
)
def test_whatever_is_killed_whenever_each_resubmission_is_one_job(
    app: Flask, home: Path, rounds: int
) -> None:
    moments = random.Random(4711)
    keys: list[str] = []
    for _ in range(rounds):
        with app.app_context():
            keys += _ask_for_resubmissions(len(keys))
        _kill_syncs(moments)
        assert run("update-database").returncode == 0
        with app.app_context():
            _settle()
            _every_resubmission_is_one_job(keys)
        runs = sorted(folder.name for folder in (home / f".{APP}" / "runs").iterdir())
        assert runs == sorted([*keys, *map(_second, keys)]), "no third run was started"
        assert is_whole()


def _ask_for_resubmissions(first: int) -> list[str]:
    """Of jobs that have failed: their keys."""
    keys = [submit(f"exit 3; echo {number}") for number in range(first, first + JOBS)]
    for key in keys:
        wait_for(key, "failed")
    for key in keys:
        actions.send_now(actions.ask(job(key), "resubmit", f"button-{key}", 1))
    server = db.session.scalars(db.select(Server)).one()
    server.min_interval = 0.0
    db.session.commit()
    return keys


def _kill_syncs(moments: random.Random) -> None:
    for _ in range(KILLS):
        process = begin("update-database")
        # From before the database is opened until after the last word of a sync that went well.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.4, 1.6))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)  # its shell lives on, as one on a server does


def _every_resubmission_is_one_job(keys: list[str]) -> None:
    rows = db.session.scalars(db.select(Action)).all()
    assert {action.state for action in rows} == {"done"}
    assert sorted(action.new_key for action in rows) == sorted(map(_second, keys))
    assert db.session.scalar(db.select(db.func.count()).select_from(Job)) == 2 * len(keys)
    assert not db.session.scalars(db.select(SyncRun).where(SyncRun.state == "running")).all()


def _second(key: str) -> str:
    return key.removesuffix("1") + "2"


def _settle() -> None:
    until = time.monotonic() + 60
    while any(again(action).state != "done" for action in db.session.scalars(db.select(Action)).all()):
        assert time.monotonic() < until
        sync()
        time.sleep(0.2)
    source = sources.find_here(APP)
    assert source and source.error == ""
