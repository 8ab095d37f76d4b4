"""The programs as a person has to type them: in a checkout they lie in `.venv/bin`, where no shell looks."""

import shlex
import shutil
import sys
from pathlib import Path


def program(name: str) -> str:
    """The name alone where a shell finds this very program, else its path, quoted for a shell.

    For those who have been let in: where it lies is nothing to tell a stranger.
    """
    path = Path(sys.executable).with_name(name)
    if not path.is_file():
        return name
    found = shutil.which(name)
    return name if found and path.samefile(found) else shlex.quote(str(path))
