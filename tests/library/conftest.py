"""How the library's tests reach the real sshd."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.sshd import Account, Sshd
from library.machines import cluster, machine, server, slurm_cluster

from remotejobs.destination import Destination
from remotejobs.shell import SSHShell

Connect = Callable[..., SSHShell]
__all__ = ["cluster", "machine", "server", "slurm_cluster"]  # the fixtures of machines.py


@pytest.fixture
def ssh_to(sshd: Sshd) -> Iterator[Connect]:
    """`ssh_to(password=...)`: a shell on the test's sshd, its host key known, and closed at the end."""
    shells: list[SSHShell] = []

    def connect(account: Account | None = None, port: int | None = None, **options: Any) -> SSHShell:
        user = account.user if account else sshd.user
        options.setdefault("known_hosts", [sshd.known_hosts])
        shells.append(SSHShell(Destination(sshd.host, port or sshd.port, user), **options))
        return shells[-1]

    yield connect
    for shell in shells:
        shell.close()


@pytest.fixture
def ssh_folder(home: Path) -> Path:
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    return folder
