"""The sync worker: it keeps the time itself, and takes the syncs that a tap asked for.

Under `remoteweb serve` it is a thread beside the pages, else it is `remoteweb sync-worker`. Any number of
them may run:
the lease of each server decides.
"""

import atexit
import threading
import time
from pathlib import Path

from flask import Flask

from remotejobs.errors import RemoteJobsError
from remotejobs.shell import Shell
from remoteweb import collector, kept, key_making, leases, refused, runs, sources, tails, trouble
from remoteweb.connect import unattended
from remoteweb.database import db
from remoteweb.kept import KeptConnections, SignInNeeded
from remoteweb.leases import Busy, LeaseLost, TooSoon
from remoteweb.login_threads import Logins
from remoteweb.models import Action, Server, Source, SyncRun

TICK_SECONDS = 1.0
# Servers that are synced at the same time.
AT_ONCE = 4
STOP_SECONDS = 5.0


def start(app: Flask) -> "Worker":
    """The worker as a thread of this process, stopped when the process ends."""
    worker = Worker(app)
    worker.start()
    atexit.register(worker.stop)
    return worker


class Worker(threading.Thread):
    def __init__(self, app: Flask) -> None:
        super().__init__(name="sync-worker", daemon=True)
        self.app = app
        self.looked_at = time.monotonic()  # around for work, whatever came of it
        self._over = threading.Event()
        self._syncing: dict[int, threading.Thread] = {}
        # Servers where something was just done: what became of it is looked at as soon as the interval
        # allows.
        self._followed: set[int] = set()
        self._trouble = ""
        self.kept = KeptConnections(leases.new_owner())
        self._logins = Logins(app, self.kept)

    def run(self) -> None:
        self._logins.start()
        while not self._over.is_set():
            try:
                self.looked_at = time.monotonic()
                self._look_around()
                self._trouble = ""
            except Exception as error:
                # The database may be away for a while; the worker is not. That is told once and not each second.
                if self._trouble != (trouble := repr(error)):
                    self.app.logger.exception("The sync worker could not look for work; it tries again.")
                self._trouble = trouble
            self._over.wait(TICK_SECONDS)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """No new sync begins; those under way get a moment to end.

        One that is cut off is continued by the next.
        """
        self._over.set()
        until = time.monotonic() + seconds
        for thread in [self, *self._syncing.values()]:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))
        self._logins.stop(max(0.0, until - time.monotonic()))

    def _look_around(self) -> None:
        self._syncing = {
            server_id: thread for server_id, thread in self._syncing.items() if thread.is_alive()
        }
        with self.app.app_context():
            _close_abandoned()
            tails.forget_old()
            refused.settle()
            _meet_this_machine()
            key_making.make_wanted()
            self._logins.look_around()
            ids = [server.id for server in sources.with_sources_of_everybody() if self._is_due(server)]
        for server_id in ids[: AT_ONCE - len(self._syncing)]:
            thread = threading.Thread(
                target=self._sync, args=(server_id,), name=f"sync-{server_id}", daemon=True
            )
            self._syncing[server_id] = thread
            thread.start()

    def _is_due(self, server: Server) -> bool:
        if server.id in self._syncing:
            return False
        now, soon = time.time(), server.id in self._followed
        is_open = self.kept.has(server.id)
        return is_due(server, now, soon=soon, is_open=is_open, config=self.app.config)

    def _shell(self, server: Server) -> Shell:
        """The open connection, where one is kept. Where a person is needed, nothing is tried without one."""
        if shell := self.kept.lend(server):
            return shell
        if server.asks:
            raise SignInNeeded(server.alias or server.host)
        return unattended(server)

    def _sync(self, server_id: int) -> None:
        self._followed.discard(server_id)
        with self.app.app_context():
            try:
                server = db.session.get(Server, server_id)
                if server is None:
                    return
                result = collector.collect(server, self._shell, asked_by="worker", wait=False)
                if result.is_followed:
                    self._followed.add(server_id)
            except (Busy, TooSoon, LeaseLost):
                pass  # somebody else is at it
            except RemoteJobsError as error:
                self.app.logger.info("%s", error)  # the server's row says it to whoever looks
            except Exception:
                self.app.logger.exception("A sync of server %s failed; the worker goes on.", server_id)


def is_due(
    server: Server, now: float, *, soon: bool, config: "dict[str, object]", is_open: bool = False
) -> bool:
    """Whether the worker syncs this server now. A person's request overrides back-off and a refused login.

    `is_open`: it has an open connection to it. A server that asks something at each login is left alone without one.
    """
    is_held = now <= server.lease_until <= now + leases.IMPOSSIBLE_SECONDS
    if server.lease_owner and is_held and not leases.is_dead(server.lease_owner):
        return False
    last = server.last_try_at if server.last_try_at is not None and server.last_try_at <= now else 0.0
    if now < last + server.min_interval:
        return False
    if _is_asked_for(server.id):
        return is_open or not kept.is_kept(server, now)  # else it is for the worker that has the connection
    if server.asks and not is_open:
        return False
    # A back-off that ends later than any of ours was made by a clock that has been set back since.
    if server.needs_person or now < server.not_before <= now + trouble.LONGEST_WAIT:
        return False
    interval = float(str(config["LOCAL_INTERVAL" if server.is_local else "SERVER_INTERVAL"]))
    return soon or now >= last + interval or _has_due_action(server.id, now)


def _is_asked_for(server_id: int) -> bool:
    waiting = db.select(SyncRun.id).where(SyncRun.server_id == server_id, SyncRun.state == "waiting").limit(1)
    return db.session.scalar(waiting) is not None


def _has_due_action(server_id: int, now: float) -> bool:
    due = (
        db.select(Action.id)
        .join(Source, Source.id == Action.source_id)
        .where(Source.server_id == server_id, Source.paused.is_(False))
        .where(Action.state == "waiting", Action.not_before <= now)
        .limit(1)
    )
    return db.session.scalar(due) is not None


def _close_abandoned() -> None:
    if db.session.scalar(db.select(SyncRun.id).where(SyncRun.state == "running").limit(1)) is not None:
        runs.close_abandoned()


def _meet_this_machine() -> None:
    """Jobs that were submitted here from a shell show up by themselves, as long as nobody has removed this
    machine.

    A home in which there is no such folder is left alone.
    """
    folder = Path.home() / f".{sources.DEFAULT_APP}"
    here = db.session.scalar(db.select(Server.id).where(Server.host == ""))
    if here is None and (folder / "version").is_file():
        sources.source_here()
