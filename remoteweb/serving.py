"""Where remoteweb is served at this moment: `remoteweb serve` leaves a note, and `remoteweb link` looks for it."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

from remoteweb.paths import state_folder

NAME = "serving."  # and the port
MAX_NOTE = 4096
DEFAULT_PORT = 8000


@contextlib.contextmanager
def noted(port: int, database: str) -> Iterator[None]:
    """For as long as it is served. The lock says whether a note still holds: a killed server removes none."""
    path, owner = state_folder() / f"{NAME}{port}", os.getpid()
    with _claimed(path) as note:
        note.truncate()
        note.write(database)
        note.flush()
        try:
            yield
        finally:
            # A process that was forked off to answer comes by here too when it ends.
            if os.getpid() == owner:
                path.unlink(missing_ok=True)


def ports(database: str) -> list[int]:
    """Those where this database is served now, the one that began last first: a link opens no other."""
    found = []
    for path in state_folder().glob(f"{NAME}*"):
        port = path.name.removeprefix(NAME)
        with contextlib.suppress(OSError), path.open(errors="replace") as note:
            if port.isdecimal() and note.read(MAX_NOTE) == database and _is_held(note):
                found.append((path.stat().st_mtime, int(port)))
    return [port for _, port in sorted(found, reverse=True)]


def _claimed(path: Path) -> TextIOWrapper:
    """The note, locked. Who served here before may be removing it: then it is made anew."""
    while True:
        note = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "w+")
        fcntl.flock(note, fcntl.LOCK_EX)  # nobody else has this port, so nobody keeps it for long
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(note.fileno()), path.stat()):
                return note
        note.close()


def _is_held(note: TextIOWrapper) -> bool:
    try:
        fcntl.flock(note, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
