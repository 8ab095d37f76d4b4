"""Syncs that end in the middle, each in a process of its own: it kills itself. Nothing of this is in the product.

`python dying.py` reads an order per line and forks a child for it: whatever takes time to import is there already.
"""

import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import Engine, event

from remotejobs.shell import LocalShell
from remoteweb import collector, create_app, leases, sources
from remoteweb.database import db

# In the order of a sync: where the step is, and whether it dies "before" it or "after" it. A step that gives one thing
# after another (a chunk that is committed) may be left at "each" of them.
STEPS = {
    "the lease is asked for": ("remoteweb.leases", "take", "before"),
    "the lease is taken, not committed": ("remoteweb.leases", "take", "after"),
    "the run has its row, not committed": ("remoteweb.runs", "begin", "after"),
    "the lease and the run are committed": ("remoteweb.collector", "_begin", "after"),
    "the actions are going to be claimed": ("remoteweb.sending", "claim", "before"),
    "an action is claimed, not committed": ("remoteweb.sending", "_request", "after"),
    "the claim is committed": ("remoteweb.sending", "claim", "after"),
    "the connection is made": ("remotejobs.shell", "over_pipes", "before"),
    "the request is sent": ("remotejobs.conversation", "_feed", "after"),
    "the answer begins": ("remotejobs.conversation", "_drain", "before"),
    "the answer is received": ("remoteweb.collector", "exchange", "after"),
    "records are written, not committed": ("remoteweb.intake", "_write", "after"),
    "the cursor is stored, not committed": ("remoteweb.intake", "_keep_cursor", "after"),
    "a chunk is committed": ("remoteweb.intake", "store", "each"),
    "all chunks are committed": ("remoteweb.answers", "_store", "after"),
    "an outcome is written, not committed": ("remoteweb.outcomes", "_apply", "after"),
    "the outcomes are settled": ("remoteweb.outcomes", "settle", "after"),
    "jobs are judged, not committed": ("remoteweb.intake", "record_changes", "after"),
    "the open jobs are judged by the queue": ("remoteweb.intake", "_judge_under_the_lock", "after"),
    "all jobs are judged": ("remoteweb.intake", "look_again", "after"),
    "the end is near": ("remoteweb.collector", "_end_well", "before"),
    "the sources are confirmed, not committed": ("remoteweb.confirming", "confirm", "after"),
    "the run has ended, not committed": ("remoteweb.runs", "end", "after"),
    "the lease is given back, not committed": ("remoteweb.leases", "give_back", "after"),
    "all is committed": ("remoteweb.collector", "_end_well", "after"),
}


Place = tuple[str, str, str]  # module, function, and when


def at(place: Place, then: Callable[[], object], nth: int = 1) -> tuple[str, Callable[..., Any]]:
    """That function as one that does `then` at its nth passing: where it belongs (module.function), and itself."""
    module, name, when = place
    function = _wrapped(getattr(importlib.import_module(module), name), when, _Counted(then, nth))
    return f"{module}.{name}", function


class _Counted:
    def __init__(self, then: Callable[[], object], nth: int) -> None:
        self.then, self.left = then, nth

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.then()


def _wrapped(real: Callable[..., Any], when: str, passed: Callable[[], None]) -> Callable[..., Any]:
    def plain(*arguments: Any, **options: Any) -> Any:
        if when == "before":
            passed()
        given = real(*arguments, **options)
        if when == "after":
            passed()
        return given

    def piecewise(*arguments: Any, **options: Any) -> Iterator[Any]:
        if when == "before":
            passed()
        for piece in real(*arguments, **options):
            if when == "each":
                passed()
            yield piece
        if when == "after":
            passed()

    return piecewise if inspect.isgeneratorfunction(real) else plain


class Dying:
    """Gives one sync after another to a child of its own, and how each ended: 0, or the signal below 0."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    def begin(self, app: Flask, **order: Any) -> int:
        """Its process id. Orders: `step` and `nth`, or `statement` (the nth that the database is given), or `seconds`; without
        any of them it lives. With `stops` it stands still there instead, with `elsewhere` it is on another machine.
        """
        with app.app_context():
            order["database"] = db.engine.url.render_as_string(hide_password=False)
        order["home"] = os.environ["HOME"]
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self.end()

    def end(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())

    def sync(self, app: Flask, **order: Any) -> int:
        self.begin(app, **order)
        return self.end()

    def close(self) -> None:
        self._process.communicate(timeout=30)


@contextmanager
def dying() -> Iterator[Dying]:
    one = Dying()
    try:
        yield one
    finally:
        one.close()


def _prepare(order: dict[str, Any]) -> None:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGSTOP if order.get("stops") else signal.SIGKILL)

    if order.get("elsewhere"):
        leases._place = lambda: "another1"  # type: ignore[assignment]
    if "step" in order:
        where, function = at(STEPS[order["step"]], die, order.get("nth", 1))
        module, _, name = where.rpartition(".")
        setattr(importlib.import_module(module), name, function)
    if "statement" in order:
        passed = _Counted(die, order["statement"])
        event.listen(Engine, "before_cursor_execute", lambda *_: passed())
    if "seconds" in order:
        # Without a handler this ends a process where it stands, as KILL does.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, order["seconds"])


def _sync(order: dict[str, Any]) -> int:
    os.environ["HOME"] = order["home"]
    app = create_app({"SQLALCHEMY_DATABASE_URI": order["database"]})
    with app.app_context():
        server = sources.this_machine()
        _prepare(order)
        options = {"ignore_interval": order.get("ignore_interval", True), "wait": False}
        try:
            collector.collect(server, lambda _: LocalShell(), **options)
        except collector.RemoteJobsError as error:
            return error.exit_code
    return 0


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if not child:
            code = 1
            try:
                code = _sync(json.loads(line))
            finally:
                os._exit(code)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
