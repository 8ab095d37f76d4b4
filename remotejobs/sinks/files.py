"""CSV and JSON lines: one line for each job, the ones that changed last at the end.

A file and its cursor cannot be replaced in one step. So the file beside it (`<name>.cursor`) knows the cursor of the file
as it is and of the one that comes, each by the digest of its content; then that one is renamed into place. Killed
anywhere, whichever file is there finds its cursor; one that somebody has edited has none, and everything is told again.
"""

import csv
import fcntl
import hashlib
import json
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from remotejobs.changes import Part
from remotejobs.errors import BadInput
from remotejobs.sinks.fields import KEY, as_json, checked, row
from remotejobs.sinks.pulling import NotStored, Overtaken

csv.field_size_limit(1 << 24)
# What a spreadsheet takes for the beginning of a formula; a job's name is not ours.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class _FileSink(ABC):
    def __init__(self, path: str | os.PathLike[str], mapping: Mapping[str, str] | None = None) -> None:
        self._path = Path(path).absolute()
        self._beside = self._path.with_name(self._path.name + ".cursor")
        self._mapping = checked(mapping)
        self._key = self._mapping[KEY]

    def __str__(self) -> str:
        return str(self._path)

    @abstractmethod
    def _keep(self, old: IO[str], new: IO[str], replaced: set[str]) -> None:
        """Copies the lines of the jobs that have not changed. An empty `old` has none."""

    @abstractmethod
    def _write(self, new: IO[str], values: dict[str, Any]) -> None: ...

    def cursor(self) -> str | None:
        with self._explained():
            return self._cursors().get(_digest(self._path))

    def _cursors(self) -> dict[str, str]:
        try:
            known = json.loads(self._beside.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def store(self, parts: Iterable[Part], since: str | None) -> int:
        """All parts are one replacement of the file. The lines that came lie in a temporary file until it is complete."""
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as came:
            keys, cursor = set[str](), None
            for part in parts:
                for record in part.records:
                    self._write(came, row(record, self._mapping))
                    keys.add(record[KEY])
                cursor = part.cursor
            if cursor is not None:
                came.seek(0)
                with self._explained(), self._locked():
                    if self.cursor() != since:
                        raise Overtaken(self)
                    self._replace(came, keys, since, cursor)
        return len(keys)

    def _replace(self, came: IO[str], keys: set[str], since: str | None, cursor: str) -> None:
        with _beside(self._path) as new:
            with self._opened() as old:
                self._keep(old, new, keys)
            while piece := came.read(1 << 20):
                new.write(piece)
            _to_disk(new)
            cursors = {} if since is None else {_digest(self._path): since}
            with _beside(self._beside) as text:
                json.dump({**cursors, _digest(Path(new.name)): cursor}, text)
                _to_disk(text)
                Path(text.name).replace(self._beside)
            Path(new.name).replace(self._path)

    def _opened(self) -> IO[str]:
        if not self._path.exists():
            return Path(os.devnull).open(encoding="utf-8")
        return self._path.open(encoding="utf-8", newline="")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise NotStored(self, error) from error
        except (UnicodeError, csv.Error) as error:
            raise BadInput(f"{self} is none of ours: move it away, and all is told anew.") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._path.with_name(f".{self._path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class JSONLinesSink(_FileSink):
    """A JSON object in each line; times are ISO 8601 in UTC."""

    def _keep(self, old: IO[str], new: IO[str], replaced: set[str]) -> None:
        for number, line in enumerate(old, 1):
            try:
                key = json.loads(line)[self._key]
            except (ValueError, TypeError, KeyError) as error:
                raise BadInput(
                    f"Line {number} of {self} is no job: move the file away, and all is told anew."
                ) from error
            if key not in replaced:
                new.write(line)

    def _write(self, new: IO[str], values: dict[str, Any]) -> None:
        new.write(json.dumps(values, ensure_ascii=False, default=datetime.isoformat) + "\n")


class CSVSink(_FileSink):
    """Comma-separated values under a line of names.

    A text that a spreadsheet would take for a formula (it begins with = + - @) has an apostrophe before it.
    """

    def _keep(self, old: IO[str], new: IO[str], replaced: set[str]) -> None:
        rows, names = csv.reader(old), list(self._mapping.values())
        writer = csv.writer(new)
        header = next(rows, names)
        if header != names:
            raise BadInput(f"{self} has other columns than the mapping: move it away, and all is told anew.")
        writer.writerow(names)
        at = names.index(self._key)
        for number, values in enumerate(rows, 2):
            if len(values) != len(names):
                raise BadInput(f"Row {number} of {self} is no job: move the file away, and all is told anew.")
            if values[at] not in replaced:
                writer.writerow(values)

    def _write(self, new: IO[str], values: dict[str, Any]) -> None:
        csv.writer(new).writerow([_cell(value) for value in values.values()])


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | dict):
        value = as_json(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


@contextmanager
def _beside(path: Path) -> Iterator[IO[str]]:
    """A new file in the same folder, with the mode of the one there; it goes unless it was renamed."""
    options: Any = {"dir": path.parent, "prefix": f".{path.name}.", "encoding": "utf-8", "newline": ""}
    with tempfile.NamedTemporaryFile("w", delete=False, **options) as file:
        try:
            if path.exists():
                os.fchmod(file.fileno(), path.stat().st_mode & 0o777)
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def _to_disk(file: IO[str]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _digest(path: Path) -> str:
    """Of the content; of a file that is not there, as of an empty one."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return hashlib.sha256().hexdigest()
