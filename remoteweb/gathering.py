"""A request is given a thread when it is there whole: who sends slowly, or nothing at all, holds none.

gunicorn's threads read from their connections themselves, so eight that dawdle would stop the page for everybody. Here the
loop that accepts connections gathers what comes, without waiting for any of it, and ends what takes too long.
"""

import re
import socket
import struct
import time
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

SECONDS = 10.0  # for a request to come whole
LARGEST = 256_000  # bytes of a form's body: what the pages send has some hundreds
HEADERS = 65_536  # bytes: gunicorn's own limits are below
_PIECE = 65_536
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding\b", re.IGNORECASE)


class Refused(Exception):
    """Its status line: it is answered at once, and the rest is not waited for."""


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn calls `enqueue_req` in its loop with every connection that is new, or that can be read from again."""

    def enqueue_req(self, conn: Any) -> None:
        conn.sock.setblocking(False)
        if not hasattr(conn, "gathered") or conn.gathered is None:
            conn.gathered, conn.until = bytearray(), time.monotonic() + SECONDS
            conn.close = partial(_close, conn.sock)
            if conn.parser is not None:  # the beginning of the next request came with the last one
                conn.gathered += conn.parser.unreader.take_buffered()
        try:
            has_ended = _read(conn)
            if is_whole(conn.gathered):
                self._hand_over(conn)
            elif has_ended:  # a form that was cut on its way is no form
                self._end(conn)
            else:
                self._wait(conn)
        except Refused as error:
            self._end(conn, str(error).encode())
        except OSError:
            self._end(conn)

    def murder_pending(self) -> None:
        """Called about once a second."""
        now = time.monotonic()
        for conn in list(self.pending_conns):
            # Browsers open connections that they may never use: a program that ends does not wait for those.
            if conn.timeout <= now or not (self.alive or conn.gathered):
                self.pending_conns.remove(conn)
                self.poller.unregister(conn.sock)
                self._end(conn, b"408 Request Timeout" if conn.gathered else b"")

    def _wait(self, conn: Any) -> None:
        conn.timeout = conn.until
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _hand_over(self, conn: Any) -> None:
        _bound(conn.sock)
        conn.init()
        conn.parser.unreader.unread(bytes(conn.gathered))
        conn.gathered = None
        super().enqueue_req(conn)

    def _end(self, conn: Any, status: bytes = b"") -> None:
        self.nr_conns -= 1
        if status:
            with suppress(OSError):  # whoever went away needs no answer
                conn.sock.send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        conn.close()


def is_whole(gathered: bytearray) -> bool:
    """Whether nothing is missing for an answer. Raises Refused when it would be too much.

    Of headers that gunicorn does not take (a length twice, or none that is a number) it reads no body.
    """
    end = gathered.find(b"\r\n\r\n", 0, HEADERS)
    if end < 0:
        if len(gathered) >= HEADERS:
            raise Refused("431 Request Header Fields Too Large")
        return False
    headers = bytes(gathered[: end + 2])
    if _CHUNKED.search(headers):
        raise Refused("411 Length Required")
    lengths = _LENGTH.findall(headers)
    if len(lengths) != 1:
        return True
    if int(lengths[0]) > LARGEST:
        raise Refused("413 Content Too Large")
    return len(gathered) >= end + 4 + int(lengths[0])


def _read(conn: Any) -> bool:
    """What has come by now; True: nothing more will."""
    try:
        piece = conn.sock.recv(_PIECE)
    except BlockingIOError:
        return False
    conn.gathered += piece
    return not piece


def _close(sock: socket.socket, graceful: bool = False) -> None:
    """gunicorn would wait two seconds, in its loop, for the other side to close first. Nothing is lost without that: all of
    the request was read, so the kernel delivers the answer before it ends the connection.
    """
    with suppress(OSError):
        sock.close()


def _bound(sock: socket.socket) -> None:
    """Of whatever a thread waits for nevertheless, such as a reader that takes no answer."""
    seconds = struct.pack("ll", int(SECONDS), 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
