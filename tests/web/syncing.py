"""What the tests of syncing share: real jobs on this machine, and a way to sync them."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from cluster.parts import rest
from sqlalchemy import inspect

from remotejobs import RemoteJobSubmitter
from remotejobs.shell import LocalShell
from remoteweb import actions, collector, sources
from remoteweb.database import db
from remoteweb.models import Action, Job, Server
from remoteweb.syncs import SyncResult

APP = "remoteJobs-vistrails"


def submit(script: str = "exit 0", name: str = "", app: str = APP, **options: Any) -> str:
    """A real process under the test's own home; gives its key."""
    jobs = RemoteJobSubmitter(app)
    settings = jobs.create_settings(
        None, None, "sh", ["-c", script], name=name, scheduler="process", **options
    )
    return str(jobs.submit_job(settings)["jobid"])


def sync(apps: list[str] | None = None, **options: Any) -> SyncResult:
    """This machine's sources, once. The first time, the default one."""
    server = sources.this_machine()
    if apps is None and not server.sources:
        apps = [APP]
    options.setdefault("ignore_interval", True)
    return collector.collect(server, options.pop("through", lambda _: LocalShell()), apps=apps, **options)


def job(key: str) -> Job:
    return db.session.scalars(
        db.select(Job).where(Job.key == key).execution_options(populate_existing=True)
    ).one()


def wait_for(key: str, state: str, seconds: float = 20.0) -> Job:
    """Syncs until the job is in that state."""
    began = time.monotonic()
    while True:
        sync()
        found = job(key)
        if found.state == state:
            return found
        assert time.monotonic() < began + seconds, f"{key} is {found.state}, not {state}"
        rest(began)


def is_alive(pid: int) -> bool:
    """Where nobody collects the dead, a zombie is what stays of one."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + seconds
        rest(began)


def ask(row: Job, kind: str, key: str = "button-1") -> Action:
    """A tap whose time for undo is over."""
    action = actions.ask(row, kind, key, row.revision)
    actions.send_now(action)
    return again(action)


def again(action: Action) -> Action:
    """As the database has it now, in the same object: a sync lets go of all that its session held."""
    (identity,) = inspect(action).identity
    db.session.expunge_all()
    db.session.rollback()
    db.session.add(action)
    db.session.refresh(action)
    assert action.id == identity
    return action


def remote_server(user: str = "me", host: str = "alps.example.org", port: int = 22) -> Server:
    return sources.server(user, host, port)


class Registry:
    """A folder of job records, written by hand: for what no honest program would write."""

    def __init__(self, home: Path, app: str = APP) -> None:
        self.folder = home / f".{app}"
        for name in ("settings", "facts", "runs", "sealed", "actions", "trash", "hosts"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        (self.folder / "version").write_text("remotejobs 1\n")

    def settings(self, key: str, **values: Any) -> None:
        (self.folder / "settings" / f"{key}.json").write_text(json.dumps(values))

    def fact(self, key: str, name: str, **words: str) -> None:
        lines = "".join(f"{word}={value}\n" for word, value in words.items())
        (self.folder / "facts" / f"{key}.{name}").write_bytes(
            (lines + "end\n").encode("utf-8", "surrogatepass")
        )
