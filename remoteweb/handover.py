"""What is typed on a page goes to the sync worker over a local unix socket, from memory to memory.

A frame is its length (4 bytes, big-endian) and that many bytes of JSON: {"token", "answers"}; the answer to it is one
byte. Whoever is at the other end is asked of the kernel: file modes alone would let in whom a mistake with them lets in.
"""

import contextlib
import grp
import os
import pwd
import queue
import secrets
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from flask import Flask

from remotejobs.errors import RemoteJobsError
from remoteweb.paths import state_folder

MAX_FRAME = 128 << 10
MAX_ANSWERS = 16
FRAME_SECONDS = 5.0
BACKLOG = 8
TAKEN, NOT_WAITED_FOR = b"1", b"0"
_SIZE = struct.Struct(">I")
_PEER = struct.Struct("3i")  # of SO_PEERCRED: pid, uid, gid


def folder_of(app: Flask) -> Path:
    """Where the sockets are: the setting, else the state folder, which is its owner's alone."""
    chosen: Path | None = app.config["RUNTIME_FOLDER"]
    return chosen or state_folder()


class WorkerGone(RemoteJobsError):
    def __init__(self) -> None:
        super().__init__(
            "The sync worker that asked is not there any more, so nobody got what you typed. Begin the login again."
        )


class _Typed(msgspec.Struct):
    token: str
    answers: list[str]


def hand_over(folder: Path, name: str, token: str, answers: Sequence[str]) -> bool:
    """Give what was typed to the worker that listens at `name`. False: it does not wait for it any more.

    Raises WorkerGone.
    """
    until = time.monotonic() + FRAME_SECONDS
    frame = msgspec.json.encode(_Typed(token, list(answers)))
    try:
        with socket.socket(socket.AF_UNIX) as wire, _address(folder, name) as address:
            wire.settimeout(FRAME_SECONDS)
            wire.connect(address)
            if _peer_user(wire) not in {None, os.getuid(), folder.stat().st_uid}:
                raise WorkerGone
            wire.sendall(_SIZE.pack(len(frame)) + frame)
            return _receive(wire, 1, until) == TAKEN
    except OSError:
        raise WorkerGone from None


class Listener:
    """The worker's end: `waiting` says which tokens count, and for how long."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"worker-{secrets.token_hex(6)}.sock"
        self._waiting: dict[str, queue.SimpleQueue[list[str]]] = {}
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Raises OSError when the folder cannot be used."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(self.folder)
        wire = socket.socket(socket.AF_UNIX)
        try:
            with _address(self.folder, self.name) as address:
                wire.bind(address)
                Path(address).chmod(0o660)  # nobody connects before `listen`
            wire.listen(BACKLOG)
        except OSError:
            wire.close()
            raise
        self._socket = wire
        threading.Thread(target=self._serve, args=(wire,), name="handover", daemon=True).start()

    def stop(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._socket.close()
            self._socket = None
            with contextlib.suppress(OSError):
                (self.folder / self.name).unlink()

    @contextlib.contextmanager
    def waiting(self, token: str) -> Iterator["queue.SimpleQueue[list[str]]"]:
        """Where the answers to `token` arrive; one set of them, and only meanwhile."""
        self._waiting[token] = queue.SimpleQueue()
        try:
            yield self._waiting[token]
        finally:
            self._waiting.pop(token, None)

    def _serve(self, wire: socket.socket) -> None:
        while True:
            try:
                peer, _ = wire.accept()
            except OSError:
                return
            # One after the other, each with little time: they come from one page at a time.
            with peer, contextlib.suppress(OSError, msgspec.MsgspecError):
                peer.sendall(TAKEN if self._take(peer) else NOT_WAITED_FOR)

    def _take(self, peer: socket.socket) -> bool:
        until = time.monotonic() + FRAME_SECONDS
        peer.settimeout(FRAME_SECONDS)
        if not _is_of_our_group(peer, self.folder / self.name):
            return False
        (size,) = _SIZE.unpack(_receive(peer, _SIZE.size, until))
        if size > MAX_FRAME:
            return False
        typed = msgspec.json.decode(_receive(peer, size, until), type=_Typed)
        waiting = self._waiting.pop(typed.token, None) if len(typed.answers) <= MAX_ANSWERS else None
        if waiting is not None:
            waiting.put(typed.answers)
        return waiting is not None


def _receive(wire: socket.socket, size: int, until: float) -> bytes:
    """Exactly so many bytes; raises OSError when they do not come in time."""
    data = b""
    while len(data) < size:
        wire.settimeout(max(0.001, until - time.monotonic()))
        piece = wire.recv(size - len(data))
        if not piece:
            raise ConnectionError("it hung up")
        data += piece
    return data


@contextlib.contextmanager
def _address(folder: Path, name: str) -> Iterator[str]:
    """A socket's address has 107 bytes at most, a path may have more: then the folder is named by its descriptor."""
    path = str(folder / name)
    if len(os.fsencode(path)) < 100:
        yield path
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """The sockets of workers that were killed: nobody listens there."""
    for path in folder.glob("worker-*.sock"):
        with socket.socket(socket.AF_UNIX) as wire, _address(folder, path.name) as address:
            try:
                wire.connect(address)
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                continue


def _peer(wire: socket.socket) -> tuple[int, int] | None:
    """User and group at the other end. None: this system does not tell, and the modes of folder and socket decide."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _pid, user, group = _PEER.unpack(wire.getsockopt(socket.SOL_SOCKET, option, _PEER.size))
    return user, group


def _peer_user(wire: socket.socket) -> int | None:
    peer = _peer(wire)
    return peer[0] if peer else None


def _is_of_our_group(wire: socket.socket, path: Path) -> bool:
    """Our own user, or one of the group that the socket belongs to."""
    peer = _peer(wire)
    if peer is None:
        return True
    user, group = peer
    ours = path.stat().st_gid
    if user in (0, os.getuid()) or group == ours:
        return True
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(user).pw_name in grp.getgrgid(ours).gr_mem
    return False
