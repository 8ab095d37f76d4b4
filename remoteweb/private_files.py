"""Files that hold a secret: made once, whole, for their owner alone."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

GROUP, OTHERS = 0o070, 0o007


def make_once(path: Path, text: str) -> None:
    """With mode 0600. Of several that do so at once the first one's text stays, and nobody ever reads half of it."""
    # Whole under another name first, then a link.
    with _draft(path, text) as draft, contextlib.suppress(FileExistsError):
        path.hardlink_to(draft)


def replace(path: Path, text: str) -> None:
    """Whoever reads it meanwhile, or after a power cut, finds the former text or this one."""
    with _draft(path, text) as draft:
        draft.rename(path)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Who else wants that waits."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


@contextlib.contextmanager
def _draft(path: Path, text: str) -> Iterator[Path]:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(
            os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii"
        ) as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
    _note_names(path.parent)


def _note_names(folder: Path) -> None:
    """What needs the file may be in the database a moment later: the file's name has to be on the disk before."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def is_exposed(path: Path) -> bool:
    """Others than its owner can read it. Raises OSError."""
    # systemd may give its credentials by an access list, whose mask looks like a permission of the group.
    by_systemd = os.environ.get("CREDENTIALS_DIRECTORY")
    exposing = OTHERS if by_systemd and path.is_relative_to(by_systemd) else GROUP | OTHERS
    return bool(path.stat().st_mode & exposing)
