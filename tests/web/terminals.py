"""The commands as a person or cron runs them: processes of their own, with and without a terminal."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from web.forked import Forge

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "remoteweb"]


def environment() -> dict[str, str]:
    # From any folder, as cron would; warnings are errors here too.
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "COLUMNS": "200"}


_forges: list[Forge] = []


def run(*arguments: str, given: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Without a terminal, as cron does."""
    here, cwd = environment(), cwd or Path(os.environ["HOME"])
    if forge := _forge_for(here):
        return forge.run(list(arguments), here, cwd, given, 90.0)
    return subprocess.run(
        [*COMMAND, *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=cwd,
        env=here,
        start_new_session=True,
    )


def _forge_for(environment: dict[str, str]) -> Forge | None:
    """None for what has to be started anew, since Python itself is to start otherwise."""
    if not _forges:
        _forges.append(Forge(environment))
    return _forges[0] if _forges[0].serves(environment) else None


def begin(*arguments: str) -> "subprocess.Popen[str]":
    """Goes on in the background; interrupt it with `interrupt`."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=os.environ["HOME"],
        env=environment(),
        start_new_session=True,
    )


def interrupt(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def _said(ended: int) -> int:
    with open(ended, "rb") as says:
        return int(says.read().split()[1])


class Terminal:
    """A command on a terminal: what it shows is waited for, what is typed is sent."""

    def __init__(self, *arguments: str, command: Sequence[str] = COMMAND) -> None:
        here, home = environment(), Path(os.environ["HOME"])
        if command is COMMAND and (forge := _forge_for(here)):
            self.fd, its = pty.openpty()
            ended = forge.begin(arguments, here, home, [its, its, its])
            os.close(its)
            self._status = lambda: _said(ended)
        else:
            pid, self.fd = pty.fork()
            if pid == 0:
                os.chdir(home)
                os.execvpe(command[0], [*command, *arguments], here)  # noqa: S606
            self._status = lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.shown = ""
        self._closed = False

    def expect(self, text: str, seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        while text not in self.shown:
            left = until - time.monotonic()
            assert left > 0 and self._read(left), f"{text!r} was not shown, but: {self.shown}"

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def end(self, typing: str = "") -> int:
        """Its exit code. `typing` is sent again and again: a program that just asks may drop what came too early."""
        until = time.monotonic() + 60
        while not self._closed:
            assert time.monotonic() < until, self.shown
            if not self._read(0.5) and typing and not self._closed:
                self.type(typing)
        os.close(self.fd)
        return self._status()

    def _read(self, seconds: float) -> bool:
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self.fd, 4096)
        except OSError:  # Linux: the other end was closed
            piece = b""
        self._closed = not piece
        self.shown += piece.decode(errors="replace")
        return bool(piece)
