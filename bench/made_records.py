"""Registries of any size, in the documented format: one real job is submitted, and its texts copied with other keys."""

import gzip
import hashlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ground import Ground

BATCH = 2500  # records in a sealed batch
DAY = 86400
MARK = "bench-name"
SUBJECTS = ("protein", "neutrino", "climate", "lattice", "vistrails", "galaxy", "polymer", "plasma")
STEPS = ("fold", "train", "sweep", "render", "assemble", "equilibrate", "postprocess", "align")


@dataclass(frozen=True, slots=True)
class Pattern:
    """The files of a job that has run: its settings, and its facts by name ("id", "exit.1")."""

    key: str
    settings: str
    facts: dict[str, str]


def pattern(ground: Ground) -> Pattern:
    """Of a plain process, submitted and asked about until its last fact was written."""
    app = "bench-pattern"
    with ground.submitter(app) as jobs:
        asked = jobs.create_settings(
            None, None, "sh", ["-c", "exit 0"], ": before", name=MARK, scheduler="process"
        )
        key = jobs.submit_job(asked)["jobid"]
        facts = ground.registry(app) / "facts"
        until = time.monotonic() + 30
        while not (facts / f"{key}.sched.1").exists():
            assert time.monotonic() < until, "the pattern of the records did not end"
            time.sleep(0.2)
            jobs.settings.list_keys()
    found = {path.name.partition(".")[2]: path.read_text() for path in sorted(facts.glob(f"{key}.*"))}
    return Pattern(key, (facts.parent / "settings" / f"{key}.json").read_text(), found)


def names_of(number: int) -> str:
    chosen = random.Random(number)
    return f"{chosen.choice(SUBJECTS)}-{chosen.choice(STEPS)}-{number:06d}"


def record(of: Pattern, number: int) -> tuple[str, dict[str, str]]:
    """(key, its files by name): the pattern's texts with another key, name, process and time; one in thirty failed."""
    key = f"{hashlib.sha256(str(number).encode()).hexdigest()[:32]}_1"
    ago = 30 * DAY + number % (300 * DAY)
    words = {"id": str(2000 + number), "incarnation": key[:16], "code": "1" if number % 30 == 0 else "0"}
    files = {f"{key}.json": of.settings.replace(of.key, key).replace(MARK, names_of(number))}
    files |= {f"{key}.{name}": _again(text, words, ago) for name, text in of.facts.items()}
    return key, files


def _again(text: str, words: dict[str, str], ago: int) -> str:
    lines = []
    for line in text.splitlines():
        word, equals, value = line.partition("=")
        if equals and word in words:
            line = f"{word}={words[word]}"
        elif word in ("time", "submitted") and value.isdecimal():
            line = f"{word}={int(value) - ago}"
        lines.append(line + "\n")
    return "".join(lines)


def registry(ground: Ground, app: str, of: Pattern, sealed: int = 0, live: int = 0) -> Path:
    """A registry with so many sealed records and so many that still lie as files."""
    root = ground.registry(app)
    for name in ("settings", "facts", "runs", "sealed", "actions", "trash", "hosts"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "version").write_text("remotejobs 1\n")
    for start in range(0, sealed, BATCH):
        _seal(root / "sealed", of, range(start, min(start + BATCH, sealed)))
    for number in range(sealed, sealed + live):
        for name, text in record(of, number)[1].items():
            (root / ("settings" if name.endswith(".json") else "facts") / name).write_text(text)
    root.chmod(0o700)
    ground.give(root)
    return root


def _seal(folder: Path, of: Pattern, numbers: range) -> None:
    """The files of each record, as the probe sends a bucket, and beside them the list of the keys."""
    records = sorted(record(of, number) for number in numbers)
    name = f"{1_700_000_000 + numbers.start}-{numbers.start:08x}"
    with gzip.open(folder / f"{name}.gz", "wb") as batch:
        batch.write("".join(line for _key, files in records for line in _lines(files)).encode())
    (folder / f"{name}.names").write_text("".join(f"{key}\n" for key, _files in records))


def _lines(files: dict[str, str]) -> Iterator[str]:
    for name, text in sorted(files.items()):
        yield f"file {name}\n"
        yield "".join(f"|{line}\n" for line in text.splitlines())
