"""For tests of programs that use this library: a shell that runs nothing."""

import io
from collections.abc import Callable, Iterable
from typing import Self

from remotejobs.output import MAX_STDOUT, Output, Progress, Readable

Canned = bytes | Output | Exception


def answer(stdout: bytes = b"", status: int | None = 0, stderr: bytes = b"") -> Output:
    """What a command would have left."""
    return Output(status, io.BytesIO(stdout), len(stdout), stderr)


class FakeShell:
    """Gives `answers` one after another: bytes (of a success), an Output, or an error to raise.

    With a function, that is asked instead: `FakeShell(lambda command, data: b"...")`. `commands` and `data` hold what
    was to be run. Running out of answers is an AssertionError.
    """

    def __init__(self, answers: Iterable[Canned] | Callable[[str, bytes], Canned] = ()) -> None:
        self._function = answers if callable(answers) else None
        self._answers = iter(() if callable(answers) else answers)
        self.commands: list[str] = []
        self.data: list[bytes] = []
        self.connections = 0
        self.execs = 0
        self.closed = False

    def __str__(self) -> str:
        return "a fake server"

    def run(
        self,
        command: str,
        data: bytes | Readable = b"",
        timeout: float = 60.0,
        progress: Progress | None = None,
        limit: int = MAX_STDOUT,
    ) -> Output:
        given = data if isinstance(data, bytes) else data.read(-1)
        self.commands.append(command)
        self.data.append(given)
        self.connections = 1
        self.execs += 1
        canned = self._function(command, given) if self._function else next(self._answers, None)
        if canned is None:
            raise AssertionError(f"no answer is left for command number {self.execs}: {command[:200]}")
        if isinstance(canned, Exception):
            raise canned
        output = answer(canned) if isinstance(canned, bytes) else canned
        if progress:
            progress(output.size)
        return output

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
