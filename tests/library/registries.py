"""Registries as tests need them: made by hand, on an account of the real sshd or in a home of this machine."""

import gzip
import json
import os
import pwd
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remotejobs.document import document
from remotejobs.settings import create

APP = "remoteJobs-vistrails"
MADE = "0123456789abcdef"


def key_of(number: int) -> str:
    """Keys that fill the sixteen buckets one after another."""
    return f"{number % 16:x}{number:031x}_1"


def settings_text(**members: Any) -> str:
    return json.dumps({"name": "a job", "command": "true", "arguments": [], **members}) + "\n"


def fact_text(**words: object) -> str:
    return "".join(f"{word}={value}\n" for word, value in words.items()) + "end\n"


@dataclass
class Folder:
    """`~/.<app>`, written as the library writes it."""

    path: Path

    @classmethod
    def make(cls, home: Path, app: str = APP, made: str = MADE) -> "Folder":
        folder = cls(home / f".{app}")
        folder.path.mkdir(mode=0o700, exist_ok=True)
        (folder.path / "version").write_text(f"remotejobs 1\n{made}\n")
        for name in ("settings", "facts", "runs", "sealed", "actions", "trash", "hosts"):
            (folder.path / name).mkdir()
        return folder

    def settings(self, key: str, text: str | bytes | None = None) -> Path:
        return self._write(self.path / "settings" / f"{key}.json", settings_text() if text is None else text)

    def fact(self, key: str, name: str, text: str | bytes | None = None) -> Path:
        return self._write(self.path / "facts" / f"{key}.{name}", fact_text(time=1) if text is None else text)

    def good(self, count: int) -> list[str]:
        """So many ended jobs, and their keys."""
        keys = [key_of(number) for number in range(1, count + 1)]
        for key in keys:
            self.settings(key)
            self.fact(key, "exit.1", fact_text(code=0, time=1700000000))
        return keys

    def ended(self, key: str, days: float = 3.0, **identity: object) -> None:
        """A process of this machine that ended well, so many days ago, with its run folder."""
        host, end = socket.gethostname().partition(".")[0], int(time.time() - days * 86400)
        words = {"scheduler": "process", "cluster": host, "host": host, "id": 4711, "submitted": end - 9}
        words |= {"sid": 4711, "start_ticks": 1, "boot": "before"} | identity
        asked = create(None, None, "true", [], "", "", {}, name="a job", scheduler="process", shell="/bin/sh")
        self.settings(key, document(asked))
        self.fact(key, "id", fact_text(**words))
        self.fact(key, "start.1", fact_text(time=end - 8))
        self.fact(key, "exit.1", fact_text(code=0, time=end))
        self.fact(key, "sched.1", fact_text(source="none", line="", time=end))
        (self.path / "runs" / key).mkdir()
        (self.path / "runs" / key / "stdout").write_text("said\n")
        self.age(key, days)

    def age(self, key: str, days: float) -> None:
        """As if all that is there of the job had been written so many days ago."""
        then = time.time() - days * 86400
        for path in [*self.path.glob(f"*/{key}.*"), *self.path.glob(f"runs/{key}")]:
            os.utime(path, (then, then))

    def names(self) -> set[str]:
        """The live ones, settings and facts."""
        return {path.name for name in ("settings", "facts") for path in (self.path / name).iterdir()}

    def batches(self) -> list[dict[str, str]]:
        """What each batch holds: text by name."""
        return [_files_in(path) for path in sorted((self.path / "sealed").glob("*.gz"))]

    def sealed(self, name: str, files: dict[str, str], keys: list[str]) -> Path:
        """A batch of `files` (name to text), as records.sh sends them, and its list of keys."""
        lines = []
        for file, text in files.items():
            lines += [f"file {file}", *(f"|{line}" for line in text.splitlines())]
        batch = self.path / "sealed" / f"{name}.gz"
        batch.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode()))
        batch.with_suffix(".names").write_text("".join(key + "\n" for key in keys))
        return batch

    def owned_by(self, user: str) -> None:
        account = pwd.getpwnam(user)
        for folder, names, files in os.walk(self.path):
            for path in (folder, *(os.path.join(folder, name) for name in (*names, *files))):
                os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)

    @staticmethod
    def _write(path: Path, text: str | bytes) -> Path:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


def _files_in(batch: Path) -> dict[str, str]:
    files: dict[str, str] = {}
    name = ""
    for line in gzip.decompress(batch.read_bytes()).decode().splitlines():
        if line.startswith("file "):
            name = line.removeprefix("file ")
            files[name] = ""
        elif line.startswith("|"):
            files[name] += line[1:] + "\n"
    return files


def listing(folder: Path) -> list[tuple[str, int, int, str]]:
    """All that a folder holds: names, modes, times and contents, to tell whether anything was touched."""
    found = []
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        content = path.readlink() if path.is_symlink() else path.read_bytes().hex() if path.is_file() else ""
        found.append((str(path), status.st_mode, status.st_mtime_ns, str(content)))
    return found
