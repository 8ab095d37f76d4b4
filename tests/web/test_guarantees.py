"""Taps, syncs, crashes, cut answers, endings, requeues and restores in any order, against a model of what is promised:

- an action has at most one effect, and exactly one once all is calm, unless it was undone or refused;
- no state is shown that the job never was in; what has ended of an action never changes; what waits is seen;
- when all is calm, database and server say the same.
"""

import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from web.pocket_slurm import PocketJob
from web.small_world import BETWEEN, STEPS, CutShell, SmallWorld

from remoteweb import actions, create_app
from remoteweb.database import db
from remoteweb.jobs import action_queries
from remoteweb.models import Action, Job
from remoteweb.upgrade import upgrade_database

pytestmark = pytest.mark.sqlite  # a model that copies and restores a file

TERMINAL = ("done", "refused", "gave_up", "withdrawn")
SHOWN = {
    "PENDING": {"submitted", "queued", "held"},
    "RUNNING": {"running"},
    "COMPLETED": {"done"},
    "FAILED": {"failed"},
    "CANCELLED": {"cancelled"},
}
which = st.integers(0, 20)
EXAMPLES = int(os.environ.get("SOAK_EXAMPLES", "400"))


@dataclass
class Model:
    """What the server really was and did, and what was promised to the person."""

    been: dict[str, set[tuple[str, int]]] = field(default_factory=dict)  # of each job: states that it was in
    ever: set[str] = field(
        default_factory=set
    )  # every action that was asked for, also by a database that is gone
    ended: dict[int, tuple[str, str]] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)
    cancels: set[str] = field(default_factory=set)  # keys
    is_restored: bool = False
    is_week_over: bool = False


class Guarantees(RuleBasedStateMachine):
    make: Callable[[], SmallWorld]

    def __init__(self) -> None:
        super().__init__()
        self.world, self.model = type(self).make(), Model()
        self.context = self.world.app.app_context()
        self.context.push()

    # ---- a person ----

    @initialize()
    def two_jobs(self) -> None:
        for _ in range(2):
            self.model.ever.add(self.world.submit())
        self.sync()

    @rule()
    def submit(self) -> None:
        self.model.ever.add(self.world.submit())

    @precondition(lambda self: self.world.jobs())
    @rule(at=which, again=st.booleans(), now=st.booleans())
    def tap(self, at: int, again: bool, now: bool) -> None:
        job = _pick(self.world.jobs(), at)
        kind = "resubmit" if job.state in ("done", "failed", "cancelled", "lost") else "cancel"
        button, uuid = self.world.tap(job, kind)
        self.model.ever.add(uuid)
        if kind == "cancel":
            self.model.cancels.add(job.key or "")
        if again:
            assert actions.ask(job, kind, button, job.revision).uuid == uuid, "two taps are one action"
        if now:
            actions.send_now(self.world.action(uuid))

    @precondition(lambda self: self.world.actions())
    @rule(at=which)
    def undo(self, at: int) -> None:
        action = _pick(self.world.actions(), at)
        was_open, uuid = action.state in actions.OPEN, action.uuid
        if actions.withdraw(action):
            assert was_open
            if not self.world.keys_of(
                uuid
            ):  # else a database that is gone has sent it, and this one cannot know
                self.model.undone.add(uuid)

    # ---- collectors ----

    @rule()
    def sync(self) -> None:
        assert self.world.sync() in ("done", "busy")

    @rule(part=st.floats(0, 1))
    def sync_with_a_cut_answer(self, part: float) -> None:
        self.world.sync(lambda: CutShell(part))

    @rule(step=st.sampled_from(list(STEPS)), nth=st.integers(1, 2), is_known_dead=st.booleans())
    def crash(self, step: str, nth: int, is_known_dead: bool) -> None:
        self.world.crash(step, nth, is_known_dead=is_known_dead)

    @rule(step=st.sampled_from(BETWEEN))
    def overtake(self, step: str) -> None:
        assert self.world.overtake(step) in ("done", "lost", "busy")

    @rule(seconds=st.sampled_from([7.0, 60.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.offset += seconds

    @precondition(lambda self: not self.model.is_week_over)
    @rule(chance=st.integers(0, 3))
    def a_week_passes(self, chance: int) -> None:
        if chance == 0:
            self.model.is_week_over = True
            self.world.offset += 8 * 86400.0

    # ---- the database ----

    @rule()
    def copy(self) -> None:
        self.world.copy_database()

    @precondition(lambda self: self.world.copy)
    @rule()
    def restore(self) -> None:
        self.world.restore_database()
        rows = self.world.actions()
        self.model.ended = {}
        self.model.is_restored = True
        self.model.undone &= {action.uuid for action in rows if action.state == "withdrawn"}

    # ---- the cluster ----

    def _run(self, at: int, *states: str) -> PocketJob | None:
        found = [job for job in self.world.released() if job.state in states]
        return _pick(found, at) if found else None

    @rule(at=which)
    def start(self, at: int) -> None:
        if job := self._run(at, "PENDING"):
            self.world.slurm.start(job)

    @rule(at=which, code=st.sampled_from([0, 3]))
    def end(self, at: int, code: int) -> None:
        if job := self._run(at, "RUNNING"):
            self.world.slurm.end(job, code)

    @rule(at=which)
    def requeue(self, at: int) -> None:
        if job := self._run(at, "RUNNING"):
            self.world.slurm.requeue(job)

    @rule(at=which)
    def forget(self, at: int) -> None:
        if job := self._run(at, "COMPLETED", "FAILED", "CANCELLED"):
            self.note()
            self.world.slurm.forget(job)

    @rule(late=st.sampled_from(["", "it", "all"]))
    def next_submission_is_not_answered(self, late: str) -> None:
        self.world.slurm.says_timed_out()
        if late:
            self.world.slurm.shows_late(all_of_them=late == "all")

    @rule()
    def queue_shows_all(self) -> None:
        self.world.slurm.shows_all()

    @rule()
    def five_minutes_pass(self) -> None:
        self.world.forget_time_outs()

    # ---- what is promised at any time ----

    def note(self) -> None:
        for job in self.world.slurm.jobs():
            been = self.model.been.setdefault(job.key, {("submitted", 1)})
            been |= {(state, job.attempt) for state in SHOWN[job.state]}

    @invariant()
    def no_state_is_made_up(self) -> None:
        self.note()
        for job in self.world.jobs():
            assert (job.state, job.attempt) in self.model.been.get(job.key or "", {("submitted", 1)})

    @invariant()
    def nothing_is_done_twice(self) -> None:
        for job in self.world.released():
            same = [other for other in self.world.released() if other.key == job.key]
            assert len(same) == 1, f"{job.key} was let go twice"
        done = Counter(uuid for uuid, _ in self.world.done())
        assert set(done) <= self.model.ever, "nothing is done that nobody asked for"
        assert not done or max(done.values()) == 1
        for uuid in self.model.undone:
            assert not self.world.keys_of(uuid), "it was undone"
        for job in self.world.released():
            assert job.state != "CANCELLED" or job.key in self.model.cancels

    @invariant()
    def what_has_ended_stays_ended(self) -> None:
        for action in self.world.actions():
            said = (action.state, action.outcome)
            assert self.model.ended.get(action.id, said) == said
            if action.state in TERMINAL:
                self.model.ended[action.id] = said

    @invariant()
    def what_waits_is_seen(self) -> None:
        """In the list; of two that wait for one job the row tells the later one, and the page of the job both."""
        jobs = {job.id: job for job in self.world.jobs()}
        rows = action_queries.last_actions(list(jobs))
        seen = {action.uuid for action in rows.values()}
        seen |= {action.uuid for action in action_queries.submissions(since=0.0)}
        waiting = [action for action in self.world.actions() if action.state in actions.OPEN]
        for action in waiting[-5:]:
            if action.uuid not in seen:
                told = rows[action.job_id or 0]
                assert (told.state in actions.OPEN, told.id > action.id) == (True, True)
                assert action.uuid in {each.uuid for each in action_queries.actions(jobs[told.job_id or 0])}
        db.session.remove()

    # ---- and once all is calm ----

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.calm_down()
        finally:
            self.context.pop()
            self.world.close()

    def calm_down(self) -> None:
        for _ in range(4):
            self.world.slurm.shows_all()
            self.world.forget_time_outs()
            self.world.offset += 60.0
            assert self.world.sync() == "done"
        self.note()
        for action in self.world.actions():
            self.has_come_true(action)
        truth = {job.key: SHOWN[job.state] for job in self.world.slurm.jobs() if job.releases}
        jobs = {job.key: job for job in self.world.jobs()}
        assert set(truth) <= set(jobs), "every job of the server is known"
        for key, states in truth.items():
            assert jobs[key].state in states, f"{key} is {states}"
        if not self.model.is_restored and not self.model.is_week_over:  # else nobody asks for what was begun
            kept = [job.id for job in self.world.slurm.jobs() if job.state == "PENDING" and not job.releases]
            assert kept == [], "nothing waits held for ever"
        for check in (self.no_state_is_made_up, self.nothing_is_done_twice, self.what_has_ended_stays_ended):
            check()

    def has_come_true(self, action: Action) -> None:
        assert action.state in TERMINAL, (action.kind, action.state, action.outcome)
        keys = self.world.keys_of(action.uuid)
        if action.state == "gave_up":
            assert self.model.is_week_over
        elif action.kind == "cancel":
            assert action.state == "done" or action.state == "withdrawn", action.outcome
            job = next((job for job in self.world.slurm.jobs() if job.key == _key(action)), None)
            assert (
                action.state != "done"
                or job is None
                or job.state not in ("PENDING", "RUNNING")
                or job.restarts
            )
        elif action.state == "done":
            assert keys == [action.new_key]
        else:
            assert action.state == "withdrawn" and (not keys or self.model.is_restored), action.outcome


def _pick(of: list[Any], at: int) -> Any:
    return of[at % len(of)]


def _key(action: Action) -> str:
    job = db.session.get_one(Job, action.job_id)
    return job.key or ""


@pytest.mark.parametrize(
    ("examples", "steps"),
    [(5, 12), pytest.param(EXAMPLES, 40, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
    ids=["short", "long"],
)
def test_whatever_happens_in_whatever_order_the_promises_hold(
    tmp_path: Path, examples: int, steps: int
) -> None:
    upgraded = tmp_path / "upgraded.sqlite"
    app = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{upgraded}", "TESTING": True})
    upgrade_database(app)
    with app.app_context():
        db.engine.dispose()
    numbers = itertools.count()

    def make() -> SmallWorld:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return SmallWorld(folder, upgraded, pytest.MonkeyPatch())

    machine = type("GuaranteesHere", (Guarantees,), {"make": staticmethod(make)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=steps < 40,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # a step is a sync: to make a failure shorter would take an hour
            print_blob=True,
        ),
    )
