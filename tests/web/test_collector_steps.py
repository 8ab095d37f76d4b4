"""Collectors that end or stand still at each named step: the next sync brings database and server to agreement."""

import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from flask import Flask
from flask.testing import FlaskClient
from web.dying import STEPS, Dying, dying
from web.intents import intents
from web.syncing import eventually, submit, sync

from remoteweb.database import db
from remoteweb.models import Server, SyncRun

NAMES = list(STEPS)
CYCLES = 1000
# A sync with a few actions gives the database about as many statements, and takes about as long on a quiet machine.
STATEMENTS, SECONDS = 110, 0.5


@pytest.fixture(scope="module")
def killed() -> Iterator[Dying]:
    with dying() as one:
        yield one


@pytest.mark.parametrize("steps", [NAMES[:8], NAMES[8:16], NAMES[16:]], ids=["asking", "storing", "ending"])
def test_wherever_it_is_killed_each_action_is_done_once_and_no_state_is_made_up(
    app: Flask, killed: Dying, steps: list[str]
) -> None:
    with app.app_context(), intents() as asked:
        for step in steps:
            asked.ask()
            assert killed.sync(app, step=step) == -signal.SIGKILL, f"no sync came to where {step}"
            asked.come_true()
            asked.check()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_thousand_kills_at_steps_statements_and_moments(app: Flask, killed: Dying) -> None:
    chance = random.Random(4711)
    counted = dict.fromkeys(("step", "statement", "seconds"), 0)
    rounds, began = 0, time.monotonic()
    until = began + float(os.environ.get("SOAK_SECONDS", "3000"))
    with app.app_context(), intents() as asked:
        while sum(counted.values()) < CYCLES and time.monotonic() < until:
            asked.ask()
            rounds += 1
            for _ in range(chance.randint(1, 5)):
                order = _any_order(chance)
                kind = next(iter(order))
                counted[kind] += killed.sync(app, **order) < 0
            asked.come_true()
            asked.check()
            print(
                f"{sum(counted.values())} kills in {rounds} rounds, {time.monotonic() - began:.0f} s: {counted}"
            )


def _any_order(chance: random.Random) -> dict[str, Any]:
    return chance.choice(
        [
            {"step": chance.choice(NAMES), "nth": chance.randint(1, 3)},
            {"statement": chance.randint(1, STATEMENTS)},
            {"seconds": chance.uniform(0.001, SECONDS)},
        ]
    )


def test_a_sync_that_died_on_another_machine_is_waited_for_until_its_lease_is_over(
    app: Flask, client: FlaskClient, killed: Dying
) -> None:
    with app.app_context(), intents() as asked:
        asked.ask()
        pid = killed.begin(app, step="the claim is committed", elsewhere=True)
        assert killed.end() == -signal.SIGKILL
        second = app.test_cli_runner().invoke(args=["update-database"])
        assert second.exit_code == 75 and f"by process {pid} on" in second.output
        assert f"By process {pid} on" in client.get("/servers").text
        _let_the_lease_run_out()
        assert f"By process {pid} on" not in client.get("/servers").text
        asked.come_true()
        asked.check()


@pytest.mark.parametrize("step", ["the connection is made", "the answer is received"])
def test_one_that_stood_still_until_another_took_over_does_nothing_again(
    app: Flask, killed: Dying, step: str
) -> None:
    with app.app_context(), intents() as asked:
        asked.ask()
        pid = killed.begin(app, step=step, stops=True)
        eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        _let_the_lease_run_out()
        asked.come_true()
        asked.check()
        os.kill(pid, signal.SIGCONT)
        assert killed.end() == 1, "another sync of this machine took over"
        asked.check()
        sync()
        asked.check()


def _let_the_lease_run_out() -> None:
    db.session.rollback()
    server = db.session.scalars(db.select(Server)).one()
    assert server.lease_owner
    server.lease_until = time.time() - 1
    db.session.commit()


def test_of_two_collectors_at_once_one_goes_to_the_server_and_the_interval_holds_for_both(
    app: Flask, killed: Dying
) -> None:
    with app.app_context(), dying() as other:
        submit("exit 0")
        sync()
        server = db.session.scalars(db.select(Server)).one()
        server.min_interval, server.last_try_at = 600.0, 0.0
        db.session.commit()
        for one in (killed, other):
            one.begin(app, ignore_interval=False)
        assert sorted([killed.end(), other.end()]) == [0, 75]
        assert killed.sync(app, ignore_interval=False) == 75, "long after the first one has ended"
        states = db.session.scalars(db.select(SyncRun.state)).all()
        assert list(states) == ["done", "done"]
