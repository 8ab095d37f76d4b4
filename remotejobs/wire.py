"""The TCP connection under an SSH connection: quick, and with an end to every wait."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

from remotejobs.errors import TimedOut, Unreachable


class Heard:
    """A socket, or a channel through another server, that knows when it was last heard of (on the monotonic clock)."""

    def __init__(self, plain: Any) -> None:
        self.plain = plain
        self.last = time.monotonic()

    def recv(self, size: int) -> bytes:
        data: bytes = self.plain.recv(size)
        self.last = time.monotonic()
        return data

    def close(self) -> None:
        with suppress(EOFError, OSError):  # a channel tells the jump that it ends, which may be gone already
            self.plain.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


class QuickSocket(Heard):
    """A socket that acknowledges at once.

    With Nagle's algorithm and delayed acknowledgements, connect, login and first command take 120 ms, without
    them 32. Linux forgets TCP_QUICKACK after each segment, so it is set again after every recv.
    """

    def __init__(self, plain: socket.socket) -> None:
        super().__init__(plain)
        self._quickack: int | None = getattr(socket, "TCP_QUICKACK", None)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def recv(self, size: int) -> bytes:
        data = super().recv(size)
        if self._quickack is not None:
            with suppress(OSError):
                self.plain.setsockopt(socket.IPPROTO_TCP, self._quickack, 1)
        return data


class Watchdog:
    """Shuts a socket down when its time is over: nothing else ends every wait inside paramiko."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self.expired = False
        self.seconds = seconds
        self._socket = sock

    def _bite(self) -> None:
        self.expired = True
        shut(self._socket)

    def _arm(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._timer = threading.Timer(max(0.0, seconds), self._bite)
        self._timer.daemon = True
        self._timer.start()

    def _disarm(self) -> None:
        self._timer.cancel()
        self._timer.join()

    @contextmanager
    def other_clock(self, seconds: float) -> Iterator[None]:
        """Meanwhile these seconds run instead of ours, for what waits for a person; ours go on afterwards."""
        self._disarm()
        left, mine = self._end - time.monotonic(), self.seconds
        self.seconds = seconds
        self._arm(seconds)
        try:
            yield
        finally:
            self._disarm()
            if not self.expired:  # `seconds` still tells which time was over
                self.seconds = mine
                self._arm(left)

    def __enter__(self) -> Self:
        self._arm(self.seconds)
        return self

    def __exit__(self, *_: object) -> None:
        self._disarm()


class Ending:
    """By which another thread ends what goes on here: the socket is shut, and none is taken any more."""

    def __init__(self) -> None:
        self.is_over = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def check(self) -> None:
        if self.is_over:
            raise Unreachable("It was ended before it was done: nothing is sent any more.")

    def watch(self, sock: socket.socket) -> None:
        """The one that is shut; raises Unreachable when it is over already."""
        with self._lock:
            self._socket = sock
            self.check()

    def now(self) -> None:
        with self._lock:
            self.is_over = True
            if self._socket is not None:
                shut(self._socket)


def shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def dial(host: str, port: int, seconds: float) -> socket.socket:
    """A TCP connection to the first address that answers; name and addresses together get `seconds`."""
    place = f"{host} (port {port})"
    end = time.monotonic() + seconds
    addresses = _addresses(host, port, seconds)
    last: OSError | None = None
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(max(0.1, (end - time.monotonic()) / (len(addresses) - number)))
        try:
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            last = error
    if isinstance(last, TimeoutError):
        raise TimedOut(f"{place} did not answer within {seconds:.0f} s. Is it up, and do you need a VPN?")
    reason = last.strerror if last else "it has no address"
    raise Unreachable(f"No connection to {place}: {reason}. Does an SSH server listen there?")


def _addresses(host: str, port: int, seconds: float) -> list[Any]:
    """The system's own look-up knows no limit: it is left behind in a thread when it takes too long."""
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=look_up, name=f"look up {host}", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimedOut(
            f"The name {host} was not found within {seconds:.0f} s: no name server answered. Are you online?"
        )
    if found and isinstance(found[0], Exception):
        reason = getattr(found[0], "strerror", None) or "no such name"
        raise Unreachable(f"The name {host} cannot be found: {reason}. Is it spelled right, are you online?")
    return found
