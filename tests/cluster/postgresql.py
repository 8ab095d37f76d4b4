"""A PostgreSQL of our own, on a unix socket."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.parts import Daemon, base_folder, need, wait_until


@contextmanager
def running() -> Iterator[Callable[[], str]]:
    """Call what it gives for the address of a new, empty database."""
    initdb = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)
    need("PostgreSQL", str(initdb or "initdb"), "setpriv")
    assert initdb is not None
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    with base_folder("postgresql") as folder:
        data = folder / "data"
        data.mkdir()
        if user:
            shutil.chown(folder, user)
            shutil.chown(data, user)
        log = folder / "log"
        _run(user, str(initdb), "-D", str(data), "-A", "trust", "-U", "remoteweb", "-E", "UTF8", "--no-sync")
        options = ("-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off")
        server = Daemon(str(initdb.with_name("postgres")), "-D", str(data), *options, log=log, user=user)
        try:
            server.wait_until((folder / ".s.PGSQL.5432").exists)
            yield lambda: _new_database(folder)
        finally:
            server.stop()


def _run(user: str | None, *command: str) -> None:
    before = ["setpriv", f"--reuid={user}", "--regid", user, "--clear-groups"] if user else []
    done = subprocess.run([*before, *command], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr


def _new_database(folder: Path) -> str:
    import psycopg

    name = f"test{secrets.token_hex(4)}"
    where = f"host={folder} user=remoteweb dbname=postgres"
    wait_until(lambda: _answers(where), "PostgreSQL answers")
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://remoteweb@/{name}?host={folder}"


def _answers(where: str) -> bool:
    import psycopg

    try:
        psycopg.connect(where).close()
    except psycopg.OperationalError:
        return False
    return True
