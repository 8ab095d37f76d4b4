"""Connections that stay open after a login for which a person typed something, so that syncs need not ask again.

They live in the memory of the worker that made them, and end with it. The server's row says until when, and by whom.
"""

import threading
import time
from collections.abc import Callable

from remotejobs.errors import LoginError
from remotejobs.output import MAX_STDOUT, Output, Progress, Readable
from remotejobs.shell import Shell, SSHShell
from remoteweb import changes, leases
from remoteweb.accounts import Account
from remoteweb.database import begin_writing, db
from remoteweb.models import Server, Source


class SignInNeeded(LoginError):
    """Nothing was sent to the server."""

    def __init__(self, label: str) -> None:
        super().__init__(
            f"{label} lets nobody in without something that a person types or approves. Sign in on the page Servers."
        )


class Lent:
    """An open connection for one sync: closing it leaves it open, and unless it `may_connect`, it never connects anew."""

    def __init__(self, shell: SSHShell, label: str, *, may_connect: bool = False) -> None:
        self._shell, self._label, self._may_connect = shell, label, may_connect
        self.connections = self.execs = 0  # of this sync

    def __str__(self) -> str:
        return str(self._shell)

    def run(
        self,
        command: str,
        data: bytes | Readable = b"",
        timeout: float = 60.0,
        progress: Progress | None = None,
        limit: int = MAX_STDOUT,
    ) -> Output:
        if not self._may_connect and not self._shell.is_open:
            raise SignInNeeded(self._label)
        connections, execs = self._shell.connections, self._shell.execs
        try:
            return self._shell.run(command, data, timeout, progress, limit)
        finally:
            self.connections += self._shell.connections - connections
            self.execs += self._shell.execs - execs

    def close(self) -> None:
        """It stays open."""


class KeptConnections:
    """Of one worker. Each may be lent to one sync at a time: the server's lease sees to that."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        self._shells: dict[int, SSHShell] = {}
        self._lock = threading.Lock()

    def keep(
        self, server_id: int, shell: SSHShell, until: float, may_be: Callable[[], bool] = lambda: True
    ) -> bool:
        """From now on; a transaction of its own, in which `may_be` is asked. False: it is the caller's to close.

        The row comes first: what has none is closed at the next look.
        """
        begin_writing()
        if not may_be():
            db.session.rollback()
            return False
        _note(server_id, until, self.holder)
        with self._lock:
            before, self._shells[server_id] = self._shells.get(server_id), shell
        if before is not None:
            before.close()
        return True

    def lend(self, server: Server) -> Shell | None:
        with self._lock:
            shell = self._shells.get(server.id)
        return Lent(shell, server.alias or server.host) if shell is not None and shell.is_open else None

    def has(self, server_id: int) -> bool:
        with self._lock:
            shell = self._shells.get(server_id)
        return shell is not None and shell.is_open

    def look_after(self) -> None:
        """Close what has had its time, what nobody wants any more, and what has ended by itself."""
        with self._lock:
            mine = dict(self._shells)
        if not mine:
            return
        wanted = _wanted(self.holder)
        for server_id, shell in mine.items():
            if server_id not in wanted or not shell.is_open:
                with self._lock:
                    self._shells.pop(server_id, None)
                shell.close()
                let_go(server_id, self.holder)

    def close(self) -> None:
        with self._lock:
            mine, self._shells = dict(self._shells), {}
        for server_id, shell in mine.items():
            shell.close()
            let_go(server_id, self.holder)


def is_kept(server: Server, now: float) -> bool:
    return now < server.kept_until and not leases.is_dead(server.kept_by)


def release_the_dead() -> None:
    """A worker that was killed keeps nothing open any more. A transaction of its own, if there is one."""
    query = db.select(Server.id, Server.kept_by).where(Server.kept_by != "")
    dead = [row.id for row in db.session.execute(query) if leases.is_dead(row.kept_by)]
    for server_id in dead:
        let_go(server_id)


def let_go(server_id: int, holder: str | None = None) -> None:
    """The row says that none is kept, and its worker closes it. A transaction of its own, unless it is in one."""
    begin_writing()
    query = db.update(Server).where(Server.id == server_id, Server.kept_by != "")
    query = query if holder is None else query.where(Server.kept_by == holder)
    if db.session.scalar(query.values(kept_until=0.0, kept_by="").returning(Server.id)) is not None:
        _tell(server_id)
    db.session.commit()


def _note(server_id: int, until: float, holder: str) -> None:
    kept = db.update(Server).where(Server.id == server_id).values(kept_until=until, kept_by=holder)
    db.session.execute(kept)
    _tell(server_id)
    db.session.commit()


def _tell(server_id: int) -> None:
    changes.publish(list(db.session.scalars(db.select(Source).where(Source.server_id == server_id))))


def _wanted(holder: str) -> set[int]:
    """Not those of a server that was removed or paused, nor of an account that was closed."""
    query = (
        db.select(Server.id)
        .join(Account, Account.id == Server.owner_id)
        .where(Server.kept_by == holder, Server.kept_until > time.time(), Account.disabled_at.is_(None))
        .where(Server.sources.any(Source.paused.is_(False)))
    )
    found = set(db.session.scalars(query))
    db.session.rollback()
    return found
