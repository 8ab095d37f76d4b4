"""What a command answered, within bounds."""

import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol, Self

from remotejobs.errors import AnswerBroken, BadInput

IN_MEMORY = 1 << 20
MAX_STDERR = 64 << 10
MAX_STDOUT = 1 << 30
PIECE = 32 << 10
Progress = Callable[[int], None]


class Readable(Protocol):
    """Data that is read piece by piece: any binary file."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(slots=True)
class Output:
    """What a command left. `status` None: how it ended is not known (a signal, perhaps); never success."""

    status: int | None
    stdout: BinaryIO  # at its beginning; beyond 1 MB it is a temporary file: close it
    size: int
    stderr: bytes = b""

    def close(self) -> None:
        self.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Answer:
    """Collects the two streams within their bounds."""

    def __init__(self, limit: int, progress: Progress | None) -> None:
        self._limit, self._progress = limit, progress
        # Not a SpooledTemporaryFile, which warns when a small answer is dropped without being closed.
        self._stdout: BinaryIO = io.BytesIO()
        self._stderr = bytearray()
        self._size = 0

    def out(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            raise AnswerBroken(
                f"The answer is longer than {self._limit} bytes: it was cut off, and nothing was used."
            )
        if self._size > IN_MEMORY and isinstance(self._stdout, io.BytesIO):
            in_memory = self._stdout.getvalue()
            self._stdout = tempfile.TemporaryFile()  # noqa: SIM115  # whoever gets the Output closes it
            self._stdout.write(in_memory)
        self._stdout.write(piece)
        if self._progress:
            self._progress(self._size)

    def error(self, piece: bytes) -> None:
        self._stderr += piece[: MAX_STDERR - len(self._stderr)]

    def output(self, status: int | None) -> Output:
        self._stdout.seek(0)
        return Output(status, self._stdout, self._size, bytes(self._stderr))

    def discard(self) -> None:
        self._stdout.close()


def pieces(data: bytes | Readable) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield from (data[start : start + PIECE] for start in range(0, len(data), PIECE))
        return
    try:
        while piece := data.read(PIECE):
            yield piece
    except OSError as error:
        # Not to be taken for an error of the connection.
        raise BadInput(f"What was to be sent could not be read: {error}.") from error
