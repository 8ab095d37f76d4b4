"""Where the app's own files lie, and where a person's data goes."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def asset_folder(name: str) -> Path:
    """A wheel carries the folder inside the package; a checkout, beside it."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def state_folder() -> Path:
    """`$XDG_STATE_HOME/remoteweb`, mode 0700: the same whatever the working folder, so that cron and the page share it."""
    base = os.environ.get("XDG_STATE_HOME") or ""
    # The XDG base directory specification: a relative path is invalid and is to be ignored.
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    folder = root / "remoteweb"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
