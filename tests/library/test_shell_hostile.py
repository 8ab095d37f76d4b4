"""A server that means ill: it wastes its own connection, and neither memory nor time beyond that."""

import gc
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import paramiko
import psutil
import pytest
from cluster.parts import wait_until
from cluster.proxy import Proxy
from cluster.sshd import Sshd, make_key
from known_secrets import open_files
from library.asking import serving
from library.test_shell_faults import leaving_nothing, listening

from remotejobs import Destination, Target
from remotejobs.errors import AnswerBroken, LoginError, TimedOut, Unreachable
from remotejobs.shell import SSHShell

Connect = Callable[..., SSHShell]
MEGABYTE = 1 << 20


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """At no time more than this above what it was (sampled)."""
    process, over = psutil.Process(), threading.Event()
    gc.collect()
    before, most = process.memory_info().rss, [0]

    def watch() -> None:
        while not over.wait(0.02):
            most[0] = max(most[0], process.memory_info().rss - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert most[0] < limit, f"{most[0] / MEGABYTE:.0f} MB more"


# ---- before the protocol begins ----


def flood(sock: socket.socket) -> None:
    with suppress(OSError):
        while True:
            sock.sendall(b"x" * 65536)


def flood_of_lines(sock: socket.socket) -> None:
    with suppress(OSError):
        while True:
            sock.sendall(b"SSH?\n" * 10_000)


def huge_packet(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.sendall(b"SSH-2.0-x\r\n" + struct.pack(">I", 0xFFFFFFF0))
        flood(sock)


def random_bytes(sock: socket.socket) -> None:
    sock.sendall(b"SSH-2.0-x\r\n" + struct.pack(">IB", 60, 4) + bytes(range(20, 75)) + b"\0" * 4)
    time.sleep(0.2)
    sock.close()


@pytest.mark.parametrize("handle", [flood, flood_of_lines, huge_packet, random_bytes])
def test_nonsense_before_the_login_is_left_at_once(handle: Callable[[socket.socket], None]) -> None:
    with leaving_nothing(), listening(handle) as port, memory_below(32 * MEGABYTE):
        began = time.monotonic()
        with pytest.raises(Unreachable) as error:
            SSHShell(Destination("127.0.0.1", port, "me"), connect_timeout=20).run("true")
        assert time.monotonic() - began < 10
        assert not isinstance(error.value, TimedOut)


# ---- after the login ----


class HostileServer(paramiko.ServerInterface):
    """Lets everybody in; `attack` gets the channel on which a command was begun."""

    def __init__(self, attack: Callable[[paramiko.Channel], None]) -> None:
        self._attack = attack

    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._run, args=(channel,), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel) -> None:
        with suppress(Exception):
            self._attack(channel)


def message(kind: int, *parts: bytes | int) -> paramiko.Message:
    made = paramiko.Message()
    made.add_byte(bytes([kind]))
    for part in parts:
        made.add_int(part) if isinstance(part, int) else made.add_string(part)
    return made


def beyond_the_window(channel: paramiko.Channel) -> None:
    """It sends without waiting for room, to a client that is slower."""
    while True:
        channel.transport._send_user_message(message(94, channel.remote_chanid, b"x" * 30_000))


def errors_beyond_the_window(channel: paramiko.Channel) -> None:
    channel.sendall(b"x")
    while True:
        channel.transport._send_user_message(message(95, channel.remote_chanid, 1, b"x" * 30_000))


def endless_output(channel: paramiko.Channel) -> None:
    while True:
        channel.sendall(b"x" * 30_000)


def endless_errors(channel: paramiko.Channel) -> None:
    while True:
        channel.sendall_stderr(b"x" * 30_000)


def a_huge_packet(channel: paramiko.Channel) -> None:
    channel.transport._send_user_message(message(94, channel.remote_chanid, b"x" * 400_000))


def extensions_without_end(channel: paramiko.Channel) -> None:
    channel.transport._send_user_message(message(7, 0xFFFFFFFF))


def channels_of_its_own(channel: paramiko.Channel) -> None:
    for number in range(20_000):
        channel.transport._send_user_message(message(90, b"forwarded-tcpip", number, 1 << 30, 1 << 30))


def nonsense(channel: paramiko.Channel) -> None:
    channel.transport._send_user_message(message(98, channel.remote_chanid, b"\xff\xfe"))
    channel.transport._send_user_message(message(91))


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (beyond_the_window, "sent more than it was allowed to"),
        (errors_beyond_the_window, "sent more than it was allowed to"),
        (a_huge_packet, "announced a packet of"),
        (extensions_without_end, "extensions without end"),
        (nonsense, "broke"),
        (endless_output, "longer than 5242880 bytes"),
        (endless_errors, "did not answer in time"),
        (channels_of_its_own, "did not answer in time"),
    ],
)
def test_whatever_a_server_sends_ends_in_time_and_in_bounds(
    attack: Callable[[paramiko.Channel], None], says: str, tmp_path: Path
) -> None:
    """The server is this process too: what it keeps itself counts in, so the bound is generous."""
    slowly = attack in (beyond_the_window, errors_beyond_the_window)

    def progress(size: int) -> None:
        if slowly and size < 70_000:
            time.sleep(1)

    with leaving_nothing(), serving(HostileServer(attack), tmp_path) as (port, line):
        target = Target("127.0.0.1", port, "me")
        with SSHShell(target, password="x", extra_host_keys=[line], allow_agent=False) as shell:
            began = time.monotonic()
            with memory_below(64 * MEGABYTE), pytest.raises((Unreachable, AnswerBroken), match=says):
                shell.run("true", timeout=4 if slowly else 1, limit=5 * MEGABYTE, progress=progress)
            assert time.monotonic() - began < 6


@pytest.mark.parametrize(("flood", "size"), [("yes", 60), ("yes >&2", 0)])
def test_a_command_that_floods_us_leaves_memory_as_it_was(
    sshd: Sshd, ssh_to: Connect, flood: str, size: int
) -> None:
    shell = ssh_to(keys=[sshd.key])
    shell.run("true").close()
    with memory_below(32 * MEGABYTE):
        try:
            with shell.run(flood, timeout=1, limit=max(size, 1) * MEGABYTE) as output:
                assert output.size <= size * MEGABYTE
        except (AnswerBroken, TimedOut):
            pass


def test_fifty_logins_that_fail_leave_nothing(sshd: Sshd, tmp_path: Path) -> None:
    stranger = make_key(tmp_path / "stranger")
    process = psutil.Process()
    with leaving_nothing():
        files, children = open_files(), len(process.children())
        for number in range(50):
            options = (
                {"keys": [stranger]} if number % 10 else {"password": "wrong"}
            )  # sshd is slow to refuse one
            known = [sshd.known_hosts] if number % 5 else []
            shell = SSHShell(
                Destination(sshd.host, sshd.port, sshd.user), known_hosts=known, allow_agent=False, **options
            )
            with pytest.raises(LoginError, match=r"did not let us in|is not known"):
                shell.run("true")
        assert open_files() <= files and len(process.children()) <= children


# ---- a connection that is held ----


def test_a_held_connection_that_goes_silent_ends_by_itself_and_a_living_one_stays(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remotejobs.transport.KEEPALIVE", 0.1)
    with leaving_nothing(), Proxy(sshd.port) as link:
        line = f"[127.0.0.1]:{link.port} {sshd.host_key}"
        gate = Target("127.0.0.1", link.port, sshd.user, (sshd.key,))
        far = Target(sshd.host, sshd.port, sshd.user, (sshd.key,), jumps=(gate,))
        for target in (gate, far):
            shell = SSHShell(
                target, known_hosts=[sshd.known_hosts], extra_host_keys=[line], allow_agent=False
            )
            shell.run("true")
            passed = link.passed["from"]
            time.sleep(0.6)
            held = shell._link
            assert held is not None
            assert held.alive
            assert link.passed["from"] > passed  # it answered
            link.strike("silent")
            wait_until(lambda held=held: not held.alive, "the silence to be noticed", 5)
            shell.close()
            link.forget()
