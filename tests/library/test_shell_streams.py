"""What goes through SSHShell, both ways, on a real sshd."""

import hashlib
import io
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster.parts import need, wait_until
from cluster.sshd import Sshd

from remotejobs.destination import Destination
from remotejobs.errors import AnswerBroken, ServerProblem, TimedOut
from remotejobs.shell import SSHShell
from remotejobs.wire import QuickSocket

Connect = Callable[..., SSHShell]


@pytest.fixture
def shell(sshd: Sshd, ssh_to: Connect) -> SSHShell:
    return ssh_to(keys=[sshd.key])


def test_many_commands_are_one_connection_and_one_exec_each(sshd: Sshd, shell: SSHShell) -> None:
    with sshd.counting() as counted:
        for number in range(5):
            assert shell.run("cat", str(number).encode()).stdout.read() == str(number).encode()
    assert (counted.connections, counted.execs) == (1, 5)
    assert (shell.connections, shell.execs) == (1, 5)


def test_nothing_is_connected_before_the_first_command(sshd: Sshd, ssh_to: Connect) -> None:
    with sshd.counting() as counted:
        ssh_to(keys=[sshd.key]).close()
    assert counted.connections == 0


def test_a_command_gets_its_data_and_gives_both_streams_and_its_status(shell: SSHShell) -> None:
    with shell.run("cat; echo oops >&2; exit 3", b"data") as output:
        assert (output.status, output.stdout.read(), output.size) == (3, b"data", 4)
        assert output.stderr == b"oops\n"


def test_twenty_megabytes_come_whole_and_quickly(shell: SSHShell) -> None:
    seen: list[int] = []
    began = time.monotonic()
    with shell.run("seq 1 2600000", progress=seen.append) as output:
        took = time.monotonic() - began
        digest = hashlib.sha256(output.stdout.read()).hexdigest()
    expected = hashlib.sha256(b"".join(b"%d\n" % n for n in range(1, 2_600_001))).hexdigest()
    assert digest == expected
    assert output.size > 19_000_000
    assert seen == sorted(seen)
    assert seen[-1] == output.size
    assert took < 5  # fabric's own run takes 9 s for this, a plain channel a fifth of one


def test_much_data_goes_through_both_ways_at_once(shell: SSHShell) -> None:
    data = bytes(range(256)) * 40_000
    with shell.run("cat", io.BytesIO(data)) as output:
        assert output.stdout.read() == data


def test_a_program_may_end_without_reading_its_data(shell: SSHShell) -> None:
    threads = threading.active_count()
    assert shell.run("exit 4", bytes(20_000_000)).status == 4
    assert shell.run("exit 5", b"little").status == 5
    wait_until(lambda: threading.active_count() <= threads + 1, "only the connection's own thread", 2)


def test_data_that_cannot_be_read_is_an_error_and_no_success(shell: SSHShell) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("the disk is gone")

    with pytest.raises(Exception, match="disk is gone"):
        shell.run("cat", Broken())


def test_errors_are_kept_up_to_64_kilobytes_and_never_block(shell: SSHShell) -> None:
    output = shell.run("head -c 8000000 /dev/zero >&2; echo done", timeout=20)
    assert (output.stdout.read(), output.stderr) == (b"done\n", bytes(64 << 10))


def test_a_death_by_signal_is_no_status_and_so_no_success(shell: SSHShell) -> None:
    assert shell.run("echo begun; kill -9 $$").status is None
    assert shell.run("true").status == 0


def test_a_longer_answer_than_allowed_is_cut_and_the_connection_goes_on(sshd: Sshd, shell: SSHShell) -> None:
    with pytest.raises(AnswerBroken, match="longer than 1000000 bytes"):
        shell.run("yes", limit=1_000_000)
    assert shell.run("echo still here").stdout.read() == b"still here\n"
    assert shell.connections == 1


def test_a_command_over_its_time_is_given_up_and_the_next_one_connects_anew(shell: SSHShell) -> None:
    began = time.monotonic()
    with pytest.raises(TimedOut, match="may go on there"):
        shell.run("sleep 60", timeout=0.5)
    assert time.monotonic() - began < 2
    assert shell.run("echo back").stdout.read() == b"back\n"
    assert shell.connections == 2


@pytest.mark.parametrize("login_shell", ["/bin/sh", "/bin/bash", "/bin/tcsh"])
def test_a_quoted_program_runs_alike_under_any_login_shell(
    login_shell: str, sshd: Sshd, ssh_to: Connect
) -> None:
    need(f"login shell {login_shell}", login_shell)
    account = sshd.account(login_shell)
    shell = ssh_to(account, keys=[sshd.key])
    with shell.run(
        """exec /bin/sh -c 'while read -r line; do echo "<$line>"; done'""", b"a b\n$x `id`\n"
    ) as output:
        assert (output.status, output.stdout.read()) == (0, b"<a b>\n<$x `id`>\n")


def test_a_login_that_may_run_nothing_is_the_servers_problem(sshd: Sshd, ssh_to: Connect) -> None:
    account = sshd.account("/usr/sbin/nologin")
    output = ssh_to(account, keys=[sshd.key]).run("true")
    assert output.status == 1
    assert b"not available" in output.stdout.read()


def test_more_sessions_than_the_server_allows_are_its_problem(parts_folder: Path) -> None:
    server = Sshd(parts_folder / "sshd-no-sessions", "MaxSessions 0\n")
    try:
        server.start()
        destination = Destination.parse(server.destination)
        shell = SSHShell(destination, keys=[server.key], known_hosts=[server.known_hosts])
        with shell, pytest.raises(ServerProblem, match="does not run a command"):
            shell.run("true")
    finally:
        server.stop()


def test_the_socket_neither_waits_to_send_nor_to_acknowledge(sshd: Sshd, shell: SSHShell) -> None:
    """Without these two, connect, login and first command take four times as long."""
    shell.run("true")
    assert shell._link is not None
    assert shell._link.root.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    with socket.create_connection((sshd.host, sshd.port)) as near:
        quick = QuickSocket(near)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        assert quick.recv(64).startswith(b"SSH-2.0")
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1
