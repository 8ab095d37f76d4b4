"""`update-database` on a terminal, at real sshds that ask by PAM: codes are typed there, approvals are waited for."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.pam_sshd import APPROVAL, CODE, PASSWORD, Make, PamSshd, pam_servers
from web.stored import rows
from web.terminals import Terminal, run

from remotejobs.errors import LoginError

pytestmark = pytest.mark.sqlite
APP = "remoteJobs-vistrails"


@pytest.fixture(scope="module")
def make(parts_folder: Path) -> Iterator[Make]:
    with pam_servers(parts_folder) as make:
        yield make


def trusted(server: PamSshd, home: Path) -> PamSshd:
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh" / "known_hosts").write_text(server.known_hosts.read_text())
    return server


def test_a_password_and_a_code_are_asked_and_kept_nowhere(make: Make, home: Path) -> None:
    server = trusted(make(PASSWORD + CODE), home)
    terminal = Terminal("update-database", APP, server.destination)
    terminal.expect("| Password:")
    terminal.type(f"{server.password}\n")
    terminal.expect("| One-time password")
    code = server.code(server.user)
    terminal.type(f"{code}\n")
    assert terminal.end() == 0, terminal.shown
    assert "127.0.0.1: 0 jobs" in terminal.shown
    alone = re.compile(rf"(?<![\d.])({re.escape(server.password)}|{code})(?![\d.])")
    kept = [path.read_bytes().decode(errors="replace") for path in home.rglob("*") if path.is_file()]
    assert not any(alone.search(text) for text in [*kept, terminal.shown])
    assert rows("SELECT asks FROM server") == [(True,)]
    with server.counting() as counted:
        ended = run("update-database")
    assert ended.returncode == LoginError.exit_code and "Sign in on the page Servers" in ended.stderr
    assert counted.connections == 0, "cron cannot type, so it does not knock"


def test_an_approval_elsewhere_is_waited_for(make: Make, home: Path) -> None:
    server = trusted(make(PASSWORD + APPROVAL), home)
    (server.folder / "approve").write_text(f"until [ -e {server.folder}/approved ]; do sleep 0.1; done\n")
    terminal = Terminal("update-database", APP, server.destination)
    terminal.expect("| Password:")
    terminal.type(f"{server.password}\n")
    assert server.counts().execs == 0
    (server.folder / "approved").touch()
    assert terminal.end() == 0, terminal.shown
    assert server.counts().execs == 1
