"""A TCP proxy on loopback before a server: it passes everything on, until the fault that it was given."""

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self

PIECE = 65536
SLOW_PIECE = 512  # bytes
# struct linger of zero seconds: a close sends RST, as a rebooted router or a firewall does.
LINGER_NOTHING = b"\1\0\0\0\0\0\0\0"

Direction = Literal["to", "from"]
Kind = Literal["cut", "reset", "silent", "half-silent", "delay", "throttle"]
KINDS: tuple[Kind, ...] = ("cut", "reset", "silent", "half-silent", "delay", "throttle")


@dataclass(frozen=True)
class Fault:
    """What happens to a connection once `at` bytes went `direction` (to or from the server); those still arrive.

    cut: FIN to both ends. reset: RST to both. silent: both sockets stay open, and nothing passes any more;
    half-silent: nothing passes in this direction. delay: for `seconds`, once, nothing passes in this direction.
    throttle: from there on 512 bytes per `seconds`.
    """

    kind: Kind
    direction: Direction
    at: int
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} at byte {self.at} {self.direction} the server"


class _Connection:
    """One client's: two sockets, and a thread for each direction."""

    def __init__(self, near: socket.socket, port: int, fault: Fault | None) -> None:
        self.passed: dict[Direction, int] = {"to": 0, "from": 0}
        self.is_struck = False
        self._fault = fault
        self._sockets = (near, socket.create_connection(("127.0.0.1", port)))
        for sock in self._sockets:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._gates: dict[Direction, threading.Event] = {"to": threading.Event(), "from": threading.Event()}
        self._ends_hard = False
        self._going = 2
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._pump, args=(way,), daemon=True) for way in self._gates]
        for way, thread in zip(self._gates, self._threads, strict=True):
            self._gates[way].set()
            thread.start()

    def _pump(self, way: Direction) -> None:
        source, target = self._sockets if way == "to" else self._sockets[::-1]
        with suppress(OSError):
            self._strike_at(way, 0)
            while data := source.recv(PIECE):
                self._pass(target, data, way)
        with self._lock:
            self._going -= 1
            is_last = not self._going
        if not self._ends_hard:
            # Only this half: what is under way in the other direction still arrives.
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)
        if is_last:
            for sock in self._sockets:
                sock.close()

    def _pass(self, target: socket.socket, data: bytes, way: Direction) -> None:
        while data:
            fault, piece = self._fault, data
            if fault and fault.direction == way:
                left = fault.at - self.passed[way]
                if left > 0:
                    piece = data[:left]
                elif self.is_struck and fault.kind == "throttle":
                    time.sleep(fault.seconds)
                    piece = data[:SLOW_PIECE]
            self._gates[way].wait()
            target.sendall(piece)
            self.passed[way] += len(piece)
            data = data[len(piece) :]
            self._strike_at(way, self.passed[way])

    def _strike_at(self, way: Direction, count: int) -> None:
        fault = self._fault
        if fault and fault.direction == way and fault.at == count and not self.is_struck:
            self.strike(fault)

    def strike(self, fault: Fault) -> None:
        self.is_struck = True
        if fault.kind == "cut":
            self.close()
        elif fault.kind == "reset":
            self._reset()
        elif fault.kind == "silent":
            for gate in self._gates.values():
                gate.clear()
        elif fault.kind == "half-silent":
            self._gates[fault.direction].clear()
        elif fault.kind == "delay":
            time.sleep(fault.seconds)

    def _reset(self) -> None:
        """The last of the two threads closes the sockets, and only then the RST goes out; SHUT_RD wakes them."""
        self._ends_hard = True
        for sock in self._sockets:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOTHING)
                sock.shutdown(socket.SHUT_RD)
        self.revive()

    def revive(self) -> None:
        for gate in self._gates.values():
            gate.set()

    def close(self) -> None:
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self.revive()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(5)


class Proxy:
    """`with Proxy(server_port) as proxy:` listens on `proxy.port`. Each connection gets the `fault` of the moment."""

    def __init__(self, server_port: int, fault: Fault | None = None) -> None:
        self.fault = fault
        self._server_port = server_port
        self._connections: list[_Connection] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    self._connections.append(_Connection(near, self._server_port, self.fault))
                except OSError:  # nobody listens behind us
                    near.close()

    @property
    def connections(self) -> int:
        return len(self._connections)

    @property
    def passed(self) -> dict[Direction, int]:
        """Bytes of the latest connection, by direction."""
        return dict(self._connections[-1].passed)

    @property
    def is_struck(self) -> bool:
        """Whether the fault has befallen any connection since `forget`."""
        return any(connection.is_struck for connection in self._connections)

    def strike(self, kind: Kind) -> None:
        """Now, whatever has passed."""
        for connection in self._connections:
            connection.strike(Fault(kind, "from", 0))

    def revive(self) -> None:
        for connection in self._connections:
            connection.revive()

    def forget(self) -> None:
        """Ends the connections that there are; those that went silent as well."""
        for connection in self._connections:
            connection.close()
        for connection in self._connections:
            connection.join()
        self._connections.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        self.forget()
