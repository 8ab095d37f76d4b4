"""The packed parts of an answer: gzip, either as base64 lines or raw with its length; "file NAME" and "|line" inside.

They are measured when the answer is checked, and unpacked piece by piece when they are handed out, so that memory stays
bounded whatever a server sends.
"""

import binascii
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Self

FILE_LIMIT = 2 << 20  # characters of one record's file
UNPACKED_LIMIT = 8 << 30  # bytes of all parts of an answer


class Damaged(ValueError):
    """The stream is broken, short, or larger than anything that we would send."""


class Room:
    """How much the parts of one answer may unpack to, together."""

    def __init__(self) -> None:
        self.left = UNPACKED_LIMIT

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ValueError("it is larger than any true answer")


class Packed:
    """What a SourceAnswer needs of a part."""

    name: str
    records: int
    is_short: bool  # once its files were read: it has not as many as its own last line says

    def files(self) -> Iterator[tuple[str, str, str]]:
        """(kind, name, text): kind is file, unreadable or bucket."""
        raise NotImplementedError


@dataclass(slots=True)
class PackedFile(Packed):
    spool: BinaryIO
    name: str
    start: int
    size: int
    is_base64: bool
    records: int = 0
    is_short: bool = False

    @classmethod
    def base64(cls, spool: BinaryIO, mark: bytes, room: Room) -> Self:
        """From here to the next line of ours; it is checked to the end of its gzip stream."""
        start = spool.tell()
        while (line := spool.readline(1 << 20)) and not line.startswith(mark):
            pass
        end = spool.tell() - len(line)
        part = cls(spool, "", start, end - start, True)
        # The last line proves that the probe's awk came to its end; the newline before it, that it is a line.
        if not re.search(rb"\nclosed [0-9]{1,9}\n\Z", part._checked(room)):
            raise ValueError("a part of it has no end")
        return part

    @classmethod
    def raw(cls, spool: BinaryIO, name: str, size: int, room: Room) -> Self:
        """The next `size` bytes. Afterwards the spool stands behind them, also when they are Damaged."""
        part = cls(spool, name, spool.tell(), size, False)
        try:
            part._checked(room)
        finally:
            spool.seek(part.start + size)
        return part

    def _checked(self, room: Room) -> bytes:
        """Unpacks it once, to see that it can be; counts its records, and gives the last bytes of it."""
        tail = b"\n"
        for piece in self._unpacked():
            room.take(len(piece))
            # A name can lie across two pieces: the overlap is shorter than what is counted.
            self.records += (tail[-5:] + piece).count(b".json\n")
            tail = (tail + piece)[-64:]
        self.spool.seek(self.start + self.size)
        return tail

    def _unpacked(self) -> Iterator[bytes]:
        inflate, read = zlib.decompressobj(31), 0
        self.spool.seek(self.start)
        while read < self.size:
            raw = (
                self.spool.readline(min(1 << 16, self.size - read))
                if self.is_base64
                else self.spool.read(min(1 << 16, self.size - read))
            )
            if not raw:
                raise ValueError("it ends in the middle")
            read += len(raw)
            data = binascii.a2b_base64(raw) if self.is_base64 else raw
            while data:
                try:
                    piece = inflate.decompress(data, 1 << 20)
                except zlib.error as error:
                    raise Damaged("a packed part is damaged") from error
                data = inflate.unconsumed_tail
                if piece:
                    yield piece
        if not inflate.eof:
            raise Damaged("a packed part is cut")

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        position = self.spool.tell()
        for piece in self._unpacked():
            position = self.spool.tell()
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > FILE_LIMIT:
                raise ValueError("a line in it is larger than any true record")
            yield from lines
            self.spool.seek(position)  # whoever we hand out to may read elsewhere in the spool
        if rest:
            yield rest

    def files(self) -> Iterator[tuple[str, str, str]]:
        name, text, size, arrived = "", list[bytes](), 0, 0
        for line in self._lines():
            if line.startswith(b"|"):
                size += len(line)
                if size > FILE_LIMIT:
                    raise ValueError("a record in it is larger than any true one")
                text.append(line[1:])
                continue
            if name:
                yield "file", name, b"\n".join([*text, b""]).decode("utf-8", "replace")
            name, text, size = "", [], 0
            kind, _, value = line.decode("utf-8", "replace").partition(" ")
            arrived += kind in ("file", "unreadable")
            if kind == "file":
                name = value
            elif kind in ("unreadable", "bucket"):
                yield kind, value, ""
            elif kind == "closed":
                self.is_short = self.is_short or value != str(arrived)
            else:
                raise ValueError("a line in it is none of ours")
        if name:
            yield "file", name, b"\n".join([*text, b""]).decode("utf-8", "replace")
