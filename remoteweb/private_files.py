"""Files that hold a secret: made once, whole, for their owner alone."""

import contextlib
import os
import secrets
from pathlib import Path

GROUP, OTHERS = 0o070, 0o007


def make_once(path: Path, text: str) -> None:
    """With mode 0600. Of several that do so at once the first one's text stays, and nobody ever reads half of it."""
    # Whole under another name first, then a link.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(
            os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii"
        ) as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)


def is_exposed(path: Path) -> bool:
    """Others than its owner can read it. Raises OSError."""
    # systemd may give its credentials by an access list, whose mask looks like a permission of the group.
    by_systemd = os.environ.get("CREDENTIALS_DIRECTORY")
    exposing = OTHERS if by_systemd and path.is_relative_to(by_systemd) else GROUP | OTHERS
    return bool(path.stat().st_mode & exposing)
