"""A thief of the narrow key: every way past the gate, on an sshd that forbids nothing itself. An ordinary key gets through."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cluster.parts import free_port, need, wait_until
from cluster.sshd import Sshd
from library.narrow import COMMAND, Narrow, narrow_account

LOOSE = """\
X11Forwarding yes
X11UseLocalhost no
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
AllowAgentForwarding yes
GatewayPorts clientspecified
PermitTunnel yes
PermitTTY yes
PermitUserRC yes
AcceptEnv LANG LC_* ENV IFS CDPATH TZ PATH HOME SHELL USER SSH_ORIGINAL_COMMAND GATE KINDS SLURM_CONF TMPDIR PROBE WORD
"""


@pytest.fixture(scope="module")
def loose(parts_folder: Path) -> Iterator[Sshd]:
    need("sshd", "sshd", "ssh", "scp", "sftp", root=True)
    server = Sshd(parts_folder / "loose", LOOSE)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def narrow(loose: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Narrow]:
    yield from narrow_account(loose, tmp_path_factory.mktemp("keys"))


@pytest.fixture
def canary(narrow: Narrow) -> Iterator[Path]:
    """A file that nobody may make; its folder, like all of the home, is the account's own."""
    path = narrow.account.home / "canary"
    yield path
    path.unlink(missing_ok=True)


def with_key(narrow: Narrow, key: Path) -> Narrow:
    return Narrow(narrow.sshd, narrow.account, key, narrow.full, narrow.installed)


def a_command(by: Narrow, canary: Path) -> bool:
    by.ssh(by.there, "--", f"touch {canary}")
    return canary.exists()


def a_shell(by: Narrow, canary: Path) -> bool:
    by.ssh("-T", by.there, data=f"touch {canary}\nexit\n".encode())
    return canary.exists()


def a_command_in_the_request(by: Narrow, canary: Path) -> bool:
    by.ssh(
        by.there,
        "--",
        f"exec /bin/sh -c 'touch {canary}' #",
        data=b"remotejobs\t1\t0011223344556677\t60\nend\n",
    )
    return canary.exists()


def a_terminal(by: Narrow, canary: Path) -> bool:
    said = by.ssh("-tt", by.there, data=f"touch {canary}; tty\nexit\n".encode())
    return canary.exists() or b"/dev/pts" in said.stdout


def a_subsystem(by: Narrow, canary: Path) -> bool:
    command = ["sftp", "-b", "-", *by.client, "-P", str(by.sshd.port), by.there]
    return (
        subprocess.run(command, input=b"pwd\n", capture_output=True, timeout=60, check=False).returncode == 0
    )


def a_file_from_there(by: Narrow, canary: Path) -> bool:
    return _copied(by, f"{by.there}:.profile", str(canary)) and canary.read_bytes() != b""


def a_file_to_there(by: Narrow, canary: Path) -> bool:
    return _copied(by, "/etc/hostname", f"{by.there}:{canary}") and canary.exists()


def _copied(by: Narrow, source: str, target: str) -> bool:
    port = ["-P", str(by.sshd.port)]
    new = subprocess.run(
        ["scp", *by.client, *port, source, target], capture_output=True, timeout=60, check=False
    )
    old = subprocess.run(
        ["scp", "-O", *by.client, *port, source, target], capture_output=True, timeout=60, check=False
    )
    return 0 in (new.returncode, old.returncode)


def a_connection_through(by: Narrow, canary: Path) -> bool:
    return by.ssh("-W", f"127.0.0.1:{by.sshd.port}", by.there).stdout.startswith(b"SSH-2.0")


def a_local_forward(by: Narrow, canary: Path) -> bool:
    return _through_a_forward(by, ["-L", "{port}:127.0.0.1:" + str(by.sshd.port)])


def a_proxy(by: Narrow, canary: Path) -> bool:
    return _through_a_forward(
        by, ["-D", "{port}"], b"\5\1\0\5\1\0\1\x7f\0\0\1" + by.sshd.port.to_bytes(2, "big")
    )


def _through_a_forward(by: Narrow, options: list[str], first: bytes = b"") -> bool:
    """The client listens anyhow; whether anybody answers at the other end is the question."""
    port = free_port()
    command = [*by.client, "-p", str(by.sshd.port), *(word.format(port=port) for word in options)]
    with subprocess.Popen(["ssh", "-N", *command, by.there], stderr=subprocess.DEVNULL) as client:
        try:
            wait_until(lambda: client.poll() is not None or _listens(port), "the forward")
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(first)
                said = b""
                while piece := connection.recv(100):
                    said += piece
                    if b"SSH-2.0" in said:
                        return True
                return False
        except OSError:
            return False
        finally:
            client.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def a_remote_forward(by: Narrow, canary: Path) -> bool:
    return _holds(by, ["-R", f"{free_port()}:127.0.0.1:1"])


def a_forward_of_a_socket(by: Narrow, canary: Path) -> bool:
    return _holds(by, ["-R", f"{canary}:127.0.0.1:1"])


def a_tunnel(by: Narrow, canary: Path) -> bool:
    said = by.ssh("-w", "any:any", "-oExitOnForwardFailure=yes", "-v", by.there, "--", "x").stderr
    return b"Tunnel forwarding failed" not in said and b"administratively prohibited" not in said


def _holds(by: Narrow, options: list[str]) -> bool:
    """The client stays only where the server took the forward."""
    command = [
        *by.client,
        "-p",
        str(by.sshd.port),
        "-oExitOnForwardFailure=yes",
        "-v",
        "-N",
        *options,
        by.there,
    ]
    with subprocess.Popen(["ssh", *command], stderr=subprocess.PIPE) as client:
        assert client.stderr
        try:
            return any(b"remote forward success" in line for line in client.stderr)
        finally:
            client.kill()


def the_agent(by: Narrow, canary: Path) -> bool:
    before = _agent_sockets(by)
    by.ssh(
        "-A",
        by.there,
        "--",
        "ls -d $SSH_AUTH_SOCK > canary",
        env={"SSH_AUTH_SOCK": os.environ["SSH_AUTH_SOCK"]},
    )
    return (canary.exists() and bool(canary.read_text().strip())) or bool(_agent_sockets(by) - before)


def _agent_sockets(by: Narrow) -> set[Path]:
    """Of this account: others of the tests have agents too, and those of a login that has just ended go a moment later."""
    found = set()
    for path in Path("/tmp").glob("ssh-*"):
        with suppress(FileNotFoundError, KeyError):
            found |= {path} if path.owner() == by.account.user else set()
    return found


def the_display(by: Narrow, canary: Path) -> bool:
    said = by.ssh("-X", by.there, "--", "echo $DISPLAY", env={"DISPLAY": ":77"})
    return b"X11 forwarding request failed" not in said.stderr


WAYS: list[Callable[[Narrow, Path], bool]] = [
    *(a_command, a_shell, a_terminal, a_subsystem, a_file_from_there, a_file_to_there),
    *(
        a_connection_through,
        a_local_forward,
        a_proxy,
        a_remote_forward,
        a_forward_of_a_socket,
        the_agent,
        the_display,
    ),
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.usefixtures("ssh_agent")
def test_it_is_closed_to_the_narrow_key_alone(
    narrow: Narrow, canary: Path, way: Callable[[Narrow, Path], bool]
) -> None:
    assert way(with_key(narrow, narrow.sshd.key), canary), (
        "an ordinary key does not come through either: this shows nothing"
    )
    canary.unlink(missing_ok=True)
    assert not way(narrow, canary)
    assert not canary.exists()


@pytest.mark.parametrize("way", [a_tunnel, a_command_in_the_request], ids=lambda way: way.__name__)
def test_it_is_closed_too(narrow: Narrow, canary: Path, way: Callable[[Narrow, Path], bool]) -> None:
    assert not way(narrow, canary)


ENVIRONMENTS = {
    "ENV": "{trap}",
    "LC_ALL": "$(touch {canary})",
    "LANG": "`touch {canary}`",
    "LC_CTYPE": "() {{ :; }}; touch {canary}",
    "IFS": "/",
    "CDPATH": "/etc",
    "TZ": "{trap}",
    "PATH": "{folder}",
    "HOME": "{folder}",
    "SHELL": "{folder}/sh",
    "SLURM_CONF": "{trap}",
    "SSH_ORIGINAL_COMMAND": "exec /bin/sh -c 'touch {canary}'",
    "GATE": "$(touch {canary})",
    "KINDS": "process; touch {canary}",
    "PROBE": "2",
}


def test_nothing_that_a_client_sends_as_environment_reaches_the_gate(narrow: Narrow, canary: Path) -> None:
    """Also where a site takes more of it than LC_*: the program runs with what was fixed when it was installed."""
    folder = narrow.account.home / "trap"
    folder.mkdir(exist_ok=True)
    for name in ("trap", "sh", "env", "awk", "head", "timeout", "ls", "date"):
        (folder / name).write_text(f"#!/bin/sh\ntouch {canary}\n")
        (folder / name).chmod(0o755)
    values = {
        name: value.format(trap=folder / "trap", folder=folder, canary=canary)
        for name, value in ENVIRONMENTS.items()
    }
    values["HOME"] = narrow.account.home.as_posix() + "/trap"
    options = ["-oSetEnv=" + " ".join(f'"{name}={value}"' for name, value in values.items())]
    request = b"remotejobs\t1\t0011223344556677\t60\nsource\tremoteJobs-vistrails\t-\t-\t-\nend\n"
    said = narrow.ssh(*options, narrow.there, "--", COMMAND, data=request)
    assert b"0011223344556677 hello 1 " in said.stdout and b"0011223344556677 bye\n" in said.stdout, said
    assert not canary.exists()
    shutil.rmtree(folder)


def test_without_a_request_it_says_what_the_key_is_for(narrow: Narrow) -> None:
    said = narrow.ssh("-T", narrow.there)
    assert said.returncode == 1 and b"opens no shell" in said.stderr
    said = narrow.ssh(narrow.there, "--", "ls")
    assert said.returncode == 1 and b"opens no shell" in said.stderr
    said = narrow.ssh(narrow.there, "--", "exec /bin/sh -c 'ls'")
    assert said.returncode == 65 and b"that was no request" in said.stdout
