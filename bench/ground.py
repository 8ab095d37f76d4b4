"""Where it is measured: the test sshd with an account, a home of our own, and the app on a new database."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from cluster.parts import base_folder  # noqa: E402
from cluster.sshd import Sshd  # noqa: E402
from flask import Flask  # noqa: E402

from remotejobs import RemoteJobSubmitter  # noqa: E402
from remotejobs.destination import Destination  # noqa: E402
from remotejobs.shell import SSHShell  # noqa: E402
from remoteweb import create_app  # noqa: E402
from remoteweb.upgrade import upgrade_database  # noqa: E402


@dataclass
class Ground:
    folder: Path
    sshd: Sshd
    jobs: int  # how many records a large registry has
    rounds: int
    notes: dict[str, object] = field(default_factory=dict)

    def shell(self) -> SSHShell:
        """Not connected yet: its first command connects, with the library's own quick socket."""
        return SSHShell(
            Destination(self.sshd.host, self.sshd.port, self.sshd.user, port_given=True),
            keys=[self.sshd.key],
            allow_agent=False,
            look_for_keys=False,
            config=False,
            known_hosts=[self.sshd.known_hosts],
        )

    def submitter(self, app: str) -> RemoteJobSubmitter:
        return RemoteJobSubmitter(app, shell=self.shell())

    def web(self, name: str) -> Flask:
        """The app on the database of this name, made when it is new."""
        app = create_app({"SQLALCHEMY_DATABASE_URI": self.database(name), "MIN_INTERVAL": 1.0})
        upgrade_database(app)
        return app

    def database(self, name: str) -> str:
        return f"sqlite:///{self.folder / name}.sqlite"

    def registry(self, app: str) -> Path:
        return self.sshd.home / f".{app}"

    def give(self, folder: Path) -> None:
        """What we wrote into the account's home becomes the account's."""
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, self.sshd.user, self.sshd.user)


@contextmanager
def ground(jobs: int, rounds: int) -> Iterator[Ground]:
    if os.geteuid() != 0:
        raise SystemExit("The benchmarks start an sshd with an account of its own: run them as root.")
    with base_folder("bench") as folder:
        home = folder / "me"
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        os.environ.update(HOME=str(home), XDG_STATE_HOME=str(home / "state"))
        for name in ("SSH_AUTH_SOCK", "SLURM_CONF"):
            os.environ.pop(name, None)
        sshd = Sshd(folder / "sshd")
        try:
            sshd.start()
            shutil.copy(sshd.key, home / ".ssh" / "id_ed25519")
            shutil.copy(sshd.known_hosts, home / ".ssh" / "known_hosts")
            yield Ground(folder, sshd, jobs, rounds)
        finally:
            sshd.stop()
