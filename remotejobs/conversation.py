"""Feeding a command and reading from it at the same time, so that neither side waits for the other."""

import os
import selectors
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from remotejobs.output import PIECE, Answer, Readable, pieces

if TYPE_CHECKING:
    from paramiko import Channel

POLL = 0.25  # seconds after which errors are read although no output comes


def close_pipes(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe and not pipe.closed:
            pipe.close()


def over_pipes(
    process: "subprocess.Popen[bytes]", data: bytes | Readable, answer: Answer, end: float
) -> None:
    """Until the process has ended; raises TimeoutExpired at `end` (on the monotonic clock)."""
    if not (process.stdin and process.stdout and process.stderr):
        raise ValueError("a process without pipes")
    feed = _feed(process.stdin, pieces(data))
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdin, selectors.EVENT_WRITE, lambda: next(feed, False))
        selector.register(process.stdout, selectors.EVENT_READ, lambda: _drain(process.stdout, answer.out))
        selector.register(process.stderr, selectors.EVENT_READ, lambda: _drain(process.stderr, answer.error))
        while selector.get_map():
            left = end - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(process.args, 0)
            for key, _ in selector.select(left):
                if not key.data():
                    selector.unregister(key.fileobj)
    process.wait(max(0.0, end - time.monotonic()))


def _drain(pipe: IO[bytes] | None, take: Callable[[bytes], None]) -> bool:
    piece = os.read(pipe.fileno(), 2 * PIECE) if pipe else b""
    take(piece)
    return bool(piece)


def _feed(pipe: IO[bytes], parts: Iterable[bytes]) -> Iterator[bool]:
    """Each step writes what the pipe takes now. A program may end without having read everything."""
    os.set_blocking(pipe.fileno(), False)
    with suppress(BrokenPipeError):
        for piece in parts:
            while piece:
                with suppress(BlockingIOError):
                    piece = piece[os.write(pipe.fileno(), piece) :]
                yield True
    pipe.close()


def over_channel(channel: "Channel", data: bytes | Readable, answer: Answer) -> int | None:
    """Until the end of both streams: the exit status, None if there was none. A watchdog must bound it."""
    channel.settimeout(POLL)
    writer = None
    if isinstance(data, bytes) and len(data) <= PIECE:
        _send(channel, [data])
    else:
        writer = _Writer(channel, data)
        writer.start()
    try:
        while True:
            with suppress(TimeoutError):
                piece = channel.recv(2 * PIECE)
                if not piece:
                    break
                answer.out(piece)
            # Both streams share one window: unread errors would stop the output as well.
            while channel.recv_stderr_ready():
                answer.error(channel.recv_stderr(PIECE))
        while piece := channel.recv_stderr(PIECE):
            answer.error(piece)
        status = channel.recv_exit_status()
    finally:
        channel.close()
        if writer:
            writer.finish()
    return status if status >= 0 else None


def _send(channel: "Channel", parts: Iterable[bytes]) -> None:
    """A program may end without having read everything; what it has to say about that is its status."""
    with suppress(OSError):
        for piece in parts:
            while piece:
                with suppress(TimeoutError):
                    sent = channel.send(piece)
                    if not sent:  # the channel was closed meanwhile
                        return
                    piece = piece[sent:]
        channel.shutdown_write()


class _Writer(threading.Thread):
    """Sends much data while the main thread reads the answer."""

    def __init__(self, channel: "Channel", data: bytes | Readable) -> None:
        super().__init__(name="remotejobs writer", daemon=True)
        self._channel, self._data = channel, data
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            _send(self._channel, pieces(self._data))
        except Exception as error:  # reading our own data failed: the main thread must not report success
            self._error = error
            self._channel.close()

    def finish(self) -> None:
        self.join()
        if self._error:
            raise self._error
