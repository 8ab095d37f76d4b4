"""The TCP connection under an SSH connection: quick, and with an end to every wait."""

import socket
import threading
import time
from contextlib import suppress
from typing import Any, Self

from remotejobs.errors import TimedOut, Unreachable


class QuickSocket:
    """A socket that acknowledges at once.

    With Nagle's algorithm and delayed acknowledgements, connect, login and first command take 120 ms, without
    them 32. Linux forgets TCP_QUICKACK after each segment, so it is set again after every recv.
    """

    def __init__(self, plain: socket.socket) -> None:
        self._plain = plain
        self._quickack: int | None = getattr(socket, "TCP_QUICKACK", None)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def recv(self, size: int) -> bytes:
        data = self._plain.recv(size)
        if self._quickack is not None:
            with suppress(OSError):
                self._plain.setsockopt(socket.IPPROTO_TCP, self._quickack, 1)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)


class Watchdog:
    """Shuts a socket down when its time is over: nothing else ends every wait inside paramiko."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self.expired = False
        self._socket = sock
        self._timer = threading.Timer(max(0.0, seconds), self._bite)
        self._timer.daemon = True

    def _bite(self) -> None:
        self.expired = True
        shut(self._socket)

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()


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
