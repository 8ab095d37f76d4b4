"""Links that fail: each ends in time, with a sentence, and leaves nothing behind."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest
from cluster.parts import free_port, wait_until
from cluster.proxy import Direction, Fault, Kind, Proxy
from cluster.sshd import Sshd

from remotejobs.destination import Destination
from remotejobs.errors import TimedOut, Unreachable
from remotejobs.shell import SSHShell

Connect = Callable[..., SSHShell]
Handler = Callable[[socket.socket], None]


@contextmanager
def listening(handle: Handler) -> Iterator[int]:
    """A TCP server of our own on some port: `handle` gets each connection, in a thread."""
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                connections.append(listener.accept()[0])
                threads.append(threading.Thread(target=handle, args=connections[-1:], daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        for sock in [listener, *connections]:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in [accepting, *threads]:
            thread.join(5)


@contextmanager
def leaving_nothing() -> Iterator[None]:
    """No socket and no thread more than before."""

    def held() -> tuple[int, int]:
        return len(psutil.Process().net_connections()), threading.active_count()

    before = held()
    yield
    # What an earlier test left may end meanwhile.
    wait_until(
        lambda: all(now <= then for now, then in zip(held(), before, strict=True)),
        f"{before} sockets and threads at most, as before",
    )


def silence(sock: socket.socket) -> None:
    with suppress(OSError):
        while sock.recv(4096):
            pass


def drip(sock: socket.socket) -> None:
    with suppress(OSError):
        while True:
            sock.sendall(b"not yet\r\n")
            time.sleep(0.2)


def stop_after_the_greeting(sock: socket.socket) -> None:
    sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    silence(sock)


def speak_http(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n\x1b[2J")
    sock.close()


@pytest.mark.parametrize("handle", [silence, drip, stop_after_the_greeting])
def test_a_server_that_never_gets_to_the_login_is_given_up_in_time(handle: Handler) -> None:
    with leaving_nothing(), listening(handle) as port:
        began = time.monotonic()
        with pytest.raises(TimedOut, match="within 1 s"):
            SSHShell(Destination("127.0.0.1", port, "me"), connect_timeout=1).run("true")
        assert time.monotonic() - began < 2.5


def test_what_speaks_no_ssh_is_told_so_without_its_own_control_characters() -> None:
    with listening(speak_http) as port, pytest.raises(Unreachable, match="no SSH") as error:
        SSHShell(Destination("127.0.0.1", port, "me"), connect_timeout=5).run("true")
    assert "\x1b" not in str(error.value)


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with leaving_nothing(), pytest.raises(Unreachable, match="Connection refused"):
        SSHShell(Destination("127.0.0.1", free_port(), "me")).run("true")


def test_a_name_that_does_not_exist_is_said_so() -> None:
    with pytest.raises(Unreachable, match=r"nowhere\.invalid cannot be found"):
        SSHShell(Destination("nowhere.invalid")).run("true")


def test_a_name_server_that_does_not_answer_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: over.wait(20) and [])
    began = time.monotonic()
    with leaving_nothing():
        with pytest.raises(TimedOut, match="no name server answered"):
            SSHShell(Destination("alps"), connect_timeout=0.5).run("true")
        assert time.monotonic() - began < 2
        over.set()


@contextmanager
def through(sshd: Sshd, fault: Fault | None = None) -> Iterator[tuple[Proxy, SSHShell]]:
    with Proxy(sshd.port, fault) as link:
        line = f"[127.0.0.1]:{link.port} {sshd.host_key}"
        destination = Destination("127.0.0.1", link.port, sshd.user)
        with SSHShell(destination, keys=[sshd.key], extra_host_keys=[line], connect_timeout=2) as shell:
            yield link, shell
            link.revive()


@pytest.mark.parametrize("data", [b"", bytes(8_000_000)], ids=["little", "much"])
def test_a_link_that_dies_silently_ends_a_command_in_time(data: bytes, sshd: Sshd) -> None:
    with through(sshd) as (link, shell):
        assert shell.run("true").status == 0
        link.strike("silent")
        began = time.monotonic()
        with pytest.raises(TimedOut, match="did not answer in time"):
            shell.run("cat", data, timeout=1)
        assert time.monotonic() - began < 3


def test_a_link_that_dies_during_the_answer_ends_it_in_time(sshd: Sshd) -> None:
    with through(sshd) as (link, shell), pytest.raises(TimedOut):
        shell.run("yes", timeout=1, progress=lambda size: link.strike("silent") if size > 100_000 else None)


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_a_cut_link_is_unknown_and_no_empty_success(sshd: Sshd, how: Kind) -> None:
    with through(sshd) as (link, shell):
        with pytest.raises(Unreachable, match="broke") as error:
            shell.run("echo begun; sleep 60", timeout=20, progress=lambda _: link.strike(how))
        assert not isinstance(error.value, TimedOut)
        assert "may go on there" in str(error.value)
        assert shell.run("echo again").stdout.read() == b"again\n"
        assert shell.connections == 2


@pytest.mark.parametrize("way", ["to", "from"])
def test_a_link_that_breaks_during_the_login_is_no_refusal(sshd: Sshd, way: Direction) -> None:
    """A refusal waits for a person; a broken link is tried again."""
    with through(sshd) as (link, shell):
        shell.run("true")
        size = link.passed[way]
    struck = 0
    for at in range(900, size, 90):  # the greeting and the keys are as long as that
        with through(sshd, Fault("reset", way, at)) as (link, shell):
            with suppress(Unreachable):
                shell.run("true")
            struck += link.is_struck
    assert struck > 5


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_a_connection_that_ended_meanwhile_is_made_anew_before_anything_is_sent(
    sshd: Sshd, how: Kind
) -> None:
    with through(sshd) as (link, shell):
        assert shell.run("true").status == 0
        link.strike(how)
        time.sleep(0.2)
        assert shell.run("echo again").stdout.read() == b"again\n"
        assert shell.connections == 2


def test_a_frozen_server_is_given_up_in_time(sshd: Sshd, ssh_to: Connect) -> None:
    sshd_of_login = ssh_to(keys=[sshd.key])
    pid = int(sshd_of_login.run("echo $PPID").stdout.read())
    frozen = psutil.Process(pid)
    frozen.suspend()
    try:
        with pytest.raises(TimedOut):
            sshd_of_login.run("true", timeout=0.5)
    finally:
        frozen.resume()


def test_closing_leaves_no_socket_and_no_thread(sshd: Sshd, ssh_to: Connect) -> None:
    with leaving_nothing():
        shell = ssh_to(keys=[sshd.key])
        shell.run("true")
        shell.run("cat", bytes(100_000)).close()
        shell.close()
        shell.close()
