"""A database, a server with a pocket Slurm, and two clocks: what the rules of a model act on, and what is promised of it."""

import itertools
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from web.dying import STEPS, at
from web.pocket_slurm import PocketJob, PocketSlurm
from web.syncing import APP

from remotejobs import RemoteJobSubmitter
from remotejobs.errors import AnswerBroken
from remotejobs.output import Output
from remotejobs.shell import LocalShell
from remoteweb import actions, collector, create_app, leases, sources
from remoteweb.database import db
from remoteweb.leases import Busy, LeaseLost
from remoteweb.models import Action, Job, Server

# Where another sync can come in between: nothing is open in the database.
BETWEEN = [
    "the lease and the run are committed",
    "the claim is committed",
    "the connection is made",
    "the answer is received",
    "a chunk is committed",
    "the outcomes are settled",
]
SCRIPT = 'echo "$SLURM_JOB_ID.$SLURM_RESTART_COUNT" >>"$HOME/ran"; exit "$CODE"'


class Died(BaseException):
    """A collector ends here, and tidies nothing up."""


class CutShell(LocalShell):
    """The server does all that it is asked, and of its answer only a part arrives."""

    def __init__(self, part: float) -> None:
        super().__init__()
        self.part = part

    def run(self, *arguments: Any, **options: Any) -> Output:
        output = super().run(*arguments, **options)
        with output:
            whole = output.stdout.read()
        kept = whole[: int(len(whole) * self.part)]
        return Output(output.status, BytesIO(kept), len(kept))


class SmallWorld:
    def __init__(self, folder: Path, upgraded: Path, patch: pytest.MonkeyPatch) -> None:
        self.home, self.file, self.patch = folder / "home", folder / "remoteweb.sqlite", patch
        self.home.mkdir()
        self.slurm = PocketSlurm(folder / "slurm")
        shutil.copy(upgraded, self.file)
        self.copy: Path | None = None
        self.numbers = itertools.count(1)
        self.offset, self._real_time = 0.0, time.time
        patch.setenv("HOME", str(self.home))
        patch.setenv("PATH", f"{self.slurm.path}:{os.environ['PATH']}")
        patch.setattr(time, "time", lambda: self._real_time() + self.offset)
        self.app: Flask = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{self.file}", "TESTING": True})
        with self.app.app_context():
            self.source_id = sources.source_here().id
            server = db.session.scalars(db.select(Server)).one()
            server.min_interval = 0.0
            db.session.commit()

    def close(self) -> None:
        with self.app.app_context():
            db.engine.dispose()
        self.patch.undo()

    # ---- what a person does ----

    def submit(self) -> str:
        jobs = RemoteJobSubmitter(APP)
        name = f"job-{next(self.numbers)}"
        values = jobs.create_settings(
            None, None, "sh", ["-c", f"{SCRIPT} # {name}"], name=name, scheduler="slurm"
        )
        source = db.session.get_one(sources.Source, self.source_id)
        return actions.ask_submission(source, values, name).uuid

    def tap(self, job: Job, kind: str) -> tuple[str, str]:
        """The button's key, and the uuid of the action that the tap came to."""
        button = f"button-{next(self.numbers)}"
        return button, actions.ask(job, kind, button, job.revision).uuid

    # ---- collectors ----

    def sync(self, through: Callable[[], LocalShell] = LocalShell) -> str:
        """How it went: done, busy, lost (another took over), broken (its answer)."""
        try:
            collector.collect(sources.this_machine(), lambda _: through(), ignore_interval=True)
        except Busy:
            return "busy"
        except LeaseLost:
            return "lost"
        except AnswerBroken:
            return "broken"
        finally:
            db.session.remove()
        return "done"

    def crash(self, step: str, nth: int, *, is_known_dead: bool) -> None:
        def dies() -> None:
            raise Died

        with self._patched() as patch, suppress(Died):
            if is_known_dead:
                host, _, word = leases.new_owner().split(":")
                patch.setattr(leases, "new_owner", lambda: f"{host}:{2**22 + 1}:{word}")
            patch.setattr(collector, "_end_badly", _unless_dead(collector._end_badly))
            self._set(patch, step, dies, nth)
            self.sync()

    def overtake(self, step: str) -> str:
        """One stands still at that step until its lease is over and another one has done it all; then it goes on."""

        def overtaken() -> None:
            self.offset += leases.LEASE_SECONDS + 1
            with self.app.app_context():
                assert self.sync() == "done"

        with self._patched() as patch:
            self._set(patch, step, overtaken, 1)
            return self.sync()

    @contextmanager
    def _patched(self) -> Iterator[pytest.MonkeyPatch]:
        with pytest.MonkeyPatch.context() as patch:
            yield patch

    def _set(self, patch: pytest.MonkeyPatch, step: str, then: Callable[[], object], nth: int) -> None:
        patch.setattr(*at(STEPS[step], then, nth))

    # ---- the database as a file ----

    def copy_database(self) -> None:
        self.copy = self.file.with_name("copy.sqlite")
        self.copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.file)) as one, closing(sqlite3.connect(self.copy)) as other:
            one.backup(other)

    def restore_database(self) -> None:
        assert self.copy
        db.session.remove()
        db.engine.dispose()
        for beside in ("-wal", "-shm"):
            self.file.with_name(self.file.name + beside).unlink(missing_ok=True)
        shutil.copy(self.copy, self.file)

    # ---- what can be looked at ----

    def actions(self) -> list[Action]:
        return list(db.session.scalars(db.select(Action).order_by(Action.id)))

    def action(self, uuid: str) -> Action:
        return db.session.scalars(db.select(Action).where(Action.uuid == uuid)).one()

    def jobs(self) -> list[Job]:
        return list(db.session.scalars(db.select(Job).order_by(Job.id)))

    def done(self) -> list[tuple[str, str]]:
        """(uuid, key) of every submission that came to something, by the records on the server."""
        facts = (self.home / f".{APP}" / "facts").glob("*.id")
        words = {
            path.name[:-3]: dict(line.split("=", 1) for line in path.read_text().split()[:-1])
            for path in facts
        }
        return [(word["action"], key) for key, word in words.items()]

    def keys_of(self, uuid: str) -> list[str]:
        return [key for of, key in self.done() if of == uuid]

    def released(self) -> list[PocketJob]:
        return [job for job in self.slurm.jobs() if job.releases]

    def forget_time_outs(self) -> None:
        """As if five minutes had passed on the server since it did not say whether it took a job."""
        for path in (self.home / f".{APP}" / "actions").glob("*/unsettled.?"):
            path.write_text(f"{int(path.read_text().split()[0]) - 400}\n")


def _unless_dead(real: Callable[..., None]) -> Callable[..., None]:
    def end_badly(sync: Any, error: BaseException) -> None:
        if not isinstance(error, Died):
            real(sync, error)

    return end_badly


__all__ = ["BETWEEN", "STEPS", "CutShell", "SmallWorld"]
