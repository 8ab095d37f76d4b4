"""The packed parts of an answer: gzip, either as base64 lines or raw with its length; "file NAME" and "|line" inside.

They are measured when the answer is checked, and unpacked piece by piece when they are handed out, so that memory stays
bounded whatever a server sends.
"""

import binascii
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Self

FILE_LIMIT = 2 << 20  # characters of one record's file
UNPACKED_LIMIT = 8 << 30  # bytes of one part


class Packed:
    """What a SourceAnswer needs of a part."""

    name: str
    records: int

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

    @classmethod
    def base64(cls, spool: BinaryIO, mark: bytes) -> Self:
        """From here to the next line of ours; it is checked to the end of its gzip stream."""
        start = spool.tell()
        while (line := spool.readline(1 << 20)) and not line.startswith(mark):
            pass
        end = spool.tell() - len(line)
        return cls._checked(cls(spool, "", start, end - start, True), end)

    @classmethod
    def raw(cls, spool: BinaryIO, name: str, size: int) -> Self:
        start = spool.tell()
        return cls._checked(cls(spool, name, start, size, False), start + size)

    @classmethod
    def _checked(cls, part: Self, end: int) -> Self:
        tail = b""
        for piece in part._unpacked():
            # A name can lie across two pieces: the overlap is shorter than what is counted.
            part.records += (tail[-5:] + piece).count(b".json\n")
            tail = (tail + piece)[-64:]
        if part.is_base64 and not tail.splitlines()[-1:][0].startswith(b"closed "):
            raise ValueError("a part of it has no end")
        part.spool.seek(end)
        return part

    def _unpacked(self) -> Iterator[bytes]:
        """Raises ValueError when the stream is broken, short, or larger than anything we would send."""
        inflate, given, read = zlib.decompressobj(31), 0, 0
        self.spool.seek(self.start)
        while read < self.size:
            raw = (
                self.spool.readline(1 << 16)
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
                    raise ValueError("a packed part is damaged") from error
                data = inflate.unconsumed_tail
                given += len(piece)
                if given > UNPACKED_LIMIT:
                    raise ValueError("it is larger than any true answer")
                if piece:
                    yield piece
        if not inflate.eof:
            raise ValueError("a packed part is cut")

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
        name, text, size = "", list[bytes](), 0
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
            if kind == "file":
                name = value
            elif kind in ("unreadable", "bucket"):
                yield kind, value, ""
        if name:
            yield "file", name, b"\n".join([*text, b""]).decode("utf-8", "replace")
