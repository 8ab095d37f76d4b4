"""A file system on which a write that passes the quota succeeds, and the error shows only at close, as on NFS.

The kernel's own FUSE, spoken here; everything lies in memory. What is written waits in the open file, and is kept or, where
the quota does not allow it, lost with EDQUOT when the file is closed.
"""

import ctypes
import errno
import itertools
import os
import stat
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

HEADER = struct.Struct("<IIQQIIIHH")
WRITE_SIZE = 128 << 10


class Refused(Exception):
    """The errno that the kernel is answered."""


@dataclass
class Node:
    mode: int
    uid: int
    gid: int
    ino: int
    links: int = 1
    data: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(default_factory=list)
    names: dict[str, "Node"] = field(default_factory=dict)
    changed: float = field(default_factory=time.time)

    @property
    def size(self) -> int:
        return max([len(self.data), *(offset + len(data) for offset, data in self.pending)])

    def attributes(self) -> bytes:
        seconds = int(self.changed)
        return struct.pack(
            "<QQQQQQIIIIIIIIII",
            *(self.ino, self.size, (self.size + 511) // 512, seconds, seconds, seconds),
            *(0, 0, 0, self.mode, self.links, self.uid, self.gid, 0, 4096, 0),
        )


class QuotaDisk:
    """`with QuotaDisk.mounted(folder, owner) as disk:`; `disk.quota` is in bytes, None for no limit."""

    def __init__(self, uid: int, gid: int) -> None:
        self.quota: int | None = None
        self.lost = 0  # how many closes lost what had been written
        self._inodes = itertools.count(2)
        self._nodes = {1: Node(stat.S_IFDIR | 0o700, uid, gid, 1, 2)}
        self._device = -1

    @classmethod
    @contextmanager
    def mounted(cls, folder: Path, uid: int, gid: int) -> Iterator[Self]:
        disk = cls(uid, gid)
        disk._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={disk._device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"quota", str(folder).encode(), b"fuse", 6, options.encode()):
            raise OSError(ctypes.get_errno(), "mount")
        thread = threading.Thread(target=disk._serve, daemon=True)
        thread.start()
        try:
            yield disk
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
            thread.join(5)
            os.close(disk._device)

    @property
    def used(self) -> int:
        return sum(len(node.data) for node in self._nodes.values())

    def _serve(self) -> None:
        with suppress(OSError):  # ENODEV: it was unmounted
            while True:
                request = os.read(self._device, WRITE_SIZE + 4096)
                _, opcode, unique, node, uid, gid, *_ = HEADER.unpack_from(request)
                answer = self._answer(opcode, node, uid, gid, request[HEADER.size :])
                if answer is not None:
                    body = answer if isinstance(answer, bytes) else b""
                    code = -answer if isinstance(answer, int) else 0
                    with suppress(FileNotFoundError):  # ENOENT: whoever asked was killed
                        os.write(self._device, struct.pack("<IiQ", 16 + len(body), code, unique) + body)

    def _answer(self, opcode: int, ino: int, uid: int, gid: int, body: bytes) -> bytes | int | None:
        """The body, an errno, or None where nobody waits for one."""
        if opcode in (2, 36, 42):  # FORGET, INTERRUPT, BATCH_FORGET
            return None
        verb = VERBS.get(opcode)
        if verb is None:
            return errno.ENOSYS
        try:
            return verb(self, self._nodes[ino] if ino else self._nodes[1], body, (uid, gid))
        except Refused as refusal:
            return int(refusal.args[0])

    # ---- the verbs of FUSE, as far as a registry needs them ----

    def init(self, _node: Node, _body: bytes, _who: tuple[int, int]) -> bytes:
        return struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 12, 10, WRITE_SIZE, 1, 0, 0, 0, *[0] * 7)

    def look_up(self, node: Node, body: bytes, _who: tuple[int, int]) -> bytes:
        return self._entry(self._child(node, body))

    def attributes(self, node: Node, _body: bytes, _who: tuple[int, int]) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + node.attributes()

    def set_attributes(self, node: Node, body: bytes, _who: tuple[int, int]) -> bytes:
        valid, size = struct.unpack_from("<I12xQ", body)
        mode, _, uid, gid = struct.unpack_from("<IIII", body, 68)
        if valid & 1:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        if valid & 2:
            node.uid = uid
        if valid & 4:
            node.gid = gid
        if valid & 8:
            node.pending.clear()
            node.data[:] = node.data[:size].ljust(size, b"\0")
        return self.attributes(node, b"", (0, 0))

    def make_folder(self, node: Node, body: bytes, who: tuple[int, int]) -> bytes:
        mode, umask = struct.unpack_from("<II", body)
        return self._entry(self._new(node, body[8:], stat.S_IFDIR | (mode & ~umask), who))

    def create(self, node: Node, body: bytes, who: tuple[int, int]) -> bytes:
        _, mode, umask = struct.unpack_from("<III", body)
        made = self._new(node, body[16:], stat.S_IFREG | stat.S_IMODE(mode & ~umask), who)
        return self._entry(made) + self.open(made, b"", who)

    def open(self, _node: Node, _body: bytes, _who: tuple[int, int]) -> bytes:
        return struct.pack("<QIi", 0, 1, 0)  # 1: past the page cache, so that what is read is what is kept

    def read(self, node: Node, body: bytes, _who: tuple[int, int]) -> bytes:
        offset, size = struct.unpack_from("<8xQI", body)
        data = bytearray(node.data.ljust(node.size, b"\0"))
        for at, piece in node.pending:
            data[at : at + len(piece)] = piece
        return bytes(data[offset : offset + size])

    def write(self, node: Node, body: bytes, _who: tuple[int, int]) -> bytes:
        offset, size = struct.unpack_from("<8xQI", body)
        node.pending.append((offset, body[40 : 40 + size]))
        return struct.pack("<II", size, 0)

    def flush(self, node: Node, _body: bytes, _who: tuple[int, int]) -> bytes:
        pending, node.pending = node.pending, []
        kept = bytearray(node.data)
        for at, piece in pending:
            kept.extend(bytes(max(0, at - len(kept))))
            kept[at : at + len(piece)] = piece
        if self.quota is not None and pending and self.used - len(node.data) + len(kept) > self.quota:
            self.lost += 1
            raise Refused(errno.EDQUOT)
        node.data, node.changed = kept, time.time()
        return b""

    def link(self, node: Node, body: bytes, _who: tuple[int, int]) -> bytes:
        (old,) = struct.unpack_from("<Q", body)
        name = self._free_name(node, body[8:])
        target = node.names[name] = self._nodes[old]
        target.links += 1
        return self._entry(target)

    def remove(self, node: Node, body: bytes, _who: tuple[int, int]) -> bytes:
        child = self._child(node, body)
        if child.names:
            raise Refused(errno.ENOTEMPTY)
        del node.names[_text(body)]
        child.links -= 1
        if not child.links:
            child.data.clear()  # the number may still be known to the kernel
        return b""

    def rename(self, node: Node, body: bytes, _who: tuple[int, int], skip: int = 8) -> bytes:
        (into,) = struct.unpack_from("<Q", body)
        old, new, _ = body[skip:].split(b"\0", 2)
        moved = self._child(node, old)
        del node.names[_text(old)]
        self._nodes[into].names[_text(new)] = moved
        return b""

    def rename_with_flags(self, node: Node, body: bytes, who: tuple[int, int]) -> bytes:
        return self.rename(node, body, who, 16)

    def list(self, node: Node, body: bytes, _who: tuple[int, int]) -> bytes:
        offset, size = struct.unpack_from("<8xQI", body)
        entries = b""
        for number, (name, child) in enumerate(node.names.items(), 1):
            raw = name.encode()
            entry = struct.pack("<QQII", child.ino, number, len(raw), child.mode >> 12) + raw
            entry += b"\0" * (-len(entry) % 8)
            if number > offset and len(entries) + len(entry) <= size:
                entries += entry
        return entries

    def statistics(self, _node: Node, _body: bytes, _who: tuple[int, int]) -> bytes:
        return struct.pack("<QQQQQIIII24x", 1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 4096, 255, 4096, 0)

    def nothing(self, _node: Node, _body: bytes, _who: tuple[int, int]) -> bytes:
        return b""

    def _child(self, node: Node, name: bytes) -> Node:
        if _text(name) not in node.names:
            raise Refused(errno.ENOENT)
        return node.names[_text(name)]

    def _free_name(self, node: Node, name: bytes) -> str:
        if _text(name) in node.names:
            raise Refused(errno.EEXIST)
        return _text(name)

    def _new(self, node: Node, name: bytes, mode: int, who: tuple[int, int]) -> Node:
        made = Node(mode, *who, next(self._inodes))
        node.names[self._free_name(node, name)] = self._nodes[made.ino] = made
        return made

    def _entry(self, node: Node) -> bytes:
        return struct.pack("<QQQQII", node.ino, 0, 0, 0, 0, 0) + node.attributes()


def _text(name: bytes) -> str:
    return name.split(b"\0", 1)[0].decode()


Verb = Callable[[QuotaDisk, Node, bytes, tuple[int, int]], bytes]
VERBS: dict[int, Verb] = {
    1: QuotaDisk.look_up,
    3: QuotaDisk.attributes,
    4: QuotaDisk.set_attributes,
    9: QuotaDisk.make_folder,
    10: QuotaDisk.remove,
    11: QuotaDisk.remove,
    12: QuotaDisk.rename,
    13: QuotaDisk.link,
    14: QuotaDisk.open,
    15: QuotaDisk.read,
    16: QuotaDisk.write,
    17: QuotaDisk.statistics,
    18: QuotaDisk.nothing,  # RELEASE
    20: QuotaDisk.nothing,  # FSYNC
    25: QuotaDisk.flush,
    26: QuotaDisk.init,
    27: QuotaDisk.open,  # OPENDIR
    28: QuotaDisk.list,
    29: QuotaDisk.nothing,  # RELEASEDIR
    35: QuotaDisk.create,
    45: QuotaDisk.rename_with_flags,
}
