"""What is asked of a machine's jobs while its syncs come to harm, and how it has to stand when all is calm again."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

from cluster.parts import rest
from web.syncing import APP, job, submit, sync, wait_for

from remotejobs import RemoteJobSubmitter
from remoteweb import actions, sources
from remoteweb.database import db
from remoteweb.models import Action, Event, Job, Server, SyncRun

LONG = "sleep 7200"  # longer than any soak


class Intents:
    """Rounds of taps on one machine. In each a failed job is run again, a running one cancelled, two new ones are asked for,
    one that runs is killed together with its wrapper, and one is stopped, or goes on: of that only the queue tells.

    `ran` is counted where it happened, by the jobs themselves, not where it was recorded.
    """

    def __init__(self) -> None:
        self.states: dict[str | None, str] = {}  # of each key, when all is calm
        self.ran: Counter[str] = Counter()  # by name
        self.failed = self._submitted("again", "exit 3", "failed")
        self.running = self._submitted("running", LONG, "running")
        self.vanishing = self._submitted("vanishing", LONG, "running")
        self.pausing = self._submitted("pausing", LONG, "running")
        self._asked: list[str] = []  # uuids
        for key, state in self.states.items():
            wait_for(key, state)

    def _submitted(self, name: str, script: str, state: str) -> str:
        key = submit(_traced(name, script), name)
        self.ran[name] += 1
        self.states[key] = state
        return key

    def ask(self) -> None:
        """The taps of one round: their time for undo is over."""
        number = len(self.states)
        os.killpg(int(job(self.vanishing).scheduler_id), signal.SIGKILL)
        goes_on = self.states[self.pausing] == "suspended"
        os.kill(int(job(self.pausing).scheduler_id), signal.SIGCONT if goes_on else signal.SIGSTOP)
        self.states[self.pausing] = "running" if goes_on else "suspended"
        names = (f"running {number}", f"vanishing {number}")
        self._asked = [
            _tap(self.failed, "resubmit", number),
            _tap(self.running, "cancel", number),
            *map(_submission, names),
        ]
        self.ran.update(["again", *names])

    def come_true(self, seconds: float = 30.0) -> None:
        """Syncs until nothing is open any more, and every job is in the state that it has to be in."""
        began = time.monotonic()
        until = began + seconds
        sync()
        while _open_actions():
            assert time.monotonic() < until, [(row.kind, row.outcome) for row in _open_actions()]
            rest(began)
            sync()
        again, cancel, running, vanishing = map(_anew, self._asked)
        assert {action.state for action in (again, cancel, running, vanishing)} == {"done"}
        assert again.new_key == _next(self.failed), "it is the only run after the one that failed"
        self.states |= {again.new_key: "failed", self.running: "cancelled"}
        self.states |= {running.new_key: "running", vanishing.new_key: "running"}
        self.states[self.vanishing] = "gone"
        self.failed, self.running, self.vanishing = again.new_key, running.new_key, vanishing.new_key
        while (states := _states()) != self.states:
            assert time.monotonic() < until, states.items() ^ self.states.items()
            rest(began)
            sync()

    def check(self) -> None:
        """Database, server and what really ran agree, down to the last job."""
        rows = {row.key: row for row in db.session.scalars(db.select(Job))}
        assert len(rows) == db.session.scalar(db.select(db.func.count(Job.id)))
        assert {path.name for path in (Path.home() / f".{APP}" / "runs").iterdir()} == set(self.states)
        assert Counter((Path.home() / "ran").read_text().splitlines()) == self.ran
        told = RemoteJobSubmitter(APP).check_states(list(map(str, self.states)))
        assert {key: (_state(row.state, row.settling), row.attempt) for key, row in rows.items()} == {
            key: (_state(one["status"], one["settling"]), one["attempt"]) for key, one in told.items()
        }
        check_the_database()

    def close(self) -> None:
        for key in (self.running, self.vanishing, self.pausing):
            with suppress(ProcessLookupError):
                os.killpg(int(job(key).scheduler_id), signal.SIGKILL)


@contextmanager
def intents() -> Iterator[Intents]:
    one = Intents()
    try:
        yield one
    finally:
        one.close()


def check_the_database() -> None:
    """Nothing is left of what was killed: no run, no lease, and no step of a history told twice."""
    db.session.expunge_all()
    assert not db.session.scalars(db.select(SyncRun).where(SyncRun.state == "running")).all()
    assert {server.lease_owner for server in db.session.scalars(db.select(Server))} == {""}
    histories: dict[int, list[tuple[str, int]]] = {}
    for one in db.session.scalars(db.select(Event).order_by(Event.id)):
        histories.setdefault(one.job_id, []).append((one.state, one.attempt))
    for row in db.session.scalars(db.select(Job)):
        assert histories[row.id][-1] == (row.state, row.attempt)
        assert all(before != after for before, after in pairwise(histories[row.id]))
    if db.engine.dialect.name == "sqlite":
        assert db.session.execute(db.text("PRAGMA integrity_check")).scalar() == "ok"
    db.session.rollback()


def _states() -> dict[str | None, str]:
    db.session.rollback()
    rows = db.session.scalars(db.select(Job).execution_options(populate_existing=True))
    return {row.key: _state(row.state, row.settling) for row in rows}


def _state(state: str, settling: bool) -> str:
    """Nobody knows how a job ended that was killed with its wrapper, so nobody says it: it is settling, and lost at last."""
    return "gone" if (state == "running" and settling) or state == "lost" else state


def _traced(name: str, script: str) -> str:
    return f'echo "{name}" >>"$HOME/ran"; {script}'


def _tap(key: str, kind: str, number: int) -> str:
    row = job(key)
    action = actions.ask(row, kind, f"{kind}-{number}", row.revision)
    actions.send_now(action)
    return action.uuid


def _submission(name: str) -> str:
    source = sources.find_here(APP)
    assert source
    jobs = RemoteJobSubmitter(APP)
    values = jobs.create_settings(
        None, None, "sh", ["-c", _traced(name, LONG)], name=name, scheduler="process"
    )
    return actions.ask_submission(source, values, name).uuid


def _next(key: str) -> str:
    work, _, n = key.rpartition("_")
    return f"{work}_{int(n) + 1}"


def _anew(uuid: str) -> Action:
    return db.session.scalars(
        db.select(Action).where(Action.uuid == uuid).execution_options(populate_existing=True)
    ).one()


def _open_actions() -> list[Action]:
    db.session.rollback()
    query = db.select(Action).where(Action.state.in_(actions.OPEN)).execution_options(populate_existing=True)
    return list(db.session.scalars(query))
