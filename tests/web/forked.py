"""Commands in processes of their own that need not import everything again: a process that has done so forks for each.

Most of a command's start is imports. What begins here differs from one that was started anew in nothing that a command
sees: its own session, environment, folder, streams and arguments. Whatever changes how Python itself starts is not for it.
"""

import fcntl
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import termios
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST = 1 << 20
# Read when Python or the C library starts, and never again.
OF_THE_START = ("LD_", "LC_", "LANG", "PYTHON")


class Forge:
    """The process that forks. It ends with whoever made it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._start = _of_the_start(environment)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "web.forked", str(theirs.fileno())],
            env={**environment, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        self._socket = ours

    def serves(self, environment: dict[str, str]) -> bool:
        return _of_the_start(environment) == self._start and self._process.poll() is None

    def run(
        self, arguments: list[str], environment: dict[str, str], cwd: Path, given: str, seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run does, with text; raises TimeoutExpired, and the command's session is killed then."""
        (in_read, in_write), (out_read, out_write), (err_read, err_write) = (os.pipe() for _ in range(3))
        says = self.begin(arguments, environment, cwd, [in_read, out_write, err_write])
        for end in (in_read, out_write, err_write):
            os.close(end)
        return _followed(arguments, given.encode(), in_write, out_read, err_read, says, seconds)

    def begin(
        self, arguments: Sequence[str], environment: dict[str, str], cwd: Path, streams: list[int]
    ) -> int:
        """Where its process id is said, and how it ended: a descriptor to read both from. A terminal becomes its own."""
        says, said = os.pipe()
        asked = json.dumps({"arguments": arguments, "environment": environment, "cwd": str(cwd)}).encode()
        socket.send_fds(self._socket, [asked], [*streams, said])
        os.close(said)
        return says


def _followed(
    arguments: list[str], given: bytes, into: int, out: int, err: int, says: int, seconds: float
) -> subprocess.CompletedProcess[str]:
    until = time.monotonic() + seconds
    read: dict[int, bytes] = {out: b"", err: b"", says: b""}
    os.set_blocking(into, False)
    waiting, writing = set(read), {into}
    while waiting:
        ready, free, _ = select.select(waiting, writing, [], max(0.0, until - time.monotonic()))
        if not ready and not free:
            os.killpg(int(read[says].split()[0]), signal.SIGKILL)
            raise subprocess.TimeoutExpired(arguments, seconds)
        for end in free:
            try:
                given = given[os.write(end, given) :] if given else b""
            except BrokenPipeError:  # it does not read what it is given
                given = b""
            if not given:
                os.close(end)
                writing.clear()
        for end in ready:
            piece = os.read(end, 65536)
            read[end] += piece
            if not piece:
                waiting.discard(end)
                os.close(end)
    _pid, status = read[says].split()
    return subprocess.CompletedProcess(arguments, int(status), read[out].decode(), read[err].decode())


def _of_the_start(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(OF_THE_START)}


def _serve(asked: socket.socket) -> None:
    """Forks for each request, in a process between that waits for the end and tells of it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        text, fds, _flags, _address = socket.recv_fds(asked, MOST, 4)
        if not text:
            return
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            asked.close()
            said = fds[3]
            pid = os.fork()
            if pid == 0:
                os.close(said)
                _become(json.loads(text), fds[:3])
                return
            for fd in fds[:3]:
                os.close(fd)
            os.write(said, f"{pid} ".encode())
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            os.write(said, f"{status}".encode())
            os._exit(0)
        for fd in fds:
            os.close(fd)


def _become(asked: dict[str, object], streams: list[int]) -> None:
    """The command: its end is the end of this process, as Python does it."""
    os.setsid()
    if os.isatty(streams[0]):
        fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(asked["environment"])  # type: ignore[call-overload]
    os.chdir(str(asked["cwd"]))
    time.tzset()
    sys.argv = ["remoteweb", *asked["arguments"]]  # type: ignore[misc]
    from remoteweb.cli import main

    try:
        main()
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _import_all() -> None:
    import remoteweb

    for module in pkgutil.walk_packages(remoteweb.__path__, "remoteweb."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("fabric", "paramiko", "psycopg", "sqlalchemy.dialects.postgresql.psycopg"):
        importlib.import_module(name)


if __name__ == "__main__":
    _import_all()
    _serve(socket.socket(fileno=int(sys.argv[1])))
