"""A real PostgreSQL, on a unix socket in a folder of its own."""

import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import LiteralString

import psycopg
from cluster.parts import Daemon, need
from psycopg import sql

USER = "remoteweb"
# Nobody needs what was written before a power failure, and every test wants a database of its own soon.
QUICK = (
    "listen_addresses=",
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=32MB",
    "max_connections=60",
)


class PostgreSQL:
    def __init__(self, folder: Path) -> None:
        """`folder`: empty, and such that other accounts may enter it."""
        self.initdb = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)
        need("PostgreSQL", str(self.initdb or "initdb"), "setpriv")
        self.folder, self.data = folder, folder / "data"
        self.account = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        self.daemon: Daemon | None = None

    def make(self) -> None:
        self.data.mkdir()
        as_account = []
        if self.account:
            for one in (self.folder, self.data):
                shutil.chown(one, self.account)
            as_account = [
                "setpriv",
                f"--reuid={self.account}",
                "--regid",
                self.account,
                "--clear-groups",
            ]
        command = [str(self.initdb), "-D", str(self.data), "-A", "trust", "-U", USER, "-E", "UTF8"]
        made = subprocess.run(
            [*as_account, *command, "--locale=C.UTF-8", "--no-sync"],
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
        )
        assert made.returncode == 0, made.stderr

    def start(self) -> None:
        assert self.initdb is not None
        options = [word for one in QUICK for word in ("-c", one)]
        command = [str(self.initdb.with_name("postgres")), "-D", str(self.data), "-k", str(self.folder)]
        self.daemon = Daemon(*command, *options, log=self.folder / "log", user=self.account)
        self.daemon.wait_until(self._answers)

    def stop(self) -> None:
        """At once, whoever is connected."""
        if self.daemon is not None and self.daemon.process.poll() is None:
            self.daemon.process.send_signal(signal.SIGINT)
            self.daemon.process.wait(15)

    def __call__(self) -> str:
        """The address of a new, empty database."""
        return self.new_database()

    def new_database(self, template: str | None = None) -> str:
        """The address of a new database: an empty one, or a copy of the one at the address `template`."""
        name = f"test{secrets.token_hex(4)}"
        self._do("CREATE DATABASE {} TEMPLATE {}", name, _name(template) if template else "template1")
        return f"postgresql://{USER}@/{name}?host={self.folder}"

    def drop(self, address: str) -> None:
        """With whatever is still connected to it."""
        self._do("DROP DATABASE IF EXISTS {} WITH (FORCE)", _name(address))

    def _do(self, statement: LiteralString, *names: str) -> None:
        with psycopg.connect(self._where, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    @property
    def _where(self) -> str:
        return f"host={self.folder} user={USER} dbname=postgres"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._where).close()
        except psycopg.OperationalError:
            return False
        return True


def _name(address: str) -> str:
    return address.rpartition("@/")[2].partition("?")[0]
