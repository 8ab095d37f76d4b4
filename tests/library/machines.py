"""The four kinds of machine that the library is for: this one, one reached by SSH, and Slurm with and without accounting."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster.parts import wait_until
from cluster.sshd import Sshd

from remotejobs import Destination, RemoteJobSubmitter
from remotejobs.shell import LocalShell, Shell, SSHShell

APP = "remoteJobs-vistrails"


@dataclass
class Machine:
    """A machine, the home that its records lie in, and the scheduler that its jobs go to."""

    shell: Shell
    home: Path
    scheduler: str

    def submitter(self, app: str = APP) -> RemoteJobSubmitter:
        return RemoteJobSubmitter(app, shell=self.shell)

    def registry(self, app: str = APP) -> Path:
        return self.home / f".{app}"


def over_ssh(sshd: Sshd, user: str) -> SSHShell:
    where = Destination(sshd.host, sshd.port, user)
    return SSHShell(
        where,
        keys=[sshd.key],
        allow_agent=False,
        look_for_keys=False,
        config=False,
        known_hosts=[sshd.known_hosts],
    )


class Elsewhere:
    """This machine as `user` sees it in a mount namespace of its own, prepared by `mounts`: another boot, no Linux.

    `fake` in the home comes first in the PATH.
    """

    def __init__(self, user: str, home: Path, mounts: str) -> None:
        self._shell, self._user, self._home, self._mounts = LocalShell(), user, home, mounts

    def run(self, command: str, *arguments: Any, **options: Any) -> Any:
        inner = self._home / "command"
        inner.write_text(f"cd; PATH={self._home}/fake:$PATH; {command}\n")
        inner.chmod(0o755)
        as_user = f"setpriv --reuid={self._user} --regid={self._user} --clear-groups env HOME={self._home} sh {inner}"
        return self._shell.run(
            f"exec unshare -m sh -c '{self._mounts} && exec {as_user}'", *arguments, **options
        )

    def __str__(self) -> str:
        return "a server"


@pytest.fixture(
    params=["this machine", "an SSH server", "a Slurm cluster", "a Slurm cluster without accounting"]
)
def machine(request: pytest.FixtureRequest, home: Path) -> Iterator[Machine]:
    """A test that asks for it runs on all four. Accounts are made per test: nobody's records are mixed."""
    if request.param == "this machine":
        yield Machine(LocalShell(), home, "process")
    else:
        yield from _remote(request, request.param)


@pytest.fixture(params=["a Slurm cluster", "a Slurm cluster without accounting"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Machine]:
    yield from _remote(request, request.param)


@pytest.fixture
def slurm_cluster(request: pytest.FixtureRequest) -> Iterator[Machine]:
    yield from _remote(request, "a Slurm cluster")


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Machine]:
    yield from _remote(request, "an SSH server")


def _remote(request: pytest.FixtureRequest, kind: str) -> Iterator[Machine]:
    sshd: Sshd
    if kind == "a Slurm cluster without accounting":
        sshd = request.getfixturevalue("slurm_without_accounting").sshd
    else:
        sshd = request.getfixturevalue("sshd")
        if kind == "a Slurm cluster":
            request.getfixturevalue("slurm")
    account = sshd.account()
    shell = over_ssh(sshd, account.user)
    yield Machine(shell, account.home, "process" if kind == "an SSH server" else "slurm")
    shell.close()


def until(
    jobs: RemoteJobSubmitter, jobid: str, expected: Callable[[dict[str, Any]], object], seconds: float = 40
) -> dict[str, Any]:
    """The first answer of check_state that is as expected."""
    hash_, n = jobid.rsplit("_", 1)
    answers: list[dict[str, Any]] = [{}]

    def holds() -> object:
        answers[0] = jobs.check_state(hash_, int(n), False)
        return expected(answers[0])

    try:
        wait_until(holds, jobid, seconds)
    except AssertionError as error:
        raise AssertionError(f"in the end it was {answers[0]}") from error
    return answers[0]
